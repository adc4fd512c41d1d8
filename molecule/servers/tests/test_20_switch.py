# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications go to other app servers, worker classes and process managers and back, under their visitors' eyes."""

from __future__ import annotations

import pytest
from conftest import PATHS, instance, instances, served_by
from test_10_applications import TOLD

# Hosts of other scenarios must not come and go meanwhile: that changes the network which the load goes through.
pytestmark = pytest.mark.alone


@pytest.mark.parametrize("app", PATHS)
def test_every_application_went_to_the_other_server_and_process_manager(facts, flips, app):
    assert (flips["there"].status, flips["back"].status) == (0, 0)
    env = flips["told"][facts.name][app]["env"]
    server, manager = served_by(facts, app, flipped=True)
    assert (env["WEBAPP_SERVER"], env["WEBAPP_PROCESS_MANAGER"]) == (server, manager)
    assert flips["left"][facts.name][app] == [instance(app, manager, env["WEBAPP_RELEASE"])]


@pytest.mark.parametrize("app", PATHS)
def test_environment_values_arrived_there_exactly_too(facts, flips, app):
    env = flips["told"][facts.name][app]["env"]
    assert {key: value for key, value in env.items() if key.startswith("TOLD_")} == TOLD


def test_no_request_was_lost(facts, flips):
    load = flips["load"][facts.name]
    print(f"{facts.name}: {load['requests']} requests, {load['failed']} failed, slowest {load['slowest']} s")
    assert load["requests"] > 500
    assert {kind: told["failures"] for kind, told in load["kinds"].items() if told["failures"]} == {}
    assert len(load["releases"]) >= 2
    for one in flips["visitors"]:
        print(f"{facts.name}, {one.app}: {one.asked[facts.name]} visitors, {len(one.wrong[facts.name])} not answered")
        assert one.asked[facts.name] > 100
        assert one.wrong[facts.name] == []


def test_nginx_was_not_reloaded(facts, flips):
    before, after = flips["nginx"]["before"][facts.name], flips["nginx"]["after"][facts.name]
    assert before, "nginx has no worker"
    assert before == after


@pytest.mark.parametrize("app", PATHS)
def test_it_came_back_and_nothing_of_the_other_is_left(host, visit, facts, places, flips, app):
    env = visit(app).json()["env"]
    release, (server, manager) = env["WEBAPP_RELEASE"], served_by(facts, app)
    assert (env["WEBAPP_SERVER"], env["WEBAPP_PROCESS_MANAGER"]) == (server, manager)
    place = next(place for place in places if place.name == facts.name)
    assert instances(place, app) == [instance(app, manager, release)]
    assert {name.split(".")[0] for name in host.file(f"/run/webapps/{app}").listdir()} == {release}
    for name in ("current.uwsgi", "current.uwsgi.sock"):
        assert (host.run(f"test -L /srv/webapps/{app}/{name}").rc == 0) == (server == "uwsgi")
    programs = {"gunicorn": "bin/gunicorn", "uwsgi": "bin/uwsgi", "granian": "granian/start.py"}
    for other in programs.keys() - {server}:
        assert host.run(f"pgrep -u {app} -f {programs[other]}").rc != 0
