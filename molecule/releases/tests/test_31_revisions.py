# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Four hosts with two Pythons and two process managers: one revision, one drift, one way back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Place, load_on, lost_nothing, webapps
from pyweb_places import everywhere


def deployed(keepalive: int) -> dict[str, Any]:
    """The application with a setting that no other test has, because a release of equal settings is used again."""
    return webapps({"env": {"BOOT_SECONDS": "0"}, "gunicorn": {"keepalive": keepalive}})


def live(places: list[Place]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in everywhere(lambda place: place.run("cat " + MANIFEST), places)]


MANIFEST = "/srv/webapps/patient/current/release.json"


@pytest.mark.matrix  # the scenario fleet rolls back several hosts in the sample
def test_hosts_show_one_revision_and_go_back_to_the_one_that_all_have(places: list[Place], run_playbook, tmp_path):
    assert run_playbook("pyweb.stack.site", deployed(11)).status == 0
    first = live(places)
    assert len({one["revision"] for one in first}) == 1, first

    *most, away = places
    limit = ("--limit", ",".join(place.name for place in most))
    assert run_playbook("pyweb.stack.site", deployed(12), *limit).status == 0
    second = live(most)
    assert len({one["revision"] for one in second}) == 1, second
    status = " ".join(run_playbook("pyweb.stack.status", {**deployed(12), "app": "patient"}).output.split())
    names = ", ".join(place.name for place in most)
    assert f"patient: {second[0]['revision']} on {names}; {first[0]['revision']} on {away.name} since" in status

    assert run_playbook("pyweb.stack.site", deployed(13)).status == 0
    third = live(places)
    assert len({(one["revision"], one["run"]) for one in third}) == 1, third
    status = run_playbook("pyweb.stack.status", {**deployed(13), "app": "patient"}).output
    assert "To change that, run site.yml or rollback.yml" not in status

    with load_on(places, tmp_path) as loads:
        run = run_playbook("pyweb.stack.rollback", {**deployed(13), "app": "patient"})
        said = " ".join(run.output.split())
        assert run.status != 0
        assert f"{away.name} lacks {second[0]['revision']}. Nothing was switched on any host." in said
        assert f"-e app=patient -e revision={first[0]['revision']}" in said
        assert live(places) == third
        back = {**deployed(13), "app": "patient", "revision": first[0]["revision"]}
        run = run_playbook("pyweb.stack.rollback", back)
        assert run.status == 0, run.output
    lost_nothing(loads)
    assert [place.settled()["current"] for place in places] == [one["id"] for one in first]
    everywhere(lambda place: place.run("test ! -e /srv/webapps/patient/.lease.json"), places)
    lifted = run_playbook("pyweb.stack.site", deployed(13), "-e", "lift_hold=patient")
    assert lifted.status == 0, lifted.output
    assert [one["id"] for one in live(places)] == [one["id"] for one in third]
