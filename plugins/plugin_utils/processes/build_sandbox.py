# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sandbox of builds: that of services, without the application's own settings, except those that relax it. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.directives import LISTS, added, raw_values
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.quoting import double_percent, systemd_quote
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.systemd import SANDBOX, section_lines

# Compilers start many processes.
BUILD_TASKS = "4096"

# Directives with lists of allowed items, some of which an application may remove.
ALLOWED = ("SystemCallFilter", "RestrictAddressFamilies")
# All other directives of the sandbox have their strictest value, so any other value relaxes them.
STRICTEST = {name for name, _value in SANDBOX} - {*ALLOWED, "ReadWritePaths", "UMask", "SystemCallErrorNumber"}
# It shows files that ProtectHome=tmpfs and PrivateTmp= hide.
SHOWING = "BindReadOnlyPaths"

# The folders that a directive hides, and a value that shows them.
HIDING = {
    "ProtectHome": (("/home", "/root", "/run/user"), "read-only"),
    "PrivateTmp": (("/tmp", "/var/tmp"), "false"),  # noqa: S108  # no file is created there
}
OFF = ("no", "false", "off", "0", "n", "f", "")


def build_properties(user: str, group: str, folder: str, kept: str, settings: dict[str, Any]) -> list[str]:
    """The sandbox of an application's builds, which may write below a folder, except in ``kept``, as lines.

    ``settings`` are the application's own directives. Those that relax the sandbox apply, because a host that can't set
    up a part of it can't build either. The owners of the folders below say the rest. Environment and cache have to be
    in one mount, or uv can't link files.
    """
    directives: dict[str, Any] = {
        "User": double_percent(user),
        "Group": double_percent(group),
        "TasksMax": BUILD_TASKS,
        # The kernel ends one process of a build that needs too much memory. Then the build fails.
        "OOMPolicy": "continue",
        **dict(SANDBOX),
        "ReadWritePaths": systemd_quote(folder),
        "ReadOnlyPaths": systemd_quote(kept),
    }
    return list(section_lines({"Service": directives | relaxed(directives, settings)})[0]["lines"])


def relaxed(directives: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The directives of an application that relax those of a sandbox."""
    own = {str(name): raw_values(value) for name, value in settings.items()}
    result: dict[str, Any] = {
        name: added(raw_values(directives[name]), value) if name in LISTS else value
        for name, value in own.items()
        if name in STRICTEST or name == SHOWING
    }
    return result | {name: wider(raw_values(directives[name]), own[name]) for name in ALLOWED if name in own}


def wider(allowed: list[str], own: list[str]) -> list[str]:
    """The allowed values of a list, and what the application allows by its own."""
    resets = [place for place, value in enumerate(own) if not value.strip()]
    last = own[resets[-1] + 1 :] if resets else own
    if resets and (not last or last[0].startswith("~")):
        # All is allowed, or all but these.
        return last
    return [*allowed, *(value for value in last if not value.startswith("~") and value != "none")]


def hidden_by(settings: dict[str, Any], path: str) -> tuple[str, str] | None:
    """The directive that hides a file from builds and commands, and a value that shows it; None if they see it."""
    path = posixpath.normpath(path)
    for name, (folders, remedy) in HIDING.items():
        value = (raw_values(settings[name]) or [""])[-1].strip().lower() if name in settings else "yes"
        if value in (*OFF, "read-only") or not any(is_below(path, folder) for folder in folders):
            continue
        # Nothing is shown in a folder that is inaccessible, rather than empty.
        can_show = name == "PrivateTmp" or value == "tmpfs"
        if not can_show or not any(is_below(path, place) for place in shown(settings)):
            return name, remedy
    return None


def shown(settings: dict[str, Any]) -> list[str]:
    """The paths at which the application's own settings show files."""
    words = [word.lstrip("-").split(":") for value in raw_values(settings.get(SHOWING, [])) for word in value.split()]
    return [parts[1] if len(parts) > 1 and parts[1] else parts[0] for parts in words]


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")
