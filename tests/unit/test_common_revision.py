# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The revision that several hosts go back to: the same on all, or none of them switches."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.common_revision import (
    Choice,
    Host,
    Release,
    by_releases,
    host_of,
    named,
    newest_common,
)

R1, R2, R3 = "111111110000", "222222220000", "333333330000"


def host(live: str, *others: str, states: dict[str, str] | None = None, sources: dict[str, str] | None = None) -> Host:
    """A host with these revisions, the live one first, then the newest first. Each ID begins with its revision."""
    names = [live, *others]
    releases = [
        Release(
            f"{name or 'old'}-{number}",
            (states or {}).get(name, "good"),
            name if name.isdigit() else "",
            (sources or {}).get(name, f"commit{name}"),
        )
        for number, name in enumerate(names)
    ]
    targets = [one.id for one in releases[1:] if one.state == "good"]
    return Host(releases[0].id, releases, targets)


def where(choice: Choice) -> dict[str, str]:
    """The revision that each host goes back to."""
    assert choice.refusal == ""
    return {name: release.partition("-")[0] for name, release in choice.releases.items()}


def test_all_hosts_go_back_to_the_revision_before_the_live_one() -> None:
    hosts = {"web1": host(R3, R2, R1), "web2": host(R3, R2, R1)}
    choice = newest_common("shop", hosts)
    assert where(choice) == {"web1": R2, "web2": R2} == choice.revisions


def test_hosts_that_would_go_back_to_different_revisions_all_stay() -> None:
    hosts = {"web1": host(R3, R2, R1), "web2": host(R3, R2, R1), "web3": host(R3, R1)}
    text = newest_common("shop", hosts).refusal
    assert f"{R2} on web1, web2; {R1} on web3" in text
    assert f"web3 lacks {R2}. Nothing was switched on any host." in text
    assert f"use -e app=shop -e revision={R1}." in text
    assert where(named("shop", hosts, R1)) == dict.fromkeys(hosts, R1)


def test_a_host_that_has_it_but_would_take_a_newer_one_is_asked_about() -> None:
    hosts = {"web1": host(R3, R2, R1), "web2": host(R3, R1), "web3": host(R3, R1)}
    text = newest_common("shop", hosts).refusal
    assert f"{R2} on web1; {R1} on web2, web3. Nothing was switched" in text
    assert f"revision={R1}" in text


def test_a_host_that_serves_it_already_stays() -> None:
    """It has missed the live revision, or an interrupted rollback has been there."""
    for names in (["web1", "web2"], ["web2", "web1"]):
        found = {"web1": host(R3, R2, R1), "web2": host(R2, R1)}
        choice = newest_common("shop", {name: found[name] for name in names})
        assert where(choice) == {"web1": R2, "web2": ""}


def test_a_changed_secret_is_taken_back_although_its_revision_is_the_same() -> None:
    hosts = {"web1": host(R2, R2, R1), "web2": host(R2, R2, R1), "web3": host(R2, R1)}
    choice = newest_common("shop", hosts)
    assert choice.releases == {"web1": f"{R2}-1", "web2": f"{R2}-1", "web3": ""}


def test_hosts_without_an_earlier_revision_in_common_are_named() -> None:
    hosts = {"web1": host(R3, R2), "web2": host(R3)}
    text = newest_common("shop", hosts).refusal
    assert f"{R2} on web1; nothing on web2. web2 lacks {R2}." in text
    assert "--limit 'all:!web2'" in text
    assert "-e revision=" not in text
    assert (
        "there is no release to roll back to on web1, web2"
        in newest_common("shop", {"web1": host(R3), "web2": host(R3)}).refusal
    )


def test_two_ways_back_that_cross_are_refused() -> None:
    hosts = {"web1": host(R1, R2), "web2": host(R2, R1)}
    text = newest_common("shop", hosts).refusal
    assert f"{R2} on web1; {R1} on web2" in text


def test_releases_of_an_earlier_version_are_compared_by_their_source() -> None:
    old = {"old": "8e77b01a" * 5}
    hosts = {"web1": host(R3, "old", sources=old), "web2": host(R3, "old", sources=old)}
    choice = newest_common("shop", hosts)
    assert where(choice) == {"web1": "old", "web2": "old"}
    assert choice.revisions["web1"] == "8e77b01a8e77"
    assert (
        "8e77b01a8e77 on web1; 111111110000 on web2"
        in newest_common("shop", {"web1": hosts["web1"], "web2": host(R3, R1)}).refusal
    )


def of_run(revision: str, run: str) -> Host:
    """A host that has this revision from this run before the live one."""
    releases = [
        Release("live", "good", f"9999{revision[4:]}", "", "run 9"),
        Release("older", "good", revision, "", run),
    ]
    return Host("live", releases, ["older"])


def test_hosts_with_settings_of_their_own_go_back_to_what_one_run_has_deployed() -> None:
    hosts = {"web1": of_run(R1, "run 1"), "web2": of_run(R2, "run 1")}
    choice = newest_common("shop", hosts)
    assert choice.releases == {"web1": "older", "web2": "older"}
    assert choice.revisions == {"web1": R1, "web2": R2}
    assert named("shop", hosts, R2).releases == choice.releases
    assert "different revisions" in newest_common("shop", {**hosts, "web3": of_run(R3, "run 2")}).refusal
    assert "different revisions" in newest_common("shop", {"web1": of_run(R1, ""), "web2": of_run(R2, "")}).refusal


# By name


@pytest.mark.parametrize("text", [R2, R2[:4], "commit2"])
def test_a_revision_is_named_by_its_beginning_or_by_its_commit(text: str) -> None:
    hosts = {"web1": host(R3, R2, R1), "web2": host(R3, R1, R2)}
    assert where(named("shop", hosts, text)) == {"web1": R2, "web2": R2}


def test_a_withdrawn_revision_can_be_named_and_a_bad_one_cannot() -> None:
    hosts = {name: host(R1, R3, R2, states={R3: "withdrawn", R2: "bad"}) for name in ("web1", "web2")}
    assert where(named("shop", hosts, R3)) == {"web1": R3, "web2": R3}
    text = named("shop", hosts, R2).refusal
    assert f"no host has the revision '{R2}'. Nothing was switched on any host. Their earlier revisions: {R3}." in text


def test_a_beginning_of_several_revisions_is_refused() -> None:
    hosts = {"web1": host(R3, "222222220000", "222222221111")}
    text = named("shop", hosts, "2222").refusal
    assert "revision=2222 matches several revisions: 222222220000, 222222221111." in text


def test_hosts_that_lack_the_named_revision_are_named_before_anything_switches() -> None:
    hosts = {"web1": host(R3, R2, R1), "web2": host(R3, R1), "web3": host(R3, R1)}
    text = named("shop", hosts, R2).refusal
    assert text.startswith(
        f"shop: web2, web3 lack the revision {R2}: it was never deployed there, or was pruned. Nothing "
    )
    assert f"revision={R1}." in text


def test_a_named_revision_that_is_live_everywhere_is_refused_and_else_its_hosts_stay() -> None:
    hosts = {"web1": host(R3, R2), "web2": host(R2, R1)}
    assert where(named("shop", hosts, R2)) == {"web1": R2, "web2": ""}
    text = named("shop", {"web1": host(R3, R2), "web2": host(R3, R2)}, R3).refusal
    assert "is already live on web1, web2" in text


def test_releases_are_named_for_each_host() -> None:
    hosts = {"web1": host(R3, R2, R1), "web2": host(R3, R2)}
    given = {"web1": f"{R1}-2", "web2": f"{R2}-1"}
    assert by_releases("shop", hosts, given).releases == given
    text = by_releases("shop", hosts, {"web1": f"{R1}-2", "web2": f"{R1}-2"}).refusal
    assert f"web2: there is no release {R1}-2. Nothing was switched on any host. Use --limit web1, or" in text
    text = by_releases("shop", hosts, {"web1": f"{R3}-0", "web2": ""}).refusal
    assert f"web1: {R3}-0 is already live; web2: no release is given for it" in text


# The answer of a host


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"current": 1, "releases": "x", "targets": {"a": 1}},
        {"current": None, "releases": [None, 1, "x"], "targets": [1, None]},
    ],
)
def test_an_answer_of_the_wrong_kind_has_no_release(found: Any) -> None:
    one = host_of(found)
    assert (one.live, one.usable, one.choices, one.serves) == ("", [], [], None)


def test_texts_of_a_host_are_shown_printable() -> None:
    found = {"current": "A", "releases": [{"id": "B", "state": "good", "revision": "\x1b[2J", "source": "x\n\x1b[2J"}]}
    one = host_of({**found, "targets": ["B"]})
    text = newest_common("shop", {"web1": one, "web2": host(R2, R1)}).refusal
    assert "x\\n\\x1b[2J on web1" in text
    assert "\x1b" not in text
    assert "\x1b" not in named("shop", {"web1": one}, "\x1b[2J").refusal
