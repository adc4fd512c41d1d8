# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The requirements of every action: a supported ansible-core, and root on the host."""

from __future__ import annotations

import os
import re
from typing import Any

from ansible.plugins.action import ActionBase

# The oldest ansible-core that this collection runs on.
OLDEST_CORE = (2, 19)
ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]*\$?", re.IGNORECASE)


def core_problems(version: str) -> list[str]:
    """The problem of an ansible-core that is too old."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers >= OLDEST_CORE:
        return []
    wanted = ".".join(map(str, OLDEST_CORE))
    return [
        f"this is ansible-core {version}, but this collection needs {wanted} or newer. Install it: "
        f"pip install 'ansible-core>={wanted}'"
    ]


def mitogen_problem(action: ActionBase) -> str:
    """Why an action can't run by Mitogen; empty if it does not run by it.

    Mitogen puts a class of its own before each action. That class sends modules in another way, so that the checks of
    answers and the compiled modules of this collection would be left out.
    """
    if not any(one.__module__.partition(".")[0] == "ansible_mitogen" for one in type(action).__mro__):
        return ""
    return (
        "this collection does not support the strategies of Mitogen. In your own plays, set "
        "'strategy: ansible.builtin.linear'. For the playbooks of this collection, set ANSIBLE_STRATEGY=linear."
    )


def root_problem(action: ActionBase, host: str) -> str:
    """Why the module of an action would not run as root; empty if it does.

    The host is asked only if neither ``become`` nor the account of the connection says it.
    """
    connection = getattr(action, "_connection", None)
    become = getattr(connection, "become", None)
    if connection is None or wanted_account(action, become) == "root":
        return ""
    answer = action._low_level_execute_command("id -u && id -un")
    words = str(answer.get("stdout", "")).split()
    if answer.get("rc") or len(words) < 2 or words[-2] == "0":
        # The module then fails for the same reason, and Ansible reports it.
        return ""
    name = words[-1] if ACCOUNT.fullmatch(words[-1]) else "another account"
    remedy = (
        "Remove become_user, or set it to root." if become else "Set become: true in the play, or use the option -b."
    )
    return f"the tasks don't run as root on {host}, but as '{name}'. {remedy} The account needs sudo."


def wanted_account(action: ActionBase, become: Any) -> str:
    """The account by the settings of the run; empty if it is not known."""
    if become is not None:
        return str(action.get_become_option("become_user") or "root")
    if getattr(action._connection, "transport", "") in ("local", "ansible.builtin.local") and os.geteuid() == 0:
        return "root"
    return str(action._get_remote_user() or "")
