# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the parts of a host that all its applications share. Changes nothing."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.nginx import look_at_nginx
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import user
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.machine import available_memory, disk
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    Rpc,
    SupervisorError,
    read_daemon,
)

# Seconds that supervisor may take for an answer.
PATIENCE = 5.0


def look_at_host(run: Run, root: str, conf_dir: str = "/etc/nginx") -> dict[str, Any]:
    """Everything that all applications of a host share."""
    systemd = os.path.isdir("/run/systemd/system")
    return {
        "time": time.time(),
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
    }


def look_at_supervisor() -> str:
    """The state of supervisor's daemon: ``none`` (not installed), ``running`` or ``down``."""
    if not os.path.exists("/etc/supervisor/supervisord.conf"):
        return "none"
    try:
        return "running" if Rpc(read_daemon(), timeout=PATIENCE).alive() else "down"
    except SupervisorError:
        return "down"
