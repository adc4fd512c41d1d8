# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that makes the status page of a host, run by Python alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.publishing.installing import program
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing.packing import packed
from status_fleet import Page

SHOP: dict[str, Any] = {
    "name": "shop",
    "question": {"path": "/", "host": "shop.example.com", "scheme": "http"},
    # Nothing listens there.
    "port": 1,
    "front_scheme": "http",
    "jobs": [{"name": "nightly"}],
    "certificates": [{"name": "shop", "mode": "selfsigned", "names": ["shop.example.com"], "port": 1}],
    "healthy": [],
    "protected": False,
    "server": "gunicorn",
}
DEPLOYED = {"time": "2026-11-30T12:00:00Z", "action": "activate", "release": "r1", "by": "anna", "result": "live"}


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "webapps" / "shop").mkdir(parents=True)
    (tmp_path / "webapps" / "shop" / "deployments.log").write_text(json.dumps(DEPLOYED) + "\n")
    log = {"name": "shop", "logs": [str(tmp_path / "access.log")], "mount": "/", "mounts": ["/"], "health": ""}
    return {
        "host": "web1",
        "root": str(tmp_path / "webapps"),
        "page": str(tmp_path / "index.html"),
        "hours": 6,
        "old": 900,
        "apps": [{**SHOP, "traffic": log}],
    }


def run(folder: Path, plan: dict[str, Any]) -> tuple[int, str]:
    (folder / "status_page.pyz").write_bytes(program(packed()))
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-I", "-S", "-W", "error", str(folder / "status_page.pyz"), str(folder / "plan.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=120)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_program_needs_nothing_but_python(tmp_path: Path, plan: dict[str, Any]) -> None:
    assert run(tmp_path, plan) == (0, "")
    path = Path(plan["page"])
    page = Page(path.read_text(encoding="utf-8"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    (row,) = page.data["status"]
    assert (row["host"], row["application"], row["health"], row["server"]) == (
        "web1",
        "shop",
        "not deployed",
        "gunicorn",
    )
    assert "Made by the timer pyweb-status-page of this host." in page.text
    assert 'data-old="900"' in path.read_text(encoding="utf-8")
    assert page.data["window"]["slices"] == 72


def test_a_failure_leaves_the_page_and_says_why(tmp_path: Path, plan: dict[str, Any]) -> None:
    assert run(tmp_path, plan) == (0, "")
    before = Path(plan["page"]).read_bytes()
    # No program can replace a folder by a file.
    os.mkdir(f"{plan['page']}.new")
    status, said = run(tmp_path, plan)
    assert status == 1
    assert said.startswith(f"The status page can't be written to {plan['page']}: ")
    assert Path(plan["page"]).read_bytes() == before
