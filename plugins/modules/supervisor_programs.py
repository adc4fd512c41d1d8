# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = """
module: supervisor_programs
short_description: Install program files for supervisor and bring the programs to their state
version_added: 0.1.0
description:
  - Handles all programs in one call, so its cost does not grow with their number.
  - Keeps the daemon running. Where systemd is PID 1 that is the service supervisor, which gets a drop-in so that a
    killed daemon is back in half a second and without second copies of its programs. Elsewhere the daemon is started
    fully detached.
  - What a killed daemon has left running is ended before its successor starts a second copy.
  - Changed files are checked by supervisor's own parser on copies before they are installed. If the daemon can't read
    its configuration all the same, the files are put back as they were.
  - supervisord is spoken to by XML-RPC over its unix socket. Only the programs of the list are touched, and of them
    those that changed.
  - A program with a schedule is run by cron. The daemon keeps cron running; where somebody else runs it already, the
    daemon's waits until that one has gone. Without systemd, C(pam_loginuid) becomes optional in C(/etc/pam.d/cron),
    because cron runs nothing where its audit identity can't be set.
  - Templates, whose name ends in C(@), are only written. Others start their instances; only the removal of a template
    ends them.
  - Programs of a group are known as C(GROUP:PROGRAM). supervisor can replace a group only as a whole, so all its
    programs restart when one of them changes, joins or leaves. Nothing outside of the group does.
  - A file that does not carry the mark C(Managed by pyweb.stack) is never overwritten or removed.
author: The pyweb.stack contributors
extends_documentation_fragment: [pyweb.stack.stamped]
options:
  programs:
    description: The programs and their groups.
    type: list
    elements: dict
    required: true
    suboptions:
      kind:
        description: V(group) is a group of programs. One that is on the host and not in the list stays as it is.
        type: str
        choices: [program, group]
        default: program
      members:
        description: The programs of a present group, by their names.
        type: list
        elements: str
        default: []
      name:
        description:
          - Name of the program or group. A trailing C(@) makes a program a template.
          - With O(programs[].state=absent), C(NAME.*) stands for every program with the mark that begins so and is not
            in the list, C(NAME.*@) for every such template.
        type: str
        required: true
      state:
        description:
          - V(absent) stops it, with all its instances, and removes its file.
          - The programs of an absent group go on as programs of their own, unless they are absent too.
        type: str
        choices: [present, absent]
        default: present
      content:
        description:
          - The file of the program or group, or the script of a program with a schedule. Required unless it is absent.
        type: str
      schedule:
        description: When cron runs it, as the five fields of a crontab.
        type: str
      started:
        description: Whether it runs. Ignored for templates and groups.
        type: bool
        default: true
      stop_timeout:
        description: Seconds to wait for its end, before it is killed.
        type: float
        default: 40
  config_file:
    description:
      - The daemon's configuration. It tells the socket and the pid file.
      - Programs go into C(conf.d) beside it, which its C([include]) must name, templates into C(templates).
    type: path
    default: /etc/supervisor/supervisord.conf
  cron_directory:
    description: The folder of cron's own tables.
    type: path
    default: /etc/cron.d
  cron_pam_file:
    description: What PAM does for cron.
    type: path
    default: /etc/pam.d/cron
  supervisord:
    description: The daemon's program.
    type: path
    default: /usr/bin/supervisord
  service:
    description: The daemon's unit where systemd is PID 1. Empty to start the daemon directly everywhere.
    type: str
    default: supervisor.service
attributes:
  check_mode: {support: full, description: Predicts all changes without one.}
  diff_mode: {support: full, description: Shows the files before and after.}
"""

EXAMPLES = """
- name: Install a template and an ordinary program
  pyweb.stack.supervisor_programs:
    programs: "{{ query('pyweb.stack.templates', *(supervisor_programs | pyweb.stack.supervisor_definitions)) }}"

- name: Keep programs, two of which start and stop together
  pyweb.stack.supervisor_programs:
    programs: "{{ query('pyweb.stack.templates', *(supervisor_programs | pyweb.stack.supervisor_definitions(mine))) }}"
  vars:
    mine:
      - {name: mail, programs: [mailer, sorter]}

- name: Remove a program
  pyweb.stack.supervisor_programs:
    programs:
      - {name: mailer, state: absent}
"""

RETURN = """
files:
  description: Files that were written or removed.
  type: list
  elements: str
  returned: success
started:
  description: Programs that were started. One of a group is C(GROUP:PROGRAM), here and below.
  type: list
  elements: str
  returned: success
restarted:
  description: Programs that were restarted because their definition or their group changed.
  type: list
  elements: str
  returned: success
stopped:
  description: Programs that were stopped, and programs and groups that were removed from the daemon.
  type: list
  elements: str
  returned: success
orphans:
  description: Programs of which a dead daemon had left a copy, which was ended.
  type: list
  elements: str
  returned: success
daemon_started:
  description: Whether the daemon had to be started.
  type: bool
  returned: success
settled:
  description: Whether the host is known to be as wanted.
  type: bool
  returned: with O(foresee)
"""

import contextlib  # the documentation stands first in a module
import glob
import grp
import os
import re
import subprocess
import tempfile
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    File,
    apply_files,
    differs,
    read,
    write,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    LOGS,
    instances_of,
    instantiate,
    wait_for,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_groups import (
    GroupError,
    Section,
    Settling,
    Unit,
    check_sections,
    read_sections,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    LIVE,
    Daemon,
    Rpc,
    SupervisorError,
    end_orphans,
    orphans,
    read_daemon,
    running_daemon,
)

Run = Callable[[list[str]], tuple[int, str, str]]

MARK = "Managed by pyweb.stack"
DROP_IN = "/etc/systemd/system/supervisor.service.d/pyweb-stack.conf"
DROP_IN_CONTENT = f"""\
# {MARK} (role supervisor).
[Service]
# Debian's unit waits 50 s after a crash, and leaves the programs running beside the copies that the next daemon starts.
# A daemon that gets SIGTERM ends with status 0. `systemctl stop supervisor` stops it for good.
Restart=always
RestartSec=500ms
KillMode=mixed
# Each program has its own stopwaitsecs; the daemon kills what does not end in time.
TimeoutStopSec=10min
"""
# Run by the daemon's own Python: the only parser that knows what the daemon will accept.
CHECK = """
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.configfile = sys.argv[1]
try:
    options.process_config(do_usage=False)
except Exception as error:
    sys.exit("%s: %s" % (type(error).__name__, error))
"""
NOWHERE = "20000101T000000Z-check"
# A second cron would fail for the lock of the first; this one waits for it instead, whoever runs the first.
CRON = "pyweb-cron"
CRON_PROGRAM = f"""\
; {MARK} (role supervisor). Runs the programs that have a schedule.

[program:{CRON}]
command=/bin/sh -c 'flock /run/crond.pid true; exec /usr/sbin/cron -f'
directory=/
user=root
autostart=true
autorestart=true
startsecs=1
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=/var/log/supervisor/{CRON}.log
"""


# cron's session of PAM. Where supervisord was started from somebody's login, as over SSH, and root may not change its
# audit identity, as in containers, "required" makes cron refuse every job.
LOGINUID = re.compile(r"(?m)^(session\s+)required(\s+pam_loginuid\.so)")


class ProgramError(Exception):
    """What was being done, to which program, what came back, and the remedy."""


@dataclass
class Paths:
    """Where program files live, beside the daemon's configuration."""

    config_file: str
    cron: str = "/etc/cron.d"

    @property
    def base(self) -> str:
        return os.path.dirname(self.config_file)

    @property
    def programs(self) -> str:
        return os.path.join(self.base, "conf.d")

    @property
    def templates(self) -> str:
        return os.path.join(self.base, "templates")

    @property
    def scripts(self) -> str:
        return os.path.join(self.base, "scheduled")

    def file(self, name: str) -> str:
        return os.path.join(self.templates if name.endswith("@") else self.programs, f"{name}.conf")

    def group(self, name: str) -> str:
        # No program's file is called so: their names have no @ before their end.
        return os.path.join(self.programs, f"group@{name}.conf")

    def of(self, item: dict[str, Any]) -> str:
        return self.group(item["name"]) if item["kind"] == "group" else self.file(item["name"])

    def script(self, name: str) -> str:
        return os.path.join(self.scripts, name)

    def table(self, name: str) -> str:
        # cron passes over names with dots.
        return os.path.join(self.cron, f"pyweb-{name.replace('.', '_')}")


@dataclass
class Plan:
    """What the files and the daemon need, decided before anything is touched."""

    files: list[File] = field(default_factory=list)
    absent: dict[str, float] = field(default_factory=dict)  # groups the daemon shall forget, and the time to end
    units: list[Unit] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def ours(path: str) -> bool:
    return MARK.encode() in (read(path) or b"")


def runs_always(program: dict[str, Any]) -> bool:
    """Whether it is one that supervisor itself keeps running, and no template, group or scheduled program."""
    return program["kind"] == "program" and not program["name"].endswith("@") and not program.get("schedule")


def expanded(programs: list[dict[str, Any]], paths: Paths) -> list[dict[str, Any]]:
    """The list with patterns put as names of what is there, and with cron where a program has a schedule."""
    listed = {program["name"] for program in programs if program["kind"] == "program"}
    result = []
    for program in programs:
        if "*" not in program["name"]:
            result.append(program)
            continue
        template = program["name"].endswith("@")
        found = glob.glob(paths.file(program["name"])) + ([] if template else glob.glob(paths.script(program["name"])))
        for path in sorted(found):
            name = os.path.basename(path).removesuffix(".conf")
            # An instance is its template's.
            instance = re.search(rf"-{INSTANCE.pattern}\Z", name)
            if name not in listed and not instance and ours(path):
                listed.add(name)
                result.append({**program, "name": name})
    scripts = {path for path in glob.glob(paths.script("*")) if ours(path)}
    for program in result:
        if program["kind"] == "program":
            scripts.discard(paths.script(program["name"]))
        if program.get("schedule"):
            scripts.add(paths.script(program["name"]))
    if scripts:
        keeper = {"state": "present", "content": CRON_PROGRAM, "started": True}
    elif os.path.exists(paths.file(CRON)):
        keeper = {"state": "absent"}
    else:
        return result
    return [*result, {"name": CRON, "kind": "program", "stop_timeout": 20.0, **keeper}]


def tolerant(path: str) -> list[File]:
    """cron's PAM file with an audit identity that need not be set, if it is there and says otherwise."""
    text = _text(path)
    return [] if text is None or not LOGINUID.search(text) else [File(path, LOGINUID.sub(r"\1optional\2", text))]


def plan_schedule(program: dict[str, Any], paths: Paths) -> list[File]:
    """The files of a program that cron runs; their removal where it does not, or not any more."""
    name = program["name"]
    script, table = paths.script(name), paths.table(name)
    if program["state"] == "absent" or not program.get("schedule"):
        files = [File(path, None) for path in (table, script) if ours(path)]
    else:
        line = f"# {MARK} (role supervisor).\n{program['schedule']} root {script}\n"
        files = [File(script, program["content"], mode=0o755), File(table, line)]
    return [file for file in files if differs(file)]


def plan_files(programs: list[dict[str, Any]], paths: Paths, groups: list[str]) -> Plan:
    """Compare the files; ``groups`` are those that the daemon knows."""
    result = Plan()
    for program in programs:
        name = program["name"]
        if program["kind"] == "program" and not name.endswith("@"):
            result.files += plan_schedule(program, paths)
        # One that cron runs is none of supervisor's, even if it was one before.
        kept = program["state"] == "present" and not program.get("schedule")
        path = paths.of(program)
        before = read(path)
        if before is not None and MARK.encode() not in before:
            if kept:
                raise ProgramError(
                    f"Installing {path}: there is a file without the mark '{MARK}', so it is somebody else's. "
                    f"Give the {program['kind']} another name, or remove that file."
                )
            result.warnings.append(f"{path} does not carry the mark '{MARK}', so it was left alone.")
            continue
        if kept:
            file = File(path, program["content"])
            if differs(file):
                result.files.append(file)
            continue
        if before is None:
            # Without its file nothing says that a program of this name is ours.
            continue
        removed = [name]
        if name.endswith("@"):
            service = name[:-1]
            known = [f"{group}.conf" for group in groups]
            with contextlib.suppress(FileNotFoundError):
                known += os.listdir(paths.programs)
            removed = [f"{service}-{one}" for one in instances_of(service, known, f"{service}-", ".conf")]
            result.files += [File(paths.file(one), None) for one in removed if read(paths.file(one)) is not None]
        result.absent |= {one: program["stop_timeout"] for one in removed if one in groups}
        result.files.append(File(path, None))
    result.units = plan_units(programs, paths, {file.path for file in result.files if file.content is None})
    return result


def installed_sections(paths: Paths) -> list[Section]:
    """What supervisor's files have now."""
    found = []
    for path in [paths.config_file, *sorted(glob.glob(os.path.join(paths.programs, "*.conf")))]:
        with contextlib.suppress(UnicodeDecodeError):
            found += read_sections(path, _text(path) or "", ours=ours(path))
    return found


def unlisted(name: str, paths: Paths) -> dict[str, Any] | None:
    """A program that is ours and not in the list, as its file tells it."""
    path = paths.file(name)
    if not ours(path):
        return None
    content = _text(path) or ""
    stopwaitsecs = re.search(r"(?m)^stopwaitsecs=(\d+)", content)
    # As for those of the list, some more than supervisor itself waits.
    timeout = float(stopwaitsecs[1] if stopwaitsecs else 30) + 10
    return {"name": name, "state": "present", "content": content, "stop_timeout": timeout, "listed": False}


def plan_units(programs: list[dict[str, Any]], paths: Paths, removed: set[str]) -> list[Unit]:
    """What the daemon shall have of the list, by its groups, which come first. Raises GroupError.

    A group that is ours and not in the list stays as it is, so its programs are still programs of that group. A program
    that a group loses is the group's concern, in the list or not: it goes on as a program of its own.
    """
    groups = [item for item in programs if item["kind"] == "group"]
    singles = [item for item in programs if runs_always(item)]
    sections = installed_sections(paths)
    written = {paths.of(item) for item in programs if item["state"] == "present"} | removed
    others = [section for section in sections if section.path not in written]
    # A file that is somebody else's stays, whatever the list says of its program.
    gone = {item["name"] for item in programs if item["kind"] == "program" and paths.file(item["name"]) in removed}
    check_sections(singles, groups, gone, others)

    present = {item["name"]: item for item in singles if item["state"] == "present"}
    members = {item["name"]: item["members"] for item in groups if item["state"] == "present"}
    for section in others:
        if section.ours and section.kind == "group" and present.keys() & set(section.programs):
            members[section.name] = list(section.programs)
    grouped = {name for names in members.values() for name in names}
    listed = {item["name"] for item in singles}
    for item in groups:
        path = paths.group(item["name"])
        before = [section.programs for section in sections if section.path == path and section.ours]
        for name in {name for names in before for name in names} - grouped - listed:
            left = unlisted(name, paths)
            if left:
                present[name] = left
    units = []
    for group, names in members.items():
        found = [present.get(name) or unlisted(name, paths) for name in names]
        units.append(Unit(group, [one for one in found if one], paths.group(group), is_group=True))
    return units + [
        Unit(name, [item], paths.file(name), is_group=False) for name, item in present.items() if name not in grouped
    ]


def check_files(supervisord: str, todo: Plan, paths: Paths) -> None:
    """Let supervisor's own parser read the changed files, on copies. Raises ProgramError for what it refuses."""
    present = [file for file in todo.files if file.content is not None and file.path.endswith(".conf")]
    changed = {file.path for file in present}
    for unit in todo.units:
        if unit.is_group and unit.path in changed:
            # A group can't be read without its programs.
            files = [File(paths.file(program["name"]), program["content"]) for program in unit.programs]
            present += [file for file in files if file.path not in changed]
    python = _interpreter(supervisord)
    if not present or python is None:
        return
    with tempfile.TemporaryDirectory(prefix="pyweb-programs-") as folder:
        for file in present:
            content = file.content or ""
            if os.path.basename(os.path.dirname(file.path)) == "templates":
                content = instantiate(content, NOWHERE)
            with open(os.path.join(folder, os.path.basename(file.path)), "w", encoding="utf-8") as stream:
                stream.write(content)
        main = os.path.join(folder, "supervisord")
        with open(main, "w", encoding="utf-8") as stream:
            stream.write(
                f"[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\n[include]\nfiles={folder}/*.conf\n"
            )
        done = subprocess.run(
            [*python, "-c", CHECK, main],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["(nothing)"]
            raise ProgramError(
                f"Checking the program files by supervisor's own parser, before any was installed: {said[-1]} "
                "Mend what the message names.".replace(f"{folder}/", "")
            )


def _interpreter(supervisord: str) -> list[str] | None:
    """The Python that runs the daemon, from the first line of its program."""
    try:
        with open(supervisord, "rb") as stream:
            first = stream.readline(512)
    except OSError:
        return None
    return first[2:].decode(errors="replace").split() or None if first.startswith(b"#!") else None


class Host:
    """The daemon, and what keeps it running."""

    def __init__(self, run: Run, daemon: Daemon, supervisord: str, service: str) -> None:
        self.run = run
        self.daemon = daemon
        self.rpc = Rpc(daemon)
        self.supervisord = supervisord
        self.service = service if service and os.path.isdir("/run/systemd/system") else ""

    def unit(self) -> dict[str, str]:
        argv = [
            "systemctl",
            "show",
            "--property=ActiveState,UnitFileState,NeedDaemonReload",
            self.service,
        ]
        return dict(line.split("=", 1) for line in self.must("Looking at the daemon", argv).splitlines() if "=" in line)

    def must(self, doing: str, argv: list[str]) -> str:
        rc, out, err = self.run(argv)
        if rc != 0:
            raise ProgramError(
                f"{doing}: `{' '.join(argv)}` failed with {rc}: {(err or out).strip()}. "
                "Look at `systemctl status supervisor` and at supervisord's log on the host."
            )
        return out

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        if self.service:
            self.run(["systemctl", "reset-failed", self.service])
            self.must("Starting the daemon", ["systemctl", "start", self.service])
            if not wait_for(self.rpc.alive, 15):
                raise ProgramError(
                    f"Starting the daemon: {self.service} does not answer at {self.daemon.socket} within 15 s. "
                    "Look at `systemctl status supervisor` and at supervisord's log on the host."
                )
            return
        with tempfile.TemporaryFile() as output:
            # Nothing of this session may reach the daemon or its programs: no terminal, no pipes, no variables.
            process = subprocess.Popen(
                [self.supervisord, "-c", self.daemon.config_file],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
                env={
                    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG": "C.UTF-8",
                },
            )
            answered = wait_for(lambda: self.rpc.alive() or process.poll() not in (None, 0), 15)
            if not answered or not self.rpc.alive():
                output.seek(0)
                said = output.read().decode(errors="replace").strip() or "nothing"
                raise ProgramError(
                    f"Starting the daemon: `{self.supervisord} -c {self.daemon.config_file}` does not answer at "
                    f"{self.daemon.socket}; it said: {said}. Mend what it names and run again."
                )

    def log(self, name: str) -> str:
        """The last lines of a program's output."""
        for method in ("tailProcessStdoutLog", "tailProcessStderrLog"):
            with contextlib.suppress(xmlrpc.client.Fault, SupervisorError):
                text = self.rpc.call(method, name, 0, 4096)[0]
                if text.strip():
                    return "\n".join(text.strip().splitlines()[-10:])
        return "(none)"

    def begin(self, unit: Unit, programs: list[dict[str, Any]]) -> None:
        """Start all processes of some of a unit's programs and wait until they stay up."""

        def processes() -> list[tuple[str, dict[str, Any]]]:
            infos = self.rpc.infos()
            return [(unit.label(one), info) for one in programs for info in unit.processes(one, infos)]

        for _program, info in processes():
            self.rpc.start(f"{unit.name}:{info['name']}")
        wait_for(lambda: all(info["statename"] != "STARTING" for _program, info in processes()), 60)
        for program, info in processes():
            if info["statename"] != "RUNNING":
                why = info.get("spawnerr") or f"exit status {info.get('exitstatus')}"
                raise ProgramError(
                    f"Starting the program {program}: it does not stay up ({info['statename']}: {why}). "
                    f"Its last output: {self.log(unit.name + ':' + info['name'])}. Mend the program and run again."
                )


def running(infos: list[dict[str, Any]]) -> bool:
    """Whether all processes of a group run. One that waits for its next attempt does not."""
    return bool(infos) and all(info["statename"] in ("STARTING", "RUNNING") for info in infos)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "programs": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "kind": {"type": "str", "choices": ["program", "group"], "default": "program"},
                    "members": {"type": "list", "elements": "str", "default": []},
                    "name": {"type": "str", "required": True},
                    "state": {
                        "type": "str",
                        "choices": ["present", "absent"],
                        "default": "present",
                    },
                    "content": {"type": "str"},
                    "schedule": {"type": "str"},
                    "started": {"type": "bool", "default": True},
                    "stop_timeout": {"type": "float", "default": 40},
                },
                "required_if": [("state", "present", ["content"])],
            },
            "config_file": {
                "type": "path",
                "default": "/etc/supervisor/supervisord.conf",
            },
            "cron_directory": {"type": "path", "default": "/etc/cron.d"},
            "cron_pam_file": {"type": "path", "default": "/etc/pam.d/cron"},
            "supervisord": {"type": "path", "default": "/usr/bin/supervisord"},
            "service": {"type": "str", "default": "supervisor.service"},
            **stamps.OPTIONS,
        },
        supports_check_mode=True,
    )
    # systemctl's words are parsed, so they must not be translated.
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    try:
        result, seen = bring_to_state(module, module.check_mode)
        if module.params["stamp"] and not module.check_mode:
            if result["changed"]:
                again, seen = bring_to_state(module, check=True)
                seen = None if again["changed"] or again["warnings"] else seen
            if seen and not result["warnings"]:
                stamps.leave("supervisor_programs", module.params["stamp"], seen)
    except (ProgramError, GroupError, SupervisorError, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    except xmlrpc.client.Fault as fault:
        module.fail_json(
            msg=f"Bringing the programs to their state: supervisord refused: {fault.faultString} "
            f"(fault {fault.faultCode}). Look at supervisord's log on the host."
        )
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


def bring_to_state(module: AnsibleModule, check: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What was done, or would be; and what makes a stamp of it void, if one can stand for it."""
    paths = Paths(module.params["config_file"], module.params["cron_directory"])
    programs = expanded(module.params["programs"], paths)
    if check and not os.path.exists(paths.config_file):
        return _predict_virgin(programs, paths), None
    looked_at = [*watched(programs, paths), module.params["cron_pam_file"]]
    seen = stamps.witnesses(looked_at, patterns=watched_patterns(module.params["programs"], paths))
    daemon = read_daemon(paths.config_file)
    host = Host(
        lambda argv: module.run_command(argv),
        daemon,
        module.params["supervisord"],
        module.params["service"],
    )

    # Look.
    dead = not host.rpc.alive()
    if dead and running_daemon(daemon):
        # It may be about to start or to end; a second one beside it would fight for its socket.
        if not wait_for(lambda: host.rpc.alive() or not running_daemon(daemon), 20):
            raise ProgramError(
                f"Talking to supervisord: process {running_daemon(daemon)} does not answer at {daemon.socket}. "
                "End it and run again."
            )
        dead = not host.rpc.alive()
    infos = {} if dead else host.rpc.infos()
    unit = host.unit() if host.service else {}
    todo = plan_files(programs, paths, list(infos))
    alive = [running_daemon(daemon), *kept_running(todo.units, infos)]
    seen["processes"] = stamps.witnesses([], alive)["processes"]
    drop_in = File(DROP_IN, DROP_IN_CONTENT)
    system_files = [drop_in] if host.service == "supervisor.service" and differs(drop_in) else []
    if not host.service and any(program.get("schedule") for program in programs):
        system_files += tolerant(module.params["cron_pam_file"])
    left = sorted(set(orphans(daemon).values()))
    open_logs = logs_are_open()
    warnings = list(todo.warnings)

    # Check, before anything is installed.
    try:
        check_files(host.supervisord, todo, paths)
    except ProgramError as error:
        if not check:
            raise
        # The account or folder that it misses may be made by a task before, which only predicts here too.
        warnings.append(str(error))

    # Decide and act.
    _paths, diffs = apply_files(system_files + todo.files, check_mode=True)
    before = [File(file.path, _text(file.path)) for file in todo.files]
    enable = bool(unit) and unit.get("UnitFileState") != "enabled"
    reload = drop_in in system_files or unit.get("NeedDaemonReload") == "yes"
    if not check:
        _prepare(host, paths, system_files, reload, enable)
        close_logs()
        apply_files(todo.files)
        if dead:
            end_orphans(daemon, max([program["stop_timeout"] for program in programs] or [40.0]))
            host.start()
        elif left:
            end_orphans(daemon, max([program["stop_timeout"] for program in programs] or [40.0]))
    seen["rights"] = stamps.witnesses([], owned=[LOGS])["rights"]
    stale = _reread(host, todo, before, warnings, dead, check)
    started, restarted, stopped = _settle(host, programs, paths, todo, infos, stale, dead, check)
    result = {
        "changed": bool(
            todo.files
            or system_files
            or open_logs
            or reload
            or enable
            or dead
            or left
            or started
            or restarted
            or stopped
        ),
        "diff": diffs,
        "files": [file.path for file in system_files + todo.files],
        "started": started,
        "restarted": restarted,
        "stopped": stopped,
        "orphans": left,
        "daemon_started": dead,
        "warnings": warnings,
    }
    return result, seen if all(program.get("started", True) for program in programs) else None


def logs_are_open() -> bool:
    """Whether every account can read what the programs print: supervisord makes their logs for all to read."""
    return os.path.isdir(LOGS) and bool(os.stat(LOGS).st_mode & 0o007)


def close_logs() -> None:
    """Keep the logs for root and, as Debian's other logs, for the group adm."""
    if logs_are_open():
        os.chown(LOGS, 0, grp.getgrnam("adm").gr_gid)
        os.chmod(LOGS, 0o750)  # noqa: S103  # for the group adm, as /var/log/nginx


def watched(programs: list[dict[str, Any]], paths: Paths) -> list[str]:
    """Every file that the decisions about these programs depend on, there or not."""
    unit = "supervisor.service"
    found = [paths.config_file, DROP_IN, f"/lib/systemd/system/{unit}", f"/etc/systemd/system/{unit}"]
    found.append(f"/etc/systemd/system/multi-user.target.wants/{unit}")
    found += glob.glob(os.path.join(os.path.dirname(DROP_IN), "*"))
    for program in programs:
        found.append(paths.of(program))
        if program["kind"] == "program" and not program["name"].endswith("@"):
            found += [paths.script(program["name"]), paths.table(program["name"])]
    return found


def watched_patterns(programs: list[dict[str, Any]], paths: Paths) -> list[str]:
    """The same of what is only known by a pattern."""
    listed = [paths.file(program["name"]) for program in programs if "*" in program["name"]]
    return [*listed, paths.script("*"), os.path.join(os.path.dirname(DROP_IN), "*")]


def kept_running(units: list[Unit], infos: dict[str, list[dict[str, Any]]]) -> list[int]:
    """The processes that the daemon has to keep running; 0, which vouches for nothing, for one that does not."""
    return [info["pid"] for unit in units for program in unit.programs for info in unit.processes(program, infos)]


def _text(path: str) -> str | None:
    data = read(path)
    return None if data is None else data.decode()


def _predict_virgin(programs: list[dict[str, Any]], paths: Paths) -> dict[str, Any]:
    """What a run will do on a host where supervisor itself is still to be installed."""
    wanted = [program for program in programs if program["state"] == "present"]
    todo = plan_files(wanted, paths, [])
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


def _prepare(host: Host, paths: Paths, system_files: list[File], reload: bool, enable: bool) -> None:
    for folder in (paths.programs, paths.templates, paths.scripts):
        os.makedirs(folder, mode=0o755, exist_ok=True)
    for file in system_files:
        os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
    apply_files(system_files)
    if reload:
        host.must("Letting systemd read its files again", ["systemctl", "daemon-reload"])
    if enable:
        host.must("Enabling the daemon", ["systemctl", "enable", host.service])


def _reread(
    host: Host,
    todo: Plan,
    before: list[File],
    warnings: list[str],
    dead: bool,
    check: bool,
) -> tuple[list[str], list[str], list[str]]:
    """The groups that the daemon would add, those whose definition differs from what it runs, and those without one."""
    if check and (dead or todo.files):
        return [], [], []
    try:
        # Also in check mode: the daemon only reads, and nothing else tells what an interrupted run owes.
        return host.rpc.reread()
    except (xmlrpc.client.Fault, SupervisorError) as error:
        said = error.faultString if isinstance(error, xmlrpc.client.Fault) else str(error)
        if not todo.files:
            warnings.append(
                f"supervisord can't read its configuration: {said}. Nothing here has changed, so it goes on."
            )
            return [], [], []
        for file in before:
            write(file)
        with contextlib.suppress(xmlrpc.client.Fault, SupervisorError):
            host.rpc.reread()
        raise ProgramError(
            f"Letting supervisord read its configuration: {said}. The files were put back as they were. "
            "Mend what the message names and run again."
        ) from error


def look_ahead(
    programs: list[dict[str, Any]],
    paths: Paths,
    todo: Plan,
    infos: dict[str, list[dict[str, Any]]],
    changed: list[str],
    removed: list[str],
    check: bool,
) -> Settling:
    """Compare the units with what the daemon has."""
    written = {file.path for file in todo.files}
    units = {unit.name: unit for unit in todo.units}
    stale = set(changed) & units.keys()
    if check:
        for unit in todo.units:
            files = {unit.path, *(paths.file(program["name"]) for program in unit.programs)}
            stale |= {unit.name} if unit.name in infos and written & files else set()
    # A run that was interrupted may have removed the file, and not told the daemon.
    owed = [item for item in programs if item["state"] == "absent" and item["name"] in removed]
    gone = {item["name"]: item["stop_timeout"] for item in owed} | todo.absent
    lost = {}
    groups = {item["name"] for item in programs if item["kind"] == "group"}
    for name in (groups & gone.keys()) | {name for name in stale if units[name].is_group}:
        unit = units.get(name)
        stay = [info["name"] for one in unit.programs for info in unit.processes(one, infos)] if unit else []
        lost[name] = [info for info in infos.get(name, []) if info["name"] not in stay]
    return Settling(infos, stale, gone, lost)


def _forget(host: Host, programs: list[dict[str, Any]], todo: Plan, ahead: Settling) -> set[str]:
    """Stop what is absent and, before another copy of it starts, what joins or leaves a group."""
    patience = {name: timeout for name, timeout in ahead.gone.items() if name not in ahead.lost}
    members = [program for unit in todo.units for program in unit.programs]
    longest = max((item["stop_timeout"] for item in [*programs, *members]), default=40.0)
    patience |= {group: longest for group, processes in ahead.lost.items() if processes or group in ahead.gone}
    for unit in todo.units:
        if unit.is_group:
            joining = [program for program in unit.programs if program["name"] in ahead.infos]
            patience |= {program["name"]: program["stop_timeout"] for program in joining}
    for name, timeout in patience.items():
        host.rpc.remove(name, timeout)
    return set(patience)


def _settle(
    host: Host,
    programs: list[dict[str, Any]],
    paths: Paths,
    todo: Plan,
    infos: dict[str, list[dict[str, Any]]],
    reread: tuple[list[str], list[str], list[str]],
    dead: bool,
    check: bool,
) -> tuple[list[str], list[str], list[str]]:
    """Bring the daemon's programs to their state: what was started, restarted, stopped."""
    added, changed, removed = reread
    ahead = look_ahead(programs, paths, todo, infos, changed, removed, check)
    started, restarted, stopped = [], [], ahead.ended(todo.units)
    to_add = set(added) if check else set(added) | _forget(host, programs, todo, ahead)
    for unit in todo.units:
        differs_now = unit.name in ahead.stale
        begin, stop = [], []
        for program in unit.programs:
            label, moved = unit.label(program), ahead.elsewhere(program, unit)
            found = unit.processes(program, infos) + moved
            alive = any(info["statename"] in LIVE for info in found)
            listed = program.get("listed", True)
            if not listed and not differs_now and not moved:
                continue
            if not (program["started"] if listed else alive):
                stop.append(program)
                stopped += [label] if alive else []
                continue
            if alive and (differs_now or moved):
                restarted.append(label)
            elif not running(found):
                started.append(label)
            elif not dead:
                continue
            begin.append(program)
        if not check:
            _bring(host, unit, paths, differs_now, differs_now or unit.name in to_add, begin, stop)
    return started, restarted, stopped


def _bring(
    host: Host,
    unit: Unit,
    paths: Paths,
    replace: bool,
    add: bool,
    begin: list[dict[str, Any]],
    stop: list[dict[str, Any]],
) -> None:
    """Let the daemon have a unit as its files tell it, and start and stop its programs."""
    if replace:
        host.rpc.remove(unit.name, max((program["stop_timeout"] for program in unit.programs), default=40.0))
    if add:
        host.rpc.add(unit.name)
    infos = host.rpc.infos()
    if unit.name not in infos:
        raise ProgramError(
            f"Adding the {'group' if unit.is_group else 'program'} {unit.name}: supervisord does not see {unit.path}. "
            f"[include] in {paths.config_file} must have: files = {paths.programs}/*.conf"
        )
    for program in stop:
        processes = {info["name"] for info in unit.processes(program, infos)}
        host.rpc.stop(unit.name, program["stop_timeout"], processes)
    if begin:
        host.begin(unit, begin)


if __name__ == "__main__":
    main()
