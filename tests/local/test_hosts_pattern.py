# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A playbook whose hosts are not in the inventory fails, also without the settings of this project."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyweb_playbooks import ansible_playbook


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 4, "no host of the inventory matches 'web', so there is nothing to do."),
        (["-e", "pyweb_hosts=app", "--limit", "db1"], 4, "no host of the inventory matches 'app' within --limit db1"),
        (["-e", "pyweb_hosts=app", "--list-hosts"], 0, "app1"),
    ],
    ids=["no group", "limit", "group"],
)
def test_a_pattern_without_hosts_fails(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    (tmp_path / "hosts").write_text("[app]\napp1\n[db]\ndb1\n")
    (tmp_path / "empty.cfg").write_text("[defaults]\n")
    usual = {"ANSIBLE_CONFIG": str(tmp_path / "empty.cfg")}
    run = ansible_playbook("pyweb.stack.status", tmp_path / "hosts", *arguments, environment=usual)
    assert run.status == status
    assert words in run.output
