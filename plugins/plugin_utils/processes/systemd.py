# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From the input systemd_services to unit files: what is wrong with it, and the lines of each unit. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.definitions import (
    SOCKETS_FOLDER_MODE,
    check_command,
    check_name,
    check_path,
    check_runtime_directory,
    check_sockets,
    make_directory,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.directives import (
    LISTS,
    added,
    directive_problem,
    line_problem,
    raw_values,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.quoting import (
    double_percent,
    systemd_quote,
    systemd_word_problem,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.items import checked_items
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options

SECTIONS = ("Unit", "Service", "Install")
# The directives that limit what a service may use.
LIMITS = (("memory", "MemoryMax"), ("cpu", "CPUQuota"), ("tasks", "TasksMax"))

# Servers that a service may need on its own host, by their names in Debian. The ones that exist start first at boot.
# Otherwise a worker could start before its broker until it reaches its start limit, and stay failed.
LOCAL_SERVERS = [
    f"{name}.service"
    for name in ("postgresql", "mariadb", "mysql", "redis-server", "valkey-server", "rabbitmq-server", "memcached")
]

# The settings that `systemd-analyze security` recommends, as far as Flask, gevent, numpy and sqlite work with them.
# Left out:
# - MemoryDenyWriteExecute: breaks programs that make code at run time (cffi call-backs, numba, PyPy);
# - RemoveIPC: the instances of two releases share an account; the end of one would remove the other's semaphores;
# - ProcSubset=pid: hides /proc/meminfo and /proc/cpuinfo, which numerical libraries read to choose their threads;
# - PrivateUsers: fails in containers, and files of foreign groups seem to have no owner.
SANDBOX: list[tuple[str, Any]] = [
    ("NoNewPrivileges", "yes"),
    ("CapabilityBoundingSet", ""),
    ("ProtectSystem", "strict"),
    ("ReadWritePaths", None),  # keeps its place here; the paths come from the service
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
    # Netlink lists the network interfaces (psutil, if_nameindex, libzmq, npm). Without capabilities it changes nothing.
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("SystemCallArchitectures", "native"),
    # App servers chown their socket and set their account to the one they have. So these two groups are allowed again
    # after @privileged was removed. Without capabilities they permit no more than that.
    ("SystemCallFilter", ["@system-service", "~@privileged @resources", "@chown @setuid"]),
    # A refused call is an error that the program can handle; it does not end the program.
    ("SystemCallErrorNumber", "EPERM"),
    ("KeyringMode", "private"),
    ("UMask", "0027"),
]


# The directives that start, watch and end a service. Its commands get all others: the sandbox and the limits.
# At the end of a unit, systemd removes what RuntimeDirectory= and RemoveIPC= name, and the service may still use it.
LIFECYCLE = re.compile(
    r"Type|ExitType|Exec(Start|Stop|Reload|Condition)\w*|RemainAfterExit|GuessMainPID|PIDFile|BusName|NotifyAccess|Restart(?!rict)\w*|"
    r"Success\w*|Timeout\w*|Runtime(Max|Randomized|Directory)\w*|RemoveIPC|Watchdog\w*|FinalKillSignal|Kill\w*|SendSIG\w*|"
    r"ReloadSignal|RootDirectoryStartOnly|NonBlocking|Sockets|FileDescriptorStore\w*|USBFunction\w*|OpenFile|"
    r"Standard\w*|TTY\w*|Syslog\w*|WorkingDirectory|Description|X-.*"
)

# Directives of which systemd-run sends one value: a second one replaces the first, while a unit file has both.
REPLACED = ("CapabilityBoundingSet", "AmbientCapabilities", "RestrictNamespaces")


def checked(services: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The services with types converted and defaults filled, and every problem found in them."""
    checker = Checker()
    options = role_options("systemd")["systemd_services"]["options"]
    return checked_items(checker, services, options, "systemd_services", check_service), checker.problems


def problems(services: Any) -> list[str]:
    """Every problem of the services: the place, the value found, and the remedy."""
    return checked(services)[1]


def check_service(checker: Checker, service: dict[str, Any], where: str) -> None:
    """Check the rules for one service that the specification can't express."""
    check_name(checker, service, where, "unit")
    if service["name"].endswith((".service", ".timer", ".socket")):
        checker.problem(f"{where}.name", f"leave out .{service['name'].rpartition('.')[2]}.")
    if service["state"] == "absent":
        return
    check_command(checker, service, where, systemd_word_problem)
    check_runtime_directory(checker, service["runtime_directory"], where, systemd_word_problem)
    check_sockets(checker, service["sockets"], where, line_problem)
    check_lines(checker, service, where)
    if service["working_directory"]:
        check_path(checker, service["working_directory"], f"{where}.working_directory")
    for path in service["writable_paths"]:
        check_path(checker, path, f"{where}.writable_paths")
        if problem := systemd_word_problem(path):
            checker.problem(f"{where}.writable_paths", f"{path!r} {problem}")
    for key in ("start_timeout", "stop_timeout", "restart_delay"):
        if service[key] < 0 or not math.isfinite(service[key]):
            checker.problem(f"{where}.{key}", f"{service[key]:g} is not a number of seconds. Give 0 or more.")
    if service["timer"]:
        check_timer(checker, service, where)
    check_settings(checker, service["settings"], where)


def check_lines(checker: Checker, service: dict[str, Any], where: str) -> None:
    """Values that are printed without quotes, so each has to fit on one line."""
    values = {key: service[key] for key in ("description", "user", "group", "working_directory")}
    values |= {f"limits.{key}": value for key, value in (service["limits"] or {}).items()}
    for key, value in values.items():
        if value is not None and (problem := line_problem(str(value))):
            checker.problem(f"{where}.{key}", f"{value!r} {problem}")


def check_timer(checker: Checker, service: dict[str, Any], where: str) -> None:
    if service["name"].endswith("@") or service["type"] != "oneshot":
        checker.problem(
            f"{where}.timer",
            "a timer starts a service of the type oneshot, and never a template. Change the type or the name.",
        )
    times = service["timer"]["on_calendar"]
    if not times:
        checker.problem(
            f"{where}.timer.on_calendar",
            "the list is empty. Give one or more times in systemd's syntax, such as '*-*-* 02:30:00'.",
        )
    for time in times:
        if problem := line_problem(time):
            checker.problem(f"{where}.timer.on_calendar", f"{time!r} {problem}")


def check_settings(checker: Checker, settings: dict[str, Any], where: str) -> None:
    for section, directives in settings.items():
        place = f"{where}.settings.{section}"
        if section not in SECTIONS:
            checker.problem(f"{where}.settings", f"section {section!r} is unknown. Choose {', '.join(SECTIONS)}.")
        elif not isinstance(directives, dict):
            checker.problem(place, f"{directives!r} is not a mapping. Write directives with their values below it.")
        else:
            for name, value in directives.items():
                if problem := directive_problem(name, value, section):
                    checker.problem(place, problem)


def units(services: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The units of checked services. Each is a service, perhaps with a timer or a socket unit."""
    result = []
    for service in services:
        if service["state"] == "absent":
            result.append({"name": service["name"], "state": "absent"})
            continue
        timer = service["timer"]
        result.append(_unit(service, service["name"], service_sections(service), triggered=bool(timer)))
        if timer:
            result.append(_unit(service, f"{service['name']}.timer", timer_sections(service), triggered=False))
        if service["sockets"]:
            result.append(_unit(service, f"{service['name']}.socket", socket_sections(service), triggered=True))
    return result


def _unit(
    service: dict[str, Any], name: str, sections: dict[str, dict[str, Any]], *, triggered: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "state": "present",
        "started": service["started"],
        "enabled": service["enabled"],
        "triggered": triggered,
        "template": "unit.service.j2",
        "vars": {"unit": {"sections": section_lines(sections)}},
    }


def section_lines(sections: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Sections with their lines. A list repeats a directive, None leaves it out."""
    return [
        {
            "name": section,
            "lines": [
                f"{name}={value}"
                for name, values in directives.items()
                if values is not None
                for value in (values if isinstance(values, list) else [values])
            ],
        }
        for section, directives in sections.items()
        if directives
    ]


def service_sections(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The unit file of one service: sections with directives, the service's own settings last."""
    sections = {
        "Unit": _unit_section(service),
        "Service": _service_section(service),
        "Install": {} if service["timer"] else {"WantedBy": "multi-user.target"},
    }
    for section, directives in service["settings"].items():
        for name, value in directives.items():
            ours = sections[section].get(str(name)) if name in LISTS else None
            sections[section][str(name)] = raw_values(value) if ours is None else added(raw_values(ours), value)
    return sections


def _unit_section(service: dict[str, Any]) -> dict[str, Any]:
    section: dict[str, Any] = {
        "Description": _plain(service, service["description"] or service["name"].rstrip("@")),
        "After": " ".join(["network.target", *LOCAL_SERVERS]),
        # After five starts within this time the unit stays failed, instead of crashing forever.
        "StartLimitIntervalSec": _seconds(max(60.0, 2 * service["start_timeout"])),
        "StartLimitBurst": "5",
    }
    if service["sockets"]:
        section["Requires"] = f"{service['name']}{'%i' if service['name'].endswith('@') else ''}.socket"
    if service["timer"]:
        # It may run every minute, and a failed run must not prevent the next.
        section["StartLimitIntervalSec"], section["StartLimitBurst"] = "0", None
    return section


def _service_section(service: dict[str, Any]) -> dict[str, Any]:
    instance = service["name"].endswith("@")
    oneshot = service["type"] == "oneshot"
    user, group = service["user"], service["group"] or service["user"]
    folder = service["runtime_directory"]
    working_directory = service["working_directory"]
    environment = [f"{variable}={value}" for variable, value in service["environment"].items()]
    make_folder = systemd_quote(make_directory(folder, user, group), instance) if folder else None
    section: dict[str, Any] = {
        "Type": service["type"],
        "User": _plain(service, user),
        "Group": _plain(service, group),
        # Without this, a run that has ended well looks as if it had never been started.
        "RemainAfterExit": "yes" if oneshot and not service["timer"] else None,
        "WorkingDirectory": _plain(service, working_directory) if working_directory else None,
        "Environment": [systemd_quote(variable, instance) for variable in environment] or None,
        # As root and outside of the sandbox (+), because RuntimeDirectory= can't give a folder to another group.
        "ExecStartPre": f"+{make_folder}" if make_folder else None,
        "ExecStart": systemd_quote(service["command"], instance),
        # App servers end with status 0 on SIGTERM, SIGINT and SIGQUIT from any sender. After `systemctl stop`, systemd
        # does not restart them.
        "Restart": service["restart"] or ("no" if oneshot else "always"),
        "RestartSec": _seconds(service["restart_delay"]),
        "TimeoutStartSec": _seconds(service["start_timeout"]),
        "TimeoutStopSec": _seconds(service["stop_timeout"]),
        "KillSignal": None if service["stop_signal"] == "TERM" else f"SIG{service['stop_signal']}",
        # Only the master gets the signal to stop; it drains its own workers.
        "KillMode": "mixed",
        "SyslogIdentifier": service["name"].rstrip("@"),
        # If memory runs out, the kernel kills one worker. Its master starts another, and the others continue.
        "OOMPolicy": "continue",
    }
    limits = service["limits"] or {}
    section |= {directive: str(limits[key]) for key, directive in LIMITS if limits.get(key) is not None}
    section |= SANDBOX
    section["ReadWritePaths"] = " ".join(systemd_quote(path, instance) for path in _writable_paths(service)) or None
    return section


def _writable_paths(service: dict[str, Any]) -> list[str]:
    """With a dash in front, a folder may be missing: the command that makes it runs with the same file system."""
    folder = service["runtime_directory"]
    return [*service["writable_paths"], *([f"-{folder['path']}"] if folder else [])]


def run_properties(service: dict[str, Any]) -> list[str]:
    """The sandbox and the limits of a checked service as lines, for the commands of its application."""
    directives = service_sections(service)["Service"]
    kept = {name: value for name, value in directives.items() if not LIFECYCLE.fullmatch(name)}
    kept |= {name: one_value(kept[name]) for name in REPLACED if kept.get(name)}
    return list(section_lines({"Service": kept})[0]["lines"])


def one_value(values: Any) -> Any:
    """The values of a repeated directive as one, for a transient unit, in which the last one would replace the others.

    Values that remove words from a list stay as they are.
    """
    words = raw_values(values)
    last = words[max((place for place, word in enumerate(words) if not word.strip()), default=-1) + 1 :]
    return words if any(word.startswith("~") for word in last) else " ".join(last)


def unused_directives(settings: dict[str, Any], where: str) -> Iterator[str]:
    """The lists of an inventory that add nothing to ours. They may be meant to allow nothing else."""
    for name, ours in SANDBOX:
        own = raw_values(settings.get(name, []))
        words = {word for value in own for word in value.split()}
        known = {word for value in raw_values(ours) for word in value.split()}
        # After words that remove others, the order counts.
        if name in LISTS and words and words <= known and not any(word.startswith("~") for word in known):
            shown = " ".join(sorted(words))
            if all(value.strip() for value in own):
                yield (
                    f"{where}.{name}: {shown}: no effect, because it adds to the list of the collection, which has it. "
                    f'Remove {name}. To allow nothing else, begin the list with an empty value: ["", "{shown}"].'
                )


def timer_sections(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The timer of a service: sections with directives."""
    description = double_percent(service["description"] or service["name"])
    return {
        "Unit": {"Description": f"{description}: its timer"},
        "Timer": {
            "OnCalendar": service["timer"]["on_calendar"],
            # At the exact second, as with cron. systemd's default is any second of the minute.
            "AccuracySec": "1s",
            "Persistent": "yes" if service["timer"]["catch_up"] else None,
        },
        "Install": {"WantedBy": "timers.target"},
    }


def socket_sections(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sockets of a service: sections with directives. Only the service starts and ends this unit.

    It has no [Install], and ends with the service (StopWhenUnneeded=). So a connection can't start a service that was
    stopped or has failed. PartOf= would also close the sockets when systemd restarts the service after a crash.
    """
    instance, sockets = service["name"].endswith("@"), service["sockets"]
    condition = sockets["condition_path"]
    return {
        "Unit": {
            "Description": _plain(service, f"{service['description'] or service['name'].rstrip('@')}: its sockets"),
            "ConditionPathExists": double_percent(condition, instance) if condition else None,
            "StopWhenUnneeded": "yes",
        },
        "Socket": {
            "ListenStream": [double_percent(path, instance) for path in sockets["paths"]],
            "SocketUser": "root",
            "SocketGroup": sockets["group"],
            "SocketMode": sockets["mode"],
            "DirectoryMode": SOCKETS_FOLDER_MODE,
            "Backlog": "2048",
            "RemoveOnStop": "yes",
            "FileDescriptorName": "web",
        },
    }


def _seconds(value: float) -> str:
    """Seconds without a needless fraction."""
    return f"{value:g}"


def _plain(service: dict[str, Any], value: str) -> str:
    """A value that systemd takes without quotes."""
    return double_percent(value, service["name"].endswith("@"))
