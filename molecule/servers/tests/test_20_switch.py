# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application goes from one app server to the other and back, under the eyes of its visitors."""

from __future__ import annotations

from conftest import served_by


def test_the_application_went_to_the_other_server(facts, flips):
    assert (flips["there"].status, flips["back"].status) == (0, 0)
    assert flips["told"][facts.name]["env"]["WEBAPP_SERVER"] == served_by(facts, "board", flipped=True)[0]


def test_it_came_back(visit, facts, flips):
    assert visit("board").json()["env"]["WEBAPP_SERVER"] == served_by(facts, "board")[0]


def test_no_request_was_lost(facts, flips):
    load = flips["load"][facts.name]
    print(f"{facts.name}: {load['requests']} requests, {load['failed']} failed, slowest {load['slowest']} s")
    assert load["requests"] > 500
    assert load["failed"] == 0, load["kinds"]
    assert len(load["releases"]) >= 2


def test_nothing_of_the_other_server_is_left(host, visit, facts, flips):
    server, _manager = served_by(facts, "board")
    release = visit("board").json()["env"]["WEBAPP_RELEASE"]
    assert {name.split(".")[0] for name in host.file("/run/webapps/board").listdir()} == {release}
    for name in ("current.uwsgi", "current.uwsgi.sock"):
        assert (host.run(f"test -L /srv/webapps/board/{name}").rc == 0) == (server == "uwsgi")
    others = {"gunicorn": "uwsgi", "uwsgi": "gunicorn"}[server]
    assert host.run(f"pgrep -u board -f bin/{others}").rc != 0
    units = host.check_output("systemctl list-units --all --plain --no-legend 'board@*'").splitlines()
    assert [line.split()[0] for line in units if line.split()[2] != "inactive"] == [f"board@{release}.service"]
