# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The processes that listen on TCP ports of this host, read from /proc, so that no tool has to be installed."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

LISTEN = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h, as /proc/net/tcp prints it


@dataclass(frozen=True)
class Listener:
    """One listening TCP socket. ``pid`` and ``program`` are None where the process is in another namespace."""

    address: str
    port: int
    pid: int | None
    program: str | None
    uid: int = 0

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        holder = f"{self.program} (pid {self.pid})" if self.pid else "a process this account can't see"
        return f"{holder} on {host}:{self.port}"


def decode_address(text: str) -> tuple[str, int]:
    """Address and port of ``local_address``: 32-bit words in the machine's byte order; the port in network order."""
    digits, port = text.split(":")
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)


def parse_table(text: str) -> list[tuple[str, int, str, int]]:
    """(address, port, inode, account) of every listening socket of a table such as /proc/net/tcp."""
    sockets = []
    for line in lines_of(text)[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            sockets.append((*decode_address(fields[1]), fields[9], int(fields[7])))
    return sockets


def listeners(proc: str = "/proc") -> list[Listener]:
    """Every listening TCP socket, by port and address. Of processes that share one, the parent, as nginx's master."""
    sockets = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"{proc}/net/{table}", encoding="ascii") as stream:
            sockets.extend(parse_table(stream.read()))
    owners = _processes_by_inode(proc, {inode for _address, _port, inode, _uid in sockets})
    found = []
    for address, port, inode, uid in sockets:
        pid = _parent_of_all(proc, owners.get(inode, []))
        found.append(Listener(address, port, pid, _program(proc, pid) if pid else None, uid))
    return sorted(found, key=lambda listener: (listener.port, listener.address))


def _processes_by_inode(proc: str, inodes: set[str]) -> dict[str, list[int]]:
    """The processes that hold each inode open. A process that ends meanwhile is left out."""
    owners: dict[str, list[int]] = {}
    if not inodes:
        return owners
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"{proc}/{entry}/fd"):
                with contextlib.suppress(OSError):
                    inode = wanted.get(os.readlink(f"{proc}/{entry}/fd/{descriptor}"))
                    if inode and int(entry) not in owners.setdefault(inode, []):
                        owners[inode].append(int(entry))
    return owners


def _parent_of_all(proc: str, pids: Iterable[int]) -> int | None:
    """Of processes that share a socket, the first whose parent does not have it, such as nginx's master."""
    sharing = sorted(pids)
    for pid in sharing:
        if _parent(proc, pid) not in sharing:
            return pid
    return sharing[0] if sharing else None


def _parent(proc: str, pid: int) -> int | None:
    # The name in parentheses may hold spaces and parentheses itself.
    fields = _read(f"{proc}/{pid}/stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def _program(proc: str, pid: int) -> str | None:
    return _read(f"{proc}/{pid}/comm").strip() or None


def _read(path: str) -> str:
    """The text of a file in /proc; empty if the process has ended meanwhile."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
