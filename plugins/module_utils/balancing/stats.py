# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Answers of HAProxy's admin socket: its configuration, and the state of each web host."""

from __future__ import annotations

import csv
import socket
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

TIMEOUT = 5.0  # seconds
MOST_BYTES = 16 * 1024 * 1024

# The words of HAProxy, and ours. A word may be followed by the progress of the checks, such as UP 1/2.
STATES = {"UP": "up", "NOLB": "draining", "DRAIN": "draining", "DOWN": "down", "MAINT": "down"}


class AdminError(HostError):
    """HAProxy did not answer on its admin socket."""


def ask(path: str, command: str) -> str:
    """The answer to a command; raises AdminError."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(path)
            client.sendall(f"{command}\n".encode())
            while (piece := client.recv(65536)) and len(answer) < MOST_BYTES:
                answer += piece
    except OSError as error:
        raise AdminError(f"HAProxy does not answer on {path}: {error.strerror or error}") from error
    return answer.decode(errors="replace")


def description(path: str) -> str:
    """The description in the configuration that HAProxy runs; empty if it does not run."""
    try:
        found = [line for line in lines_of(ask(path, "show info")) if line.startswith("description:")]
    except AdminError:
        return ""
    return found[0].partition(":")[2].strip() if found else ""


def servers(path: str) -> dict[str, list[dict[str, Any]]]:
    """The servers of each backend, as HAProxy counts them; raises AdminError."""
    text = ask(path, "show stat -1 4 -1").lstrip("# ")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in csv.DictReader(lines_of(text)):
        if row.get("svname"):
            found.setdefault(row["pxname"], []).append(seen(row))
    return found


def seen(row: dict[str, Any]) -> dict[str, Any]:
    """One server."""
    word = str(row.get("status") or "").split(" ")[0]
    return {
        "host": row["svname"],
        "state": STATES.get(word, "unknown"),
        "is_checked": row.get("check_status") not in (None, "", "INI"),
        "sessions": number(row.get("scur")) + number(row.get("qcur")),
        "requests": number(row.get("stot")),
        "since": number(row.get("lastchg")),
        "weight": number(row.get("weight")),
        "backup": row.get("bck") == "1",
        "check": " ".join(str(row.get(key) or "") for key in ("check_status", "check_code", "last_chk")).strip(),
    }


def number(text: Any) -> int:
    return int(text) if text and str(text).isdigit() else 0


def applications(path: str) -> list[dict[str, Any]]:
    """The web hosts of each application: their state, and their open requests, whichever way they came."""
    found = servers(path)
    hosts = {name.partition("_")[2]: one[0]["state"] for name, one in found.items() if name.startswith("HOST_") and one}
    apps = []
    for name, own in found.items():
        if name.startswith("HOST_") or name.endswith(("_once", "_last")):
            continue
        others = [*found.get(f"{name}_once", []), *found.get(f"{name}_last", [])]
        for server in own:
            same = [server, *(other for other in others if other["host"] == server["host"])]
            server["sessions"] = sum(one["sessions"] for one in same)
            server["requests"] = sum(one["requests"] for one in same)
            # Whether the nginx of the host responds.
            server["host_state"] = hosts.get(server["host"], "unknown")
            del server["is_checked"]
        apps.append({"name": name, "servers": own})
    return apps
