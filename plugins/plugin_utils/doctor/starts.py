# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whether a site comes back after a boot, or after a restart of its container. Pure."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

PROGRAM = "/usr/local/sbin/pyweb-start"
# The command of an operator.
START = f"{PROGRAM} --background"
START_REMEDY = f"Let the start command of the container run it, or run {START} on the host"


def start_problem(view: View) -> str:
    """The part that a boot would not start; empty if there is none."""
    if view.host["nginx"]["enabled"] is False:
        return "nginx is not enabled"
    if view.found["process_manager"] == "supervisor" and view.host.get("supervisor_enabled") is False:
        return "the service supervisor is not enabled"
    return ""


def start_reason(view: View) -> str:
    """Why nothing starts the site after a restart of a host without an init; empty if something does."""
    if view.host["init"] == "systemd":
        return ""
    start = view.host.get("start") or {}
    if start.get("named") or start.get("ran"):
        return ""
    return (
        f"this host has no init, and its start command does not run {PROGRAM}. After a restart of the container, the "
        f"site stays down. {START_REMEDY}"
    )


def has_systemd(view: View) -> bool:
    return bool(view.host["init"] == "systemd")


def by_hand(view: View, systemd: str, otherwise: str) -> str:
    """The command for the manager that the host has."""
    return systemd if has_systemd(view) else otherwise
