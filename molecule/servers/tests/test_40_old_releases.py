# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases of earlier versions, which make their own sockets, still serve and come back."""

from __future__ import annotations

import pytest
from conftest import PATHS, Visitors, served_by
from pyweb_places import Place, everywhere, wait_until
from test_30_kills import master_of, processes

pytestmark = pytest.mark.alone

OLD = "20200101T000000Z-00000000"
# Makes a release like the live one, as an earlier version of the collection has built it.
MAKE_OLD = """set -eu
home=/srv/webapps/{app}; live=$(basename $(readlink $home/current)); run=/run/webapps/{app}/{old}
cp -a $home/releases/$live $home/releases/{old}
cd $home/releases/{old}
rm inherits_sockets
for file in env bin/* *.py *.ini; do [ ! -f $file ] || sed -i "s/$live/{old}/g" $file; done
sed -i '/^if /,/^fi/d; /^# Only/d; /^# The settings/d; /LISTEN_FDS/d; /^exec 4/d' bin/web
if [ -f uwsgi.ini ]; then
    sed -i "s|fd://3|$run.sock|; s|fd://4|$run.uwsgi.sock|" uwsgi.ini
    echo "chmod-socket = 666" >>uwsgi.ini
else
    sed -i "s|^bind = .*|bind = 'unix:$run.sock'|" gunicorn.conf.py
fi
python3 - <<'END'
import json
manifest = json.load(open("release.json"))
manifest |= dict(id="{old}", state="good", fingerprint=dict.fromkeys(manifest["fingerprint"], "of an earlier version"))
json.dump(manifest, open("release.json", "w"))
END
"""


@pytest.fixture(scope="module")
def rolled_back(places: list[Place], run_playbook, addresses):
    """Every application went back to a release of an earlier version, then to its new one, under its visitors' eyes."""
    found = {}
    visitors = [Visitors(app, addresses) for app in PATHS]
    for app in PATHS:
        everywhere(lambda place, app=app: place.run(MAKE_OLD.format(app=app, old=OLD)), places)
    for one in visitors:
        one.start()
    found["back"] = [run_playbook("pyweb.stack.rollback", {"app": app, "release": OLD}).status for app in PATHS]
    for one in visitors:
        one.over.set()
        one.join()
    found["visitors"] = visitors
    yield found
    assert run_playbook("pyweb.stack.site", {"release_hold": False}).status == 0


@pytest.mark.parametrize("app", PATHS)
def test_a_release_of_an_earlier_version_serves_after_a_rollback(host, visit, facts, rolled_back, app):
    assert rolled_back["back"] == [0] * len(PATHS)
    assert visit(app).json()["env"]["WEBAPP_RELEASE"] == OLD
    assert host.check_output(f"readlink /srv/webapps/{app}/current.sock") == f"/run/webapps/{app}/{OLD}.sock"
    assert host.file(f"/run/webapps/{app}.sockets").listdir() == []
    for one in rolled_back["visitors"]:
        assert one.asked[facts.name] > 20
        assert one.wrong[facts.name] == []


@pytest.mark.parametrize("app", PATHS)
def test_a_release_of_an_earlier_version_comes_back_after_a_crash(host, visit, facts, rolled_back, app):
    before = processes(host, app)
    host.check_output(f"kill -9 {master_of(before)}")
    wait_until(lambda: host.run(f"pgrep -u {app}").rc == 0 and set(processes(host, app)) - set(before), 20)
    wait_until(lambda: visit(app).status_code == 200, 20)
    if served_by(facts, app)[1] == "systemd":
        assert host.run(f"systemctl is-active {app}@{OLD}.socket").stdout.strip() == "inactive"


def test_the_next_run_goes_back_to_sockets_of_root(places, run_playbook, rolled_back):
    # The rollback holds the release that the inventory describes.
    assert run_playbook("pyweb.stack.site", {"release_hold": False}).status == 0
    for place in places:
        for app in PATHS:
            release = place.run(f"basename $(readlink /srv/webapps/{app}/current)").strip()
            assert place.run(f"readlink /srv/webapps/{app}/current.sock").strip() == (
                f"/run/webapps/{app}.sockets/{release}.sock"
            )
            assert OLD not in place.run(f"ls /run/webapps/{app}")
