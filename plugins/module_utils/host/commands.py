# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run commands on the host, and fail with a message that an operator can act on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted

# Runs a command, given as a list of arguments; returns its exit status, standard output and standard error. In modules
# this is run_on_host. AnsibleModule.run_command can lose output on a busy host: it stops reading if the command ends
# just after its select().
Run = Callable[[list[str]], tuple[int, str, str]]


class HostError(Exception):
    """Something on the host failed. The text says what was being done, to what, and what to do about it."""


class CommandTimeout(HostError):
    """A command took too long, and was killed."""


def run_command(argv: list[str], timeout: float | None = None) -> tuple[int, str, str]:
    """A ``Run`` for code without an AnsibleModule, with a time limit in seconds.

    Raises FileNotFoundError if there is no such program, and CommandTimeout.
    """
    try:
        result = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise CommandTimeout(f"`{' '.join(argv)}` did not end within {timeout:.0f} s") from error
    return result.returncode, result.stdout, result.stderr


def run_on_host(argv: list[str]) -> tuple[int, str, str]:
    """The ``Run`` of modules. The status is 127 if there is no such program.

    Output goes to files, because a daemon that the command starts may keep a pipe open forever.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            status = subprocess.call(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd="/",
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            return 127, "", f"{argv[0]} can't be run: {error.strerror}"
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        return status, texts[0], texts[1]


def must(run: Run, doing: str, argv: list[str], remedy: str, error: type[HostError] = HostError) -> str:
    """Run a command that has to succeed, and return its standard output.

    Raises ``error`` with what was being done (``doing``, such as "Starting the daemon"), the command, its exit status,
    its last words, and the ``remedy``, a sentence.
    """
    status, out, err = run(argv)
    if status != 0:
        raise error(redacted(f"{doing}: `{' '.join(argv)}` failed with {status}: {(err or out).strip()}. {remedy}"))
    return out
