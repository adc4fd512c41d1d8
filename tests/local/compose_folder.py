# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Base images and programs that bring up a folder for compose. No image registry is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# One image of Debian for both containers, with Python and nginx.
IMAGE = "pyweb-compose-test:1"
RAW = "pyweb-compose-test-raw:1"
PACKAGES = "python3,python3-venv,ca-certificates,nginx-light"
AUTHORITIES = "/usr/local/share/ca-certificates"
# The build trusts the same authorities as this machine, for a proxy in front of the package index.
CONTAINERFILE = f"FROM localhost/{RAW}\nCOPY certificates/ {AUTHORITIES}/\nRUN update-ca-certificates\n"
LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'


@dataclass(frozen=True)
class Engine:
    """A program for compose and its engine. ``environment`` leads both to the engine of the test."""

    compose: list[str]
    engine: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: list[str], folder: Path, *, check: bool = True) -> str:
        answer = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        print(" ".join(command), answer.stdout, sep="\n")
        assert answer.returncode == 0 or not check, answer.stdout[-3000:]
        return answer.stdout

    def do(self, folder: Path, *words: str) -> str:
        return self.run([*self.compose, *words], folder)

    def left(self, folder: Path, *words: str) -> list[str]:
        """The objects of the folder that a listing of the engine has."""
        return [line for line in self.run([*self.engine, *words], folder).split() if line.startswith(folder.name)]


def missing(engine: str) -> list[str]:
    """The programs that a test with an engine lacks."""
    own = ["podman-compose"] if engine == "podman" else ["dockerd", "docker", "docker-compose"]
    return [program for program in ["podman", "mmdebstrap", *own] if not shutil.which(program)]


def podman_settings(folder: Path) -> dict[str, str]:
    """The settings of podman on machines where its usual runtime, cgroup manager or limits don't work."""
    lines = ["[engine]"] + ['runtime = "runc"'] * bool(shutil.which("runc"))
    if not os.path.isdir("/run/systemd/system"):
        lines += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    settings = folder / "containers.conf"
    settings.write_text("\n".join(lines) + "\n" + LIMITS)
    return {"CONTAINERS_CONF": str(settings)}


def make_image(podman: Engine, folder: Path) -> None:
    """Make the image once, and keep it: Debian packages take a minute."""
    if podman.run(["podman", "images", "-q", f"localhost/{IMAGE}"], folder).strip():
        return
    archive = folder / "debian.tar"
    podman.run(["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(archive)], folder)
    podman.run(["podman", "import", str(archive), f"localhost/{RAW}"], folder)
    context = folder / "context"
    (context / "certificates").mkdir(parents=True)
    for path in Path(AUTHORITIES).glob("*.crt"):
        shutil.copy(path, context / "certificates")
    (context / "Containerfile").write_text(CONTAINERFILE)
    podman.run(["podman", "build", "-t", f"localhost/{IMAGE}", str(context)], folder)


@contextmanager
def docker(podman: Engine, folder: Path) -> Iterator[Engine]:
    """Docker's daemon for one test. It leaves the firewall of the machine alone, so its networks lead nowhere."""
    socket = folder / "docker.sock"
    options = ["--iptables=false", "--bridge=none", "--host", f"unix://{socket}", "--pidfile", str(folder / "pid")]
    places = ["--data-root", str(folder / "data"), "--exec-root", str(folder / "run")]
    with (folder / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(["dockerd", *options, *places], stdout=log, stderr=subprocess.STDOUT)
    environment = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0"}
    found = Engine(["docker-compose"], ["docker"], environment)
    try:
        until = time.monotonic() + 60
        while "Server Version" not in found.run(["docker", "info"], folder, check=False):
            assert time.monotonic() < until, (folder / "dockerd.log").read_text()[-3000:]
            time.sleep(0.5)
        archive = folder / "image.tar"
        podman.run(["podman", "save", "-o", str(archive), f"localhost/{IMAGE}"], folder)
        found.run(["docker", "load", "-i", str(archive)], folder)
        yield found
    finally:
        daemon.terminate()
        daemon.wait(60)
        subprocess.run(["umount", *map(str, (folder / "run").glob("netns/*"))], check=False, capture_output=True)
