# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Real runs of status.yml that write a page: with a host that answers, and with one that can't be reached."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import SLICES
from status_fleet import Page
from test_doctor import FOUND, HOST
from test_missing_hosts import ANSWERS, HERE

REQUESTS = [{"requests": number, "errors": 0, "buckets": [[40, number]]} for number in range(SLICES)]
DEPLOYED = {"time": "2026-11-30T12:00:00Z", "action": "activate", "release": "r1", "by": "anna", "result": "live"}
# One answer for the three modules, of which each action reads its own keys.
APP = {**FOUND, "slices": REQUESTS, "unread": 0, "cut": False, "problems": [], "history": [DEPLOYED], "releases": []}
SECRET = "s3cret-of-the-inventory"


def run(folder: Path, names: list[str], *arguments: str, **variables: Any) -> tuple[str, int, int]:
    """The output of a run, its exit status, and the number of modules that ran on hosts. Only web3 can't be reached."""
    answer = {"changed": False, "apps": [APP], "host": {key: HOST[key] for key in HOST if key not in ("name", "ahead")}}
    (folder / "answer").write_text(json.dumps({**answer, "ansible_facts": {"pyweb": {}}}))
    log, host = folder / "log", folder / "python3"
    log.write_text("")
    host.write_text(ANSWERS.format(python=sys.executable, log=str(log), answer=str(folder / "answer")))
    host.chmod(0o755)
    good = {"ansible_connection": "local", "ansible_python_interpreter": str(host)}
    gone = {"ansible_host": HERE, "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=5"}
    shop = {"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app", "env": {"SECRET_KEY": SECRET}}
    hosts = {name: gone if name == "web3" else good for name in names}
    given = {"webapps": [shop], "ansible_become": False, **variables}
    (folder / "hosts.json").write_text(json.dumps({"web": {"hosts": hosts, "vars": given}}))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder / "hosts.json"), "pyweb.stack.status", *arguments],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return " ".join((done.stdout + done.stderr).split()), done.returncode, len(log.read_text())


def page(folder: Path, name: str = "status.html") -> Page:
    return Page((folder / name).read_text(encoding="utf-8"))


def test_a_host_that_cannot_be_reached_is_on_the_page_and_fails_the_run(tmp_path: Path) -> None:
    printed, status, _modules = run(tmp_path, ["web1", "web3"], "-e", "format=html", "-e", "to=status.html")
    assert status == 2
    # A relative path starts at the folder of the command.
    assert f"The page is in {tmp_path}/status.html." in printed
    assert "web3 has no status, as the page shows: " in printed
    found = page(tmp_path)
    assert [row["host"] for row in found.data["status"]] == ["web1"]
    assert found.data["charts"][0]["requests"] == list(range(SLICES))
    assert "1 host did not answer" in found.text
    # The inventory has the application for the other host, too.
    assert re.search(r"[01] of 2 hosts well, 1 did not answer", found.text)
    assert "web3: unreachable: " in found.text
    assert "shop deployed unknown on web1" in found.text
    assert SECRET not in (tmp_path / "status.html").read_text(encoding="utf-8")


def test_a_fleet_that_cannot_be_reached_has_a_page(tmp_path: Path) -> None:
    _printed, status, modules = run(tmp_path, ["web3"], "-e", "format=html", "-e", f"to={tmp_path}/down.html")
    assert (status, modules) == (2, 0)
    assert "web3: unreachable: " in page(tmp_path, "down.html").text


def test_a_host_that_answers_well_ends_the_run_well(tmp_path: Path) -> None:
    printed, status, modules = run(tmp_path, ["web1"], "-e", "format=html", "-e", "to=status.html", "-e", "hours=2")
    assert (status, modules) == (0, 3), printed
    assert "the last 2 hours" in page(tmp_path).text


def test_check_mode_writes_no_page(tmp_path: Path) -> None:
    printed, status, _modules = run(tmp_path, ["web1"], "-e", "format=html", "-e", "to=status.html", "--check")
    assert status == 0, printed
    assert "In check mode, no page is written to status.html." in printed
    assert not (tmp_path / "status.html").exists()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"format": "html", "to": "none/status.html"}, "none does not exist on this controller. Create it"),
        ({"format": "html"}, "to is not set. Set -e to=status.html"),
        ({"format": "htm"}, "format is 'htm'. Set -e format=json or -e format=html"),
    ],
)
def test_a_mistake_is_reported_before_a_host_is_asked(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    arguments = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    printed, status, modules = run(tmp_path, ["web1", "web3"], *arguments)
    assert (status, modules) == (2, 0)
    assert words in printed
    assert printed.count("fatal: ") == 1, "a mistake is reported once, not for each host"
    assert "unreachable=1" not in printed


def test_a_table_still_fails_for_a_host_that_cannot_be_reached(tmp_path: Path) -> None:
    printed, status, _modules = run(tmp_path, ["web1", "web3"])
    assert status == 4
    assert "web1 shop" in printed.replace('"', "")
