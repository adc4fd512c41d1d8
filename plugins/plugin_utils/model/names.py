# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Names of applications: each becomes an account, folders, a service, a socket and a site."""

from __future__ import annotations

import re

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")

# Names that would clash with an account or a folder of the system or of this collection.
ACCOUNTS = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody adm tty disk sudo nginx
    supervisor supervisord systemd ssh sshd cron uv
"""
# Groups of a fresh Debian. The account's own group could not be created.
GROUPS = "staff shadow users utmp video audio src docker"
# Template units of systemd itself, which NAME@.service would replace.
UNITS = """
    user user-runtime-dir getty autovt serial-getty console-getty container-getty modprobe dbus
"""
RESERVED_NAMES = frozenset(f"{ACCOUNTS} {GROUPS} {UNITS}".split())


def check_name(checker: Checker, name: str, where: str) -> None:
    if not NAME.match(name):
        checker.problem(
            where,
            f"'{name}' can't be the name of an account and its folders. Use lower-case letters, digits and '-', "
            f"beginning with a letter, 31 characters at most, such as '{suggest_name(name)}'.",
        )
    elif name in RESERVED_NAMES or name.startswith("systemd-"):
        checker.problem(
            where, f"'{name}' is an account or service of the system. Choose another, such as '{name}-app'."
        )


def suggest_name(name: str) -> str:
    """A valid name that resembles an invalid one."""
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    letters = re.sub(r"^[^a-z]+", "", letters)[:31]
    return letters or "shop"
