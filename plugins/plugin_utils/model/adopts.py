# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the process that an application replaces with its first release."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

KINDS = ("unit", "program", "command")
NAMES = {
    "unit": re.compile(r"[A-Za-z0-9:_.@\\-]{1,250}\Z"),
    "program": re.compile(r"[^\s:\[\]/,]{1,250}\Z"),
}
EXAMPLES = {"unit": "myapp.service", "program": "myapp", "command": "gunicorn -w 4 app:app"}
# Services that serve more than one application.
SHARED = re.compile(
    r"(?:nginx|apache2|supervisor|supervisord|ssh|sshd|cron|rc-local|dbus|uwsgi|emperor\S*|emperor\.uwsgi|docker|systemd-\S*)"
    r"(?:\.service)?\Z"
)


def check_adopts(checker: Checker, adopts: dict[str, Any], where: str) -> None:
    """Report a process that can't be named like this, or that this collection must not stop."""
    given = [kind for kind in KINDS if adopts[kind]]
    if len(given) > 1:
        checker.problem(where, f"{' and '.join(given)} are set, but one process served the application. Leave one.")
    for kind in given:
        text = adopts[kind]
        if kind == "command":
            check_command_line(checker, text, f"{where}.command")
        elif not NAMES[kind].match(text) or text.endswith((".socket", ".timer", ".target")):
            checker.problem(f"{where}.{kind}", f"'{text}' is not the name of a {kind}. Write it as '{EXAMPLES[kind]}'.")
        elif kind == "unit" and SHARED.match(text):
            checker.problem(
                f"{where}.unit",
                f"'{text}' serves more than this application, so it is not stopped. Name the unit that starts the app "
                "server, or leave adopts out and stop the old process yourself.",
            )


def check_command_line(checker: Checker, text: str, where: str) -> None:
    try:
        words = shlex.split(text)
    except ValueError as error:
        checker.problem(where, f"it can't be split into words: {error}. Write the command as ps shows it.")
        return
    if len(words) < 2:
        checker.problem(
            where,
            f"'{text}' could be the command of other processes, too. Write the whole command line as ps shows it, such "
            f"as '{EXAMPLES['command']}'.",
        )
