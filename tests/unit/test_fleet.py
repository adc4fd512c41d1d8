# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of one run install the same versions, whichever the index has when each of them builds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.module_utils.building import resolution
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.resolutions import recorded
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    GOOD,
    Layout,
    Manifest,
    ReleaseError,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import (
    INPUTS,
    RECORD,
    Unresolved,
    given_away,
    record_list,
    recorded_list,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import seed_of, versions_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import fleet, modelling
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import look as looking
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin
from test_plan import WHOLE, Failed, Host, Run, built, shop

__all__ = ["shop"]

# A variable that the inputs include: another value asks for other packages.
NEEDS = "needs"
REMOVE = "remove this key"


class Uv:
    """An index with the versions of one package, and the resolutions that were asked for."""

    def __init__(self) -> None:
        self.newest = "1.0"
        self.asked: list[str] = []

    def compile(self, seed: list[dict[str, str]]) -> str:
        version = next((one["version"] for one in seed if one["name"] == "flask"), self.newest)
        self.asked.append(version)
        return seed_of([{"name": "flask", "version": version}])


class Member(Host):
    """A host of a fleet: its releases are in a folder, and the host code of the collection decides."""

    def __init__(self, root: Path, uv: Uv, **facts: Any) -> None:
        super().__init__(**facts)
        self.root = root
        self.uv = uv
        self.number = 0
        self.layout = Layout("shop", str(root))

    @property
    def version(self) -> str:
        """The version that the live release has installed."""
        path = os.path.join(self.layout.current, RECORD)
        return next(one["version"] for one in versions_of(Path(path).read_text()) if one["name"] == "flask")

    @property
    def sent_apps(self) -> list[dict[str, Any]]:
        """The applications in the last call of apply."""
        calls = [given["parts"] for name, given in self.calls if name == "pyweb.stack.apply" and given.get("parts")]
        apps: list[dict[str, Any]] = next(part for part in calls[-1] if part["role"] == "webapp")["inputs"]["apps"]
        return apps

    def run(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.facts["resolutions"] = recorded(["shop"], str(self.root))
        return super().run(name, arguments)

    def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("give"):
            return {"changed": False, "offers": given_away(arguments["give"], str(self.root))}
        stamps = self.facts["stamps"]
        answer = super().apply(arguments)
        webapp = next(part for part in arguments["parts"] if part["role"] == "webapp")["inputs"]
        secrets = json.loads(arguments["secrets"])["webapp"]["apps"]["shop"]
        resolved: dict[str, Any] = {}
        try:
            spec = {
                "resolution": (webapp.get("resolutions") or {}).get("shop"),
                "shared_inputs": (webapp.get("shared_inputs") or {}).get("shop"),
                "upgrade": webapp["upgrade"],
                "resolved": resolved,
            }
            inputs = hashlib.sha256(f"{secrets['env'].get(NEEDS)} {self.facts['interpreters']}".encode()).hexdigest()
            build = SimpleNamespace(
                name="shop", spec=spec, layout=self.layout, error=lambda text: ReleaseError("shop", text)
            )
            text = resolution.agreed_list(build, inputs, self.uv.compile)  # type: ignore[arg-type]
        except Unresolved as error:
            self.facts["stamps"] = stamps
            answer["parts"]["webapp"] |= {
                "unresolved": {"shop": error.offer},
                "apps": [built("shop", False) | {"candidate": "", "action": "failed"}],
            }
        except ReleaseError as error:
            answer["parts"]["webapp"]["failures"] = {"names": ["shop"], "problems": [str(error)]}
            answer["parts"]["webapp"]["apps"] = [built("shop", False) | {"candidate": "", "action": "failed"}]
            self.facts["stamps"] = stamps
        else:
            self.release(inputs, text)
            answer["parts"]["webapp"]["resolved"] = resolved
        return answer

    def release(self, inputs: str, text: str) -> None:
        """Make a release with these packages, and switch to it."""
        self.number += 1
        identity = f"202611{20 + self.number}T000000Z-22222222"
        os.makedirs(self.layout.release(identity))
        record_list(self.layout.release(identity), inputs, text)
        write_manifest(self.layout, Manifest(identity, GOOD))
        Path(self.layout.current).unlink(missing_ok=True)
        Path(self.layout.current).symlink_to(f"releases/{identity}")


class Fleet:
    """Runs of the site playbook on hosts of a fleet."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, app: dict[str, Any]) -> None:
        self.folder, self.monkeypatch, self.app = folder, monkeypatch, app
        self.uv = Uv()
        self.members: dict[str, Member] = {}
        self.stages: tuple[str, ...] = WHOLE
        self.printed: list[str] = []
        show = "ansible_collections.pyweb.stack.plugins.action.apply.display.display"
        monkeypatch.setattr(show, lambda text, **_options: self.printed.append(text))

    def add(self, *names: str, **facts: Any) -> None:
        for name in names:
            self.members[name] = Member(self.folder / name, self.uv, **facts)

    def run(
        self, batches: list[list[str]] | None = None, published: str = "", after: str = "", **more: Any
    ) -> dict[str, str]:
        """Run all stages; return the messages of failures by host.

        A version is ``published`` when the first host has passed the stage deploy, or the host ``after``.
        """
        run = Run(dict(self.members), self.monkeypatch)
        run.report = "later"
        for member in self.members.values():
            member.calls.clear()
        self.uv.asked.clear()
        self.printed.clear()
        found = {}
        for batch in batches or [list(self.members)]:
            run.batch = batch
            for stage, step in run.stages(self.stages):
                for host in batch:
                    try:
                        run([self.app], stage=stage, host=host, more=more, step=step)
                    except Failed as error:
                        found[host] = str(error)
                    if stage == "deploy" and published and host == (after or batch[0]):
                        self.uv.newest = published
        return found

    @property
    def shown(self) -> list[str]:
        """The lines of a run, without the table of new releases at its end."""
        return [line for line in self.printed if " → " not in line and not line.startswith("application  host")]

    @property
    def versions(self) -> list[str]:
        return [member.version for member in self.members.values()]

    def change(self, **env: str) -> None:
        """Change a variable, so that each host needs a release. NEEDS changes the inputs of the resolution as well."""
        self.app["env"] = {**self.app["env"], **env}


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: dict[str, Any]) -> Fleet:
    found = Fleet(tmp_path / "hosts", monkeypatch, shop)
    found.add("web1", "web2")
    return found


def test_a_version_that_is_published_between_two_builds_is_on_no_host(web: Fleet) -> None:
    assert web.run(published="2.0") == {}
    assert web.versions == ["1.0", "1.0"]
    assert web.shown == ["webapps 'shop': web2 installs the versions that web1 has."]


def test_a_run_without_a_change_asks_nothing(web: Fleet) -> None:
    web.run()
    web.uv.newest = "2.0"
    web.run()
    assert {name: member.trips for name, member in web.members.items()} == {
        "web1": ["preflight"],
        "web2": ["preflight"],
    }


def test_a_change_of_code_takes_one_call_for_each_host(web: Fleet) -> None:
    web.run()
    web.change(OTHER="1")
    web.run()
    assert [member.trips for member in web.members.values()] == [["preflight", "apply", *["webapp_activate"] * 3]] * 2
    assert web.uv.asked == []


@pytest.mark.parametrize("has_news", [False, True])
def test_a_new_host_gets_the_versions_of_the_others(web: Fleet, has_news: bool) -> None:
    web.run()
    web.add("web3")
    web.uv.newest = "2.0"
    if has_news:
        web.change(OTHER="1")
    assert web.run() == {}
    assert web.versions == ["1.0", "1.0", "1.0"]
    assert web.members["web2"].trips.count("preflight") == 1


def test_a_new_host_that_comes_first_gets_the_versions_of_the_others(web: Fleet) -> None:
    web.run()
    web.add("web0")
    web.members = {name: web.members[name] for name in sorted(web.members)}
    web.uv.newest = "2.0"
    assert web.run() == {}
    assert web.versions == ["1.0", "1.0", "1.0"]


def test_other_requirements_are_resolved_by_one_host(web: Fleet) -> None:
    web.run()
    web.uv.newest = "2.0"
    web.change(**{NEEDS: "more"})
    assert web.run(published="3.0") == {}
    assert web.versions == ["2.0", "2.0"]


def test_an_upgrade_is_resolved_once_for_all(web: Fleet) -> None:
    web.run()
    web.uv.newest = "2.0"
    assert web.run(published="3.0", webapp_upgrade_packages=True) == {}
    assert web.versions == ["2.0", "2.0"]


@pytest.fixture
def unlike(web: Fleet) -> Fleet:
    """Hosts with different versions, because each of them was deployed alone, with --limit."""
    members = dict(web.members)
    for name, version in (("web2", "1.0"), ("web1", "2.0")):
        web.uv.newest = version
        web.members = {name: members[name]}
        web.run()
    web.members = members
    assert web.versions == ["2.0", "1.0"]
    return web


def test_hosts_that_differ_agree_when_they_build_again(unlike: Fleet) -> None:
    unlike.change(OTHER="1")
    unlike.run()
    assert unlike.versions == ["2.0", "2.0"]


def test_a_run_without_a_change_reads_no_versions_of_hosts_that_differ(unlike: Fleet) -> None:
    unlike.run()
    assert [member.trips for member in unlike.members.values()] == [["preflight"], ["preflight"]]


def test_an_upgrade_takes_no_recorded_versions_of_hosts_that_differ(unlike: Fleet) -> None:
    unlike.uv.newest = "3.0"
    assert unlike.run(webapp_upgrade_packages=True) == {}
    assert unlike.versions == ["3.0", "3.0"]


def test_an_upgrade_in_batches_takes_no_recorded_versions(web: Fleet) -> None:
    web.add("web3", "web4")
    batches = [["web1", "web2"], ["web3", "web4"]]
    web.run(batches)
    web.uv.newest = "2.0"
    assert web.run(batches, webapp_upgrade_packages=True) == {}
    assert web.versions == ["2.0"] * 4


class Finished(Member):
    """A host on which an earlier run has built the release, but did not switch to it."""

    def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        waiting = [name for name in os.listdir(self.layout.releases) if name != self.layout.current_release()]
        if arguments.get("give") or not waiting:
            return super().apply(arguments)
        Path(self.layout.current).unlink(missing_ok=True)
        Path(self.layout.current).symlink_to(f"releases/{waiting[0]}")
        return Host.apply(self, arguments)


def test_a_host_builds_with_the_versions_of_a_release_that_another_one_has_built_before(web: Fleet) -> None:
    web.members["web1"] = Finished(web.folder / "web1", web.uv)
    del web.members["web2"]
    os.makedirs(web.members["web1"].layout.releases)
    web.run()
    Path(web.members["web1"].layout.current).unlink()
    web.change(OTHER="1")
    web.add("web2")
    web.uv.newest = "2.0"
    assert web.run() == {}
    assert web.versions == ["1.0", "1.0"]


def test_a_record_of_an_earlier_version_of_the_collection_counts(web: Fleet) -> None:
    web.run()
    for member in web.members.values():
        path = Path(member.layout.current, RECORD)
        lines = path.read_text().split("\n")
        path.write_text("\n".join([lines[0], *lines[2:]]))
        inputs = lines[0].removeprefix(INPUTS)
        assert recorded_list(member.layout, inputs) == "\n".join(lines[2:])
    web.uv.newest = "2.0"
    web.add("web3")
    assert web.run() == {}
    assert web.versions == ["1.0", "1.0", "1.0"]


@pytest.mark.parametrize("batches", [[["web1"], ["web2"], ["web3"]], [["web1"], ["web2", "web3"]]])
def test_the_hosts_of_all_batches_install_the_same(web: Fleet, batches: list[list[str]]) -> None:
    web.add("web3")
    assert web.run(batches, published="2.0") == {}
    assert web.versions == ["1.0"] * 3
    web.members["web4"] = Member(web.folder / "web4", web.uv)
    assert web.run([*batches, ["web4"]]) == {}
    assert web.versions == ["1.0"] * 4


def test_hosts_with_another_python_resolve_for_themselves(web: Fleet) -> None:
    interpreters = {"python3": {"path": "/usr/bin/python3", "version": "3.13"}}
    web.add("web3", "web4", interpreters=interpreters)
    members, web.members = dict(web.members), dict(list(web.members.items())[:2])
    web.run()
    web.members, web.uv.newest = members, "2.0"
    assert web.run(published="3.0", after="web3") == {}
    assert web.versions == ["1.0", "1.0", "2.0", "2.0"]
    assert web.shown == ["webapps 'shop': web4 installs the versions that web3 has."]


class Failing(Member):
    """A host that can't build the application blog."""

    def apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = super().apply(arguments)
        answer["parts"]["webapp"]["failures"] = {"names": ["blog"], "problems": ["webapps 'blog': no"]}
        return answer


def test_a_build_that_has_failed_is_not_tried_again_when_others_have_waited(
    web: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.members["web1"] = Failing(web.folder / "web1", web.uv)
    run = Run(dict(web.members), monkeypatch)
    run.report = "later"
    blog = {**web.app, "name": "blog", "site": {"domains": ["blog.example.com"]}}
    for stage in ("look", "deploy", "build"):
        for host in run.hosts:
            run([web.app, blog], stage=stage, host=host)
    shop, sent = web.members["web1"].sent_apps
    assert "problem" not in shop
    assert sent == {"name": "blog", "state": "present", "problem": "no"}
    assert run.registered["web1"]["__deployment"]["deployment"]["failures"]["names"] == ["blog"]


def test_one_host_resolves_while_it_builds(web: Fleet) -> None:
    del web.members["web2"]
    web.run()
    assert web.members["web1"].trips == ["preflight", "apply"]


def test_a_playbook_without_the_stage_build_is_refused(web: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    web.stages = ("look", "deploy", "commands", "switch", "report")
    with pytest.raises(AnsibleActionFail, match="shop waits for the stage build, which did not run"):
        web.run()


def test_a_playbook_without_the_stage_look_resolves_on_each_host(web: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    web.stages = ("deploy", "commands", "switch", "report")
    assert web.run(published="2.0") == {}
    assert web.versions == ["1.0", "2.0"]


def test_a_fleet_is_idle_only_if_no_host_has_anything_to_do_or_to_say() -> None:
    def look(commit: str, source: str = "main", **more: Any) -> dict[str, Any]:
        seen = {"commits": {"shop": {"commit": commit}}, "sources": {"shop": source}}
        return {"fleet": seen, "lines": ["shop is at http://web1/"], **more}

    assert fleet.are_idle([look("a"), look("a")])
    # A host with another branch has other commits.
    assert fleet.are_idle([look("a"), look("b", "dev"), look("a")])
    assert not fleet.are_idle([look("a"), look("b")]), "the branch has got a commit between the looks"
    busy = look("a")
    del busy["lines"]
    assert not fleet.are_idle([look("a"), busy])
    assert not fleet.are_idle([look("a"), {}]), "a host was not reached"


def test_all_hosts_deploy_the_commit_that_the_first_one_has_been_given() -> None:
    app = {"name": "shop", "python": {"interpreter": None}, "source": {"git": "x", "version": "main"}}
    facts = {"interpreters": {}, "resolutions": {}}
    looks = {
        "web1": fleet.seen([app], {**facts, "sources": {"shop": {"commit": "1"}}}),
        "web2": fleet.seen([app], {**facts, "sources": {"shop": {"commit": "2"}}}),
        "web3": fleet.seen([{**app, "source": {"git": "x"}}], {**facts, "sources": {"shop": {"commit": "3"}}}),
        "web4": fleet.seen([{**app, "source": {"path": "x"}}], {**facts, "sources": {}}),
    }
    found = [fleet.commits(looks, host) for host in looks]
    assert found == [{"shop": {"commit": "1"}}] * 2 + [{"shop": {"commit": "3"}}, {}]


@pytest.mark.parametrize(
    "source",
    [{"git": "https://bob:hunter22@git.example.com/shop.git"}, {"package": "shop @ https://bob:hunter22@x/a.zip"}],
)
def test_the_result_of_a_look_has_no_login(source: dict[str, str]) -> None:
    """Ansible prints the results of tasks with -v."""
    app = {"name": "shop", "python": {"interpreter": None}, "source": source}
    found = fleet.seen([app], {"interpreters": {}, "resolutions": {}})
    assert "hunter22" not in json.dumps(found)
    assert found["sources"]["shop"]


def test_a_host_that_has_seen_an_older_commit_is_not_left_out(
    web: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    web.app["source"] = {"git": "https://git.example.com/shop.git"}
    given = iter(["a" * 40] * 2 + ["b" * 40] + ["a" * 40])
    monkeypatch.setattr(looking, "pin", lambda *_: {"commit": next(given)})
    monkeypatch.setattr(
        modelling, "origin_of", lambda source, _bases: Origin({"kind": "git", "digest": source["commit"]})
    )
    web.run()
    assert web.run() == {}
    sent = [[app["source"]["digest"] for app in member.sent_apps] for member in web.members.values()]
    assert sent == [["b" * 40], ["b" * 40]]


# --- a host that offers something else --------------------------------------------------------------------------------

DIGEST = "0" * 64
FLASK = {"name": "flask", "version": "1.0"}


@pytest.mark.attack("20", "A host hands over a resolution with options, addresses, files or a list without end")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": [{**FLASK, "name": "--index-url"}]}, "'--index-url' is no valid name"),
        ({"versions": [{**FLASK, "name": "x @ https://evil.example/x.whl"}]}, "is no valid name"),
        ({"versions": [{**FLASK, "version": "1.0 --index-url https://evil.example"}]}, "is no valid version"),
        ({"versions": [{**FLASK, "version": '1.0"\n[[packages]]'}]}, "is no valid version"),
        ({"versions": [{**FLASK, "url": "https://evil.example/x.whl"}]}, "an entry is no package with its version"),
        ({"versions": [{**FLASK, "version": 1}]}, "'1' is no valid version"),
        ({"versions": [{"name": "x", "git": "ext::sh -c id", "commit": "0" * 40}]}, "is no valid git"),
        ({"versions": [{"name": "x", "git": "https://e.example/x", "commit": "main"}]}, "is no valid commit"),
        ({"versions": [FLASK, {**FLASK, "name": "Flask"}]}, "flask is listed twice"),
        (
            {"versions": [{"name": f"x{number}", "version": "1"} for number in range(3000)]},
            "list of up to 2000 packages",
        ),
        ({"versions": [{**FLASK, "version": "1" * 9999}]}, "is no valid version"),
        ({"versions": "flask==1.0"}, "list of up to 2000 packages"),
        ({"inputs": "../../etc"}, "their inputs are no digest"),
    ],
)
def test_versions_of_a_host_name_packages_and_versions_alone(change: dict[str, Any], words: str) -> None:
    offer = {"inputs": DIGEST, "versions": [FLASK], "recorded": True, **change}
    with pytest.raises(AnsibleActionFail, match="web1 answered with versions for 'shop' that can't be used") as caught:
        fleet.checked_offers({"shop": offer}, ["shop"], "web1")
    assert words in str(caught.value)


@pytest.mark.attack("20", "A host hands over a resolution of an application that it does not have")
def test_versions_of_other_applications_are_dropped() -> None:
    offer = {"inputs": DIGEST, "versions": [FLASK], "more": "x"}
    found = fleet.checked_offers({"shop": offer, "blog": offer}, ["shop"], "web1")
    assert found == {"shop": [{"inputs": DIGEST, "versions": [FLASK], "recorded": False}]}


@pytest.mark.attack("20", "The host that resolves adds a package, which the other hosts would install")
def test_a_package_that_an_application_does_not_need_is_refused_by_the_other_hosts(
    web: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(_seed: Any) -> str:
        return seed_of([FLASK, {"name": "evil", "version": "1.0"}])

    monkeypatch.setattr(web.members["web1"], "uv", SimpleNamespace(compile=lie))
    messages = web.run()
    assert "web1 has resolved versions that do not fit here: evil (1.0 there, not needed here)" in messages["web2"]
    assert not os.path.lexists(web.members["web2"].layout.current)


@pytest.mark.attack("20", "A host reports digests that stand for the versions of all hosts")
def test_only_digests_of_a_look_are_kept() -> None:
    app = {"name": "shop", "python": {"interpreter": None}, "source": {}}
    known = {DIGEST: DIGEST, "x": DIGEST, "1" * 64: {"deep": 1}}
    facts = {"interpreters": {}, "resolutions": {"shop": {"known": known}, "blog": 3}}
    found = fleet.seen([app], facts)
    assert found["known"] == {"shop": {DIGEST: DIGEST, "1" * 64: ""}}
    for wrong in ([], {"known": []}, "x"):
        assert fleet.seen([app], {**facts, "resolutions": {"shop": wrong}})["known"] in ({}, {"shop": {}})
