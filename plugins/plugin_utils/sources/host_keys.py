# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Pinned keys of ssh servers: the file of known hosts that is made of source.host_key, and the options of ssh."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from pathlib import Path

KEY = re.compile(
    r"(?:(?P<host>[^\s,*?!@|]+)\s+)?(?P<type>(?:ssh|ecdsa|sk)-[a-z0-9@.-]+)\s+(?P<key>[A-Za-z0-9+/=]+)(?:\s.*)?"
)
SSH = re.compile(
    r"(?:git\+ssh|ssh\+git|ssh)://(?:[^/@]*@)?(?P<host>\[[^\]]+\]|[^/:]+)(?::(?P<port>\d+))?(?:/|$)", re.IGNORECASE
)
SCP = re.compile(r"(?:[^/@:]+@)?(?P<host>\[[^\]]+\]|[^/:\s]+):(?!:)")


def server_of(address: str) -> tuple[str, str]:
    """The name and the port of the ssh server in an address of git; empty for any other protocol."""
    found = SSH.match(address)
    if found:
        return found["host"].strip("[]").lower(), found["port"] or "22"
    found = None if "://" in address or address.startswith(("/", ".")) else SCP.match(address)
    return (found["host"].strip("[]").lower(), "22") if found else ("", "")


def problem_of_key(text: str) -> str:
    """Why a text is no public key of a server; empty if it is one."""
    found = KEY.fullmatch(text.strip())
    if found and "\n" not in text.strip():
        try:
            data = base64.b64decode(found["key"], validate=True)
        except (binascii.Error, ValueError):
            data = b""
        # The key begins with the name of its type, and the length of that name.
        name = found["type"].encode()
        if data.startswith(len(name).to_bytes(4, "big") + name) and len(data) > len(name) + 4:
            return ""
    return (
        "is not a public host key. Write its type and the key, such as 'ssh-ed25519 AAAAC3…', with the name of the "
        "server before it if it is not the one in source.git. The server's operator publishes them."
    )


def known_hosts(address: str, keys: list[str]) -> str:
    """The text of a file of known hosts. A key without a server is that of the address."""
    host, port = server_of(address)
    # ssh looks for the first name if it has an alias for the server, which is this name without its port.
    names = [host] if port == "22" else [host, f"[{host}]:{port}"]
    lines = []
    for text in keys:
        found = KEY.fullmatch(text.strip())
        if found:
            lines.append(f"{found['host'] or ','.join(names)} {found['type']} {found['key']}\n")
    return "".join(lines)


def written(folder: Path, text: str) -> Path:
    """The path of a file with this text. Several runs may write it at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.known_hosts"
    number, scratch = tempfile.mkstemp(dir=folder)
    with os.fdopen(number, "w") as stream:
        stream.write(text)
    os.replace(scratch, path)
    return path


def pinning_options(path: Path, alias: str) -> list[str]:
    """The options by which ssh accepts only the keys in a file, where ``alias`` is the name of the server."""
    quoted = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return [
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{quoted}"',
        "GlobalKnownHostsFile=/dev/null",
        "KnownHostsCommand=none",
        "VerifyHostKeyDNS=no",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        # A connection that is already open was made with another check.
        "ControlMaster=no",
        "ControlPath=none",
        *([f"HostKeyAlias={alias}"] if alias else []),
    ]
