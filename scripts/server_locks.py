#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write the locks of the packages that this collection installs itself: the app servers with their extras, and uv.

make lock-servers

The versions are the newest ones for each version of Python, but never newer than requirements/test.txt. All of them are
wheels, except for packages that upstream offers only as source. uv has the version of requirements/bootstrap.txt.
"""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / ".collections"))

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import granian, gunicorn  # noqa: E402  # after the path

SERVERS = CHECKOUT / "plugins/plugin_utils/servers/server_lock.py"
UV = CHECKOUT / "plugins/module_utils/host/uv_lock.py"

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PROCESSORS = ("x86_64", "aarch64")
# Upstream has no wheels of these.
SOURCE_ONLY = ("gunicorn-h1c",)

# Lines of a table: they can be long.
HEAD = [
    "# Copyright: the pyweb.stack contributors",
    "# MIT License (see LICENSE)",
]


def requirements() -> list[str]:
    """Every requirement that this collection has for an app server, without bounds that no old Python can meet."""
    ours = gunicorn.every_requirement() | granian.every_requirement()
    return sorted({*(one for one in ours if one != gunicorn.ASGI_GUNICORN), "granian<2.9", "pyuwsgi"})


def uv(*arguments: str) -> str:
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    return subprocess.run(["uv", *arguments], env=environment, check=True, capture_output=True, text=True).stdout


def tested() -> Iterator[str]:
    """Upper bounds: nothing newer than what the tests use."""
    for line in (CHECKOUT / "requirements/test.txt").read_text().split("\n"):
        if found := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)\s*(\\|$)", line):
            yield f"{found[1]}<={found[2]}\n"


def available(folder: Path, python: str, bounds: str) -> list[str]:
    """The requirements that upstream meets on this version of Python."""
    try:
        compiled(folder, python, PROCESSORS[0], bounds, requirements())
        return requirements()
    except subprocess.CalledProcessError:
        found = []
        for one in requirements():
            try:
                compiled(folder, python, PROCESSORS[0], bounds, [one])
                found.append(one)
            except subprocess.CalledProcessError as error:
                print(f"Python {python}: {one} is left out: {error.stderr.strip()}", file=sys.stderr)
        return found


def compiled(
    folder: Path, python: str, processor: str, bounds: str, wanted: list[str], *more: str
) -> dict[str, tuple[str, list[str]]]:
    """The version and the hashes of each package."""
    (folder / "servers.in").write_text("".join(f"{one}\n" for one in wanted))
    (folder / "bounds.txt").write_text(bounds)
    wheels = ["--only-binary", ":all:", *(part for name in SOURCE_ONLY for part in ("--no-binary", name))]
    platform = ["--python-version", python, "--python-platform", f"{processor}-manylinux_2_28"]
    options = ["--quiet", "--no-header", "--no-annotate", "--generate-hashes", "-c", str(folder / "bounds.txt")]
    text = uv("pip", "compile", *options, *more, *platform, *wheels, str(folder / "servers.in"))
    found: dict[str, tuple[str, list[str]]] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        pin = re.match(r"([A-Za-z0-9._-]+)==(\S+)", line)
        if pin:
            found[str(canonicalize_name(pin[1]))] = (pin[2], sorted(re.findall(r"--hash=(\S+)", line)))
    return found


def needs(folder: Path, python: str, packages: dict[str, tuple[str, list[str]]]) -> dict[str, list[str]]:
    """The requirements of each package on this version of Python, as its metadata says."""
    target = folder / python
    pins = folder / "pins.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, (version, _hashes) in packages.items()))
    platform = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    wheels = ["--only-binary", ":all:", *(part for name in SOURCE_ONLY for part in ("--no-binary", name))]
    uv("pip", "install", "--quiet", "--no-deps", "--target", str(target), *platform, *wheels, "-r", str(pins))
    environment = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }
    found: dict[str, list[str]] = {}
    for path in target.glob("*.dist-info/METADATA"):
        metadata = email.message_from_string(path.read_text("utf-8"))
        wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
        found[str(canonicalize_name(str(metadata["Name"])))] = sorted(
            f"{canonicalize_name(one.name)}{one.specifier}"
            for one in wanted
            if one.marker is None or one.marker.evaluate(environment)
        )
    return found


def without_wheels(folder: Path, python: str, packages: dict[str, tuple[str, list[str]]]) -> list[str]:
    """The packages that have no wheel of this version for one of the processors."""
    pins = {name: f"{name}=={version}" for name, (version, _hashes) in packages.items()}
    bounds = "".join(f"{pin}\n" for pin in pins.values())
    found = set(SOURCE_ONLY) & pins.keys()
    for processor in PROCESSORS[1:]:
        try:
            compiled(folder, python, processor, bounds, list(pins.values()))
        except subprocess.CalledProcessError:
            for name, pin in pins.items():
                try:
                    compiled(folder, python, processor, "", [pin], "--no-deps")
                except subprocess.CalledProcessError:
                    print(f"Python {python}: {pin} has no wheel for {processor}", file=sys.stderr)
                    found.add(name)
    return sorted(found)


class Locks:
    """The locks of all versions of Python."""

    def __init__(self) -> None:
        # The version and the needs of each package for each Python.
        self.versions: dict[str, dict[str, tuple[str, list[str]]]] = {}
        # The hashes of each version of a package.
        self.hashes: dict[str, list[str]] = {}
        # The packages that may be built from source, for each Python.
        self.sources: dict[str, list[str]] = {}


def locked() -> Locks:
    locks = Locks()
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bounds = "".join(tested())
            wanted = available(folder, python, bounds)
            packages = compiled(folder, python, PROCESSORS[0], bounds, wanted)
            locks.sources[python] = without_wheels(folder, python, packages)
            needed = needs(folder, python, packages)
        locks.versions[python] = {name: (packages[name][0], needed[name]) for name in sorted(packages)}
        locks.hashes |= {f"{name}=={version}": found for name, (version, found) in packages.items()}
        print(f"Python {python}: {len(packages)} packages", file=sys.stderr)
    return locks


def listed(values: list[str]) -> str:
    return "(" + "".join(f'"{value}", ' for value in values).rstrip() + ")"


def server_table() -> str:
    locks = locked()
    lines = [
        *HEAD,
        '"""The versions and hashes of app servers and of the packages that they need.',
        "",
        "Written by scripts/server_locks.py.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "# The version of CPython: the packages, each with its version and its requirements.",
        "VERSIONS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {",
    ]
    for python, packages in locks.versions.items():
        lines.append(f'    "{python}": {{')
        for name, (version, needed) in packages.items():
            lines.append(f'        "{name}": ("{version}", {listed(needed)}),')
        lines.append("    },")
    lines += [
        "}",
        "",
        "# The hashes of all files that the package index has for a version.",
        "HASHES: dict[str, tuple[str, ...]] = {",
    ]
    for name, found in sorted(locks.hashes.items()):
        lines += [f'    "{name}": (', *(f'        "{one}",' for one in found), "    ),"]
    lines += [
        "}",
        "",
        "# The version of CPython: packages without wheels for a processor. They are built from a file with a hash.",
        "SOURCES: dict[str, tuple[str, ...]] = {",
        *(f'    "{python}": {listed(names)},' for python, names in locks.sources.items()),
        "}",
        "",
    ]
    return "\n".join(lines)


def uv_table() -> str:
    text = (CHECKOUT / "requirements/bootstrap.txt").read_text().replace("\\\n", " ")
    line = next(line for line in text.split("\n") if line.startswith("uv=="))
    version = line.split()[0].removeprefix("uv==")
    lines = [
        *HEAD,
        '"""The hashes of the tested version of uv. Written by scripts/server_locks.py."""',
        "",
        "from __future__ import annotations",
        "",
        f'VERSION = "{version}"',
        "HASHES: tuple[str, ...] = (",
        *(f'    "{one}",' for one in sorted(re.findall(r"--hash=(\S+)", line))),
        ")",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    UV.write_text(uv_table())
    SERVERS.write_text(server_table())
    subprocess.run(["ruff", "format", "--quiet", str(UV), str(SERVERS)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
