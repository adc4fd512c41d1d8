# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The systems of hosts, in three tiers: tested, expected to work, refused. Pure.

Features of a host decide whether a run can work: apt, Python, systemd, nginx. The name of its system only decides
whether the tests have run on it. docs/platforms.md lists what was run, simulated and read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.systemd_versions import OLDEST, unknown

# The releases of Debian that the tests run on.
TESTED = ("11", "12", "13")

# The oldest versions that work, and the first releases that have them.
OLDEST_PYTHON = (3, 9)
OLDEST_SYSTEMD = (OLDEST,)
OLDEST_NGINX = (1, 18)
FIRST = "Debian 11 and Ubuntu 22.04"

# A name of a system is shown up to this length.
MOST_CHARACTERS = 80

# Packages that some systems lack, and what to do there.
LACKING = {
    r"libnginx-mod-http-brotli-\w+": "nginx has this module since Debian 12 and Ubuntu 24.04. Set nginx_brotli: false",
    r"python3-venv|supervisor|python3\.\d+-venv": (
        "Ubuntu has it in the component universe. Enable it on the host: add-apt-repository universe"
    ),
    r"python3\.\d+(-\w+)?": (
        "the system has another version of Python. Leave python.interpreter out, or let uv provide the version with "
        "python.version"
    ),
}


def version_of(text: Any) -> tuple[int, ...]:
    """The numbers of a version of Debian's packages, such as ``1:252.39-1~deb12u1``; empty if it is unknown."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", text) if isinstance(text, str) else None
    return tuple(int(number) for number in match[1].split(".")) if match else ()


def package_version(facts: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The version of an installed package; empty if it is not installed, or unknown."""
    versions = facts["platform"].get("versions")
    return version_of(versions.get(name)) if isinstance(versions, Mapping) else ()


def systemd_version(facts: Mapping[str, Any]) -> tuple[int, ...]:
    return package_version(facts, "systemd")


def shown(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def system_name(facts: Mapping[str, Any]) -> str:
    """The name and version of the host's system, as its os-release says it."""
    found = facts["distribution"]
    name = found.get("name") or found.get("id")
    # Debian testing and sid have no version, only a code name.
    words = [str(name or "an unknown system"), str(found.get("version") or found.get("codename") or "")]
    return one_line(" ".join(filter(None, words)))[:MOST_CHARACTERS]


def is_tested(facts: Mapping[str, Any]) -> bool:
    found = facts["distribution"]
    return found.get("id") == "debian" and str(found.get("version")).split(".", maxsplit=1)[0] in TESTED


def platform_problems(facts: Mapping[str, Any]) -> Iterator[str]:
    """Why a host is refused, with what would do."""
    platform, name = facts["platform"], system_name(facts)
    if platform.get("apt") is not True:
        yield (
            f"the host runs {name} and has no apt with dpkg, which this collection installs packages with. Use Debian, "
            "Ubuntu or a system that is made from them."
        )
        return
    python = version_of(platform.get("python"))
    if python < OLDEST_PYTHON:
        yield (
            f"Ansible runs Python {shown(python) or '(unknown)'} on the host ({name}), but this collection needs "
            f"{shown(OLDEST_PYTHON)} or newer, as {FIRST} have it. Upgrade the system, or name a newer Python in "
            "ansible_python_interpreter."
        )
    systemd, nginx = systemd_version(facts), package_version(facts, "nginx")
    if facts["init"] == "systemd" and systemd and systemd < OLDEST_SYSTEMD:
        yield (
            f"the host ({name}) has systemd {shown(systemd)}, but this collection needs {shown(OLDEST_SYSTEMD)} or "
            f"newer, as {FIRST} have it. An older one ignores parts of the sandbox. Upgrade the system."
        )
    if nginx and nginx < OLDEST_NGINX:
        yield (
            f"the host ({name}) has nginx {shown(nginx)}, but this collection needs {shown(OLDEST_NGINX)} or newer, "
            f"as {FIRST} have it. Upgrade the system or nginx."
        )


def notices(apps: list[dict[str, Any]], facts: Mapping[str, Any]) -> list[str]:
    """The lines that a run prints about the system of a host."""
    return [*filter(None, [notice(facts)]), *ignored_directives(apps, facts)]


def notice(facts: Mapping[str, Any]) -> str:
    """The line that a run prints once about hosts whose system is not tested; empty for others.

    It names no host: Ansible shows equal warnings of several hosts once.
    """
    if is_tested(facts):
        return ""
    return (
        f"Hosts with {system_name(facts)}: expected to work, but not tested. Tested are Debian "
        f"{', '.join(TESTED[:-1])} and {TESTED[-1]} (docs/platforms.md)."
    )


def ignored_directives(apps: list[dict[str, Any]], facts: Mapping[str, Any]) -> list[str]:
    """A line for each application with directives of systemd that the systemd of its host ignores."""
    systemd = systemd_version(facts)
    if facts["init"] != "systemd" or not systemd:
        return []
    lines = []
    for app in apps:
        found = unknown(app["systemd"], systemd[0])
        words = ", ".join(f"{name} (systemd {since})" for name, since in found)
        if words:
            lines.append(
                f"webapps '{app['name']}'.systemd: systemd {systemd[0]} of the host ignores {words}. Remove it, or "
                "upgrade the system."
            )
    return lines


def package_hint(message: str) -> str:
    """The remedy for a package that apt does not know, from its message; empty if that is not known."""
    if "Could not get lock" in message:
        return "Another program uses apt. Wait until it has ended, then run again."
    found = re.search(r"No package matching '([^']+)'|Unable to locate package (\S+)", message)
    name = (found[1] or found[2]) if found else ""
    for pattern, hint in LACKING.items():
        if name and re.fullmatch(pattern, name):
            return f"{name}: {hint}."
    return ""
