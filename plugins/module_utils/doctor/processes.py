# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the web process of an application and its log. Changes nothing."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.seen import LOG_LINES, Managers
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    Rpc,
    SupervisorError,
    read_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.release.worker_notes import summary

# Bytes of a program's definition that are read.
DEFINITION_BYTES = 64 * 1024
# Bytes of the notes about workers that are read.
NOTES_BYTES = 1024**2
# How the servers log that a worker has died.
DEATH = re.compile(
    r"Worker \(pid:\s?\d+\) (was sent SIG|exited with code)|WORKER TIMEOUT"
    r"|DAMN ! worker|got Segmentation Fault|HARAKIRI ON WORKER|Unexpected exit from worker"
)
# Seconds that supervisor may take for an answer.
PATIENCE = 5.0


def look_at_process(
    manager: str, name: str, live: str, managers: Managers, units: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """The instance of the live release: its state, its processes, and its restarts."""
    found: dict[str, Any] = {"state": "absent", "restarts": 0, "pid": 0, "workers": 0, "memory": 0, "enabled": False}
    if not manager:
        return found
    try:
        provider = managers.named(manager)
        found["state"] = provider.state(name, live)
        found["restarts"] = provider.restarts(name, live)
        found["others"] = [one for one in provider.instances(name) if one != live]
    except ProcessManagerError as error:
        found["error"] = str(error)
    if manager == "systemd":
        unit = units.get(f"{name}@{live}.service", {})
        found["unit"] = {key: value for key, value in unit.items() if key != "Id"}
        found["pid"] = int(unit.get("MainPID") or 0)
        found["enabled"] = bool(glob.glob(f"/etc/systemd/system/*.wants/{name}@{live}.service"))
    else:
        with contextlib.suppress(SupervisorError):
            info = Rpc(read_daemon(), timeout=PATIENCE).info(f"{name}-{live}") or {}
            found["pid"], found["said"] = int(info.get("pid") or 0), str(info.get("spawnerr") or "")
        found["autorestart"] = autorestart(tail(f"/etc/supervisor/conf.d/{name}-{live}.conf", DEFINITION_BYTES))
        found["enabled"] = os.path.exists(f"/etc/supervisor/conf.d/{name}-{live}.conf")
    if found["pid"]:
        found["started"] = started(found["pid"])
        family = descendants(found["pid"])
        found["workers"] = sum(1 for _pid, parent, _state in family if parent == found["pid"])
        found["memory"] = sum(memory_of(pid) for pid, _parent, _state in family)
        # "T": stopped by a signal or a debugger. It exists, but can't answer.
        found["stopped"] = bool(family) and all(state in "Tt" for _pid, _parent, state in family)
    return found


def look_at_deaths(layout: Layout, live: str, log: str, since: float) -> dict[str, Any] | None:
    """The workers of the live release that have died since its process started, and the log's reason. None: unknown."""
    notes = tail(layout.notes(live), NOTES_BYTES)
    found = summary(notes, layout.speaks_uwsgi(live), time.time(), since)
    if found and found["count"]:
        lines = [line.strip() for line in lines_of(log) if DEATH.search(line)]
        found["reason"] = lines[-1] if lines else ""
    return found


def started(pid: int) -> float:
    """The time at which a process started; 0 if that can't be known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream, open("/proc/uptime", encoding="ascii") as up:
            ticks = int(stream.read().rpartition(b")")[2].split()[19])
            return time.time() - (float(up.read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0


def autorestart(definition: str) -> str:
    """The setting autorestart in the definition of a supervisor program; empty if it has none."""
    found = re.findall(r"(?m)^autorestart\s*=\s*(\w+)", definition)
    return found[-1] if found else ""


def descendants(master: int) -> list[tuple[int, int, str]]:
    """A process and its descendants: (pid, parent, state)."""
    children: dict[int, list[tuple[int, int, str]]] = {}
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{entry}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
            one = (int(entry), int(fields[1]), fields[0].decode())
            children.setdefault(one[1], []).append(one)
            if one[0] == master:
                found.append(one)
    for pid, _parent, _state in found:
        found += children.get(pid, [])
    return found


def sees_others(pid: int) -> bool:
    """Whether a process finds those of other accounts in its own /proc: its mount has no option hidepid."""
    mounts = []
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as stream:
        mounts = [line.split() for line in stream]
    options = [fields[-1] for fields in mounts if len(fields) > 4 and fields[4] == "/proc"]
    return bool(options) and not re.search(r"\bhidepid=(?!0\b|off\b)", options[-1])


def memory_of(pid: int) -> int:
    """Bytes of memory of a process: its own and its share of common pages, if the kernel provides that."""
    for path, key in ((f"/proc/{pid}/smaps_rollup", "Pss:"), (f"/proc/{pid}/status", "RssAnon:")):
        with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
    return 0


def look_at_log(manager: str, name: str, live: str, managers: Managers) -> str:
    try:
        return managers.named(manager).log(name, live, LOG_LINES)
    except ProcessManagerError:
        return ""


def last_traceback(log: str) -> str:
    """The last traceback of a log, from the last frame in the application's own code to the exception."""
    lines = lines_of(log)
    starts = [number for number, line in enumerate(lines) if "Traceback (most recent call last):" in line]
    if not starts:
        return ""
    block = []
    for line in lines[starts[-1] + 1 :]:
        block.append(line)
        if line and not line.startswith((" ", "\t")):  # the exception itself ends it
            break
    own = [number for number, line in enumerate(block) if line.lstrip().startswith("File") and "/src/" in line]
    return "\n".join(block[own[-1] if own else max(0, len(block) - 4) :])
