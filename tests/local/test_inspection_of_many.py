# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The work of one look at many applications: which commands and child processes it adds for each of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor import seen, units
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.inspection import look_at_apps
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_instances import Systemd

RELEASE = "20261121T010735Z-ab12cd34"
OTHER = "20261120T010735Z-ab12cd34"


def answers(name: str) -> str:
    return f"Id={name}\nActiveState=active\nSubState=running\nNRestarts=2\nMainPID=0\nJob=0\n"


class Host:
    """A host with systemd, whose commands are counted instead of run."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        self.counted[argv[5] if argv[0] == "/bin/sh" else " ".join(argv[:2])] += 1
        if argv[1] == "show":
            return 0, "\n".join(answers(name) for name in argv[3:]), ""
        if argv[1] == "list-units":
            names = [name.replace("*", one) for name in argv[7:] if ".*" not in name for one in (RELEASE, OTHER)]
            return 0, "\n".join(f"{name} loaded active running A process" for name in names), ""
        return 0, "a line\n", ""


def deployed(root: Path, count: int) -> list[dict[str, Any]]:
    """Applications with a live release, and what a look at them needs."""
    specs = []
    for number in range(count):
        name = f"many{number:02}"
        folder = root / name / "releases" / RELEASE
        folder.mkdir(parents=True)
        manifest = {"id": RELEASE, "state": "good", "process_manager": "systemd"}
        (folder / "release.json").write_text(json.dumps(manifest))
        (root / name / "current").symlink_to(f"releases/{RELEASE}")
        question = {"host": f"{name}.example.com", "path": "/"}
        specs.append({"name": name, "question": question, "port": 1, "static": [], "certificates": [], "jobs": []})
    return specs


@pytest.fixture
def on_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    is_folder = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/run/systemd/system" or is_folder(path))


def look(root: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The findings about this many applications, and how many commands and child processes they took."""
    host = Host()
    forks, processes = os.fork, subprocess.Popen

    def fork() -> int:
        host.counted["fork"] += 1
        return forks()

    def popen(*args: Any, **options: Any) -> Any:
        host.counted["process"] += 1
        return processes(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", fork)
        patched.setattr(subprocess, "Popen", popen)
        found = look_at_apps(deployed(root, count), str(root), "www-data", host.run)
    return found, host.counted


@pytest.mark.usefixtures("on_systemd")
def test_only_the_log_takes_a_command_for_each_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _found, few = look(tmp_path / "few", 2, monkeypatch)
    found, many = look(tmp_path / "many", 12, monkeypatch)
    assert many - few == Counter({"journalctl": 10})
    assert {(one["process"]["state"], one["process"]["restarts"]) for one in found} == {("running", 2)}
    assert [one["process"]["others"] for one in found] == [[OTHER]] * 12
    assert {one["log"] for one in found} == {"a line"}


@pytest.mark.usefixtures("on_systemd")
def test_what_an_application_asks_of_systemd_is_as_alone(tmp_path: Path) -> None:
    """The answers for all applications together are those that each would get."""
    host = Host()
    names = ["shop", "shop-2"]
    shown = {f"{name}@{RELEASE}.service": units.properties(answers("x")) for name in names}
    together = seen.Managers([(name, RELEASE) for name in names], shown, host.run).named("systemd")
    alone = Systemd(host.run)
    for name in names:
        assert together.instances(name) == alone.instances(name) == [OTHER, RELEASE]
        assert together.state(name, RELEASE) == alone.state(name, RELEASE)
        assert together.log(name, RELEASE, 200) == alone.log(name, RELEASE, 200)


@pytest.mark.usefixtures("on_systemd")
def test_a_systemd_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    found = look_at_apps(deployed(tmp_path, 2), str(tmp_path), "www-data", lambda _argv: (1, "", "no bus"))
    assert [("no bus" in one["process"]["error"]) for one in found] == [True, True]
