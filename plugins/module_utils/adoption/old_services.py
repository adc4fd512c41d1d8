# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The kinds of services that an application may have had before its first release: a unit, a program, a process."""

from __future__ import annotations

import glob
import os
import re
import shlex
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.adoption.handmade_processes import (
    INTERPRETER,
    Served,
    callable_of,
    handmade_processes,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    LIVE,
    Rpc,
    SupervisorError,
    read_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import Systemctl

# Seconds to end after SIGKILL.
KILLED = 10.0
INTERVAL = 0.05
PROGRAM_FILES = (
    "/etc/supervisor/conf.d/*.conf",
    "/etc/supervisor/supervisord.conf",
    "/etc/supervisord.conf",
    "/etc/supervisord.d/*.ini",
    "/etc/supervisord.d/*.conf",
)
BEFORE = "before-pyweb"
# Where a process may be started at boot.
STARTERS = ("/etc/rc.local", "/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*")


class OldService(ABC):
    """A service that served an application before."""

    def __init__(self, item: dict[str, Any], run: Run) -> None:
        self.item = item
        self.run = run

    @abstractmethod
    def is_there(self) -> bool:
        """Whether it runs, or would start at the next boot."""

    @abstractmethod
    def retire(self, timeout: float) -> None:
        """Stop it, and keep it from starting again."""

    @abstractmethod
    def mine(self, one: Served) -> bool:
        """Whether a process belongs to it."""

    def found(self) -> list[Served]:
        return [one for one in handmade_processes(self.item["root"]) if self.mine(one)]

    def addresses(self) -> list[str]:
        return [address for one in self.found() for address in one.addresses]

    @abstractmethod
    def remarks(self) -> list[str]:
        """Sentences for people, after it was retired."""


class OldUnit(OldService):
    """A unit of systemd, with the sockets that start it."""

    def __str__(self) -> str:
        return f"the unit {self.name}"

    @property
    def name(self) -> str:
        name = str(self.item["unit"])
        return name if name.endswith(".service") else f"{name}.service"

    @property
    def systemctl(self) -> Systemctl:
        return Systemctl(self.run, HostError)

    def properties(self) -> dict[str, str]:
        return self.systemctl.show(self.name, "LoadState,ActiveState,UnitFileState,TriggeredBy")

    def is_there(self) -> bool:
        if not os.path.isdir("/run/systemd/system"):
            return False
        found = self.properties()
        return found.get("LoadState") == "loaded" and (
            is_active(found) or found.get("UnitFileState", "").startswith("enabled")
        )

    def mine(self, one: Served) -> bool:
        return one.unit in self.names

    @cached_property
    def names(self) -> set[str]:
        """Its name, and that of the unit to which this name is an alias."""
        return {self.name, self.systemctl.show(self.name, "Id").get("Id", "")} - {""}

    def retire(self, timeout: float) -> None:
        triggers = [name for name in self.properties().get("TriggeredBy", "").split() if name != self.name]
        doing = f"Retiring {self}"
        self.systemctl.must(doing, "disable", *triggers, self.name)
        # A socket would start it again.
        if triggers:
            self.systemctl.must(doing, "stop", *triggers)
        self.systemctl.must(doing, "stop", "--no-block", self.name)
        if not wait_for(self.has_ended, timeout, INTERVAL):
            # Its requests have ended. Some servers ignore the signal of systemd, such as uWSGI without die-on-term.
            self.systemctl.try_to("kill", "--signal=SIGKILL", self.name)
            if not wait_for(self.has_ended, KILLED, INTERVAL):
                raise HostError(f"{doing}: it does not end. Look at systemctl status {self.name}.")

    def has_ended(self) -> bool:
        return not is_active(self.properties())

    def remarks(self) -> list[str]:
        return [f"{self} is stopped and disabled. Its files stay."]


def is_active(properties: dict[str, str]) -> bool:
    return properties.get("ActiveState") in ("active", "activating", "reloading", "deactivating", "refreshing")


class OldProgram(OldService):
    """A program of supervisor."""

    def __str__(self) -> str:
        return f"the supervisor program {self.name}"

    @property
    def name(self) -> str:
        return str(self.item["program"])

    def file(self) -> tuple[str, str] | None:
        """The file that defines the program, and its text."""
        for path in sorted(path for pattern in PROGRAM_FILES for path in glob.glob(pattern)):
            with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read()
                if section_of(text, self.name):
                    return path, text
        return None

    def running(self) -> list[tuple[str, str]]:
        """The group and the name of each process that runs."""
        try:
            groups = Rpc(read_daemon(), timeout=10).infos()
        except SupervisorError:
            return []
        return [
            (group, info["name"])
            for group, infos in groups.items()
            for info in infos
            if self.name in (group, info["name"]) and info["statename"] in LIVE
        ]

    def is_there(self) -> bool:
        found = self.file()
        return bool(self.running()) or (found is not None and disabled(found[1], self.name) != found[1])

    def mine(self, one: Served) -> bool:
        return one.program == self.name

    def retire(self, timeout: float) -> None:
        found = self.file()
        if found is None:
            raise HostError(f"Retiring {self}: no file of supervisor defines it. Stop it, and remove it from adopts.")
        path, text = found
        status = os.stat(path)
        keep_copy(path, text)
        write(File(path, encoded(disabled(text, self.name)), mode=status.st_mode & 0o777))
        rpc = Rpc(read_daemon(), timeout=30)
        for group in {group for group, _name in self.running()}:
            rpc.stop(group, timeout, {name for of, name in self.running() if of == group} or None)

    def remarks(self) -> list[str]:
        found = self.file()
        where = f" ({found[0]})" if found else ""
        return [f"{self} is stopped, and has autostart=false{where}. Its definition stays."]


def section_of(text: str, name: str) -> re.Match[str] | None:
    """The header of a program's section."""
    return re.search(rf"(?m)^\[program:{re.escape(name)}\][^\n]*(?:\n|\Z)", text)


def disabled(text: str, name: str) -> str:
    """A file of supervisor whose program does not start by itself."""
    header = section_of(text, name)
    if header is None:
        return text
    end = re.compile(r"(?m)^\[").search(text, header.end())
    stop = end.start() if end else len(text)
    body = text[header.end() : stop]
    settings = dict(re.findall(r"(?m)^(autostart|autorestart)[ \t]*[=:][ \t]*([^\s;]*)", body))
    if all(settings.get(key, "").lower() == "false" for key in ("autostart", "autorestart")):
        return text
    body = re.sub(r"(?m)^(?:autostart|autorestart)[ \t]*[=:][^\n]*\n?", "", body)
    return text[: header.end()] + "autostart=false\nautorestart=false\n" + body + text[stop:]


def keep_copy(path: str, text: str) -> None:
    """Keep the text of a file in a folder beside it, readable to root only."""
    folder = os.path.join("/etc/supervisor", BEFORE)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    target, number = os.path.join(folder, os.path.basename(path)), 1
    while os.path.lexists(target):
        target, number = os.path.join(folder, f"{os.path.basename(path)}.{number}"), number + 1
    write(File(target, encoded(text), mode=0o600))


def encoded(text: str) -> bytes:
    """The bytes of a file, also those that were no UTF-8."""
    return text.encode(errors="surrogateescape")


class OldProcess(OldService):
    """A process in the background, which no process manager keeps alive."""

    def __str__(self) -> str:
        return f"the process of '{self.item['command']}'"

    def is_there(self) -> bool:
        return bool(self.found())

    def mine(self, one: Served) -> bool:
        return not one.unit and not one.program and matches(one.words, shlex.split(self.item["command"]))

    def retire(self, timeout: float) -> None:
        found = self.found()
        if len(found) > 1:
            numbers = ", ".join(str(one.pid) for one in found)
            raise HostError(
                f"Retiring {self}: several processes have this command ({numbers}). End them, and run again."
            )
        for one in found:
            # uWSGI takes SIGTERM as an order to load the application again.
            signal_number = signal.SIGINT if one.server == "uwsgi" else signal.SIGTERM
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal_number)
            if not wait_for(lambda: not self.found(), timeout, INTERVAL):
                # Another process may have the number by now.
                for left in self.found():
                    if left.pid == one.pid:
                        with suppress(ProcessLookupError):
                            os.kill(one.pid, signal.SIGKILL)
                if not wait_for(lambda: not self.found(), KILLED, INTERVAL):
                    raise HostError(f"Retiring {self}: the process {one.pid} does not end. Look at it with ps.")

    def remarks(self) -> list[str]:
        starters = boot_starters(shlex.split(self.item["command"]))
        again = [f"{where} starts it at boot: remove that line." for where in starters]
        return [f"{self} has ended.", *again]


def matches(words: list[str], wanted: list[str]) -> bool:
    """Whether a command line is that of a command, which may lack the paths of programs."""
    if words and callable_of(words) and words[0].startswith("gunicorn: master"):
        return callable_of(words) == callable_of(wanted)
    return plain(words) == plain(wanted)


def plain(words: list[str]) -> list[str]:
    """A command line without interpreter and folders of programs."""
    left = list(words)
    while left and left[0] in ("nohup", "exec", "setsid", "&"):
        left.pop(0)
    if len(left) > 1 and INTERPRETER.match(os.path.basename(left[0])):
        left = left[2:] if left[1] == "-m" else left[1:]
    return [os.path.basename(left[0]), *(word for word in left[1:] if word != "&")] if left else []


def boot_starters(wanted: list[str]) -> list[str]:
    """The files and lines that start a command at boot."""
    named = [word for word in plain(wanted) if not word.startswith("-") and "/" not in word]
    found = []
    for path in sorted(path for pattern in STARTERS for path in glob.glob(pattern)):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            for number, line in enumerate(stream, start=1):
                is_started = path == "/etc/rc.local" or "@reboot" in line
                is_named = bool(named) and all(word in line for word in named)
                if is_named and is_started and not line.lstrip().startswith("#"):
                    found.append(f"line {number} of {path}")
    return found


def old_service(item: dict[str, Any], run: Run) -> OldService:
    kinds: dict[str, Callable[[dict[str, Any], Run], OldService]]
    kinds = {"unit": OldUnit, "program": OldProgram, "command": OldProcess}
    return next(kind(item, run) for key, kind in kinds.items() if item.get(key))
