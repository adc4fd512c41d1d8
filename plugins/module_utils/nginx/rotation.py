# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Debian's rule for the rotation of nginx's logs: its signal must not depend on the service helper."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any

# invoke-rc.d asks policy-rc.d first. In images of containers, that forbids every action, so nginx would write on into
# the rotated file.
HELPER = re.compile(r"^(?P<indent>[ \t]*)(?:invoke-rc\.d|service) nginx rotate\b[^\n]*$", re.MULTILINE)
SIGNAL = """\
{indent}# pyweb.stack (role nginx): without invoke-rc.d, which may be forbidden.
{indent}[ ! -s {pid_file} ] || kill -USR1 "$(cat {pid_file})"
"""


def with_signal(text: str, pid_file: str) -> str:
    """The rule with a signal to nginx in place of the service helper. A rule without the helper stays as it is."""
    return HELPER.sub(lambda found: SIGNAL.format(indent=found["indent"], pid_file=pid_file).rstrip("\n"), text)


def written_elsewhere(master: int, logs: list[str]) -> list[dict[str, str]]:
    """The logs that nginx does not write to, each with the file that it writes to instead."""
    opened = {}
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{master}/fd"):
            with contextlib.suppress(OSError):
                link = f"/proc/{master}/fd/{descriptor}"
                status = os.stat(link)
                opened[(status.st_dev, status.st_ino)] = os.readlink(link)
    found: list[dict[str, Any]] = []
    for log in logs:
        with contextlib.suppress(OSError):
            status = os.stat(log)
            others = [path for path in opened.values() if path != log and path.startswith(log)]
            if (status.st_dev, status.st_ino) not in opened and others:
                found.append({"log": log, "written": others[0]})
    return found
