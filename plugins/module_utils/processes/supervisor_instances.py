# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run instances of services as supervisor programs."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import re
import time
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, differs, read, sweep, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.processes.instances import (
    ProcessManagerError,
    check_instance,
    check_service,
    family_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import program_file
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    CANT_REREAD,
    CONFIG_FILE,
    LIVE,
    Rpc,
    SupervisorError,
    read_daemon,
    read_parser,
)

# Seconds that a stopping instance gets before it is started again.
STOPPING_TIMEOUT = 60

# Where the role supervisor lets programs write, and the ending of the file that keeps logs of ended instances.
LOGS = "/var/log/supervisor"
BEFORE = "-before.log"
BEFORE_BYTES = 1 << 20


class Supervisor:
    """Programs ``SERVICE-INSTANCE``, made from the template files that the role supervisor writes.

    The file of a started instance always says autostart. If the file differed from what the daemon runs, a user's
    ``supervisorctl update`` would restart the instance under traffic.
    """

    name = "supervisor"

    def __init__(self, config_file: str = CONFIG_FILE) -> None:
        self._config_file = config_file
        base = os.path.dirname(config_file)
        self._templates = os.path.join(base, "templates")
        self._programs = os.path.join(base, "conf.d")

    def _program(self, service: str, instance: str) -> str:
        check_instance(service, instance)
        return f"{service}-{instance}"

    def _file(self, program: str) -> str:
        return os.path.join(self._programs, f"{program}.conf")

    @contextlib.contextmanager
    def _daemon(self, doing: str, program: str) -> Iterator[Rpc]:
        """The daemon's RPC. Every failure becomes an error that says what was being done to which program."""
        try:
            yield Rpc(read_daemon(self._config_file))
        except SupervisorError as error:
            raise ProcessManagerError(f"{doing} {program}: {error}") from error
        except xmlrpc.client.Fault as fault:
            raise ProcessManagerError(
                f"{doing} {program}: supervisord refused: {fault.faultString} (fault {fault.faultCode}). "
                f"Look at {self._file(program)} and at supervisord's log."
            ) from fault

    def _definition(self, service: str, instance: str) -> File:
        template = os.path.join(self._templates, f"{service}@.conf")
        data = read(template)
        if data is None:
            raise ProcessManagerError(
                f"Starting {service}-{instance}: its template {template} is missing. "
                "Run the supervisor role for it first."
            )
        return program_file(self._file(f"{service}-{instance}"), instantiate(data.decode(), instance))

    def start(self, service: str, instance: str) -> None:
        program = self._program(service, instance)
        with self._daemon("Starting", program) as rpc:
            info = rpc.info(program)
            if info and info["statename"] in ("STARTING", "RUNNING", "BACKOFF") and os.path.exists(self._file(program)):
                return
            if info and info["statename"] == "STOPPING":
                # A stop can't be cancelled, and supervisord ignores a start while it stops. So wait for the end.
                rpc.stop(program, STOPPING_TIMEOUT)
                info = rpc.info(program)
            definition = self._definition(service, instance)
            before = read(definition.path)
            if differs(definition):
                write(definition)
            try:
                added, changed, _removed = rpc.reread()
            except xmlrpc.client.Fault as fault:
                # Never leave the daemon with a file that it can't read.
                write(File(definition.path, None) if before is None else program_file(definition.path, before.decode()))
                if fault.faultCode != CANT_REREAD:
                    raise
                raise ProcessManagerError(
                    f"Starting {program}: supervisord can't read its configuration: {fault.faultString}. "
                    "The program's file was restored. Correct what the message names and run again."
                ) from fault
            if program in changed and info and info["statename"] not in LIVE:
                rpc.remove(program, 5)
                rpc.add(program)
            elif program in added:
                rpc.add(program)
            elif info is None:
                write(File(definition.path, None) if before is None else program_file(definition.path, before.decode()))
                raise ProcessManagerError(
                    f"Starting {program}: supervisord does not see {definition.path}. "
                    f"[include] in {self._config_file} must have: files = {self._programs}/*.conf"
                )
            rpc.start(program)

    def state(self, service: str, instance: str) -> str:
        program = self._program(service, instance)
        with self._daemon("Looking at", program) as rpc:
            info = rpc.info(program)
        if info is None:
            return "stopped" if os.path.exists(self._file(program)) else "absent"
        return program_state(info)

    def restarts(self, service: str, instance: str) -> int:
        program = self._program(service, instance)
        with self._daemon("Looking at", program) as rpc:
            return count_restarts(rpc.call("readLog", -262144, 0), program)

    def pid(self, service: str, instance: str) -> int:
        program = self._program(service, instance)
        with self._daemon("Looking at", program) as rpc:
            return int((rpc.info(program) or {}).get("pid") or 0)

    def enable(self, service: str, instance: str) -> None:
        program = self._program(service, instance)
        path = self._file(program)
        data = read(path)
        wanted = (
            self._definition(service, instance)
            if data is None
            else program_file(path, set_autostart(data.decode(), True))
        )
        if differs(wanted):
            write(wanted)

    def disable(self, service: str, instance: str) -> None:
        path = self._file(self._program(service, instance))
        data = read(path)
        if data is not None:
            wanted = program_file(path, set_autostart(data.decode(), False))
            if differs(wanted):
                write(wanted)

    def stop(self, service: str, instance: str, timeout: float) -> None:
        program = self._program(service, instance)
        with self._daemon("Stopping", program) as rpc:
            rpc.stop(program, timeout)

    def begin_stop(self, service: str, instance: str) -> None:
        program = self._program(service, instance)
        write(File(self._file(program), None))
        with self._daemon("Stopping", program) as rpc:
            rpc.begin_stop(program)

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        program = self._program(service, instance)
        logs = self._logs(program)
        # Remove the file first: the instance then does not come back, even if this is interrupted.
        write(File(self._file(program), None))
        with self._daemon("Removing", program) as rpc:
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
        check_service(service)
        with self._daemon("Listing the instances of", service) as rpc:
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
        """The program's log files as its file names them, else the role's default."""
        data = read(self._file(program))
        paths = [f"{LOGS}/{program}.log"]
        if data is not None:
            with contextlib.suppress(Exception):  # a file that can't be parsed names no log
                parser = read_parser(data.decode())
                section = f"program:{program}"
                names = ("stdout_logfile", "stderr_logfile")
                paths = [parser.get(section, name, fallback="").replace("%%", "%") for name in names]
        # Only a file that carries the instance's name is its own. Others must not be removed with it.
        return [path for path in paths if path.startswith("/") and program in os.path.basename(path)]

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        program = self._program(service, instance)
        text = "".join(tail(path, 65536) for path in self._logs(program))
        return "\n".join(lines_of(text)[-lines:])


def before_log(log: str, program: str, service: str) -> str:
    """Where the logs of ended instances are kept: beside theirs, under the name of their service."""
    folder, name = os.path.split(log)
    return os.path.join(folder, name.replace(program, service, 1).removesuffix(".log") + BEFORE)


def keep_log(log: str, kept: str) -> None:
    """Append the end of a log to the kept log, and cut the kept log's beginning to its maximum size."""
    text = (tail(kept, BEFORE_BYTES) + tail(log, BEFORE_BYTES))[-BEFORE_BYTES:]
    if text:
        write(File(kept, text, mode=0o640))


def instantiate(template: str, instance: str) -> str:
    """Replace every ``%i`` by the instance. A doubled ``%`` stands for a plain one and stays as it is."""
    return re.sub(
        r"%%|%i",
        lambda match: instance if match.group() == "%i" else match.group(),
        template,
    )


def set_autostart(definition: str, autostart: bool) -> str:
    """The program's file with the given autostart."""
    return re.sub(
        r"(?m)^autostart\s*=.*$",
        f"autostart={'true' if autostart else 'false'}",
        definition,
    )


def program_state(info: dict[str, Any]) -> str:
    """The state of a process in the words of ProcessManager."""
    states = {
        "STARTING": "starting",
        "BACKOFF": "starting",
        "RUNNING": "running",
        "STOPPING": "stopping",
    }
    if info["statename"] == "EXITED":
        return "stopped" if info.get("exitstatus") == 0 else "failed"
    return states.get(info["statename"], "stopped" if info["statename"] == "STOPPED" else "failed")


# The time at the beginning of each line of supervisord's log.
LOG_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")
# Seconds by which two lines of the log may be closer to each other than the events that they report.
LOG_SLACK = 0.1


def count_restarts(log: str, program: str) -> int:
    """How often supervisord has restarted a program since it was last added, stopped, started or given up.

    The log does not say who started a program. By itself, supervisord waits a second after the first failed start, two
    after the second, and so on; a start after a shorter time was made by a user. supervisord may count more failures
    than are counted here, as after a start by a user. It then only waits longer.
    """
    spawned = failures = 0
    given_up = up = False
    ended: float | None = None
    for line in lines_of(log):
        if f"spawned: '{program}' with pid" in line:
            waited = None if ended is None else (log_time(line) or math.inf) - ended
            by_hand = given_up or (waited is not None and waited < failures - LOG_SLACK)
            spawned, failures = (1, 0) if by_hand else (spawned + 1, failures)
            given_up, up, ended = False, False, None
        elif f"success: {program} entered RUNNING" in line:
            up = True
        elif f"exited: {program} (" in line:
            failures = 0 if up else failures + 1
            ended = None if up else log_time(line)
        elif f"gave up: {program} entered FATAL" in line:
            given_up = True
        elif f"stopped: {program} (" in line or "supervisord started with pid" in line:
            spawned = failures = 0
            given_up, ended = False, None
    return max(0, spawned - 1)


def log_time(line: str) -> float | None:
    """When supervisord wrote a line of its log, in seconds since 1970."""
    found = LOG_TIME.match(line)
    if not found:
        return None
    return time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000
