# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What single values of a site may look like, and what to write instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DOMAIN = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
SIZE = re.compile(r"[0-9]+[kKmMgG]?")
# What nginx compares a location with is the decoded path, so a percent sign there would never match anything.
LOCATION_PATH = re.compile(r"/([A-Za-z0-9._~!@+,=:-]+/)*([A-Za-z0-9._~!@+,=:-]+)?")
FILE_PATH = re.compile(r"/[^\x00-\x1f\x7f$]*")
SOCKET = re.compile(r"unix:/[A-Za-z0-9._@+/-]+")
HOST = r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
ADDRESS = re.compile(rf"(?P<scheme>http|uwsgi)://{HOST}(:(?P<port>[0-9]{{1,5}}))?/?")


@dataclass(frozen=True)
class Upstream:
    """Where requests go: the protocol that is spoken there, and the address as an upstream block has it."""

    protocol: str
    server: str


def upstream(text: str) -> Upstream | None:
    """An address as people write it; None for what is none."""
    socket = text.removeprefix("uwsgi:")
    if SOCKET.fullmatch(socket):
        return Upstream("http" if socket == text else "uwsgi", socket)
    match = ADDRESS.fullmatch(text)
    if match is None or (match["port"] is None and match["scheme"] != "http"):
        return None
    port = int(match["port"] or 80)
    return Upstream(match["scheme"], f"{match['host']}:{port}") if 0 < port < 65536 else None


def location_path(text: str) -> bool:
    """Whether nginx can compare requests with this path."""
    return bool(LOCATION_PATH.fullmatch(text)) and ".." not in text.split("/")


def folder(text: str) -> bool:
    """Whether this is the absolute path of a file or folder on the host, as nginx can hold it."""
    return bool(FILE_PATH.fullmatch(text)) and ".." not in text.split("/")


def domain_remedy(text: str) -> str | None:
    """What to write in the place of what is no host name; None for what is one."""
    if len(text) <= 253 and DOMAIN.fullmatch(text.lower()):
        return None
    if "://" in text or "/" in text:
        return "Write the bare host name, without scheme and path."
    if re.search(r":[0-9]+$", text):
        return "Write the bare host name; the port has its own key."
    if not text.isascii():
        try:
            return f"Write it in its ASCII form, '{text.encode('idna').decode()}'."
        except UnicodeError:
            pass
    return "Use a host name such as shop.example.com, or *.example.com."
