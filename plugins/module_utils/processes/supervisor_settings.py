# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The settings of supervisord itself: their file, and the restart of the daemon that they need."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, differs, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK, foreign_file_error
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_daemon import (
    Supervisord,
    running_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_plan import ProgramError, text_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import read_daemon

# In the folder of the programs. No program, group or instance has such a name.
NAME = "daemon@settings.conf"
EMPTY = f"; {MARK} (role supervisor).\n"
# States of a program that a restart of the daemon would end.
ACTIVE = ("STARTING", "RUNNING", "BACKOFF", "STOPPING")
# Seconds for all programs to stop; each has its own stopwaitsecs.
STOP_TIMEOUT = 600.0
TICKS = os.sysconf("SC_CLK_TCK")

ARGUMENTS: dict[str, Any] = {
    "content": {"type": "str", "default": "", "no_log": True},
    "minfds": {"type": "int", "default": 0},
    "restart": {"type": "bool", "default": False},
    "config_file": {"type": "path", "default": "/etc/supervisor/supervisord.conf"},
    "supervisord": {"type": "path", "default": "/usr/bin/supervisord"},
    "service": {"type": "str", "default": "supervisor.service"},
}


def apply(params: dict[str, Any], run: Run, check_mode: bool) -> dict[str, Any]:
    """Bring the file to its content, and restart the daemon if it runs with older settings and may restart."""
    path = os.path.join(os.path.dirname(params["config_file"]), "conf.d", NAME)
    result: dict[str, Any] = {"changed": False, "files": [], "restarted": False, "warnings": []}
    if not os.path.exists(params["config_file"]):
        # Check mode, before the package is installed.
        return {**result, "changed": bool(params["content"]), "files": [path] if params["content"] else []}
    before = text_of(path)
    if before is not None and MARK not in before:
        raise ProgramError(foreign_file_error(path, "settings"))
    # A file without settings stays: its date shows whether the daemon has read it.
    wanted = File(path, params["content"] or (EMPTY if before is not None else None), mode=0o600, secret=True)
    changed = differs(wanted)
    supervisord = Supervisord(run, read_daemon(params["config_file"]), params["supervisord"], params["service"])
    if changed:
        result |= {"changed": True, "files": [path]}
        if not check_mode:
            check_open_files(params["minfds"])
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            write(wanted)
    pid = running_daemon(supervisord.daemon)
    if not pid or not (changed or is_older(pid, path)):
        return result
    programs = active_programs(supervisord)
    if programs and not params["restart"]:
        result["warnings"].append(
            f"supervisord still runs with its former settings. Its restart would also restart {', '.join(programs)}. "
            "To restart it, run this role once with -e supervisor_restart_daemon=true."
        )
        return result
    if not check_mode:
        try:
            restart(supervisord, pid)
        except ProgramError as error:
            write(File(path, before if before is not None else EMPTY, mode=0o600))
            if not running_daemon(supervisord.daemon):
                supervisord.start()
            raise ProgramError(f"{error} The former settings are back, and supervisord runs with them.") from error
    return {**result, "changed": True, "restarted": True}


def check_open_files(wanted: int) -> None:
    """Refuse a number of open files that this host does not give to supervisord, which would not start."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if wanted <= most:
        return
    # Root may raise the limit, except in most containers.
    script = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({wanted}, {wanted}))"
    if subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode:
        raise ProgramError(
            f"supervisor_daemon.minfds is {wanted}, but this host allows {most} open files. Set at most {most}."
        )


def active_programs(supervisord: Supervisord) -> list[str]:
    """The programs that run now."""
    if not supervisord.rpc.alive():
        return []
    found = [info for infos in supervisord.rpc.infos().values() for info in infos]
    return sorted(str(info["name"]) for info in found if info.get("statename") in ACTIVE)


def restart(supervisord: Supervisord, pid: int) -> None:
    """End the daemon, which stops its programs, and start it again."""
    if supervisord.service:
        supervisord.systemctl.must("Restarting the daemon", "restart", supervisord.service)
        if not wait_for(supervisord.rpc.alive, STOP_TIMEOUT):
            raise ProgramError("Restarting the daemon: it does not answer. See 'systemctl status supervisor'.")
        return
    supervisord.rpc.call("shutdown")
    if not wait_for(lambda: running_daemon(supervisord.daemon) != pid, STOP_TIMEOUT):
        raise ProgramError(f"Restarting the daemon: process {pid} does not end. End its programs, and run again.")
    supervisord.start()


def is_older(pid: int, path: str) -> bool:
    """Whether a process started before a file was written."""
    return os.path.exists(path) and started_at(pid) < os.stat(path).st_ctime


def started_at(pid: int) -> float:
    """When a process started, in seconds since 1970."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        ticks = int(stream.read().rpartition(")")[2].split()[19])
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / TICKS)
