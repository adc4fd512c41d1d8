# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A running nginx, and the trees of configuration it can run."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import Listener, listeners

TREE = "@TREE@"
LOADED = "loaded"
BEGIN = re.compile(r"\s*# begin (?P<name>.+), as the inventory has it\s*")
# Group of the workers, which read the secrets of a tree.
WORKERS = "www-data"
# Lines that are for some hosts only stand between such comments.
CONDITION_SIGN = "#@ "
CONDITION = re.compile(r"\s*#@ (?:(?P<sense>if|unless) (?P<fact>\S+)|(?P<word>else|end))\s*")
FAULT = re.compile(r"\[emerg\] (?:\d+#\d+: )?(?P<words>.*?)(?: in (?P<file>/\S+?):(?P<line>\d+))?$", re.MULTILINE)
TAKEN = re.compile(r"bind\(\) to (?P<address>\S+) failed \(98")
RELOAD_TIMEOUT = 30.0  # seconds; nginx itself gives up on a taken port after 2.5
START_TIMEOUT = 10.0  # seconds from the end of the start command to a master with workers


class NginxError(Exception):
    """What went wrong, in words for the user."""


# --- trees: pure --------------------------------------------------------------------------------------------------


def for_host(files: dict[str, str], tree: str, ipv6: bool, facts: AbstractSet[str] = frozenset()) -> dict[str, str]:
    """The files as they are written into a tree of this host."""
    return {path: _for_host(content, tree, ipv6, facts) for path, content in files.items()}


def _for_host(content: str, tree: str, ipv6: bool, facts: AbstractSet[str]) -> str:
    content = chosen(content.replace(TREE, tree), facts)
    if not ipv6:  # a kernel without IPv6 can't open such a socket, and nginx would refuse to start
        content = "".join(line for line in content.splitlines(keepends=True) if not re.match(r"\s*listen\s+\[", line))
    return content


def chosen(content: str, facts: AbstractSet[str]) -> str:
    """The lines for a host of which these facts are true: ``#@ if FACT`` or ``#@ unless FACT``, ``else``, ``end``."""
    if CONDITION_SIGN not in content:
        return content
    kept: list[str] = []
    conditions: list[bool] = []
    for line in content.splitlines(keepends=True):
        match = CONDITION.fullmatch(line)
        if match is None:
            kept += [line] if all(conditions) else []
        elif match["fact"]:
            conditions.append((match["fact"] in facts) == (match["sense"] == "if"))
        elif match["word"] == "else":
            conditions[-1] = not conditions[-1]
        else:
            conditions.pop()
    return "".join(kept)


def program_facts(said: str) -> set[str]:
    """What ``nginx -V`` tells of the program that configurations depend on."""
    version = _version(said, r"nginx version: nginx/")
    facts = set()
    if version >= (1, 25, 1):
        facts.add("http2_directive")
    if "--with-http_v3_module" in said:
        facts.add("http3")
    if version >= (1, 23, 2):  # since then the keys of tickets change by themselves
        facts.add("fresh_tickets")
    if _version(said, r"(?:running with|built with) OpenSSL ") >= (3, 5):
        facts.add("mlkem")
    return facts


def _version(said: str, before: str) -> tuple[int, ...]:
    found = re.findall(before + r"([0-9.]+)", said)
    return tuple(int(part) for part in found[-1].split(".")) if found else ()


def tree_name(files: dict[str, str], now: datetime) -> str:
    """When and what, as people look for it: time and a short fingerprint."""
    digest = sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{files[path]}\0".encode())
    return f"{now.strftime('%Y%m%dT%H%M%S.%fZ')}-{digest.hexdigest()[:8]}"


def user_line(content: str, line: int) -> tuple[str, int, str] | None:
    """Whose input a line of a rendered file is: the input's name, the line in it, and its text."""
    lines = content.splitlines()
    if not 0 < line <= len(lines):
        return None
    inputs: list[tuple[str, int]] = []
    for number, text in enumerate(lines[:line], start=1):
        if inputs and text.strip() == f"# end {inputs[-1][0]}":
            inputs.pop()
        elif match := BEGIN.fullmatch(text):
            inputs.append((match["name"], number))
    if not inputs or inputs[-1][1] == line:
        return None
    name, start = inputs[-1]
    return name, line - start, lines[line - 1].strip()


def explain(output: str, folder: str, files: dict[str, str]) -> str:
    """nginx's first complaint in the user's terms: which site, which line of which input, and nginx's own words."""
    match = FAULT.search(output)
    if match is None:
        return f"nginx says: {output.strip() or 'nothing'}"
    words = match["words"].strip()
    if match["file"] is None:
        return f"nginx says: {words}"
    path, line = match["file"], int(match["line"])
    relative = os.path.relpath(path, folder) if path.startswith(f"{folder}/") else None
    if relative is None or relative not in files:
        return f"nginx says: {words}, in {path} line {line}, which is not a file of this role"
    site = re.fullmatch(r"sites/(.+)\.conf", relative)
    where = f"site '{site[1]}'" if site else relative
    user = user_line(files[relative], line)
    if user:
        name, number, text = user
        return f"{where}, line {number} of {name}, {text!r}: nginx says: {words}"
    shown = files[relative].splitlines()[line - 1].strip() if line <= files[relative].count("\n") else ""
    return f"{where}, line {line} of its file, {shown!r}: nginx says: {words}"


def taken_ports(output: str) -> list[int]:
    """The ports that nginx could not open because somebody has them."""
    return sorted(
        {int(match["address"].rpartition(":")[2]) for match in TAKEN.finditer(output) if ":" in match["address"]}
    )


def holders(output: str, found: Iterable[Listener]) -> str:
    """Who has the ports that nginx could not open; empty where that was not the trouble."""
    ports = taken_ports(output)
    who = [str(listener) for listener in found if listener.port in ports]
    if not who:
        return ""
    numbers = " and ".join(str(port) for port in ports)
    return f" Port {numbers} is taken: {', '.join(who)}. Stop that program, or give the site another port."


# --- trees: on the host -------------------------------------------------------------------------------------------


@dataclass
class Trees:
    """The folder of trees, and the link that says which of them is live."""

    conf_dir: str

    @property
    def home(self) -> str:
        return f"{self.conf_dir}/pyweb"

    @property
    def current(self) -> str:
        return f"{self.home}/current"

    @property
    def all(self) -> str:
        return f"{self.home}/trees"

    def folder(self, name: str) -> str:
        return f"{self.all}/{name}"

    def live(self) -> str | None:
        """The name of the live tree, None where there is none."""
        try:
            name = os.path.basename(os.readlink(self.current))
        except OSError:
            return None
        return name if os.path.isdir(self.folder(name)) else None

    def content(self, name: str, secrets: AbstractSet[str] = frozenset()) -> dict[str, str]:
        """What a tree holds. dpkg's leavings and nginx's own mark are not part of it.

        What somebody else may write to, or read though it is secret, counts as not there: it has to be made anew.
        """
        folder, found = self.folder(name), {}
        if not (is_private(self.home) and is_private(self.all)):
            return {}
        for parent, _folders, files in os.walk(folder):
            if not is_private(parent):
                return {}
            for file in files:
                path = os.path.join(parent, file)
                relative = os.path.relpath(path, folder)
                if relative == LOADED or ".dpkg-" in file:
                    continue
                if not is_private(path, 0o027 if relative in secrets or relative.startswith("secrets/") else 0o022):
                    continue
                with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                    found[relative] = stream.read()
        return found

    def paths(self, name: str) -> list[str]:
        """All files of a tree, whoever may write to them."""
        folder = self.folder(name)
        return [
            os.path.relpath(os.path.join(parent, file), folder)
            for parent, _folders, files in os.walk(folder)
            for file in files
        ]

    def stage(self, name: str, files: dict[str, str], secrets: Iterable[str] = ()) -> None:
        """Write a whole tree beside the live one; ``secrets`` are paths that only nginx may read."""
        owner = pwd.getpwuid(os.geteuid())
        group = _group_name(owner.pw_gid)
        make_folder(self.all)
        for path in (self.home, self.all):
            os.chown(path, owner.pw_uid, -1)
            os.chmod(path, 0o755)  # noqa: S103  # the workers read secrets in here
        for relative, content in sorted(files.items()):
            path = os.path.join(self.folder(name), relative)
            make_folder(os.path.dirname(path))
            mode, readers = (0o640, WORKERS) if relative in secrets else (0o644, group)
            write(File(path=path, content=content, owner=owner.pw_name, group=readers, mode=mode))

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def prune(self, keep: Iterable[str | None]) -> None:
        """Remove every tree that is neither live nor a way back; interrupted runs leave such."""
        kept = set(keep)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.all):
                if name not in kept:
                    self.remove(name)


def is_private(path: str, forbidden: int = 0o022) -> bool:
    """Whether it is our own, no link to elsewhere, and gives nobody these rights; others to write are the default."""
    status = os.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    return not link and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & forbidden


def make_folder(path: str) -> None:
    if not os.path.isdir(path):
        make_folder(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103  # whatever the umask: the workers reopen a log in here


def _group_name(gid: int) -> str:
    import grp

    return grp.getgrgid(gid).gr_name


def has_ipv6() -> bool:
    """Whether this kernel opens IPv6 sockets at all."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


# --- processes ----------------------------------------------------------------------------------------------------


@dataclass
class Process:
    """What /proc tells about a process of nginx, readable without privileges."""

    pid: int
    parent: int
    session: int
    title: str

    @property
    def is_master(self) -> bool:
        return self.title.startswith("nginx: master process")

    @property
    def is_worker(self) -> bool:
        return self.title.startswith("nginx: worker process")

    @property
    def is_leaving(self) -> bool:
        return self.title.endswith("is shutting down")


def processes() -> dict[int, Process]:
    """Every nginx process of the host."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stream:
                stat = stream.read()
            if "(nginx)" not in stat:
                continue
            fields = stat.rpartition(")")[2].split()
            if fields[0] in "ZX":  # ended, and only waits for its parent to notice
                continue
            with open(f"/proc/{entry}/cmdline", encoding="utf-8", errors="replace") as stream:
                title = stream.read().replace("\0", " ").strip()
            found[int(entry)] = Process(int(entry), int(fields[1]), int(fields[3]), title)
    return found


@dataclass
class Logs:
    """The error logs from now on, so that only what belongs to this attempt is read."""

    paths: list[str]
    sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.paths:
            self.sizes[path] = os.path.getsize(path) if os.path.exists(path) else 0

    def emergencies(self) -> str:
        """The lines with which nginx gave up, each once."""
        lines: list[str] = []
        for path in self.paths:
            with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
                if os.path.getsize(path) >= self.sizes[path]:
                    stream.seek(self.sizes[path])
                lines += [line.rstrip("\n") for line in stream if "[emerg]" in line]
        return "\n".join(dict.fromkeys(lines))


class Nginx:
    """One instance of nginx: how it is tested, started and reloaded, with or without an init."""

    def __init__(
        self, binary: str | None, conf_dir: str, pid_file: str, error_log: str, systemd: bool, trees: Trees
    ) -> None:
        self.binary = binary
        self.conf_dir = conf_dir
        self.pid_file = pid_file
        self.error_log = error_log
        self.systemd = systemd
        self.trees = trees

    @property
    def entry(self) -> str:
        return f"{self.conf_dir}/nginx.conf"

    def recorded_pid(self) -> int | None:
        try:
            with open(self.pid_file, encoding="ascii") as stream:
                return int(stream.read())
        except (OSError, ValueError):  # nginx -t leaves an empty file where there was none
            return None

    def master(self) -> int | None:
        """The living master of this instance."""
        pid = self.recorded_pid()
        process = processes().get(pid) if pid else None
        return pid if process and process.is_master else None

    def workers(self, master: int) -> set[int]:
        """The workers that take new connections."""
        return {
            process.pid
            for process in processes().values()
            if process.parent == master and process.is_worker and not process.is_leaving
        }

    def loaded(self, master: int | None) -> str | None:
        """The tree that the master runs, known by the file which that tree makes it keep open."""
        if master is None:
            return None
        pattern = re.compile(re.escape(f"{self.trees.home}/trees/") + rf"([^/]+)/{LOADED}( \(deleted\))?")
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{master}/fd"):
                with contextlib.suppress(OSError):
                    match = pattern.fullmatch(os.readlink(f"/proc/{master}/fd/{descriptor}"))
                    if match:
                        return match[1]
        return None

    def facts(self) -> set[str]:
        """What this program can do; of one that is not installed yet, what the newest Debian's can."""
        if self.binary is None:
            return {"http2_directive", "http3", "fresh_tickets", "mlkem"}
        said = subprocess.run(
            [self.binary, "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        return program_facts(said.stderr)

    def test(self, entry: str) -> str:
        """nginx's own test of a configuration; gives its warnings, raises with its complaint."""
        assert self.binary
        result = subprocess.run(
            [self.binary, "-t", "-c", entry], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise NginxError(result.stderr)
        return result.stderr

    def reload(self, name: str) -> None:
        """Have the master load the live tree, and wait until its workers are new ones that run it."""
        master = self.master()
        if master is None:
            raise NginxError("nginx ended before it could be reloaded")
        before = self.workers(master)
        logs = self.logs(name)
        os.kill(master, signal.SIGHUP)

        def took() -> bool:
            workers = self.workers(master)
            if workers and not workers & before and self.loaded(master) == name:
                return True
            complaint = logs.emergencies()
            # Complaints about a taken port may still end well: nginx tries five times.
            if complaint and ("still could not bind" in complaint or "bind()" not in complaint):
                raise NginxError(complaint)
            return False

        if not _wait(took, RELOAD_TIMEOUT):
            raise NginxError(
                logs.emergencies() or f"its workers did not change within {RELOAD_TIMEOUT:.0f} s, see {self.error_log}"
            )

    def start(self, name: str | None) -> None:
        """Start nginx and wait until it runs the tree (None: whatever it finds)."""
        logs = self.logs(name)
        words = self._start_unit() if self.systemd else self._start_daemon()
        complaint = logs.emergencies() or words
        if words:
            raise NginxError(complaint)

        def runs() -> bool:
            master = self.master()
            return master is not None and bool(self.workers(master)) and name in (None, self.loaded(master))

        if not _wait(runs, START_TIMEOUT):
            raise NginxError(
                logs.emergencies() or f"it does not run {START_TIMEOUT:.0f} s after its start, see {self.error_log}"
            )

    def _start_unit(self) -> str:
        systemctl("reset-failed", "nginx.service")  # else a crash loop of yesterday forbids today's start
        result = systemctl("start", "nginx.service")
        return (result.stderr.strip() or "systemctl start failed") if result.returncode else ""

    def _start_daemon(self) -> str:
        assert self.binary
        self.end_orphans()
        own = [] if self.conf_dir == "/etc/nginx" else ["-c", self.entry]
        # nginx makes itself a daemon with a session of its own; no pipe, for a daemon could hold it open.
        with open(os.devnull, "r+b") as nothing:
            result = subprocess.run(
                [self.binary, *own], stdin=nothing, stdout=nothing, stderr=nothing, check=False, cwd="/"
            )
        return f"nginx ended with code {result.returncode}" if result.returncode else ""

    def end_orphans(self) -> None:
        """Workers of a killed master hold its ports for ever. Ask them to finish what they have, and go."""
        recorded, everyone = self.recorded_pid(), processes()
        for process in everyone.values():
            # The master led a session, and a session keeps its number: so these are ours, and no other nginx's.
            if process.is_worker and process.parent not in everyone and process.session == recorded:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGQUIT)

    def logs(self, name: str | None) -> Logs:
        return Logs([self.error_log, *([f"{self.trees.folder(name)}/{LOADED}"] if name else [])])

    def port_holders(self, complaint: str) -> str:
        return holders(complaint, listeners()) if taken_ports(complaint) else ""


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def now() -> datetime:
    return datetime.now(UTC)
