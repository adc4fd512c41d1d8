# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A deployment has one revision on all hosts: whatever differs between hosts does not count, everything else does."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import told
from ansible_collections.pyweb.stack.plugins.module_utils.plan.held import held_elsewhere
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import Releases
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.revisions import revisions
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import choose
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import PARTS
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    Layout,
    Manifest,
    manifests,
    read_manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.revisions import (
    is_revision,
    log_fields,
    with_agreed_revision,
    with_revision,
)
from ansible_collections.pyweb.stack.plugins.module_utils.status.drift import drifts, with_drift
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import shown_revision
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.flags import lift_problems, lifted_holds
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.revisions import held_on, reported_revisions
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import release_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.revisions import bases, packages_of
from test_fleet import NEEDS, Fleet, Member
from test_plan import FACTS, defaults, shop

__all__ = ["shop"]

SOURCE = {"kind": "git", "digest": "https://example.com/shop.git 8e77b01", "subdir": "", "revision": "8e77b01"}
APP: dict[str, Any] = {
    "name": "shop",
    "source": {"git": "https://example.com/shop.git"},
    "wsgi": "shop:app",
    "env": {"SECRET": "hunter2"},
    "processes": [{"name": "mail", "command": "shop mail --node web1.example.com"}],
}
HOSTS = ["web1.example.com", "web2.example.com", "192.0.2.1", "192.0.2.2", "localhost", "127.0.0.1"]


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(APP), **changes}


def base(
    app: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    source: dict[str, Any] | None = None,
    **inputs: Any,
) -> str:
    """The base of the application, as the controller computes it for one host."""
    given: dict[str, dict[str, Any]] = {role: {} for role in plan.ROLES}
    for name, value in {**defaults(), **inputs}.items():
        if (role := name.partition("_")[0]) in given:
            given[role][name] = value
    given["webapp"] |= {"webapp_release_files": []}
    apps = applications([app or APP])
    model = plan.Model(apps, [], {}, [], given, {**FACTS, **(facts or {})})
    (found,) = bases(plan.ROLES, model, {"shop": {**SOURCE, **(source or {})}}, HOSTS).values()
    return found


@pytest.mark.parametrize(
    "facts",
    [
        {"cpus": 64},
        {"memory_bytes": 2**40},
        {"init": "none"},
        {"interpreters": {"python3": {"path": "/usr/bin/python3", "version": "3.13"}}},
    ],
)
def test_facts_of_a_host_do_not_count(facts: dict[str, Any]) -> None:
    assert base(facts=facts) == base()
    assert base(changed(workers="auto"), facts) == base(changed(workers="auto"))


@pytest.mark.parametrize(
    ("app", "inputs"),
    [
        (changed(process_manager="supervisor"), {}),
        (APP, {"webapp_process_manager": "supervisor"}),
        (changed(python={"interpreter": "/opt/python3.12/bin/python3.12"}), {}),
        (changed(python={"interpreter": "python3"}), {}),
        (changed(env={"SECRET": "hunter3"}), {}),
        (changed(processes=[{"name": "mail", "command": "shop mail --node web2.example.com"}]), {}),
        (changed(processes=[{"name": "mail", "command": "shop mail --node web2"}]), {}),
        (changed(processes=[{"name": "mail", "command": "shop mail --node 192.0.2.2"}]), {}),
        (changed(health={"path": "/healthz"}), {}),
        (changed(site={"domains": ["shop.example.com"]}), {}),
        (changed(switch="stop_first"), {}),
        (APP, {"webapp_root": "/home/webapps"}),
    ],
)
def test_what_differs_between_hosts_or_is_no_part_of_a_release_does_not_count(app: Any, inputs: dict[str, Any]) -> None:
    assert base(app, **inputs) == base()


@pytest.mark.parametrize(
    "app",
    [
        changed(wsgi="shop:other"),
        changed(workers=3),
        changed(threads=3),
        changed(server="uwsgi"),
        changed(gunicorn={"keepalive": 9}),
        changed(timeout=77),
        changed(limits={"memory": "640M"}),
        changed(env={"SECRET": "hunter2", "MORE": "1"}),
        changed(env={}),
        changed(files=[{"path": "etc/key", "content": "x"}]),
        changed(shared=["uploads"]),
        changed(commands={"build": ["make"]}),
        changed(processes=[]),
        changed(processes=[{"name": "mail", "command": "shop mail --node web1.example.com --fast"}]),
        changed(processes=[{"name": "mail", "command": "shop mail --node web12.example.com"}]),
        changed(python={"packages": ["six"]}),
        changed(python={"requirements": ["other.txt"]}),
        changed(python={"extras": ["fast"]}),
        changed(python={"index_url": "https://pypi.example.com/simple"}),
        changed(python={"interpreter": "3.12"}),
        changed(proxy_fix=True),
    ],
)
def test_each_setting_of_a_release_counts(app: dict[str, Any]) -> None:
    assert base(app) != base()
    # In the same way on all hosts.
    assert base(app, {"cpus": 64, "init": "none"}) == base(app)


def test_the_source_counts_and_the_patch_version_of_python_does_not() -> None:
    assert base(source={"digest": "other"}) != base()
    assert base(source={"subdir": "backend"}) != base()
    versions = [base(changed(python={"interpreter": one})) for one in ("3.12.1", "3.12.4", "3.13.1")]
    assert versions[0] == versions[1] != versions[2]
    assert base(webapp_server_requirements={"gunicorn": "gunicorn==1"}) != base()


def test_a_password_of_an_index_does_not_count() -> None:
    addresses = [f"https://user:{word}@pypi.example.com/simple" for word in ("one", "two")]
    one, two = (base(changed(python={"index_url": address})) for address in addresses)
    assert one == two


# The packages


def build(revision: str, new: bool) -> dict[str, Any]:
    return {"revision": revision, "new_packages": new}


def test_known_packages_keep_their_digits_and_new_ones_get_digits_together() -> None:
    one, other, live = "aaaaaaaa1111", "aaaaaaaa2222", "aaaaaaaa3333"
    assert packages_of([build(one, True)], [], "aaaaaaaa") == "1111"
    both = packages_of([build(one, True), build(other, True)], [], "aaaaaaaa")
    assert both == packages_of([build(other, True), build(one, True)], [], "aaaaaaaa")
    assert both not in ("1111", "2222")
    assert packages_of([build(one, True), build(other, False)], [], "aaaaaaaa") == "2222"
    assert packages_of([build(one, True)], [live], "aaaaaaaa") == "3333"
    # Those of another base say nothing, and neither does what is none.
    assert packages_of([build(one, True)], ["bbbbbbbb3333", ""], "aaaaaaaa") == "1111"
    assert packages_of([{"revision": ["x"]}, {}], [], "aaaaaaaa") == ""


class Named(Member):
    """A host of a fleet that names its releases."""

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.facts["revisions"] = revisions(["shop"], str(self.root))
        return super().run(name, arguments)

    def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        before = self.number
        answer = super().apply(arguments)
        if self.number > before:
            webapp = next(part for part in arguments["parts"] if part["role"] == "webapp")["inputs"]
            manifest = with_revision(self.layout, manifests(self.layout)[0], webapp["revisions"]["shop"])
            manifest.source = "8e77b01"
            write_manifest(self.layout, manifest)
            for app in answer["parts"]["webapp"]["apps"]:
                app |= {"candidate": manifest.id, **told(self.layout, manifest.id)}
            self.answers["pyweb.stack.webapp_activate"] = self.activate
        return answer

    def activate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        manifest = manifests(self.layout)[0]
        manifest.revision = arguments["apps"][0]["revision"] or manifest.revision
        write_manifest(self.layout, manifest)
        return {"changed": True, "apps": [{"name": "shop", "release": manifest.id}]}

    @property
    def revision(self) -> str:
        return manifests(self.layout)[0].revision


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: dict[str, Any]) -> Fleet:
    found = Fleet(tmp_path / "hosts", monkeypatch, shop)
    add(found, "web1")
    add(found, "web2", interpreters={"python3": {"path": "/usr/bin/python3", "version": "3.13"}})
    return found


def add(fleet: Fleet, name: str, **facts: Any) -> None:
    fleet.members[name] = Named(fleet.folder / name, fleet.uv, **facts)


def revisions_of(fleet: Fleet) -> list[str]:
    return [member.revision for member in fleet.members.values()]


def only(fleet: Fleet, *names: str) -> Fleet:
    """The same hosts within --limit."""
    part = copy.copy(fleet)
    part.members = {name: fleet.members[name] for name in names}
    return part


def test_hosts_with_other_pythons_have_one_revision_also_with_limit(fleet: Fleet) -> None:
    assert fleet.run() == {}
    first, second = revisions_of(fleet)
    assert first == second
    assert is_revision(first)
    # One host after the other.
    fleet.change(OTHER="1")
    assert only(fleet, "web2").run() == {}
    assert only(fleet, "web1").run() == {}
    later, same = revisions_of(fleet)
    assert later == same != first
    assert later[8:] == first[8:], "the packages are the same"


def test_a_new_host_gets_the_revision_of_the_others(fleet: Fleet) -> None:
    fleet.run()
    add(fleet, "web3")
    fleet.uv.newest = "9.0"
    assert fleet.run() == {}
    assert len(set(revisions_of(fleet))) == 1
    assert fleet.members["web1"].number == 1, "the other hosts have nothing to do"


@pytest.mark.parametrize("newest", ["1.0", "9.0"])
def test_an_upgrade_makes_another_revision_if_it_finds_other_packages(fleet: Fleet, newest: str) -> None:
    fleet.run()
    (before, _same) = revisions_of(fleet)
    fleet.uv.newest = newest
    assert fleet.run(webapp_upgrade_packages=True) == {}
    assert fleet.members["web1"].number == 2
    first, second = revisions_of(fleet)
    assert first == second
    assert (first == before) is (newest == "1.0")
    assert first[:8] == before[:8]
    fleet.change(**{NEEDS: "more"})
    fleet.run()
    assert len(set(revisions_of(fleet))) == 1


def test_a_release_of_an_earlier_version_shows_its_source() -> None:
    assert shown_revision("8e77b01a0000", "0" * 40) == "8e77b01a0000"
    assert shown_revision("", "0123456789" * 4) == "012345678901"
    assert shown_revision("", "shop==1.4.2\x1b[2J") == "shop==1.4.2\\x1b[2J"
    assert shown_revision("", "") == "unknown"


# A hold of another host


def test_a_revision_that_a_host_holds_is_known_by_its_base() -> None:
    reports = {"web1": {"shop": {"live": "", "held": ["aaaaaaaa1111"]}}, "web2": {}}
    assert held_on(reports, {"shop": "aaaaaaaa", "blog": "aaaaaaaa"}, "web2") == {"shop": ["web1"]}
    assert held_on(reports, {"shop": "bbbbbbbb"}, "web2") == {}
    assert held_on(reports, {"shop": "aaaaaaaa"}, "web1") == {}, "its own hold counts already"


@pytest.mark.parametrize("own", [{"live": "aaaaaaaa2222", "held": []}, {"live": "", "held": ["aaaaaaaa2222"]}])
def test_new_secrets_are_deployed_on_all_hosts_although_one_has_a_hold(own: dict[str, Any]) -> None:
    """A host that serves or holds the revision decides for itself."""
    reports = {"web1": {"shop": {"live": "", "held": ["aaaaaaaa1111"]}}, "web2": {"shop": own}}
    assert held_on(reports, {"shop": "aaaaaaaa"}, "web2") == {}


@pytest.mark.parametrize("given", [[], "x", {"held": "aaaaaaaa1111"}, {"live": 1, "held": [None, {}, "A" * 12, ""]}])
def test_a_host_reports_revisions_or_nothing(given: Any) -> None:
    found = reported_revisions({"revisions": {"shop": given}}, ["shop"])
    assert found in ({}, {"shop": {"live": "", "held": []}})


def test_an_application_that_is_held_on_one_host_is_deployed_on_no_other(fleet: Fleet) -> None:
    fleet.run()
    held = fleet.members["web1"].revision
    fleet.change(OTHER="1")
    entry = {"release": "x", "fingerprint": {"code": "y"}, "revision": base_of(fleet, held)}
    Path(fleet.members["web1"].layout.path(".hold.json")).write_text(json.dumps({"releases": [entry]}))
    add(fleet, "web3")
    fleet.run()
    sent = {name: inputs(member)["held_on"] for name, member in fleet.members.items()}
    assert sent == {"web1": {}, "web2": {"shop": ["web1"]}, "web3": {"shop": ["web1"]}}


def base_of(fleet: Fleet, before: str) -> str:
    """The revision that the next run would deploy."""
    probe = copy.deepcopy(fleet.members["web2"])
    probe.root = fleet.folder / "probe"
    probe.layout = type(probe.layout)("shop", str(probe.root))
    part = copy.copy(fleet)
    part.members = {"probe": probe}
    part.run()
    assert probe.revision[:8] != before[:8]
    return probe.revision


def inputs(member: Member) -> dict[str, Any]:
    calls = [given["parts"] for name, given in member.calls if name == "pyweb.stack.apply" and given.get("parts")]
    found: dict[str, Any] = next(part for part in calls[0] if part["role"] == "webapp")["inputs"]
    return found


# The reports


def served(host: str, revision: str, run: str = "", **more: Any) -> dict[str, Any]:
    row = {"host": host, "application": "shop", "release": "R", "revision": revision, "source": "c0ffee", "run": run}
    return {**row, "since": "2026-11-29T23:40:00Z", **more}


FIRST, SECOND = "8e77b01a0000", "3f2c1a900000"


def line(*rows: dict[str, Any]) -> str:
    return drifts(list(rows)).get("shop", {}).get("text", "").partition(". To change that")[0]


def test_hosts_of_one_revision_are_silent_and_others_are_one_line() -> None:
    alike = [served(name, FIRST, run) for name, run in (("web1", "a"), ("web2", "b"), ("web4", ""))]
    assert drifts(alike) == {}
    assert (
        line(alike[0], served("web3", SECOND, "c"), *alike[1:])
        == f"shop: {FIRST} on web1, web2, web4; {SECOND} on web3 since 2026-11-29 23:40:00"
    )
    # One run may give its hosts settings of their own.
    assert line(served("web1", FIRST, "a"), served("web2", SECOND, "a")) == ""


def test_a_drift_that_has_a_reason_says_it() -> None:
    held = served("web3", SECOND, "c", hold={"release": "R"})
    leased = served("web3", SECOND, "c", lease={"run": "c", "release": "R", "until": "soon"})
    assert line(served("web1", FIRST, "a"), held).endswith("(held since a rollback)")
    assert line(served("web1", FIRST, "a"), leased).endswith("(provisional)")
    rows = with_drift([served("web1", FIRST, "a"), held, {"application": "old", "host": "web1", "release": "R"}])
    assert [bool(row["drift"]) for row in rows] == [True, True, False]
    assert rows[0]["drift"]["groups"][1] == {
        "revision": SECOND,
        "hosts": ["web3"],
        "since": "2026-11-29T23:40:00Z",
        "held": True,
        "provisional": False,
    }


def test_releases_of_an_earlier_version_differ_if_their_sources_do() -> None:
    assert line(served("web1", FIRST), served("web2", "", source="c0ffee")) == ""
    assert line(served("web1", FIRST), served("web2", "", source="other")).startswith(
        f"shop: {FIRST} on web1; other on"
    )


def test_the_list_of_releases_shows_revision_source_and_run() -> None:
    release = {"id": "R", "state": "good", "revision": FIRST, "source": "0" * 40, "created": "", "by": "me"}
    run = "0242ac11-0002-8a41-77c2-000000000005"
    (table,) = release_table([{"name": "shop", "current": "R", "releases": [{**release, "run": run}], "hold": None}])[
        1:
    ]
    assert table.split() == ["*", "shop", "R", "live", FIRST, "0" * 12, "me", "8a4177c2"]


# On the host


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout("shop", str(tmp_path / "srv"), str(tmp_path / "run"))
    os.makedirs(found.release("R1"))
    return found


def test_a_release_of_an_earlier_version_has_a_source_and_no_revision(layout: Layout) -> None:
    # Its digest looks like a revision.
    written = {"id": "R1", "state": "good", "fingerprint": {"code": "x"}, "revision": "0123456789ab", "venv": "v"}
    Path(layout.release("R1"), "release.json").write_text(json.dumps(written))
    manifest = read_manifest(layout, "R1")
    assert manifest is not None
    assert (manifest.revision, manifest.source, manifest.run) == ("", "0123456789ab", "")
    write_manifest(layout, manifest)
    assert read_manifest(layout, "R1") == manifest
    layout_home = Path(layout.home)
    (layout_home / "current").symlink_to("releases/R1")
    assert revisions(["shop"], layout.root) == {}


def test_another_revision_alone_builds_nothing() -> None:
    wanted = dict.fromkeys(PARTS, "same")
    live = Manifest("R1", GOOD, wanted, revision="8e77b01a0000", source="x", run="run 1")
    assert choose(wanted, "R1", [live]) == ("none", None, [])


def test_a_candidate_gets_the_revision_and_the_run_of_its_switch(layout: Layout) -> None:
    manifest = Manifest("R1", GOOD, {"code": "x"}, revision="8e77b01a1111")
    write_manifest(layout, manifest)
    spec = {"candidate": "R1", "revision": "8e77b01a2222", "lease": {"run": "run 2"}}
    for wrong in ({**spec, "candidate": ""}, {"candidate": "R1", "revision": "../x"}):
        assert with_agreed_revision(layout, manifest, wrong).revision == "8e77b01a1111"
    with_agreed_revision(layout, manifest, spec)
    found = read_manifest(layout, "R1")
    assert found is not None
    assert (found.revision, found.run) == ("8e77b01a2222", "run 2")
    assert log_fields(found, "run 3") == {"revision": "8e77b01a2222", "run": "run 3"}


def test_the_look_reports_the_live_revision_and_those_that_are_held(layout: Layout) -> None:
    write_manifest(layout, Manifest("R1", GOOD, {"code": "x"}, revision=FIRST, source="c", venv="v"))
    (Path(layout.home) / "current").symlink_to("releases/R1")
    assert revisions(["shop", "blog"], layout.root) == {"shop": {"live": FIRST, "held": []}}
    own = {"release": "R1", "fingerprint": {"code": "x"}, "venv": "v", "revision": FIRST}
    other = {"release": "R0", "fingerprint": {"code": "y"}, "venv": "v", "revision": SECOND}
    # An entry for the live release has no effect.
    Path(layout.home, ".hold.json").write_text(json.dumps({"releases": [own, other, None]}))
    assert revisions(["shop"], layout.root) == {"shop": {"live": FIRST, "held": [SECOND]}}
    Path(layout.home, ".hold.json").write_text("{")
    assert revisions(["shop"], layout.root) == {"shop": {"live": FIRST, "held": []}}


def test_a_host_does_not_deploy_a_release_that_another_one_holds(layout: Layout) -> None:
    wanted = dict.fromkeys(PARTS, "new")
    spec = {"held_on": ["web1", "web2"]}
    text = held_elsewhere(layout, spec, wanted)
    assert text.startswith("webapps 'shop': HELD on web1, web2 since a rollback")
    assert "No release stays live." in text
    assert "-e lift_hold=shop" in text
    assert held_elsewhere(layout, {}, wanted) == ""
    assert held_elsewhere(layout, {**spec, "release_hold": False}, wanted) == ""
    write_manifest(layout, Manifest("R1", GOOD, wanted))
    (Path(layout.home) / "current").symlink_to("releases/R1")
    assert held_elsewhere(layout, spec, wanted) == "", "it is live here already"


@pytest.mark.parametrize(
    ("given", "lifted"), [("shop", ["shop"]), ("shop, blog", ["shop", "blog"]), (["blog"], ["blog"]), (None, [])]
)
def test_single_holds_are_lifted_by_their_names(given: Any, lifted: list[str]) -> None:
    variables = {} if given is None else {"lift_hold": given}
    assert lifted_holds(variables, lambda found: found) == lifted
    assert lift_problems(variables, lambda found: found, ["shop", "blog"]) == []
    inputs = {"apps": [], "root": "/x", "uv": "", "nginx_group": "", "owner": "", "lift_hold": lifted}
    releases = Releases(inputs, lambda *_arguments: None, check_mode=False)
    assert [releases.of_run({"name": name})["release_hold"] for name in ("shop", "blog")] == [
        "shop" not in lifted,
        "blog" not in lifted,
    ]


@pytest.mark.parametrize("given", ["false", "", [], True, "shop,blgo"])
def test_a_name_of_no_application_lifts_no_hold(given: Any) -> None:
    (problem,) = lift_problems({"lift_hold": given}, lambda found: found, ["shop", "blog"])
    assert problem.startswith("lift_hold: ")
    assert "Applications: shop, blog. To lift all holds, use -e release_hold=false." in problem
