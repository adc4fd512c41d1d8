# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Lines of a configuration that hold on some hosts only, by comments such as ``#@ if http3``. Pure."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

# The folder of the tree that a file is in.
TREE = "@TREE@"

CONDITION_SIGN = "#@ "
CONDITION = re.compile(r"\s*#@ (?:(?P<sense>if|unless) (?P<fact>\S+)|(?P<word>else|end))\s*")

# The facts of nginx in the newest release of Debian. Check mode assumes it where nginx is not installed yet.
NEWEST = frozenset(
    {"http2_directive", "http3", "fresh_tickets", "mlkem", "newer_types", "reject_handshake", "keepalive_time"}
)

# The first version of nginx with a feature. Older ones get the lines that stand after ``#@ else``, or none.
SINCE = {
    "reject_handshake": (1, 19, 4),
    "keepalive_time": (1, 19, 10),
    "http2_directive": (1, 25, 1),
    # From this version on, nginx changes the keys of tickets itself.
    "fresh_tickets": (1, 23, 2),
    # The mime.types of Debian 13.
    "newer_types": (1, 26),
    "keepalive_min_timeout": (1, 27, 4),
    # From this version on, nginx reuses connections to servers by default.
    "upstream_keepalive": (1, 29, 7),
}
# The oldest version that the configuration is made for, the one of Debian 11.
OLDEST = (1, 18)


def for_host(files: dict[str, str], tree: str, ipv6: bool, facts: AbstractSet[str] = frozenset()) -> dict[str, str]:
    """The files as they are written into a tree of this host."""
    return {path: _for_host(content, tree, ipv6, facts) for path, content in files.items()}


def _for_host(content: str, tree: str, ipv6: bool, facts: AbstractSet[str]) -> str:
    content = chosen(content.replace(TREE, tree), facts)
    if not ipv6:  # a kernel without IPv6 can't open such a socket, and nginx would refuse to start
        content = "\n".join(line for line in content.split("\n") if not re.match(r"\s*listen\s+\[", line))
    return content


def chosen(content: str, facts: AbstractSet[str]) -> str:
    """The lines for a host with these facts: ``#@ if FACT`` or ``#@ unless FACT``, ``#@ else``, ``#@ end``."""
    if CONDITION_SIGN not in content:
        return content
    kept: list[str] = []
    conditions: list[bool] = []
    for line in content.split("\n"):
        match = CONDITION.fullmatch(line)
        if match is None:
            kept += [line] if all(conditions) else []
        elif match["fact"]:
            conditions.append((match["fact"] in facts) == (match["sense"] == "if"))
        elif match["word"] == "else":
            conditions[-1] = not conditions[-1]
        else:
            conditions.pop()
    return "\n".join(kept)


def program_facts(output: str) -> set[str]:
    """The facts of the program, from the output of ``nginx -V``."""
    version = program_version(output)
    facts = {fact for fact, first in SINCE.items() if version >= first}
    if "--with-http_v3_module" in output:
        facts.add("http3")
    if _version(output, r"(?:running with|built with) OpenSSL ") >= (3, 5):
        facts.add("mlkem")
    return facts


def program_version(output: str) -> tuple[int, ...]:
    """The version of nginx, from the output of ``nginx -V``; empty if it does not say it."""
    return _version(output, r"nginx version: nginx/")


def _version(output: str, before: str) -> tuple[int, ...]:
    found = re.findall(before + r"([0-9.]+)", output)
    return tuple(int(part) for part in found[-1].split(".")) if found else ()
