# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Fetch the sources of the applications from the package index, as their authors left them.

fetch.py FOLDER

sources.txt names the versions and the hashes. uv knows the address of each file on the index that this machine uses.
Three projects get a lock of their own pyproject.toml, because their authors ship none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
from pathlib import Path

SOURCES = Path(__file__).with_name("sources.txt")
# Versions that were published later are not locked.
UNTIL = "2026-11-28T00:00:00Z"
# The locks that are made here: the command of uv for each.
LOCKS = {
    "httpbin": ["lock"],
    "mailman-web": ["export", "--no-dev", "--format", "pylock.toml", "--output-file", "pylock.toml"],
    "radicale": ["pip", "compile", "--generate-hashes", "--universal", "pyproject.toml", "-o", "requirements.txt"],
}


def uv(arguments: list[str], folder: Path, text: str = "") -> None:
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_EXCLUDE_NEWER": UNTIL}
    subprocess.run(["uv", *arguments, "--quiet"], cwd=folder, env=environment, input=text, text=True, check=True)


def addresses(wanted: dict[str, str], folder: Path) -> dict[str, str]:
    """The address of the source file of each package. All of them are asked for at once, without dependencies."""
    listed = folder / "pylock.toml"
    lines = "".join(f"{requirement}\n" for requirement in wanted)
    uv(["pip", "compile", "--no-deps", "--python-version", "3.12", "-", "-o", str(listed)], folder, lines)
    found = tomllib.loads(listed.read_text())["packages"]
    return {f"{one['name']}=={one['version']}": one["sdist"]["url"] for one in found}


def fetch(requirement: str, digest: str, address: str, folder: Path) -> None:
    """Fetch a source file, and unpack it as a folder with the name of the package."""
    name = requirement.partition("==")[0]
    archive = folder / f"{requirement}.tar.gz"
    with urllib.request.urlopen(address, timeout=60) as answer:
        archive.write_bytes(answer.read())
    if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{archive} has another hash than sources.txt says.")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / f"{name}.new", filter="data")
    (top,) = (folder / f"{name}.new").iterdir()
    top.rename(folder / name)
    (folder / f"{name}.new").rmdir()
    if name in LOCKS:
        uv(LOCKS[name], folder / name)
        if LOCKS[name][0] == "export":
            (folder / name / "uv.lock").unlink()
        shutil.rmtree(folder / name / ".venv", ignore_errors=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line.split(" --hash=sha256:") for line in SOURCES.read_text().splitlines() if not line.startswith("#")]
    wanted = {line[0]: line[1] for line in lines}
    missing = {key: value for key, value in wanted.items() if not (folder / key.partition("==")[0]).is_dir()}
    if missing:
        known = addresses(missing, folder)
        for requirement, digest in missing.items():
            fetch(requirement, digest, known[requirement], folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
