# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application that cannot run twice: its visitors get success or 503 with Retry-After, whatever happens to it."""

from __future__ import annotations

import re

import pytest
from conftest import assert_kept, depositing, instance, instances, served_by
from pyweb_places import everywhere

pytestmark = pytest.mark.alone

# Kills the run when the old release has stopped, and the new one does not serve yet.
KILL = r"""
import os, re, signal, sys, time
home, held = "/srv/webapps/vault", "/run/webapps/vault.sockets/held.sock"

def is_of(release, pid):
    try:
        return f"WEBAPP_RELEASE={release}".encode() in open(f"/proc/{pid}/environ", "rb").read()
    except OSError:
        return False

until = time.monotonic() + 100
while time.monotonic() < until:
    old = os.path.basename(os.readlink(f"{home}/current"))
    if os.path.exists(held) and not any(is_of(old, name) for name in os.listdir("/proc") if name.isdigit()):
        os.kill(int(re.search(r"process (\d+)", open(f"{home}/.lock").read())[1]), signal.SIGKILL)
        print("killed")
        break
    time.sleep(0.005)
else:
    print("never")
"""


def live(place) -> str:
    return place.run("basename $(readlink /srv/webapps/vault/current)").strip()


def enabled(place) -> set[str]:
    """The releases that a boot starts."""
    units = place.run("ls /etc/systemd/system/multi-user.target.wants")
    programs = place.run("grep -l 'autostart=true' /etc/supervisor/conf.d/vault-*.conf || :")
    return set(re.findall(r"vault[@-](\d{8}T\d{6}Z-[0-9a-f]{8})\.(?:service|conf)", units + programs))


def test_it_went_to_another_server_and_process_manager_and_lost_nothing(facts, flips, addresses, places):
    assert (flips["there"].status, flips["back"].status) == (0, 0)
    assert_kept(facts.name, flips["depositors"][facts.name], addresses[facts.name])
    for run in (flips["there"], flips["back"]):
        output = " ".join(run.output.split())
        found = re.findall(r"vault is at \S+ \(release \S+, new, after (\d+\.\d) seconds without service", output)
        assert len(found) == len(places), run.output
        print(f"{facts.name}: {found} s without service")
    place = next(place for place in places if place.name == facts.name)
    assert instances(place, "vault") == [instance("vault", served_by(facts, "vault")[1], live(place))]
    assert enabled(place) == {live(place)}
    assert place.run("ls /run/webapps/vault.sockets | sed 's/\\..*//' | sort -u").split() == [live(place)]


def test_its_release_commands_ran_while_it_was_stopped(facts, flips, places):
    place = next(place for place in places if place.name == facts.name)
    migrated = place.run("grep -c migrated /srv/webapps/vault/shared/data/ledger")
    assert int(migrated) >= 3


def test_a_release_that_fails_brings_the_old_one_back(places, addresses, run_playbook):
    before = everywhere(live, places)
    with depositing(addresses) as found:
        run = run_playbook("pyweb.stack.site", {"misbehave": "500"})
    assert run.status != 0
    failed = [place for place in places if "Came back: status 500" in run.failure(place.name)]
    # The first host alone: the others do not switch after its failure.
    assert len(failed) == 1
    message = run.failure(failed[0].name)
    assert re.search(r"serves again, after \d+\.\d seconds without service", message), message
    for place in places:
        if place not in failed:
            assert f"failed on {failed[0].name}, so this host does not switch" in run.failure(place.name)
        assert_kept(place.name, found[place.name], addresses[place.name])
    assert everywhere(live, places) == before
    assert [enabled(place) for place in places] == [{release} for release in before]


@pytest.mark.matrix  # tests/local/test_stop_first.py always runs
def test_a_run_that_is_killed_while_nothing_serves_is_healed_by_the_next(places, addresses, run_playbook):
    before = everywhere(live, places)
    with depositing(addresses) as found:
        killers = [place.begin("python3 -", given=KILL) for place in places]
        run = run_playbook("pyweb.stack.site", {"greeting": "killed"})
        told = [killer.communicate(timeout=120)[0].strip() for killer in killers]
        assert told == ["killed"] * len(places), run.output
        # A boot would start the release that the links lead to, and no other.
        assert everywhere(live, places) == before
        assert [enabled(place) for place in places] == [{release} for release in before]
        assert run_playbook("pyweb.stack.site", {"greeting": "killed"}).status == 0
    for place, old in zip(places, before, strict=True):
        assert live(place) != old
        assert enabled(place) == {live(place)}
        assert found[place.name].unavailable > 0
        assert_kept(place.name, found[place.name], addresses[place.name])


def test_a_rollback_says_for_how_long_nothing_served(places, addresses, run_playbook):
    assert run_playbook("pyweb.stack.site", {"greeting": "rolled back"}).status == 0
    before = everywhere(live, places)
    with depositing(addresses) as found:
        run = run_playbook("pyweb.stack.rollback", {"app": "vault"})
    assert run.status == 0, run.output
    for place, old in zip(places, before, strict=True):
        assert live(place) < old
        now = rf"release {live(place)} \(revision [0-9a-f]{{12}}\) is live"
        said = rf"vault: {now} and has replaced {old}, after \d+\.\d seconds without service"
        assert re.search(said, " ".join(run.output.split())), run.output
        assert_kept(place.name, found[place.name], addresses[place.name])
    assert run_playbook("pyweb.stack.status").output.count("s without service)") == len(places)
