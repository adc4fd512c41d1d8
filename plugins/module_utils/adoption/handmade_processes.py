# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""App servers on this host that other people or programs than this collection have started. Changes nothing."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import parse_table

# Programs that serve Python applications.
SERVERS = frozenset(
    [
        "gunicorn",
        "gunicorn3",
        "uwsgi",
        "uwsgi-core",
        "uwsgi_python3",
        "uwsgi_python",
        "uvicorn",
        "hypercorn",
        "granian",
        "waitress-serve",
        "daphne",
        "flask",
    ]
)
# gunicorn with the package setproctitle.
TITLE = re.compile(r"gunicorn: master \[(?P<name>[^\]]*)\]")
INTERPRETER = re.compile(r"(?:python|pypy)[\d.]*\Z")
UNIT = re.compile(r"/([^/\n]+\.service)(?=/|\n|\Z)")
# The listening flag of the kernel in /proc/net/unix.
LISTENING = 0x00010000
# The account of a process that has ended meanwhile.
NOBODY = 65534
# Bounds for what a host has.
MOST = 100
MOST_BYTES = 64 * 1024


@dataclass
class Served:
    """The first process of an app server: ``words`` are its command line, ``addresses`` those it listens on."""

    pid: int
    server: str
    words: list[str]
    cwd: str = ""
    uid: int = NOBODY
    # The unit or the supervisor program that keeps it alive; empty if none does.
    unit: str = ""
    program: str = ""
    addresses: list[str] = field(default_factory=list)

    @property
    def callable(self) -> str:
        """The application on its command line, such as ``shop.wsgi:app``; empty if it is not there."""
        return callable_of(self.words)

    def summary(self) -> dict[str, Any]:
        """The facts for the controller, without the command line, which may hold secrets."""
        return {
            "pid": self.pid,
            "server": self.server,
            "callable": self.callable,
            "unit": self.unit,
            "program": self.program,
            "addresses": self.addresses[:10],
        }


def handmade_processes(root: str, proc: str = "/proc") -> list[Served]:
    """The app servers of a host, without those that run releases below ``root``."""
    found: dict[int, Served] = {}
    parents: dict[int, int] = {}
    for entry in filter(str.isdigit, os.listdir(proc)):
        with suppress(OSError, ValueError, IndexError):
            words = words_of(read(f"{proc}/{entry}/cmdline"))
            server = server_of(words)
            if not server:
                continue
            parents[int(entry)] = int(read(f"{proc}/{entry}/stat").rpartition(")")[2].split()[1])
            found[int(entry)] = Served(int(entry), server, words)
    masters = [one for pid, one in sorted(found.items()) if parents[pid] not in found][:MOST]
    sockets = listening(proc) if masters else {}
    kept = []
    for one in masters:
        family = [one.pid, *(pid for pid, parent in parents.items() if parent == one.pid)]
        complete(one, family, sockets, proc)
        if not any(text.startswith(f"{root}/") for text in (*one.words, one.cwd)):
            kept.append(one)
    return kept


def complete(one: Served, family: list[int], sockets: dict[str, str], proc: str) -> None:
    """Add what only a closer look at a process shows."""
    with suppress(OSError):
        one.cwd = os.readlink(f"{proc}/{one.pid}/cwd")
    with suppress(OSError, IndexError):
        # The folder of a process that must not be dumped belongs to root, whatever its account is.
        one.uid = int(re.findall(r"(?m)^Uid:\s+(\d+)", read(f"{proc}/{one.pid}/status"))[0])
    with suppress(OSError):
        one.unit = unit_of(read(f"{proc}/{one.pid}/cgroup"))
    with suppress(OSError):
        variables = dict(word.split("=", 1) for word in words_of(read(f"{proc}/{one.pid}/environ")) if "=" in word)
        one.program = variables.get("SUPERVISOR_PROCESS_NAME", "")
        group = variables.get("SUPERVISOR_GROUP_NAME", "")
        # Processes of a program with numprocs have names of their own.
        one.program = group if one.program.startswith(group) else one.program
    if one.program or one.unit.startswith(("ssh", "cron", "user@", "rc-local", "docker", "session")):
        one.unit = ""
    found = addresses_of(family, sockets, proc)
    one.addresses = [os.path.normpath(f"{one.cwd}/{path}") if path.startswith("./") else path for path in found]


def unit_of(cgroups: str) -> str:
    """The unit of a process, from its file cgroup. In a container, the units of the container's host come first."""
    found = UNIT.findall(cgroups)
    return str(found[-1]) if found else ""


def server_of(words: list[str]) -> str:
    """The app server that a command line starts; empty if it starts none."""
    if words and TITLE.match(words[0]):
        return "gunicorn"
    if not words:
        return ""
    first = os.path.basename(words[0])
    name = first
    if INTERPRETER.match(first):
        left = [word for word in words[1:] if not (word.startswith("-") and word != "-m")]
        name = os.path.basename(left[1] if left[:1] == ["-m"] and len(left) > 1 else left[0]) if left else ""
    if name not in SERVERS or (name == "flask" and "run" not in words):
        return ""
    return "gunicorn" if name.startswith("gunicorn") else "uwsgi" if name.startswith("uwsgi") else name


CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(?:\(.*\))?")


def callable_of(words: list[str]) -> str:
    title = TITLE.match(words[0]) if words else None
    if title:
        return title["name"] if CALLABLE.fullmatch(title["name"]) else ""
    return next((word for word in reversed(words[1:]) if CALLABLE.fullmatch(word)), "")


def words_of(data: str) -> list[str]:
    return [word for word in data.split("\0") if word]


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace", newline="\n") as stream:
        return stream.read(MOST_BYTES)


def listening(proc: str) -> dict[str, str]:
    """The address of each listening socket, by its inode: ADDRESS:PORT or a path.

    A path that is relative to the folder of its process begins with ``./``.
    """
    found: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        with suppress(OSError), open(f"{proc}/net/{table}", encoding="ascii") as stream:
            for address, port, inode, _uid in parse_table(stream.read()):
                found[inode] = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    with suppress(OSError), open(f"{proc}/net/unix", encoding="utf-8", errors="replace") as stream:
        for line in lines_of(stream.read())[1:]:
            fields = line.split(None, 7)
            if len(fields) == 8 and int(fields[3], 16) & LISTENING and not fields[7].startswith("@"):
                found[fields[6]] = fields[7] if fields[7].startswith("/") else f"./{fields[7]}"
    return found


def addresses_of(pids: list[int], sockets: dict[str, str], proc: str) -> list[str]:
    found = []
    for pid in pids:
        with suppress(OSError):
            for name in os.listdir(f"{proc}/{pid}/fd"):
                with suppress(OSError):
                    match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{proc}/{pid}/fd/{name}"))
                    if match and match[1] in sockets:
                        found.append(sockets[match[1]])
    return list(dict.fromkeys(found))
