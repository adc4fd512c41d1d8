# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the parts of a host that all its applications share. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.nginx import look_at_nginx
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.units import properties
from ansible_collections.pyweb.stack.plugins.module_utils.draining.flag import drained
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import user
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.machine import available_memory, disk
from ansible_collections.pyweb.stack.plugins.module_utils.processes import container_start
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    Rpc,
    SupervisorError,
    read_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import PAGE, TIMER, UNIT

# Seconds that supervisor may take for an answer.
PATIENCE = 5.0
# The program that starts nginx again on a host without an init (plugin_utils/plan/watch.py).
NGINX_WATCH = "pyweb-nginx"


def look_at_host(run: Run, root: str, conf_dir: str = "/etc/nginx") -> dict[str, Any]:
    """Everything that all applications of a host share."""
    systemd = os.path.isdir("/run/systemd/system")
    return {
        "time": time.time(),
        "drained": drained() or {},
        "init": "systemd" if systemd else "none",
        "memory": available_memory(),
        "disks": [disk(path) for path in dict.fromkeys((root, "/var/log", "/run")) if os.path.isdir(path)],
        "listeners": [
            {
                "port": found.port,
                "address": found.address,
                "program": found.program,
                "pid": found.pid,
                "account": user(found.uid),
            }
            for found in listeners()
        ],
        "nginx": look_at_nginx(run, systemd, conf_dir),
        "supervisor": look_at_supervisor(),
        "supervisor_enabled": supervisor_enabled(run) if systemd else None,
        "nginx_watch": None if systemd else nginx_watch(),
        "start": None if systemd else look_at_start(),
        "status_page": look_at_status_page(run) if systemd else None,
    }


def look_at_status_page(run: Run) -> dict[str, Any] | None:
    """When the page that the host publishes of itself was made, and how its timer is; None without such a page."""
    if not os.path.exists(TIMER):
        return None
    made = 0.0
    with contextlib.suppress(OSError):
        made = os.stat(PAGE).st_mtime
    _rc, timer, _err = run(["systemctl", "show", "--property=ActiveState", f"{UNIT}.timer"])
    _rc, service, _err = run(["systemctl", "show", "--property=Result", f"{UNIT}.service"])
    return {
        "made": made,
        "timer": properties(timer).get("ActiveState", ""),
        "result": properties(service).get("Result", ""),
    }


def look_at_supervisor() -> str:
    """The state of supervisor's daemon: ``none`` (not installed), ``running`` or ``down``."""
    if not os.path.exists("/etc/supervisor/supervisord.conf"):
        return "none"
    try:
        return "running" if Rpc(read_daemon(), timeout=PATIENCE).alive() else "down"
    except SupervisorError:
        return "down"


def supervisor_enabled(run: Run) -> bool | None:
    """Whether systemd starts supervisor at a boot. None where it is not installed."""
    if not os.path.exists("/etc/supervisor/supervisord.conf"):
        return None
    _rc, out, _err = run(["systemctl", "show", "--property=UnitFileState", "supervisor.service"])
    return properties(out).get("UnitFileState") == "enabled"


def nginx_watch() -> str | None:
    """The state of the program that starts nginx again, in supervisor's word. None if there is none."""
    if not os.path.exists(f"/etc/supervisor/conf.d/{NGINX_WATCH}.conf"):
        return None
    try:
        info = Rpc(read_daemon(), timeout=PATIENCE).info(NGINX_WATCH) or {}
    except SupervisorError:
        return "not running, like supervisor itself"
    return str(info.get("statename") or "absent").lower()


def look_at_start(program: str = container_start.PROGRAM, mark: str = container_start.STARTED) -> dict[str, bool]:
    """Whether a restart of a host without an init runs the program that starts everything.

    ``named`` says that the command of process 1 names it. ``ran`` says that it ran since process 1 started.
    """
    command, ran = b"", False
    with contextlib.suppress(OSError), open("/proc/1/cmdline", "rb") as stream:
        command = stream.read(65536)
    with contextlib.suppress(OSError, IndexError), open(mark, "rb") as told, open("/proc/1/stat", "rb") as stream:
        ran = told.read(64).strip() == stream.read().rpartition(b")")[2].split()[19]
    return {"named": os.path.basename(program).encode() in command, "ran": ran}
