# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The form of single values of a site, and what to write instead of a wrong one. Pure."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(\*\.)?{LABEL}(\.{LABEL})*")
# Full stops of other scripts, which separate labels like a dot.
DOTS = re.compile("[.\u3002\uff0e\uff61]")
KEPT_LETTERS = "\u00df\u03c2"  # sharp s, final sigma
JOINERS = "\u200c\u200d"  # invisible; Python's codec would drop them, but browsers keep them
DOMAIN_WITH_UNDERSCORES = re.compile(rf"(\*\.)?[a-z0-9_]([a-z0-9_-]{{0,61}}[a-z0-9])?(\.{LABEL})*")
SIZE = re.compile(r"[0-9]+[kKmMgG]?")
# The arguments of a URL, as nginx can write them.
QUERY = re.compile(r"[A-Za-z0-9._~!@+,=:;&%/-]*")
# nginx compares a location with the decoded path, so a percent sign would never match.
LOCATION_PATH = re.compile(r"/([A-Za-z0-9._~!@+,=:-]+/)*([A-Za-z0-9._~!@+,=:-]+)?")
FILE_PATH = re.compile(r"/[^\x00-\x1f\x7f$]*")
SOCKET = re.compile(r"unix:/[A-Za-z0-9._@+/-]+")
HOST = r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
ADDRESS = re.compile(rf"(?P<scheme>http|uwsgi)://{HOST}(:(?P<port>[0-9]{{1,5}}))?/?")
RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
# The names of the WHATWG's Encoding standard, and nginx's word for none.
CHARSET = re.compile(
    r"(?i:off|utf-8|us-ascii|iso-8859-[0-9]{1,2}|windows-[0-9]{3,4}|macintosh|koi8-[ru]|shift_jis|euc-(jp|kr)|gbk"
    r"|gb18030|big5|iso-2022-jp|utf-16(le|be)?)"
)
# The * stands for any end of the name.
COOKIE = re.compile(r"[A-Za-z0-9_]+\*?")
# The signs before and after the name of a cookie, for every parser: some separate cookies by commas or spaces, and
# some remove spaces, or characters that look like them, before the equals sign.
BEFORE_COOKIE, AFTER_COOKIE = "(?<![A-Za-z0-9._=-])", "[^A-Za-z0-9._=;-]*="
# Names of cookies by which applications and their login frameworks know their users.
LOGIN_COOKIE = "[^=;]*(?:sess|auth|login|logged|remember|identity|jwt)[^=;]*"
UPSTREAM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
SERVER = re.compile(rf"{HOST}:(?P<port>[0-9]{{1,5}})")
USER = re.compile(r"[^:#\s\x00-\x1f\x7f][^:\x00-\x1f\x7f]*")
# The hashes that Debian's crypt(3) and nginx itself know. A plain password has none of these forms.
PASSWORD_HASH = re.compile(r"(\$(apr1|1|5|6|y|gy|7|2[aby])\$[!-9;-~]+|\{S?SHA\}[A-Za-z0-9+/=]+)")
# Costs up to which nginx needs at most about 3 ms for a usual password. It hashes in its worker, so no other request of
# that worker is served meanwhile. A cost of yescrypt is the beginning of its parameters.
MOST_ROUNDS, MOST_BCRYPT, YESCRYPT = 5000, 6, ("j75", "j85")
# A text that nginx can hold: it has no way to write a plain '$'.
TEXT = re.compile(r"[^$\x00-\x1f\x7f]*")


@dataclass(frozen=True)
class Upstream:
    """Where requests go: the protocol that is spoken there, and the address as an upstream block has it."""

    protocol: str
    server: str


def is_cheap_hash(text: str) -> bool:
    """Whether nginx can compute this password hash for every request without a delay for other visitors."""
    _empty, kind, cost = [*text.split("$"), "", ""][:3]
    if kind in ("5", "6"):
        rounds = cost.removeprefix("rounds=")
        return rounds == cost or (rounds.isdecimal() and int(rounds) <= MOST_ROUNDS)
    if kind in ("2a", "2b", "2y"):
        return cost.isdecimal() and int(cost) <= MOST_BCRYPT
    if kind in ("y", "gy"):
        return cost in YESCRYPT
    return kind != "7"


def upstream(text: str) -> Upstream | None:
    """The target of an address as people write it; None for anything else."""
    socket = text.removeprefix("uwsgi:")
    if SOCKET.fullmatch(socket):
        return Upstream("http" if socket == text else "uwsgi", socket)
    match = ADDRESS.fullmatch(text)
    if match is None or (match["port"] is None and match["scheme"] != "http"):
        return None
    port = int(match["port"] or 80)
    return Upstream(match["scheme"], f"{match['host']}:{port}") if 0 < port < 65536 else None


def is_server(text: str) -> bool:
    """Whether this is the address of a server of an upstream group."""
    match = SERVER.fullmatch(text)
    return bool(SOCKET.fullmatch(text)) or (match is not None and 0 < int(match["port"]) < 65536)


def network_remedy(text: str) -> str | None:
    """The remedy for a wrong address or network; None for a right one."""
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


def is_path(text: str) -> bool:
    """Whether this is the absolute path of a file or folder on the host, as nginx can hold it."""
    return bool(FILE_PATH.fullmatch(text)) and ".." not in text.split("/")


def domain(text: str) -> str:
    """A host name in the one spelling that names are compared in: lower case, and ASCII if it has such a form."""
    name = text.lower().rstrip(".")
    if name.startswith("[") and is_address(name):
        return f"[{compressed(name[1:-1])}]"
    if name.isascii() or any(letter in name for letter in JOINERS):
        return name
    try:
        return ".".join(ascii_label(label) for label in DOTS.split(unicodedata.normalize("NFKC", name)))
    except UnicodeError:
        return name


def ascii_label(label: str) -> str:
    """A label as browsers look it up. Python's codec follows IDNA 2003, which replaces two letters that they keep."""
    if label.isascii():
        return label
    if any(letter in label for letter in KEPT_LETTERS):
        for part in re.split(f"[{KEPT_LETTERS}]", label):
            part.encode("idna")
        return "xn--" + label.encode("punycode").decode()
    return label.encode("idna").decode()


def domain_problem(text: str, underscores: bool = False) -> str | None:
    """The problem with a host name, in words that continue "'name' …"; None if there is none.

    An address is a host name, too. A browser writes an IPv6 address in brackets, and so must the site.
    """
    name = domain(text)
    if "://" in name or "/" in name:
        host = re.sub(r"^[a-z]*://|[/:].*$", "", name)
        return f"is a URL. Write the host name alone: '{host if DOMAIN.fullmatch(host) else 'shop.example.com'}'."
    if is_address(name):
        return (
            None
            if ":" not in name or name[0] == "["
            else f"is an IPv6 address without brackets. Write '[{compressed(name)}]'."
        )
    if port := re.fullmatch(r"(.+):([0-9]+)", name):
        return f"has a port. Write '{port[1]}' here, and port: {port[2]} beside it."
    if re.fullmatch(r"[0-9.]*\.[0-9]+", name):
        return "looks like an IPv4 address, but is none. Write four numbers from 0 to 255, such as 192.0.2.7."
    pattern = DOMAIN_WITH_UNDERSCORES if underscores else DOMAIN
    if len(name) <= 253 and pattern.fullmatch(name):
        return None
    return "is not a host name. Use letters, digits, '-' and dots, such as shop.example.com or *.example.com."


def compressed(address: str) -> str:
    return str(ipaddress.ip_address(address))


def is_address(text: str) -> bool:
    """Whether this is an IPv4 address, or an IPv6 address with or without brackets."""
    bare = text[1:-1] if text[:1] + text[-1:] == "[]" else text
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return False
    # A zone such as %eth0 is for this machine only, and brackets are for IPv6.
    return "%" not in bare and (found.version == 6 or bare == text)
