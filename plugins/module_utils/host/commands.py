# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run commands on the host, and fail with a message that an operator can act on."""

from __future__ import annotations

from collections.abc import Callable

# Runs a command, given as a list of arguments; returns its exit status, standard output and standard error. In modules
# this is AnsibleModule.run_command.
Run = Callable[[list[str]], tuple[int, str, str]]


class HostError(Exception):
    """Something on the host failed. The text says what was being done, to what, and what to do about it."""


def must(run: Run, doing: str, argv: list[str], remedy: str, error: type[HostError] = HostError) -> str:
    """Run a command that has to succeed, and return its standard output.

    Raises ``error`` with what was being done (``doing``, such as "Starting the daemon"), the command, its exit status,
    its last words, and the ``remedy``, a sentence.
    """
    status, out, err = run(argv)
    if status != 0:
        raise error(f"{doing}: `{' '.join(argv)}` failed with {status}: {(err or out).strip()}. {remedy}")
    return out
