# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Which tests of the full matrix run, and on which hosts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from pyweb_playbooks import CHECKOUT
from pyweb_selection import SHARDS, chosen

sys.path.insert(0, str(CHECKOUT / "scripts"))

import scenarios
import test_hosts

TESTS = [f"test_{number}" for number in range(29)]


def test_the_sample_has_nothing_of_the_matrix() -> None:
    assert chosen(TESTS, "") == []


def test_every_test_of_the_matrix_is_in_one_shard() -> None:
    shards = [chosen(TESTS, f"{number + 1}/{SHARDS}") for number in range(SHARDS)]
    assert sorted(test for shard in shards for test in shard) == sorted(chosen(TESTS, "all")) == sorted(TESTS)
    assert {len(shard) for shard in shards} == {1, 2}


@pytest.mark.parametrize("wanted", ["0/8", "9/8", "3", "some", "1/0"])
def test_a_shard_that_there_is_not_is_told(wanted: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"PYWEB_MATRIX is '{wanted}'"):
        chosen(TESTS, wanted)


def test_the_shard_of_a_commit_is_one_of_them() -> None:
    assert scenarios.shard_of_turn() in [f"{number + 1}/{SHARDS}" for number in range(SHARDS)]


def test_the_shards_of_all_scenarios_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    assert scenarios.show_shards(scenarios.scenarios()) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in listed} == {f"{number + 1}/{SHARDS}" for number in range(SHARDS)}
    assert {line.split("/")[2] for line in listed} == {
        "background",
        "bad_input",
        "containers",
        "doctor",
        "releases",
        "servers",
        "tls",
        "variants",
    }


def test_a_scenario_with_tests_that_run_alone_has_two_stages() -> None:
    assert set(scenarios.ALONE) < set(scenarios.scenarios())
    assert scenarios.Runner("releases", "test", keep=False).stages == ["test", "alone"]
    assert scenarios.Runner("releases", "verify", keep=False).stages == ["verify"]
    assert scenarios.Runner("site", "test", keep=False).stages == ["test"]
    for name in scenarios.scenarios():
        tests = "".join(path.read_text() for path in CHECKOUT.glob(f"molecule/{name}/tests/*.py"))
        assert ("pytest.mark.alone" in tests) == (name in scenarios.ALONE), name


def test_a_ready_host_has_what_the_roles_install() -> None:
    script = test_hosts.readying()
    (packages,) = [line for line in script.splitlines() if line.startswith("PACKAGES=")]
    assert {"nginx", "logrotate", "supervisor", "cron", "python3-venv"} < set(packages.split("'")[1].split())
    assert "libnginx-mod" not in packages, "what an input asks for is installed by the run"


def test_hosts_are_ready_unless_their_scenario_says_otherwise() -> None:
    hosts = test_hosts.parse_hosts(json.dumps({"a": {"suite": "trixie"}, "b": {"suite": "bookworm", "fresh": True}}))
    assert [kind.variant for kind in hosts.values()] == [("trixie", "systemd", False), ("bookworm", "systemd", True)]


def test_two_runs_of_a_scenario_exclude_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scenarios, "EPHEMERAL", tmp_path)
    with scenarios.reserved(["site", "tls"]) as taken:
        assert taken == ""
        with scenarios.reserved(["front", "tls"]) as taken_meanwhile:
            assert taken_meanwhile == "tls"
        with scenarios.reserved(["front"]) as taken_meanwhile:
            assert taken_meanwhile == ""
    with scenarios.reserved(["tls"]) as taken:
        assert taken == ""
