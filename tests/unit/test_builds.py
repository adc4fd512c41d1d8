# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications with a Containerfile: their model and their plan. `tests/local/test_builds.py` has the builds."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import image_of
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import fleet
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.refusals import of_application
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.unused import unused_settings
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import containers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import source_of
from given_images import BOXED
from host_facts import GOOD

SHOP: dict[str, Any] = {"name": "shop", "source": {"path": "x", "containerfile": "Containerfile"}, "wsgi": "shop:app"}
SHA = f"sha256:{'ab' * 32}"
FACTS = {**GOOD, "sources": {"shop": {"digest": SHA, "architectures": "arm64", "commit": "c" * 40}}}


def test_an_application_with_a_containerfile_runs_in_its_image() -> None:
    (app,) = applications([SHOP])
    assert app["runtime"] == "container"
    (item,) = releases([SHOP], FACTS)
    assert (item["source"]["digest"], item["server_packages"]) == (SHA, [])
    # The commit belongs to repositories.
    assert "commit" not in item["source"]
    (item,) = releases([{**SHOP, "source": {"git": "https://example.com/x", "containerfile": "Containerfile"}}], FACTS)
    assert (item["source"]["digest"], item["source"]["commit"]) == (SHA, "c" * 40)
    assert containers.packages_of_containers([app]) == []


def test_an_image_for_other_processors_names_the_key() -> None:
    (app,) = applications([SHOP])
    facts = {**FACTS, "platform": {**GOOD["platform"], "machine": "x86_64"}}
    assert list(containers.container_problems(app, facts, Request())) == [
        ".source.platform: the image was built for arm64, but the host has amd64. Set source.platform: linux/amd64."
    ]


WRONG = [
    ({"source": {"image": "./x.tar", "containerfile": "Containerfile"}}, "does not apply to image, only to git, path"),
    ({"source": {"package": "x", "containerfile": "Containerfile"}}, "does not apply to package, only to git, path"),
    ({"source": {"path": "x", "containerfile": "../Containerfile"}}, "'../Containerfile' is not a path inside"),
    ({"source": {"path": "x", "containerfile": "/Containerfile"}}, "'/Containerfile' is not a path inside"),
    ({"source": {"path": "x", "platform": "linux/amd64"}}, "source.platform: it applies to a containerfile"),
    ({"source": {**SHOP["source"], "platform": "amd64"}}, "'amd64' is not a platform. Write one such as linux/amd64"),
    ({"source": {**SHOP["source"], "include": ["x"]}}, "source.include: it does not apply to source.containerfile"),
    ({"source": {**SHOP["source"], "dockerfile": "x"}}, "dockerfile"),
    ({"container": {"packages": ["file"]}}, "does not apply to source.containerfile, because an image has"),
    ({"python": {"packages": ["redis"]}}, "Remove it, and change the Containerfile."),
    ({"dockerfile": "Dockerfile"}, "containerfile"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG, ids=range(len(WRONG)))
def test_wrong_settings_are_explained(changes: dict[str, Any], says: str) -> None:
    found = normalised([{**SHOP, **changes}])[1]
    assert len(found) == 1, found
    assert says in found[0]


def test_the_command_of_a_built_image_needs_no_callable() -> None:
    (item,) = releases([{**SHOP, "server": "image", "wsgi": None}], FACTS)
    assert item["environment"]["WEBAPP_SERVER"] == "image"


def test_compose_refuses_a_containerfile() -> None:
    (app,) = applications([SHOP])
    order = Order(app, "/srv/webapps", "", "nginx:stable", 8080)
    assert any(problem.startswith("source.containerfile: ") for problem in of_application(order))


# An image for code that is not in it


def test_the_host_of_the_runtime_needs_no_image() -> None:
    (app,) = applications([{**BOXED, "runtime": "host"}])
    assert "environment" not in source_of(app)
    (item,) = releases([app], GOOD)
    assert item["server_packages"] != []
    assert any(
        "container: containerfile: no effect" in text for text in unused_settings([{**BOXED, "runtime": "host"}], [app])
    )


TOGETHER = [
    ({"source": {"archive": "x.zip"}}, "container.containerfile: it is built from a folder, but the source is none"),
    ({"source": {"image": "./x.tar"}}, "container.containerfile: it does not apply to source.image"),
    ({"container": {**BOXED["container"], "base": "trixie"}}, "container.base: it does not apply to container.contain"),
    ({"python": {"packages": ["redis"]}}, "python.packages: it does not apply to container.containerfile"),
    ({"python": {"interpreter": "3.12"}}, "python.interpreter: it does not apply to container.containerfile"),
    ({"container": {**BOXED["container"], "context": "../x"}}, "container.context: '../x' is not a path inside"),
    ({"container": {"context": "x"}}, "container.context: it applies to a containerfile"),
    ({"container": {"containerfile": "../x"}}, "container.containerfile: '../x' is not a path inside the source"),
    ({"container": {"platform": "linux/amd64"}}, "container.platform: it applies to a containerfile"),
]


@pytest.mark.parametrize(("changes", "says"), TOGETHER, ids=range(len(TOGETHER)))
def test_settings_that_do_not_go_together_are_explained(changes: dict[str, Any], says: str) -> None:
    found = normalised([{**BOXED, **changes}])[1]
    assert len(found) == 1, found
    assert says in found[0]


def test_an_image_from_a_containerfile_is_known_by_its_digest() -> None:
    container = {"base": "trixie", "packages": []}
    assert image_of(container, {}) == ["image", "trixie", []]
    assert image_of(container, {"environment": {"digest": SHA}}) == ["image", "trixie", [], SHA]


def test_hosts_with_other_processors_get_images_of_their_own() -> None:
    seen = {}
    for machine in ("amd64", "arm64"):
        (app,) = applications([{**BOXED, "container": {**BOXED["container"], "platform": f"linux/{machine}"}}])
        facts = {**GOOD, "sources": {"shop": {"environment_digest": f"sha256:{machine}", "architectures": machine}}}
        seen[machine] = fleet.seen([app], facts)
    assert fleet.commits(seen, "arm64")["shop"]["environment_digest"] == "sha256:arm64"


def test_the_subfolder_of_an_image_is_that_of_its_working_folder() -> None:
    source = {**SHOP["source"], "subdir": "web", "context": "docker"}
    (item,) = releases([{**SHOP, "source": source}], FACTS)
    assert (item["source"]["subdir"], item["source"]["context"]) == ("web", "docker")


def test_compose_refuses_a_containerfile_for_code_outside_of_the_image() -> None:
    (app,) = applications([BOXED])
    order = Order(app, "/srv/webapps", "", "nginx:stable", 8080)
    assert any(problem.startswith("container.containerfile: ") for problem in of_application(order))
