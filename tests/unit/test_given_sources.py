# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications whose source is an image: their model, their plan and their secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.modules.apply import with_secrets
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import fleet
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.unused import unused_settings
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import containers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.connections import keepalive
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Part
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.parts import Shipment, with_sources
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin
from given_images import ARCHITECTURE, PYTHON, docker_archive
from host_facts import GOOD

SHA = f"sha256:{'ab' * 32}"
IMAGE = "registry.example.com/team/shop:1.4"
SHOP: dict[str, Any] = {"name": "shop", "source": {"image": IMAGE}, "wsgi": "shop:app"}
FACTS = {**GOOD, "sources": {"shop": {"digest": SHA, "architectures": "amd64 arm64"}}}
LOGIN = {"username": "ann", "password": "s3cret"}


def problems(**changes: Any) -> list[str]:
    return normalised([{**SHOP, **changes}])[1]


def test_an_application_with_an_image_runs_in_it() -> None:
    (app,) = applications([SHOP])
    assert app["runtime"] == "container"
    (item,) = releases([SHOP], FACTS)
    assert item["source"]["digest"] == SHA
    assert item["container"] == {"base": "", "packages": [], "shown": [], "jobs": []}
    assert item["server_packages"] == []
    assert containers.packages_of_containers([app]) == []


def test_a_host_chooses_no_other_image() -> None:
    for forged in ("sha256:12", 5, "../x", None):
        (item,) = releases([SHOP], {**GOOD, "sources": {"shop": {"digest": forged, "image": "other"}}})
        assert (item["source"].get("digest"), item["source"]["image"]) == (None, IMAGE)


WRONG = [
    ({"source": {"image": "shop:1"}}, "source.image: 'shop:1' names no registry"),
    ({"source": {"image": IMAGE, "path": "x"}}, "path and image are given together"),
    ({"source": {"image": IMAGE, "checksum": "x"}}, "'x' does not apply to image, only to archive"),
    ({"source": {"path": "x", "registry": LOGIN}}, "source.registry: it does not apply to path, only to image"),
    ({"source": {"image": "./shop.tar", "registry": LOGIN}}, "it does not apply to the archive './shop.tar'"),
    ({"source": {"image": IMAGE, "registry": {"username": "ann"}}}, "there is a username without a password"),
    ({"source": {"image": IMAGE, "registry": {"password": "s3cret"}}}, "there is a password without a username"),
    ({"container": {"base": "trixie"}}, "container.base: it does not apply to source.image"),
    ({"container": {"packages": ["file"]}}, "container.packages: it does not apply to source.image"),
    ({"python": {"packages": ["redis"]}}, "python.packages: it does not apply to source.image"),
    ({"python": {"requirements": ["r.txt"]}}, "python.requirements: it does not apply to source.image"),
    ({"process_manager": "supervisor"}, "'container' needs systemd, but process_manager is 'supervisor'"),
    ({"server": "image", "source": {"path": "x"}}, "server: 'image' is the command of an image, but neither"),
    ({"server": "image", "proxy_fix": True}, "proxy_fix: it does not apply to the command of an image"),
    ({"wsgi": None}, "the key 'wsgi' is missing"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG, ids=range(len(WRONG)))
def test_wrong_settings_are_explained_without_a_password(changes: dict[str, Any], says: str) -> None:
    found = problems(**changes)
    assert len(found) == 1, found
    assert says in found[0]
    assert "s3cret" not in found[0]


def test_a_runtime_without_effect_is_announced() -> None:
    given = [{**SHOP, "runtime": "host"}]
    assert unused_settings(given, applications(given)) == [
        "webapps 'shop'.runtime: host: no effect, because an image runs in a container. Remove runtime."
    ]


@pytest.mark.parametrize(
    ("machine", "says"), [("x86_64", []), ("aarch64", []), ("riscv64", ["is for amd64, arm64, but"])]
)
def test_an_image_for_other_processors_is_refused_before_anything_changes(machine: str, says: list[str]) -> None:
    facts = {**FACTS, "platform": {**GOOD["platform"], "machine": machine}}
    (app,) = applications([SHOP])
    found = list(containers.container_problems(app, facts, Request()))
    assert [any(words in one for one in found) for words in says] == [True] * len(found)
    assert len(found) == len(says)


def test_an_image_needs_systemd() -> None:
    (app,) = applications([SHOP])
    assert "needs systemd" in next(containers.container_problems(app, {**FACTS, "init": "none"}, Request()))


def test_the_login_is_a_secret_of_the_part_and_reaches_the_host() -> None:
    (item,) = releases([{**SHOP, "source": {"image": IMAGE, "registry": LOGIN}}], FACTS)
    description = {"kind": "image", "image": IMAGE, "digest": SHA}
    part = with_sources(Part("webapp", {"apps": [item]}), {"shop": Origin(description)})
    assert "s3cret" not in str(part.inputs)
    (found,) = with_secrets([{"role": "webapp", "inputs": part.inputs}], {"webapp": part.secrets})
    (app,) = found["inputs"]["apps"]
    assert app["source"]["registry"] == LOGIN
    (plain,) = with_secrets([{"role": "webapp", "inputs": part.inputs}], {"webapp": {"apps": {"shop": {}}}})
    assert "registry" not in plain["inputs"]["apps"][0]["source"]


def test_a_host_asks_for_an_archive_and_never_for_an_image_of_a_registry(tmp_path: Path) -> None:
    path = docker_archive(tmp_path / "shop.tar", [PYTHON])
    shipment = Shipment({"shop": Origin({}, file=path), "blog": Origin({})})
    assert (shipment.is_wanted("shop"), shipment.is_wanted("blog")) == (True, False)


def test_the_command_of_an_image_needs_no_callable_and_gets_no_kept_connections() -> None:
    own = {**SHOP, "server": "image", "wsgi": None}
    (item,) = releases([own], FACTS)
    assert (item["import_check"], item["entry"], item["server_files"], item["protocol"]) == (False, None, [], "http")
    assert item["environment"]["WEBAPP_SERVER"] == "image"
    assert [keepalive(applications([app])[0]) for app in (own, SHOP)] == [0, 16]


def test_hosts_with_different_processors_deploy_one_image() -> None:
    (app,) = applications([SHOP])
    looks = [fleet.seen([app], {**FACTS, "platform": {"machine": one}}) for one in ("x86_64", "aarch64")]
    assert looks[0]["commits"] == looks[1]["commits"] == FACTS["sources"]
    assert ARCHITECTURE in FACTS["sources"]["shop"]["architectures"]


def test_a_result_that_is_printed_does_not_depend_on_the_password() -> None:
    found = []
    for password in ("s3cret", "other"):
        given = {**SHOP, "source": {"image": IMAGE, "registry": {"username": "ann", "password": password}}}
        found.append(fleet.seen(applications([given]), FACTS))
    assert found[0] == found[1]
