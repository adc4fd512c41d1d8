# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that starts nginx and supervisord where there is no init, with fake programs that record their calls."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.host import look_at_start
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes import container_start

# A daemon of the name nginx: it writes its process ID, and notes its end.
NGINX = "(exec -a nginx {bin}/daemon nginx) & echo $! >{pid}"
DAEMON = """#!/usr/bin/python3
import pathlib, signal, sys, time
notes, name = pathlib.Path({notes!r}), sys.argv[1]
pathlib.Path("/proc/self/comm").write_text(name)
def end(number, _frame):
    with notes.open("a") as stream: stream.write(f"{{name}} {{signal.Signals(number).name}}\\n")
    sys.exit(0)
for number in (signal.SIGTERM, signal.SIGQUIT): signal.signal(number, end)
with notes.open("a") as stream: stream.write(f"{{name}} started\\n")
while True: time.sleep(1)
"""


class Container:
    """A folder that stands for a container: programs, /run and the configuration of supervisord."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run, self.bin = folder, folder / "run", folder / "bin"
        self.notes, self.pid, self.config = folder / "notes", self.run / "nginx.pid", folder / "supervisord.conf"
        self.run.mkdir()
        self.bin.mkdir()
        self.notes.touch()
        self.config.touch()
        daemon = self.bin / "daemon"
        daemon.write_text(DAEMON.format(notes=str(self.notes)))
        daemon.chmod(0o755)
        self.program("nginx", NGINX.format(bin=self.bin, pid=self.pid))
        self.program(
            "supervisord", f"echo supervisord $* >>{self.notes}; [ $1 = -c ] || exec {self.bin}/daemon supervisord"
        )
        self.program("supervisorctl", f"grep -q ^supervisord {self.notes}")

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    @property
    def mark(self) -> str:
        return str(self.run / "pyweb" / "started")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        script = container_start.CONTENT.replace("PATH=", f"PATH={self.bin}:", 1)
        script = script.replace("/etc/supervisor/supervisord.conf", str(self.config)).replace("/run/", f"{self.run}/")
        return subprocess.Popen(["/bin/sh", "-c", script, "pyweb-start", *arguments])

    def noted(self, line: str) -> bool:
        return line in self.notes.read_text().splitlines()

    def end(self) -> None:
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if f"{self.bin}/daemon".encode() in command:
                os.kill(int(entry), signal.SIGKILL)


@pytest.fixture
def container(tmp_path: Path):
    found = Container(tmp_path)
    yield found
    found.end()


def test_everything_is_started_again_with_an_empty_run(container: Container) -> None:
    assert container.start("--background").wait(20) == 0
    assert wait_for(lambda: container.noted("nginx started"), 10)
    assert container.noted(f"supervisord -c {container.config}")
    assert look_at_start(mark=container.mark)["ran"]
    # It starts nothing twice.
    assert container.start("--background").wait(20) == 0
    assert container.notes.read_text().count("nginx started") == 1


def test_a_pid_file_of_the_time_before_does_not_mislead(container: Container) -> None:
    """The number is that of another process now, which gets no signal."""
    with subprocess.Popen(["sleep", "100"]) as other:
        container.pid.write_text(f"{other.pid}\n")
        assert container.start("--background").wait(20) == 0
        assert wait_for(lambda: container.noted("nginx started"), 10)
        assert other.poll() is None
        other.kill()


def test_a_stop_ends_nginx_before_the_applications(container: Container) -> None:
    started = container.start()
    assert wait_for(lambda: container.noted("nginx started") and container.noted("supervisord started"), 10)
    started.terminate()
    assert started.wait(20) == 0
    ends = [line for line in container.notes.read_text().splitlines() if "SIG" in line]
    assert ends == ["nginx SIGQUIT", "supervisord SIGTERM"]


def test_a_container_whose_supervisord_ends_is_to_be_restarted(container: Container) -> None:
    container.program("supervisord", "exit 1")
    assert container.start().wait(20) == 1


def test_nginx_that_refuses_its_configuration_is_a_failure(container: Container) -> None:
    container.program("nginx", "echo nonsense >&2; exit 1")
    container.program("sleep", ":")
    assert container.start("--background").wait(20) == 1


def test_another_life_of_the_container_is_not_this_one(container: Container) -> None:
    assert not look_at_start(mark=container.mark)["ran"]
    os.makedirs(os.path.dirname(container.mark))
    Path(container.mark).write_text("1\n")
    assert not look_at_start(mark=container.mark)["ran"]
