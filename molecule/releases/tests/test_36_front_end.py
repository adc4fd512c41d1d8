# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The example whose front end npm builds on the host, beside the application root. Debian's npm is large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import CHECKOUT, Place, webapps
from pyweb_playbooks import Run

# The packages of the role, and those that the guide adds.
PACKAGES = ["python3", "python3-venv", "ca-certificates", "nodejs", "npm"]
HOST = "front.example.com"


def documented() -> dict[str, Any]:
    """The application as the guide describes it, under a name and a domain of this test."""
    guide = (CHECKOUT / "docs" / "guides" / "sources.md").read_text()
    section = guide.partition("## A front end that npm builds")[2]
    (app,) = yaml.safe_load(section.split("```")[1].removeprefix("yaml"))["webapps"]
    app["source"]["path"] = str(CHECKOUT / "examples" / "front_end")
    app["site"]["domains"] = [HOST]
    return {**app, "name": "front"}


@pytest.mark.matrix
def test_npm_builds_the_front_end_of_the_guide(places: list[Place], run_playbook: Callable[..., Run]) -> None:
    place = next(place for place in places if place.name == "releases-systemd13")
    apps = webapps()["webapps"]
    run = run_playbook(
        "pyweb.stack.site", {"python_packages": PACKAGES, "webapps": [*apps, documented()]}, "--limit", place.name
    )
    assert run.status == 0, run.output
    for path, words in {
        "/": "The application is",
        "/main.js": "api/healthz",
        "/api/healthz": "ok",
        "/x/y": "<html",
    }.items():
        assert words in place.ask(path, headers={"Host": HOST}).text
    found = place.run("find /srv/webapps/front/current/src/frontend -name node_modules -o -user front")
    assert found == "", "the modules and files of the build stay root's, or are removed"
    absent = {"name": "front", "state": "absent", "purge": True}
    assert run_playbook("pyweb.stack.site", {"webapps": [*apps, absent]}, "--limit", place.name).status == 0
