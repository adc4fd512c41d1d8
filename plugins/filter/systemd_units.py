# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Turn systemd_services into unit files to render."""

from __future__ import annotations

DOCUMENTATION = """
name: systemd_units
short_description: Turn the role's services into unit files to render
version_added: 0.1.0
description:
  - Maps the input C(systemd_services) of the role P(pyweb.stack.systemd#role) to what
    P(pyweb.stack.templates#lookup) renders and M(pyweb.stack.systemd_services) installs.
  - All decisions about directives are made here, so the template only prints.
  - Every unit is sandboxed; whatever C(settings) names replaces the directive of the same name.
  - A service with a C(timer) becomes two units.
author: The pyweb.stack contributors
options:
  _input:
    description: Services, as the role's argument specification tells.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = """
- name: Render the unit files of two services
  ansible.builtin.debug:
    msg: "{{ query('pyweb.stack.templates', *(systemd_services | pyweb.stack.systemd_units)) }}"
  vars:
    systemd_services:
      - {name: "shop@", type: notify, user: shop, command: ["/srv/webapps/shop/releases/%i/bin/web"]}
      - {name: mailer, user: mailer, command: [/usr/bin/mailer, --queue, /var/spool/mailer]}
"""

RETURN = """
_value:
  description:
    - For each unit its name, state, started, enabled and triggered, and for a present one C(template) and C(vars).
  type: list
  elements: dict
"""

import re  # the documentation stands first in a plugin
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.systemd_quote import (
    double_percent,
    systemd_quote,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*@?")
# In the place of a name, for removal only.
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.\*@?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DIRECTIVE = re.compile(r"[A-Za-z][A-Za-z0-9]*|X-[A-Za-z0-9-]+")

# What a service may need of its own host, by the names that Debian gives it. Where one of them is, it starts first at
# a boot; else a worker could come before its broker so often that it reaches its start limit, and stays failed.
LOCAL_SERVERS = [
    f"{name}.service"
    for name in ("postgresql", "mariadb", "mysql", "redis-server", "valkey-server", "rabbitmq-server", "memcached")
]

# What `systemd-analyze security` asks for, as far as Flask, gevent, numpy and sqlite go on working with it.
# Left out on purpose:
# - MemoryDenyWriteExecute: breaks what makes code at run time (cffi call-backs, numba, PyPy);
# - RemoveIPC: the instances of two releases share an account, and the end of one would remove the other's semaphores;
# - ProcSubset=pid: hides /proc/meminfo and /proc/cpuinfo, which numerical libraries read to choose their threads;
# - PrivateUsers: fails in containers, and files of foreign groups look ownerless to the application.
SANDBOX: list[tuple[str, Any]] = [
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("ProtectSystem", "strict"),
    ("ReadWritePaths", None),  # its place; the paths come from the service
    ("ProtectHome", "yes"),
    ("ProtectProc", "invisible"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("SystemCallArchitectures", "native"),
    # App servers chown their socket and set their account to what they have anyway, so these two groups come back after
    # @privileged has gone. Without capabilities they can do no more than that.
    ("SystemCallFilter", ["@system-service", "~@privileged @resources", "@chown @setuid"]),
    # A refused call is an error the program can handle, not its end.
    ("SystemCallErrorNumber", "EPERM"),
    ("KeyringMode", "private"),
    ("UMask", "0027"),
]


def _fail(name: str, problem: str) -> None:
    raise AnsibleFilterError(f"systemd_services, service {name!r}: {problem}")


def _seconds(value: Any) -> str:
    """Seconds as systemd takes them, without a needless fraction."""
    return f"{float(value):g}"


def _line(name: str, what: str, value: str) -> str:
    """A value that must fit on one line of the file."""
    if any(ord(character) < 32 for character in value) or value.endswith("\\"):
        _fail(
            name,
            f"{what} {value!r} does not fit on one line of a unit file. Remove newlines and a trailing backslash.",
        )
    return value


def _path(name: str, what: str, value: Any) -> str:
    if not str(value).startswith("/"):
        _fail(name, f"{what} {value!r} is no absolute path. Write it from / on.")
    return str(value)


def _raw(name: str, key: str, value: Any) -> list[str]:
    """The lines of a directive in systemd's own words: a list repeats it, booleans are yes and no."""
    values = value if isinstance(value, (list, tuple)) else [value]
    words = ["yes" if item is True else "no" if item is False else "" if item is None else str(item) for item in values]
    return [_line(name, f"setting {key}", word) for word in words]


def _runtime_directory(name: str, folder: dict[str, Any], user: str, group: str, instance: bool) -> list[str]:
    path = _path(name, "runtime_directory.path", folder.get("path", ""))
    owner, owning_group = folder.get("owner", user), folder.get("group", group)
    argv = [
        "/usr/bin/install",
        "-d",
        "-o",
        owner,
        "-g",
        owning_group,
        "-m",
        folder.get("mode", "0755"),
        path,
    ]
    # As root and outside the sandbox (+): RuntimeDirectory= can't give a folder to another group.
    return ["+" + systemd_quote(argv, instance=instance)]


def unit_sections(service: dict[str, Any]) -> list[dict[str, Any]]:
    """The unit file of one service as sections with their lines."""
    name = service["name"]
    instance = name.endswith("@")
    kind = service.get("type", "exec")
    user = service.get("user", "root")
    group = service.get("group", user)
    command = [str(word) for word in service.get("command") or []]
    if not command:
        _fail(
            name,
            "it has no command. Give one as a list: the program's absolute path, then its arguments.",
        )
    _path(name, "the command's program", command[0])
    start_timeout = float(service.get("start_timeout", 60))
    writable = [_path(name, "writable path", path) for path in service.get("writable_paths") or []]
    folder = service.get("runtime_directory")
    if folder:
        # With a dash it may be missing: what is to make it, before the start, is given the same file system.
        writable.append(f"-{folder.get('path', '')}")
    for variable in service.get("environment") or {}:
        if not VARIABLE.fullmatch(str(variable)):
            _fail(
                name,
                f"{variable!r} is no name of an environment variable. Use letters, digits and '_' only.",
            )

    def plain(what: str, value: Any) -> str:
        return double_percent(_line(name, what, str(value)), instance)

    unit: dict[str, Any] = {
        "Description": plain("description", service.get("description", name.rstrip("@"))),
        "After": " ".join(["network.target", *LOCAL_SERVERS]),
        # Five starts in this time, and the unit stays failed for all to see, instead of crashing on for ever.
        "StartLimitIntervalSec": _seconds(max(60.0, 2 * start_timeout)),
        "StartLimitBurst": "5",
    }
    if service.get("timer"):
        # It may run every minute; a run that failed is no reason to leave out the next.
        unit["StartLimitIntervalSec"], unit["StartLimitBurst"] = "0", None
    run: dict[str, Any] = {
        "Type": kind,
        "User": plain("user", user),
        "Group": plain("group", group),
    }
    if kind == "oneshot" and not service.get("timer"):
        # Else a run that ended well looks as if it had never been started.
        run["RemainAfterExit"] = "yes"
    if service.get("working_directory"):
        run["WorkingDirectory"] = plain(
            "working_directory",
            _path(name, "working_directory", service["working_directory"]),
        )
    run["Environment"] = [
        systemd_quote(f"{variable}={value}", instance=instance)
        for variable, value in (service.get("environment") or {}).items()
    ] or None
    if folder:
        run["ExecStartPre"] = _runtime_directory(name, folder, user, group, instance)
    run["ExecStart"] = systemd_quote(command, instance=instance)
    # App servers end with status 0 on SIGTERM, SIGINT and SIGQUIT, whoever sends it. systemctl stop is no restart.
    run["Restart"] = service.get("restart", "no" if kind == "oneshot" else "always")
    run["RestartSec"] = _seconds(service.get("restart_delay", 0.5))
    run["TimeoutStartSec"] = _seconds(start_timeout)
    run["TimeoutStopSec"] = _seconds(service.get("stop_timeout", 30))
    if service.get("stop_signal"):
        run["KillSignal"] = _line(name, "stop_signal", f"SIG{service['stop_signal']}")
    # The signal to stop goes to the master alone, which drains its own workers.
    run["KillMode"] = "mixed"
    run["SyslogIdentifier"] = name.rstrip("@")
    # What the kernel kills for want of memory is one worker; its master starts another, and the rest go on.
    run["OOMPolicy"] = "continue"
    limits = service.get("limits") or {}
    for key, directive in (
        ("memory", "MemoryMax"),
        ("cpu", "CPUQuota"),
        ("tasks", "TasksMax"),
    ):
        if limits.get(key) is not None:
            run[directive] = _line(name, f"limits.{key}", str(limits[key]))
    for key, value in SANDBOX:
        run[key] = value
    run["ReadWritePaths"] = " ".join(systemd_quote(path, instance=instance) for path in writable) or None

    sections: dict[str, dict[str, Any]] = {
        "Unit": unit,
        "Service": run,
        "Install": {} if service.get("timer") else {"WantedBy": "multi-user.target"},
    }
    for section, directives in (service.get("settings") or {}).items():
        if section not in sections:
            _fail(
                name,
                f"settings has a section {section!r}. Choose Unit, Service or Install.",
            )
        if not isinstance(directives, dict):
            _fail(
                name,
                f"settings.{section} is {directives!r}. Write directives with their values below it.",
            )
        for key, value in directives.items():
            if not DIRECTIVE.fullmatch(str(key)):
                _fail(
                    name,
                    f"settings.{section} has {key!r}, which is no name of a directive.",
                )
            sections[section][str(key)] = _raw(name, f"{section}.{key}", value)
    return [
        {
            "name": section,
            "lines": [
                f"{key}={value}"
                for key, values in directives.items()
                if values is not None
                for value in (values if isinstance(values, list) else [values])
            ],
        }
        for section, directives in sections.items()
        if directives
    ]


def timer_sections(service: dict[str, Any]) -> list[dict[str, Any]]:
    """The timer of a service as sections with their lines."""
    name = service["name"]
    times = service["timer"].get("on_calendar") or []
    if not times:
        _fail(name, "its timer has no on_calendar. Give one or more, in systemd's words, such as '*-*-* 02:30:00'.")
    when = [f"OnCalendar={_line(name, 'timer.on_calendar', str(time))}" for time in times]
    # To the second, as cron does; systemd's own default is any second of the minute.
    when.append("AccuracySec=1s")
    if service["timer"].get("catch_up"):
        when.append("Persistent=yes")
    description = double_percent(_line(name, "description", service.get("description", name)))
    return [
        {"name": "Unit", "lines": [f"Description={description}: its timer"]},
        {"name": "Timer", "lines": when},
        {"name": "Install", "lines": ["WantedBy=timers.target"]},
    ]


def systemd_units(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    units = []
    seen: set[str] = set()
    for service in services:
        name = str(service.get("name", ""))
        present = service.get("state", "present") == "present"
        if not NAME.fullmatch(name) and (present or not PATTERN.fullmatch(name)):
            _fail(
                name,
                "this is no name of a unit. Use letters, digits, '-', '_' and '.', then @ for a template; for removal, "
                "'NAME.*' stands for all that begin so.",
            )
        if name.endswith((".service", ".timer")):
            _fail(name, f"leave out .{name.rpartition('.')[2]}.")
        if name in seen:
            _fail(name, "the name stands in the list twice. Remove or rename one.")
        seen.add(name)
        if not present:
            units.append({"name": name, "state": "absent"})
            continue
        timer = service.get("timer")
        if timer and (name.endswith("@") or service.get("type") != "oneshot"):
            _fail(name, "a timer starts a service of the type oneshot, and no template. Change the type or the name.")
        wanted = {key: service.get(key, True) for key in ("started", "enabled")}
        units.append(
            {
                "name": name,
                "state": "present",
                **wanted,
                "triggered": bool(timer),
                "template": "unit.service.j2",
                "vars": {"unit": {"sections": unit_sections(service)}},
            }
        )
        if timer:
            units.append(
                {
                    "name": f"{name}.timer",
                    "state": "present",
                    **wanted,
                    "triggered": False,
                    "template": "unit.service.j2",
                    "vars": {"unit": {"sections": timer_sections(service)}},
                }
            )
    return units


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"systemd_units": systemd_units}
