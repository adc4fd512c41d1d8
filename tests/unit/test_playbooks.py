# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules that hold for every playbook of the collection."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.pyweb.stack.plugins.filter import readable
from ansible_collections.pyweb.stack.plugins.lookup import hosts

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((CHECKOUT / "playbooks").glob("*.yml"))
HOSTS = "{{ query('pyweb.stack.hosts', pyweb_hosts | default('web')) }}"
# An inventory needs no balancers.
BALANCERS = "{{ groups['balancer'] | default([]) }}"
# These connect to no host.
ON_CONTROLLER = ("compose",)
GROUPS = {"all": ["web1", "web2", "db1"], "ungrouped": [], "web": ["web1", "web2"], "db": ["db1"]}


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_the_hosts_of_every_playbook_can_be_set(playbook: Path) -> None:
    plays = yaml.safe_load(playbook.read_text(encoding="utf-8"))
    assert [play["hosts"] for play in plays].count(HOSTS) == 1
    for play in plays:
        assert play["hosts"] in (HOSTS, BALANCERS)
        assert play.get("become", False) is (playbook.stem not in ON_CONTROLLER)


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_every_playbook_has_a_short_name_in_a_checkout(playbook: Path) -> None:
    (play,) = yaml.safe_load((CHECKOUT / playbook.name).read_text(encoding="utf-8"))
    assert play["ansible.builtin.import_playbook"] == f"pyweb.stack.{playbook.stem}"


def matched(monkeypatch: pytest.MonkeyPatch, terms: list[Any], **options: Any) -> list[str]:
    monkeypatch.setattr(hosts, "context", SimpleNamespace(CLIARGS=options))
    return hosts.LookupModule(loader=DataLoader()).run(terms, {"groups": GROUPS})


@pytest.mark.parametrize("pattern", ["web", "web1", "all", "web:!web1", "web*", "web:&all", "~db.", "web[1:]"])
def test_a_pattern_that_matches_is_returned(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    assert matched(monkeypatch, [pattern]) == [pattern]
    assert matched(monkeypatch, [[pattern, "db"]]) == [pattern, "db"]


@pytest.mark.parametrize("pattern", ["app", "web:&db", "web9", "all:!all"])
def test_a_pattern_that_matches_nothing_is_told(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    with pytest.raises(AnsibleLookupError, match="-e pyweb_hosts=GROUP") as told:
        matched(monkeypatch, [pattern])
    assert str(told.value).startswith(f"no host of the inventory matches '{pattern}', so there is nothing to do.")
    # A syntax check has no inventory.
    assert matched(monkeypatch, [pattern], syntax=True) == [pattern]


def test_a_limit_outside_of_the_pattern_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert matched(monkeypatch, ["web"], subset="web2") == ["web"]
    with pytest.raises(AnsibleLookupError, match="matches 'web' within --limit db1,"):
        matched(monkeypatch, ["web"], subset="db1")


def test_an_old_ansible_is_told_before_any_play(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "__version__", "2.17.14")
    with pytest.raises(AnsibleLookupError, match=r"^this is ansible-core 2\.17\.14, but this collection needs 2\.19"):
        matched(monkeypatch, ["web"])


# Tables


@pytest.mark.parametrize(("shape", "wanted"), [("json", ["a", "b  c"]), ("yaml", "a\nb  c")])
def test_a_text_of_several_lines_is_shown_as_lines(monkeypatch: pytest.MonkeyPatch, shape: str, wanted: Any) -> None:
    monkeypatch.setattr(readable, "result_format", lambda: shape)
    assert readable.readable("a\nb  c") == wanted


@pytest.mark.parametrize("name", ["status", "doctor", "logs", "verify"])
def test_tables_are_printed_readably(name: str) -> None:
    text = (CHECKOUT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8")
    assert text.count("pyweb.stack.readable") == 1
