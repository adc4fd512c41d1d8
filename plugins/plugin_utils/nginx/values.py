# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What single values of a site may look like, and what to write instead."""

from __future__ import annotations

import ipaddress
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


RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
COOKIE = re.compile(r"[A-Za-z0-9_]+")
UPSTREAM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
SERVER = re.compile(rf"{HOST}:(?P<port>[0-9]{{1,5}})")
USER = re.compile(r"[^:#\s\x00-\x1f\x7f][^:\x00-\x1f\x7f]*")
# What crypt(3) of Debian and nginx itself know; a plain password is none of them.
PASSWORD_HASH = re.compile(r"(\$(apr1|1|5|6|y|gy|7|2[aby])\$[!-9;-~]+|\{S?SHA\}[A-Za-z0-9+/=]+)")
# What can stand in a text for nginx: it has no way to write '$', and a line is a line.
TEXT = re.compile(r"[^$\x00-\x1f\x7f]*")


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


def server(text: str) -> bool:
    """Whether this is an address of a server of an upstream group."""
    match = SERVER.fullmatch(text)
    return bool(SOCKET.fullmatch(text)) or (match is not None and 0 < int(match["port"]) < 65536)


def network_remedy(text: str) -> str | None:
    """What to write in the place of what is no address or network; None for what is one."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            return f"Write '{ipaddress.ip_network(text, strict=False)}' for the network."
        except ValueError:
            return "Use an address such as 192.0.2.7, or a network such as 10.0.0.0/8 or 2001:db8::/32."
    return None


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
