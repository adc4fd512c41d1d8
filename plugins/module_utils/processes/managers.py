# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Providers that run the instances of a service: one for systemd, one for supervisor.

The roles write definitions (``/etc/systemd/system/NAME@.service``, ``/etc/supervisor/templates/NAME@.conf``); a release
is an instance of its service, and these classes start, watch and end instances. Other services are never touched.
"""

from __future__ import annotations

import contextlib
import glob
import math
import os
import re
import time
import xmlrpc.client
from collections.abc import Callable
from typing import Protocol

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    File,
    atomic_symlink,
    differs,
    read,
    sweep,
    write,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    CANT_REREAD,
    CONFIG_FILE,
    LIVE,
    Rpc,
    SupervisorError,
    read_daemon,
    read_parser,
    tail,
)

Run = Callable[[list[str]], tuple[int, str, str]]

SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


# Seconds that an instance on its way out gets before it is started afresh.
STOPPING_TIMEOUT = 60

# Where the supervisor role lets programs write, and what the log of an instance that has ended is called.
LOGS = "/var/log/supervisor"
BEFORE = "-before.log"
BEFORE_BYTES = 1 << 20


class ProcessManagerError(Exception):
    """What was being done, to which service, what came back, and the remedy."""


class ProcessManager(Protocol):
    """What activation needs of a process manager. A service's name has no ``@``; an instance is a release's ID.

    The web process is the service of the application's name, a background process a part of it, ``APP.PROCESS``.
    """

    name: str

    def start(self, service: str, instance: str) -> None:
        """Begin to start, without waiting for readiness; forgets an earlier failure, leaves a running one alone."""

    def state(self, service: str, instance: str) -> str:
        """One of starting, running, stopping, stopped, failed, absent.

        A restart that is about to happen counts as starting: see ``restarts``. ``absent``: nothing of it runs, has
        failed, or would come back. After a start, stopped and absent mean that it has ended by itself.
        """

    def restarts(self, service: str, instance: str) -> int:
        """How often the process manager has started it again by itself since it was started."""

    def pid(self, service: str, instance: str) -> int:
        """The number of its main process, 0 where none runs."""

    def enable(self, service: str, instance: str) -> None:
        """Let it come back when the host boots or the daemon starts."""

    def disable(self, service: str, instance: str) -> None:
        """Don't let it come back; it goes on running."""

    def stop(self, service: str, instance: str, timeout: float) -> None:
        """Stop gracefully, wait until it is gone, kill after ``timeout`` seconds."""

    def begin_stop(self, service: str, instance: str) -> None:
        """Don't let it come back, and ask it to end, without waiting; ``forget`` does the rest."""

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        """Stop, disable, and leave nothing behind; also mends what an interrupted run left half made."""

    def tidy(self, service: str) -> None:
        """Remove half-written files of its instances, as an interrupted run leaves them."""

    def instances(self, service: str) -> list[str]:
        """All instances that are running, failed, enabled or defined, sorted."""

    def family(self, service: str) -> list[tuple[str, str]]:
        """The instances of the service and of its parts, SERVICE.PART: pairs of service and instance, sorted."""

    def parts(self, service: str) -> list[str]:
        """The parts of the service, SERVICE.PART, that have a definition for instances."""

    def undefine(self, services: list[str]) -> None:
        """Remove the definitions of services that have no instance any more."""

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        """The last lines of the instance's own output."""


def detect() -> str:
    """The process manager of this host: systemd where it is PID 1, else supervisor."""
    return "systemd" if os.path.isdir("/run/systemd/system") else "supervisor"


def process_manager(name: str, run: Run) -> ProcessManager:
    """The provider by name. ``run`` executes an argv and returns (rc, stdout, stderr), as AnsibleModule.run_command."""
    if name == "systemd":
        return Systemd(run)
    if name == "supervisor":
        return Supervisor(run)
    raise ProcessManagerError(f"There is no process manager {name!r}: name systemd or supervisor.")


def _check(service: str, instance: str) -> None:
    if not SERVICE.fullmatch(service):
        raise ProcessManagerError(
            f"{service!r} is no name of a service: letters, digits, '-', '_' and '.' only, no '@'."
        )
    if not INSTANCE.fullmatch(instance):
        raise ProcessManagerError(
            f"{instance!r} is no instance of {service}: a release looks like 20261121T010735Z-ab12cd34."
        )


class Systemd:
    """Instances ``SERVICE@INSTANCE.service`` of the template unit that the systemd role has written."""

    name = "systemd"

    def __init__(self, run: Run, unit_directory: str = "/etc/systemd/system") -> None:
        self._run = run
        self._unit_directory = unit_directory

    def _unit(self, service: str, instance: str) -> str:
        _check(service, instance)
        return f"{service}@{instance}.service"

    def _links(self, pattern: str) -> list[str]:
        """What enables the units: links in the folder of the target that [Install] names."""
        return glob.glob(os.path.join(self._unit_directory, "*.wants", pattern))

    def _must(self, doing: str, unit: str, argv: list[str], remedy: str) -> str:
        rc, out, err = self._run(argv)
        if rc != 0:
            raise ProcessManagerError(
                f"{doing} {unit}: `{' '.join(argv)}` failed with {rc}: {(err or out).strip()}. {remedy}"
            )
        return out

    def _show(self, unit: str) -> dict[str, str]:
        properties = "LoadState,ActiveState,SubState,Result,NRestarts,Job,LoadError,MainPID"
        argv = ["systemctl", "show", f"--property={properties}", unit]
        out = self._must("Looking at", unit, argv, "Is systemd running? Try systemctl status.")
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def start(self, service: str, instance: str) -> None:
        unit = self._unit(service, instance)
        shown = self._show(unit)
        if shown["LoadState"] != "loaded":
            raise ProcessManagerError(
                f"Starting {unit}: its template {self._unit_directory}/{service}@.service is not usable "
                f"({shown['LoadState']}: {shown.get('LoadError', '')}). Run the systemd role for it first."
            )
        if shown["ActiveState"] == "failed":
            # Else the start counts against the start limit of the attempts before.
            self._run(["systemctl", "reset-failed", unit])
        self._must(
            "Starting",
            unit,
            ["systemctl", "start", "--no-block", unit],
            f"Look at `systemctl status {unit}` on the host.",
        )

    def state(self, service: str, instance: str) -> str:
        unit = self._unit(service, instance)
        return unit_state(self._show(unit), enabled=bool(self._links(unit)))

    def restarts(self, service: str, instance: str) -> int:
        return int(self._show(self._unit(service, instance)).get("NRestarts") or 0)

    def pid(self, service: str, instance: str) -> int:
        return int(self._show(self._unit(service, instance)).get("MainPID") or 0)

    def enable(self, service: str, instance: str) -> None:
        unit = self._unit(service, instance)
        if self._links(unit):
            return
        # By hand: `systemctl enable` would reload the manager, a second on a busy host; with --no-reload systemd 257
        # calls every
        # unit outdated until somebody does. The links are read at the next boot, which is what they are for.
        template = f"{self._unit_directory}/{service}@.service"
        data = read(template)
        if data is None:
            raise ProcessManagerError(
                f"Enabling {unit}: its template {template} is missing. Run the systemd role for it first."
            )
        for target in wanted_by(data.decode()):
            folder = os.path.join(self._unit_directory, f"{target}.wants")
            os.makedirs(folder, mode=0o755, exist_ok=True)
            atomic_symlink(template, os.path.join(folder, unit))

    def disable(self, service: str, instance: str) -> None:
        unit = self._unit(service, instance)
        # By hand rather than by systemctl: it refuses when the template has gone already, and leaves the link.
        for link in self._links(unit):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)

    def stop(self, service: str, instance: str, timeout: float) -> None:
        unit = self._unit(service, instance)
        if self._show(unit)["ActiveState"] in ("inactive", "failed"):
            # Also cancels a start that has not begun, and costs nothing if there is none.
            self._run(["systemctl", "stop", "--no-block", unit])
            return
        rc, out, err = self._run(["timeout", f"{max(timeout, 0.1):.3f}", "systemctl", "stop", unit])
        if rc == 124:
            self._run(["systemctl", "kill", "--signal=SIGKILL", unit])
            self._must(
                "Killing",
                unit,
                # At once, but where cgroups don't tell systemd that they are empty (version 1, in containers) it
                # waits for the unit's own time.
                ["timeout", "60", "systemctl", "stop", unit],
                "A process in state D can't be killed.",
            )
        elif rc != 0 and self._show(unit)["ActiveState"] not in ("inactive", "failed"):
            raise ProcessManagerError(
                f"Stopping {unit}: `systemctl stop` failed with {rc}: {(err or out).strip()}. "
                f"Look at `systemctl status {unit}` on the host."
            )

    def begin_stop(self, service: str, instance: str) -> None:
        self.disable(service, instance)
        self._run(["systemctl", "stop", "--no-block", self._unit(service, instance)])

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        unit = self._unit(service, instance)
        self.disable(service, instance)
        self.stop(service, instance, timeout)
        if self._show(unit)["ActiveState"] == "failed":
            self._run(["systemctl", "reset-failed", unit])

    def tidy(self, service: str) -> None:
        sweep(self._links(f"{service}@*.new"))
        sweep(self._links(f"{service}.*@*.new"))

    def instances(self, service: str) -> list[str]:
        return [instance for one, instance in self.family(service) if one == service]

    def family(self, service: str) -> list[tuple[str, str]]:
        if not SERVICE.fullmatch(service):
            raise ProcessManagerError(f"{service!r} is no name of a service.")
        patterns = [f"{service}@*.service", f"{service}.*@*.service"]
        argv = [
            "systemctl",
            "list-units",
            "--all",
            "--full",
            "--plain",
            "--no-legend",
            "--no-pager",
            *patterns,
        ]
        out = self._must(
            "Listing the instances of",
            service,
            argv,
            "Is systemd running? Try systemctl status.",
        )
        units = []
        for line in out.splitlines():
            # UNIT LOAD ACTIVE SUB DESCRIPTION; one that is merely loaded, neither active nor failed, is no instance.
            words = line.split()
            if len(words) >= 4 and words[2] != "inactive":
                units.append(words[0])
        units += [os.path.basename(link) for pattern in patterns for link in self._links(pattern)]
        return family_of(service, units, separator="@", suffix=".service")

    def parts(self, service: str) -> list[str]:
        paths = glob.glob(os.path.join(self._unit_directory, f"{service}.*@.service"))
        return sorted(os.path.basename(path).removesuffix("@.service") for path in paths)

    def undefine(self, services: list[str]) -> None:
        for service in services:
            write(File(f"{self._unit_directory}/{service}@.service", None))
        if services:
            self._must(
                "Removing the definitions of",
                ", ".join(services),
                ["systemctl", "daemon-reload"],
                "Look at systemctl status on the host.",
            )

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        unit = self._unit(service, instance)
        # The fields rather than --unit: that would mix in what systemd itself says about the unit.
        fields = [f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout", "_TRANSPORT=syslog"]
        argv = ["journalctl", *fields, "-n", str(lines), "-o", "cat", "--no-pager", "--quiet"]
        rc, out, err = self._run(argv)
        return out.rstrip("\n") if rc == 0 else f"(the journal of {unit} can't be read: {err.strip()})"


class Supervisor:
    """Programs ``SERVICE-INSTANCE``, made from the template file that the supervisor role has written.

    An instance's file starts with the daemon (autostart) from the moment it is started: a file that disagrees with the
    daemon's memory would let somebody's ``supervisorctl update`` restart the instance under traffic.
    """

    name = "supervisor"

    def __init__(self, run: Run, config_file: str = CONFIG_FILE) -> None:
        self._run = run
        self._config_file = config_file
        base = os.path.dirname(config_file)
        self._templates = os.path.join(base, "templates")
        self._programs = os.path.join(base, "conf.d")

    def _rpc(self, doing: str, program: str) -> Rpc:
        try:
            return Rpc(read_daemon(self._config_file))
        except SupervisorError as error:
            raise ProcessManagerError(f"{doing} {program}: {error}") from error

    def _program(self, service: str, instance: str) -> str:
        _check(service, instance)
        return f"{service}-{instance}"

    def _file(self, program: str) -> str:
        return os.path.join(self._programs, f"{program}.conf")

    @contextlib.contextmanager
    def _talk(self, doing: str, program: str):
        """The daemon, with every accident told as an error that names what was being done to what."""
        try:
            yield self._rpc(doing, program)
        except SupervisorError as error:
            raise ProcessManagerError(f"{doing} {program}: {error}") from error
        except xmlrpc.client.Fault as fault:
            raise ProcessManagerError(
                f"{doing} {program}: supervisord refused: {fault.faultString} (fault {fault.faultCode}). "
                f"Look at {self._file(program)} and at supervisord's own log."
            ) from fault

    def _definition(self, service: str, instance: str) -> File:
        template = os.path.join(self._templates, f"{service}@.conf")
        data = read(template)
        if data is None:
            raise ProcessManagerError(
                f"Starting {service}-{instance}: its template {template} is missing. "
                "Run the supervisor role for it first."
            )
        return File(self._file(f"{service}-{instance}"), instantiate(data.decode(), instance))

    def start(self, service: str, instance: str) -> None:
        program = self._program(service, instance)
        with self._talk("Starting", program) as rpc:
            info = rpc.info(program)
            if info and info["statename"] in ("STARTING", "RUNNING", "BACKOFF") and os.path.exists(self._file(program)):
                return
            if info and info["statename"] == "STOPPING":
                # It can't be called back, and supervisord takes the wish for another one as fulfilled.
                rpc.stop(program, STOPPING_TIMEOUT)
                info = rpc.info(program)
            definition = self._definition(service, instance)
            before = read(definition.path)
            if differs(definition):
                write(definition)
            try:
                added, changed, _removed = rpc.reread()
            except xmlrpc.client.Fault as fault:
                # Nobody's daemon may be left with a file that it can't read.
                write(File(definition.path, None if before is None else before.decode()))
                if fault.faultCode != CANT_REREAD:
                    raise
                raise ProcessManagerError(
                    f"Starting {program}: supervisord can't read its configuration: {fault.faultString}. "
                    "The program's file was put back as it was. Mend what the message names, and run again."
                ) from fault
            if program in changed and info and info["statename"] not in LIVE:
                rpc.remove(program, 5)
                rpc.add(program)
            elif program in added:
                rpc.add(program)
            elif info is None:
                write(File(definition.path, None if before is None else before.decode()))
                raise ProcessManagerError(
                    f"Starting {program}: supervisord does not see {definition.path}. "
                    f"[include] in {self._config_file} must have: files = {self._programs}/*.conf"
                )
            rpc.start(program)

    def state(self, service: str, instance: str) -> str:
        program = self._program(service, instance)
        with self._talk("Looking at", program) as rpc:
            info = rpc.info(program)
        if info is None:
            return "stopped" if os.path.exists(self._file(program)) else "absent"
        return program_state(info)

    def restarts(self, service: str, instance: str) -> int:
        program = self._program(service, instance)
        with self._talk("Looking at", program) as rpc:
            return count_restarts(rpc.call("readLog", -262144, 0), program)

    def pid(self, service: str, instance: str) -> int:
        program = self._program(service, instance)
        with self._talk("Looking at", program) as rpc:
            return int((rpc.info(program) or {}).get("pid") or 0)

    def enable(self, service: str, instance: str) -> None:
        program = self._program(service, instance)
        path = self._file(program)
        data = read(path)
        wanted = self._definition(service, instance) if data is None else File(path, set_autostart(data.decode(), True))
        if differs(wanted):
            write(wanted)

    def disable(self, service: str, instance: str) -> None:
        path = self._file(self._program(service, instance))
        data = read(path)
        if data is not None:
            wanted = File(path, set_autostart(data.decode(), False))
            if differs(wanted):
                write(wanted)

    def stop(self, service: str, instance: str, timeout: float) -> None:
        program = self._program(service, instance)
        with self._talk("Stopping", program) as rpc:
            rpc.stop(program, timeout)

    def begin_stop(self, service: str, instance: str) -> None:
        program = self._program(service, instance)
        write(File(self._file(program), None))
        with self._talk("Stopping", program) as rpc:
            rpc.begin_stop(program)

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        program = self._program(service, instance)
        logs = self._logs(program)
        # First of all the file: whatever is interrupted after this, the instance does not come back.
        write(File(self._file(program), None))
        with self._talk("Removing", program) as rpc:
            rpc.remove(program, timeout)
        for log in logs:
            with contextlib.suppress(OSError):
                keep_log(log, before_log(log, program, service))
            for path in [log, *(f"{log}.{number}" for number in range(1, 21))]:
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def tidy(self, service: str) -> None:
        sweep(glob.glob(os.path.join(self._programs, f"{service}-[0-9]*.new")))
        sweep(glob.glob(os.path.join(self._programs, f"{service}.*-[0-9]*.new")))

    def instances(self, service: str) -> list[str]:
        return [instance for one, instance in self.family(service) if one == service]

    def family(self, service: str) -> list[tuple[str, str]]:
        if not SERVICE.fullmatch(service):
            raise ProcessManagerError(f"{service!r} is no name of a service.")
        with self._talk("Listing the instances of", service) as rpc:
            programs = [f"{group}.conf" for group in rpc.infos()]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            programs += os.listdir(self._programs)
        return family_of(service, programs, separator="-", suffix=".conf")

    def parts(self, service: str) -> list[str]:
        paths = glob.glob(os.path.join(self._templates, f"{service}.*@.conf"))
        return sorted(os.path.basename(path).removesuffix("@.conf") for path in paths)

    def undefine(self, services: list[str]) -> None:
        for service in services:
            write(File(os.path.join(self._templates, f"{service}@.conf"), None))
            with contextlib.suppress(OSError):
                os.unlink(f"{LOGS}/{service}{BEFORE}")

    def _logs(self, program: str) -> list[str]:
        """The program's log files, after its definition, else where the role's default puts them."""
        data = read(self._file(program))
        paths = [f"{LOGS}/{program}.log"]
        if data is not None:
            with contextlib.suppress(Exception):  # a definition that can't be parsed has no log to tell
                parser = read_parser(data.decode())
                section = f"program:{program}"
                names = ("stdout_logfile", "stderr_logfile")
                paths = [parser.get(section, name, fallback="").replace("%%", "%") for name in names]
        # Only files that carry the instance's name are its own: nobody else's log may be removed with it.
        return [path for path in paths if path.startswith("/") and program in os.path.basename(path)]

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        program = self._program(service, instance)
        text = "".join(tail(path, 65536) for path in self._logs(program))
        return "\n".join(text.splitlines()[-lines:])


def before_log(log: str, program: str, service: str) -> str:
    """Where the log of instances that have ended is kept: beside theirs, under the name of their service."""
    folder, name = os.path.split(log)
    return os.path.join(folder, name.replace(program, service, 1).removesuffix(".log") + BEFORE)


def keep_log(log: str, kept: str) -> None:
    """Add the end of a log to what is kept of earlier ones, whose beginning makes room for it."""
    text = (tail(kept, BEFORE_BYTES) + tail(log, BEFORE_BYTES))[-BEFORE_BYTES:]
    if text:
        write(File(kept, text, mode=0o640))


def unit_state(shown: dict[str, str], *, enabled: bool) -> str:
    """systemd's state of a unit in the words of ProcessManager."""
    active = shown.get("ActiveState", "inactive")
    if active in ("active", "reloading", "refreshing"):
        return "running"
    if active in ("activating", "maintenance"):
        return "starting"
    if active == "deactivating":
        return "stopping"
    if active == "failed":
        return "failed"
    # A start that was asked for, but has not begun.
    if shown.get("Job", "0") not in ("", "0"):
        return "starting"
    return "stopped" if enabled else "absent"


def wanted_by(definition: str) -> list[str]:
    """The targets that a unit file wants to be started with."""
    lines = re.findall(r"(?m)^WantedBy\s*=(.*)$", definition)
    return [target for line in lines for target in line.split()]


def instances_of(service: str, names: list[str], prefix: str, suffix: str) -> list[str]:
    """The instances of one service among names of units or files, each once."""
    own = [name for name in names if name.startswith(prefix) and name.endswith(suffix)]
    found = {name[len(prefix) : len(name) - len(suffix)] for name in own}
    return sorted(instance for instance in found if INSTANCE.fullmatch(instance))


def family_of(service: str, names: list[str], separator: str, suffix: str) -> list[tuple[str, str]]:
    """The instances of a service and of its parts among names of units or files, each once."""
    part = rf"({re.escape(service)}(?:\.[A-Za-z0-9.-]+?)?)"
    pattern = re.compile(rf"{part}{separator}({INSTANCE.pattern}){re.escape(suffix)}")
    found = [match for name in names if (match := pattern.fullmatch(name))]
    return sorted({(match[1], match[2]) for match in found})


def instantiate(template: str, instance: str) -> str:
    """Put the instance in the place of every ``%i``; a doubled ``%`` is a plain one and stays as it is."""
    return re.sub(
        r"%%|%i",
        lambda match: instance if match.group() == "%i" else match.group(),
        template,
    )


def set_autostart(definition: str, autostart: bool) -> str:
    """The definition with its autostart as wanted."""
    return re.sub(
        r"(?m)^autostart\s*=.*$",
        f"autostart={'true' if autostart else 'false'}",
        definition,
    )


def program_state(info: dict) -> str:
    """supervisor's state of a process in the words of ProcessManager."""
    states = {
        "STARTING": "starting",
        "BACKOFF": "starting",
        "RUNNING": "running",
        "STOPPING": "stopping",
    }
    if info["statename"] == "EXITED":
        return "stopped" if info.get("exitstatus") == 0 else "failed"
    return states.get(info["statename"], "stopped" if info["statename"] == "STOPPED" else "failed")


# supervisord's own time before a line of its log.
LOGGED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")
# Seconds by which two lines of the log may be nearer to each other than what they tell of.
LOG_SLACK = 0.1


def count_restarts(log: str, program: str) -> int:
    """How often supervisord has spawned a program again since it was last added, stopped, started or given up.

    It does not tell that somebody started a program which it was about to start again; but of itself it waits a second
    after the first start that failed, two after the second, and so on. Where it may count from more failures than are
    counted here, as after a start by hand, it only waits longer.
    """
    spawned = failures = 0
    given_up = up = False
    ended: float | None = None
    for line in log.splitlines():
        if f"spawned: '{program}' with pid" in line:
            waited = None if ended is None else (logged(line) or math.inf) - ended
            by_hand = given_up or (waited is not None and waited < failures - LOG_SLACK)
            spawned, failures = (1, 0) if by_hand else (spawned + 1, failures)
            given_up, up, ended = False, False, None
        elif f"success: {program} entered RUNNING" in line:
            up = True
        elif f"exited: {program} (" in line:
            failures = 0 if up else failures + 1
            ended = None if up else logged(line)
        elif f"gave up: {program} entered FATAL" in line:
            given_up = True
        elif f"stopped: {program} (" in line or "supervisord started with pid" in line:
            spawned = failures = 0
            given_up, ended = False, None
    return max(0, spawned - 1)


def logged(line: str) -> float | None:
    """When supervisord logged a line, in seconds since 1970."""
    found = LOGGED.match(line)
    if not found:
        return None
    return time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000


def wait_for(condition: Callable[[], bool], timeout: float, interval: float = 0.03) -> bool:
    """Whether the condition came true within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True
