# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Values of the command line as they were written."""

from __future__ import annotations

from ansible import context


def as_written(name: str) -> str:
    """The value of ``-e NAME='…'`` as written. Ansible would cut it at the first space."""
    found = ""
    for given in context.CLIARGS.get("extra_vars") or ():
        if isinstance(given, str) and given.startswith(f"{name}="):
            found = given.removeprefix(f"{name}=")
    return found
