# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install program files and bring supervisor's programs to their state: the work of the module supervisor_programs."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import xmlrpc.client
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, apply_files, differs, write
from ansible_collections.pyweb.stack.plugins.module_utils.processes import container_start, due, with_sockets
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_check import check_files
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_cron import plan_pam
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_daemon import (
    Supervisord,
    end_orphans,
    orphans,
    running_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_groups import Unit
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import LOGS
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import Paths
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_plan import (
    Plan,
    ProgramError,
    is_template,
    plan_files,
    resolve_removals,
    text_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import SupervisorError, read_daemon
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_transition import (
    Transition,
    longest_stop,
)

UNIT = "supervisor.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/pyweb-stack.conf"
DROP_IN_CONTENT = f"""\
# {MARK} (role supervisor).
[Service]
# Debian's unit waits 50 s after a crash, and leaves the programs running beside the copies that the next daemon starts.
# A daemon that gets SIGTERM ends with status 0. After `systemctl stop supervisor` it stays stopped.
Restart=always
RestartSec=500ms
KillMode=mixed
# Each program has its own stopwaitsecs; the daemon kills what does not end in time.
TimeoutStopSec=10min
"""
NOTHING_REREAD: tuple[list[str], list[str], list[str]] = ([], [], [])


# The parameters of ``apply``, in the words of a module.
ARGUMENTS = {
    "programs": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "kind": {"type": "str", "choices": ["program", "group"], "default": "program"},
            "members": {"type": "list", "elements": "str", "default": []},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str"},
            "schedule": {"type": "str"},
            "started": {"type": "bool", "default": True},
            "stop_timeout": {"type": "float", "default": 40},
        },
        "required_if": [("state", "present", ["content"])],
    },
    "config_file": {"type": "path", "default": "/etc/supervisor/supervisord.conf"},
    "cron_directory": {"type": "path", "default": "/etc/cron.d"},
    "cron_pam_file": {"type": "path", "default": "/etc/pam.d/cron"},
    "supervisord": {"type": "path", "default": "/usr/bin/supervisord"},
    "start_program": {"type": "path", "default": container_start.PROGRAM},
    "service": {"type": "str", "default": "supervisor.service"},
}


def apply(params: dict[str, Any], run: Run, check_mode: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Bring the programs to their state; the module's result, and the witnesses for a stamp or None."""
    try:
        result, seen = bring_to_state(params, run, check_mode)
        if check_mode or seen is None or result["warnings"]:
            return result, None
        if result["changed"]:
            again, seen = bring_to_state(params, run, check_mode=True)
            if again["changed"] or again["warnings"]:
                seen = None
    except xmlrpc.client.Fault as fault:
        raise ProgramError(
            f"Bringing the programs to their state: supervisord refused: {fault.faultString} "
            f"(fault {fault.faultCode}). Look at supervisord's log on the host."
        ) from fault
    return result, seen


@dataclass
class Findings:
    """The state of the host and the changes it needs, before anything is changed."""

    daemon_is_down: bool
    infos: dict[str, list[dict[str, Any]]]  # the daemon's processes, by their group
    todo: Plan
    system_files: list[File]  # files outside of supervisor's folders
    reload: bool  # systemd has to read its unit files again
    enable: bool  # the daemon's unit is not enabled
    orphans: list[str]  # programs of which a dead daemon has left a copy
    logs_are_open: bool

    @property
    def changes(self) -> bool:
        files = self.todo.files or self.system_files
        daemon = self.reload or self.enable or self.daemon_is_down or self.orphans
        return bool(files or daemon or self.logs_are_open)


def bring_to_state(params: dict[str, Any], run: Run, check_mode: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Look, check, act, once: the result, and the witnesses for a stamp if one may stand for it."""
    paths = Paths(params["config_file"], params["cron_directory"])
    programs = resolve_removals(params["programs"], paths)
    if check_mode and not os.path.exists(paths.config_file):
        return prediction_without_supervisor(programs, paths), None
    # Take the witnesses before looking, so that a change made meanwhile makes the stamp void.
    seen = witnesses(params, programs, paths)
    supervisord = Supervisord(run, read_daemon(paths.config_file), params["supervisord"], params["service"])
    found = look(supervisord, programs, paths, params["cron_pam_file"], params["start_program"])
    todo, warnings = found.todo, list(found.todo.warnings)
    processes = [running_daemon(supervisord.daemon), *process_ids(todo.units, found.infos)]
    seen["processes"] = stamps.witnesses([], processes)["processes"]
    try:
        check_files(supervisord.program, todo, paths)
    except ProgramError as error:
        if not check_mode:
            raise
        # An earlier task may create the missing account or folder; in check mode it only predicts that.
        warnings.append(str(error))
    _paths, diffs = apply_files(found.system_files + todo.files, check_mode=True)
    before = [File(file.path, text_of(file.path), mode=file.mode) for file in todo.files]
    if not check_mode:
        install(supervisord, paths, found, longest_stop(programs))
    seen["rights"] = stamps.witnesses([], owned=[LOGS])["rights"]
    can_reread = not check_mode or not (found.daemon_is_down or todo.files)
    reread = let_daemon_reread(supervisord, todo, before, warnings) if can_reread else NOTHING_REREAD
    transition = Transition(
        supervisord.rpc, paths, programs, todo, found.infos, found.daemon_is_down, check_mode=check_mode
    )
    started, restarted, stopped = transition.run(reread)
    result = {
        "changed": bool(found.changes or started or restarted or stopped),
        "diff": diffs,
        "files": [file.path for file in found.system_files + todo.files],
        "started": started,
        "restarted": restarted,
        "stopped": stopped,
        "orphans": found.orphans,
        "daemon_started": found.daemon_is_down,
        "warnings": warnings,
    }
    return result, seen if all(program.get("started", True) for program in programs) else None


def look(
    supervisord: Supervisord, programs: list[dict[str, Any]], paths: Paths, pam_file: str, start_program: str
) -> Findings:
    """Look at the daemon, the files and the processes. Changes nothing."""
    down = supervisord.is_down()
    infos = {} if down else supervisord.rpc.infos()
    unit = supervisord.unit()
    todo = plan_files(programs, paths, list(infos))
    drop_in = File(DROP_IN, DROP_IN_CONTENT)
    system_files = [drop_in] if supervisord.service == UNIT and differs(drop_in) else []
    reload = bool(system_files) or unit.get("NeedDaemonReload") == "yes"
    if not supervisord.service and any(program.get("schedule") for program in programs):
        system_files += plan_pam(pam_file)
    if not supervisord.service:
        start = File(start_program, container_start.CONTENT, mode=0o755)
        system_files += [start] if differs(start) else []
    return Findings(
        daemon_is_down=down,
        infos=infos,
        todo=todo,
        system_files=system_files,
        reload=reload,
        enable=bool(unit) and unit.get("UnitFileState") != "enabled",
        orphans=sorted(set(orphans(supervisord.daemon).values())),
        logs_are_open=logs_are_open(),
    )


def install(supervisord: Supervisord, paths: Paths, found: Findings, stop_timeout: float) -> None:
    """Write the files, end orphans and start the daemon."""
    for folder in (paths.programs, paths.templates, paths.scripts):
        os.makedirs(folder, mode=0o755, exist_ok=True)
    for file in [*found.system_files, *(file for file in found.todo.files if file.content is not None)]:
        os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
    apply_files(found.system_files)
    if found.reload:
        supervisord.systemctl.reload()
    if found.enable:
        supervisord.systemctl.must("Enabling the daemon", "enable", supervisord.service)
    if found.logs_are_open:
        close_logs()
    apply_files(found.todo.files)
    if found.daemon_is_down or found.orphans:
        end_orphans(supervisord.daemon, stop_timeout)
    if found.daemon_is_down:
        supervisord.start()


def let_daemon_reread(
    supervisord: Supervisord, todo: Plan, before: list[File], warnings: list[str]
) -> tuple[list[str], list[str], list[str]]:
    """The groups that the daemon finds added, changed and removed in its files. The daemon only reads.

    This also runs in check mode, because nothing else shows what an interrupted run has left to do.
    """
    try:
        return supervisord.rpc.reread()
    except (xmlrpc.client.Fault, SupervisorError) as error:
        said = error.faultString if isinstance(error, xmlrpc.client.Fault) else str(error)
        if not todo.files:
            warnings.append(
                f"supervisord can't read its configuration: {said}. This run changes no file, so supervisord keeps "
                "running with what it has read before."
            )
            return NOTHING_REREAD
        for file in before:
            write(file)
        with contextlib.suppress(xmlrpc.client.Fault, SupervisorError):
            supervisord.rpc.reread()
        raise ProgramError(
            f"Letting supervisord read its configuration: {said}. The files were restored. "
            "Correct what the message names and run again."
        ) from error


def logs_are_open() -> bool:
    """Whether every account can read the programs' logs. supervisord creates them readable for all."""
    return os.path.isdir(LOGS) and bool(os.stat(LOGS).st_mode & 0o007)


def close_logs() -> None:
    """Let only root and the group adm read the logs, as with Debian's other logs."""
    os.chown(LOGS, 0, grp.getgrnam("adm").gr_gid)
    os.chmod(LOGS, 0o750)  # noqa: S103  # for the group adm, as /var/log/nginx


def witnesses(params: dict[str, Any], programs: list[dict[str, Any]], paths: Paths) -> dict[str, Any]:
    """Every file that the decisions about these programs depend on, whether it exists or not."""
    drop_ins = os.path.join(os.path.dirname(DROP_IN), "*")
    files = [params["config_file"], params["cron_pam_file"], params["start_program"], DROP_IN, *glob.glob(drop_ins)]
    files += [f"/lib/systemd/system/{UNIT}", f"/etc/systemd/system/{UNIT}"]
    files += [f"/etc/systemd/system/multi-user.target.wants/{UNIT}", with_sockets.PROGRAM, due.PROGRAM]
    for program in programs:
        files.append(paths.definition(program))
        if program["kind"] == "program" and not is_template(program):
            files += [paths.script(program["name"]), paths.table(program["name"])]
    patterns = [paths.program(program["name"]) for program in params["programs"] if "*" in program["name"]]
    return stamps.witnesses(files, patterns=[*patterns, paths.script("*"), drop_ins])


def process_ids(units: list[Unit], infos: dict[str, list[dict[str, Any]]]) -> list[int]:
    """The processes that the daemon has to keep running; 0, which makes a stamp void, for one that is down."""
    return [info["pid"] for unit in units for program in unit.programs for info in unit.processes(program, infos)]


def prediction_without_supervisor(programs: list[dict[str, Any]], paths: Paths) -> dict[str, Any]:
    """The changes predicted for a host where supervisor is not installed yet."""
    todo = plan_files([program for program in programs if program["state"] == "present"], paths, [])
    _paths, diffs = apply_files(todo.files, check_mode=True)
    return {
        "changed": True,
        "diff": diffs,
        "files": [file.path for file in todo.files],
        "started": [unit.label(one) for unit in todo.units for one in unit.programs if one["started"]],
        "restarted": [],
        "stopped": [],
        "orphans": [],
        "daemon_started": True,
        "warnings": [],
    }
