# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From the input supervisor_daemon to the settings file of supervisord: what is wrong with it, and its text. Pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.quoting import (
    double_percent,
    supervisor_word_problem,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options

SIZE = re.compile(r"[0-9]+(KB|MB|GB)?", re.IGNORECASE)
PORT = re.compile(r"([A-Za-z0-9._-]+|\*|\[[0-9a-fA-F:]+\]):([0-9]{1,5})")
OPTIONS = ("minfds", "minprocs", "loglevel", "logfile_maxbytes", "logfile_backups")


def checked(given: Any) -> tuple[dict[str, Any], list[str]]:
    """The settings with types converted, and every problem found in them."""
    checker = Checker()
    options = role_options("supervisor")["supervisor_daemon"]["options"]
    found = checker.mapping(given, options, "supervisor_daemon")
    if not checker.problems:
        check_settings(checker, found)
    return found, checker.problems


def check_settings(checker: Checker, found: dict[str, Any]) -> None:
    """Check the rules that the specification can't express."""
    for name in ("minfds", "minprocs", "logfile_backups"):
        if found[name] is not None and found[name] < 0:
            checker.problem(f"supervisor_daemon.{name}", f"{found[name]} is not a number from 0 on.")
    size = found["logfile_maxbytes"]
    if size is not None and not SIZE.fullmatch(size):
        checker.problem("supervisor_daemon.logfile_maxbytes", f"'{size}' is not a size. Give one such as 50MB.")
    if server := found["inet_http_server"]:
        check_server(checker, server, "supervisor_daemon.inet_http_server")


def check_server(checker: Checker, server: dict[str, Any], where: str) -> None:
    """Check the port. Any client that reaches it and knows the password can run programs as root."""
    found = PORT.fullmatch(server["port"])
    if not found or not 0 < int(found[2]) < 65536:
        checker.problem(
            f"{where}.port", f"'{server['port']}' is not an address with a port. Give one such as 127.0.0.1:9001."
        )
    for name in ("username", "password"):
        text = server[name]
        if not text:
            checker.problem(
                f"{where}.{name}", "it is empty. Everyone who reaches the port could run programs as root; set it."
            )
        elif supervisor_word_problem(text) or text != text.strip() or re.search(r"\s[;#]", text):
            # The text itself is never shown.
            checker.problem(
                f"{where}.{name}",
                "supervisord can't read it from its file. Remove control characters, spaces at the ends, and a ';' or "
                "'#' after a space.",
            )


def settings_file(found: dict[str, Any]) -> str:
    """The text of the file for checked settings; empty if there are none."""
    daemon = [f"{name}={found[name]}" for name in OPTIONS if found[name] is not None]
    lines = ["[supervisord]", *daemon] if daemon else []
    if server := found["inet_http_server"]:
        lines += ["", "[inet_http_server]", *(f"{name}={double_percent(server[name])}" for name in server)]
    return "\n".join(["; Managed by pyweb.stack (role supervisor).", *lines, ""]) if lines else ""
