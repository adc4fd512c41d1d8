# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that makes the status page of a host. A timer runs it there, without Ansible.

The controller packs this file, and the files that it imports, into one (plugin_utils/publishing/packing.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.publishing.look import answers_of
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import page

# The page belongs to root, and to the group of nginx by the setgid bit of its folder.
MODE = 0o640
MAKER = "Made by the timer pyweb-status-page of this host."


def publish(plan: dict[str, Any], now: float) -> None:
    """Make the page, and replace the file in one step. A failure leaves the page of before, which shows its age."""
    text = page([answers_of(plan, run_on_host, now)], now, plan["hours"], plan["old"], MAKER)
    temporary = f"{plan['page']}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), MODE)
    os.replace(temporary, plan["page"])


def main(arguments: list[str]) -> int:
    """Run the program. Its argument is the plan, a JSON file."""
    with open(arguments[0], encoding="utf-8") as stream:
        plan = json.load(stream)
    try:
        publish(plan, time.time())
    except OSError as error:
        sys.stderr.write(f"The status page can't be written to {plan['page']}: {error}\n")
        return 1
    return 0
