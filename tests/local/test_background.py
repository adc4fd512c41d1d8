# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The programs of background processes and jobs, really run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.publishing.releases import jobs as last_results
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE, Layout
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications

NEW = "20261121T000000Z-11111111"
SHOP = {"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app"}


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a program of a release that was unpacked into a folder with a space and a quote."""
    root = tmp_path / "it's a root"
    home = root / "shop" / "releases" / NEW
    (home / "bin").mkdir(parents=True)
    (root / "shop" / "jobs").mkdir()
    (home / "env").touch()
    (home / "bin/run").write_text('#!/bin/sh\nexport COLOUR=red\nexec "$@"\n')
    (home / "bin/run").chmod(0o755)

    def start(command: str, *arguments: str, key: str = "jobs") -> subprocess.Popen[str]:
        item = {"name": "x", "command": command, **({"schedule": "daily"} if key == "jobs" else {})}
        (app,) = applications([{**SHOP, key: [item]}])
        for file in background.launchers(app, str(root)):
            path = home / file["path"]
            path.write_text(file["content"].replace(RELEASE, NEW))
            path.chmod(0o755)
        program = home / "bin" / ("job" if key == "jobs" else "x")
        return subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True)

    start.layout = Layout("shop", str(root))  # type: ignore[attr-defined]
    return start


def test_a_process_is_the_program_itself_and_knows_its_number(launch: Any) -> None:
    process = launch("sh -c 'echo $$ $WEBAPP_PROCESS $WEBAPP_PROCESS_NUMBER \"$COLOUR\"'", "3", key="processes")
    assert process.communicate()[0] == f"{process.pid} x 3 red\n"


def result(launch: Any) -> dict[str, Any]:
    (entry,) = last_results(launch.layout)
    return entry


@pytest.mark.parametrize(
    ("command", "timeout", "state", "status"),
    [
        ("true", "60", "succeeded", 0),
        ("exit 3", "60", "failed", 3),
        ("kill -9 $$", "60", "failed", 137),
        ("exec sleep 20", "1", "timed out", 124),
    ],
)
def test_what_came_of_a_job_is_written_down(launch: Any, command: str, timeout: str, state: str, status: int) -> None:
    process = launch(command, "x", timeout)
    process.communicate()
    assert process.returncode == status
    found = result(launch)
    assert (found["job"], found["release"], found["state"], found["status"]) == ("x", NEW, state, status)
    assert time.time() - time.mktime(time.strptime(found["started"], "%Y-%m-%dT%H:%M:%SZ")) + time.timezone < 60


def wait_for_state(launch: Any, state: str) -> None:
    assert wait_for(lambda: state in [entry["state"] for entry in last_results(launch.layout)], 30)


def until_there(path: Path) -> str:
    """A command that ends when a test has made a file."""
    return f"while [ ! -e {path} ]; do sleep 0.05; done"


def test_a_job_never_runs_twice_at_once(launch: Any, tmp_path: Path) -> None:
    # The same command for both: the second launch writes the program that the shell of the first still reads.
    first = launch(until_there(tmp_path / "over"), "x", "60")
    wait_for_state(launch, "running")
    second = launch(until_there(tmp_path / "over"), "x", "60")
    assert "left out" in second.communicate()[0]
    assert second.returncode == 0
    assert result(launch)["state"] == "running"
    (tmp_path / "over").touch()
    first.communicate()
    assert result(launch)["state"] == "succeeded"


def test_a_job_that_is_stopped_ends_its_program_and_says_so(launch: Any) -> None:
    process = launch("sleep 30", "x", "60")
    wait_for_state(launch, "running")
    begun = time.monotonic()
    process.terminate()
    process.communicate(timeout=10)
    assert time.monotonic() - begun < 5
    assert result(launch)["state"] == "failed"


# Lines of the script, after which the signal comes.
BEGINNING = [" 8>&- &\n", "starting=$!\n", "child=$starting\n", "status=\n", 'kill -0 "$child" 2>/dev/null; do\n']


@pytest.mark.parametrize("line", BEGINNING)
def test_a_job_that_is_stopped_as_it_begins_ends_as_well(
    launch: Any, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Whatever the child is by then. Many times: whether the signal or the child is first is chance."""
    assert background.JOB.count(line) == 1
    monkeypatch.setattr(background, "JOB", background.JOB.replace(line, f"{line}kill -TERM $$\n"))
    for _attempt in range(12):
        process = launch("sleep 30", "x", "60")
        assert process.wait(10) != 0
        assert result(launch)["state"] == "failed"


def test_a_job_that_was_cut_off_is_interrupted(launch: Any) -> None:
    process = launch("sleep 30", "x", "60")
    wait_for_state(launch, "running")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_state(launch, "interrupted")


def test_a_release_that_a_job_uses_is_told(launch: Any, tmp_path: Path) -> None:
    from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import in_use

    process = launch(until_there(tmp_path / "over"), "x", "60")
    wait_for_state(launch, "running")
    assert in_use(launch.layout, NEW)
    (tmp_path / "over").touch()
    process.communicate()
    assert not in_use(launch.layout, NEW)


def process(service: str, **changes: Any) -> dict[str, Any]:
    return {"service": service, "stop_timeout": 7, "start_seconds": 0.3, "exclusive": False, **changes}


@pytest.mark.parametrize(("left_behind", "started"), [("999999", True), ("", False), (None, False), ("self", False)])
def test_only_an_nginx_that_was_not_stopped_is_started_again(
    tmp_path: Path, left_behind: str | None, started: bool
) -> None:
    from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.watch import WATCH

    pid_file, proof = tmp_path / "nginx.pid", tmp_path / "started"
    (tmp_path / "nginx").write_text(f"#!/bin/sh\nrm -f {pid_file}; touch {proof}\n")
    (tmp_path / "nginx").chmod(0o755)
    sleeper = subprocess.Popen(["/bin/sleep", "20"])
    (tmp_path / str(sleeper.pid)).mkdir()
    (tmp_path / str(sleeper.pid) / "comm").write_text("nginx\n")
    if left_behind is not None:
        pid_file.write_text(str(sleeper.pid) if left_behind == "self" else left_behind)
    script = WATCH.replace("/run/nginx.pid", str(pid_file)).replace("/proc/", f"{tmp_path}/")
    watch = subprocess.Popen(
        ["/bin/sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, start_new_session=True
    )
    try:
        # Three of its looks are enough to say that it will not.
        assert wait_for(proof.exists, 20 if started else 1) == started
    finally:
        os.killpg(watch.pid, signal.SIGKILL)
        sleeper.kill()
        watch.wait()
        sleeper.wait()
