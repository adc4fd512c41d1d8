# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sandbox of the programs of a deployment: transient units of systemd, with the properties of the services.

The controller computes the properties. They are kept in a file of the application, because commands that come later,
such as those of run.yml, need the same ones.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, read, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError

# Exists if systemd is the init of this host.
SYSTEMD = "/run/systemd/system"

# A shell passes the status on: systemd-run does not return the signal that ended a program.
STATUS = ("/bin/sh", "-c", '"$@"; exit $?', "sh")

# The values of specifiers that unit files of an application can contain, besides the release, %i.
FIXED = {"%": "%", "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc"}
# No command runs without these.
ESSENTIAL = frozenset({"User", "Group", "UMask", "NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem"})
UNKNOWN = re.compile(r"Unknown assignment: ([A-Za-z0-9-]+)=")


def unit_of(layout: Layout, purpose: str = "deploy") -> str:
    """The name of the transient unit. No name of an application has a dot, so it belongs to one application."""
    return f"pyweb-{purpose}.{layout.name}.service"


def wanted_text(given: dict[str, Any]) -> str:
    return json.dumps(given, indent=1, sort_keys=True) + "\n"


def keep_properties(layout: Layout, given: dict[str, Any], check_mode: bool = False) -> bool:
    """Write the properties that the controller has computed; return whether they differed."""
    text = wanted_text(given)
    if read(layout.sandbox) == text.encode():
        return False
    if not check_mode:
        write(File(layout.sandbox, text, mode=0o600))
    return True


def properties(layout: Layout, world: str) -> list[str] | None:
    """The properties of a world, ``run`` or ``build``. None without systemd, and before the first deployment."""
    if not os.path.isdir(SYSTEMD):
        return None
    try:
        found = json.loads(read(layout.sandbox) or b"{}").get(world)
    except ValueError:
        return None
    return list(map(str, found)) if found else None


def expanded(text: str, values: dict[str, str]) -> str:
    """A line of a unit file without specifiers, because transient units have none. Unknown ones stay as they are."""
    known = {**FIXED, **values}
    return re.sub(r"%(.)", lambda match: known.get(match.group(1), match.group(0)), text)


def specifiers(layout: Layout, identity: str) -> dict[str, str]:
    instance = identity or layout.current_release() or "none"
    full = f"{layout.name}@{instance}"
    return {"i": instance, "I": instance, "n": f"{full}.service", "N": full, "p": layout.name, "P": layout.name} | {
        "j": layout.name,
        "J": layout.name,
        "u": layout.name,
        "g": layout.name,
        "h": layout.home,
        "H": os.uname().nodename,
    }


def command_line(unit: str, lines: list[str], cwd: str, environment: str, command: list[str]) -> list[str]:
    """The command line of systemd-run. ``environment`` is the path of a file, because D-Bus shows values to all."""
    options = [word for line in lines for word in ("-p", line)]
    own = [
        f"EnvironmentFile={environment}",
        f"WorkingDirectory={cwd}",
        "KillMode=control-group",
        # Nothing that a command leaves gets time to react.
        "KillSignal=SIGKILL",
        f"Description=A command of a deployment, {unit}",
    ]
    return [
        *("systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec", f"--unit={unit}"),
        *options,
        *(word for line in own for word in ("-p", line)),
        "--",
        # systemd replaces variables in all words but the first.
        *(word if place == 0 else word.replace("$", "$$") for place, word in enumerate([*STATUS, *command])),
    ]


@contextmanager
def environment_file(environment: dict[str, str]) -> Iterator[str]:
    """The environment of a program as a file for systemd, which root alone can read."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogateescape", prefix="pyweb-") as stream:
        for name, value in environment.items():
            escaped = re.sub(r'([\\"$`])', r"\\\1", value)
            stream.write(f'{name}="{escaped}"\n')
        stream.flush()
        yield stream.name


def known_properties(layout: Layout, unit: str, lines: list[str]) -> list[str]:
    """The properties without those that this version of systemd does not know. In a unit file, systemd ignores them.

    A program of the system is run with them. The output of the command itself is no evidence: it could name a property,
    such as ``User``, to run without it. Raises ReleaseError for a property that the sandbox can't do without.
    """
    while True:
        argv = command_line(unit, lines, "/", "/dev/null", ["/bin/true"])
        probe = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        found = UNKNOWN.search(probe.stderr) if probe.returncode else None
        rest = [line for line in lines if not found or not line.startswith(f"{found.group(1)}=")]
        if len(rest) == len(lines):
            return lines
        name = found.group(1) if found else ""
        if name in ESSENTIAL:
            raise ReleaseError(
                layout.name,
                f"systemd of this host has no property {name}, without which no command is run. Update systemd.",
            )
        lines = rest


def stop_unit(unit: str) -> None:
    """End all processes of a transient unit."""
    subprocess.run(["systemctl", "stop", unit], stdin=subprocess.DEVNULL, capture_output=True, check=False)
