# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Workers of a task queue and a job, from one release to the next; then what goes wrong over time."""

from __future__ import annotations

import json
import re
import sys
import time

import pytest
from pyweb_places import Place, everywhere, wait_until

SITE = "pyweb.stack.site"
OWN = "[program:own]\ncommand=sleep 10000\n"
SERVICES = ["shop", "shop.beat", "shop.stubborn", "shop.worker", "shop.worker.2"]
DROP_IN = "/etc/systemd/system/shop@.service.d"


def systemd(place: Place) -> bool:
    return not place.name.endswith("bare")


def live(place: Place) -> str:
    return place.run("basename $(readlink /srv/webapps/shop/current)").strip()


def running(place: Place) -> list[str]:
    """Every instance of the application that runs, as SERVICE@RELEASE."""
    if systemd(place):
        lines = place.run("systemctl list-units --plain --no-legend --state=active 'shop*@*.service'").splitlines()
        return sorted(line.split()[0].removesuffix(".service") for line in lines)
    lines = place.run("supervisorctl status", check=False).splitlines()
    names = [line.split()[0] for line in lines if line.split()[1] == "RUNNING" and line.startswith("shop")]
    return sorted(re.sub(r"-(?=\d{8}T)", "@", name) for name in names)


def settled(place: Place) -> str:
    """The live release, after a look that every process of it runs, and none of any other."""
    release = live(place)
    assert running(place) == sorted(f"{service}@{release}" for service in SERVICES)
    return release


def notes(place: Place, word: str) -> list[str]:
    return [line for line in place.ask("/notes").text.splitlines() if line.startswith(word)]


def enqueue(place: Place, name: str, seconds: float) -> None:
    assert place.ask(f"/tasks?name={name}&seconds={seconds}", "POST").status_code == 200


# After the converge


def test_every_process_and_the_job_are_there(host):
    assert host.file("/srv/webapps/shop/current/bin/worker").is_file
    workers = host.check_output("pgrep -u shop -fc 'rq worker'")
    assert int(workers) == 2
    if host.file("/run/systemd/system").is_directory:
        assert host.service("shop.tick.timer").is_running
        assert host.service("shop.tick.timer").is_enabled
        assert not host.file("/etc/systemd/system/shop.idle.timer").exists
    else:
        assert "RUNNING" in host.check_output("supervisorctl status pyweb-cron")


def test_every_unit_is_sandboxed(places, tell):
    for place in filter(systemd, places):
        units = [f"{name}.service" for name in [*running(place), "shop.tick"]]
        assert len(units) == len(SERVICES) + 1
        for unit in units:
            said = place.run(f"systemd-analyze security --no-pager {unit} | tail -1")
            score = float(re.search(r": (\d+\.\d) ", said)[1])
            tell(f"{place.name}: systemd-analyze security {unit.split('@')[0]}: {score}")
            assert score <= 2.0


@pytest.mark.attack("low", "A background process writes outside its folders and gains privileges")
def test_the_sandbox_is_in_force(places):
    """systemd leaves out, and says nothing, what a host does not let it do."""
    for place in filter(systemd, places):
        for name in running(place):
            pid = place.run(f"systemctl show {name}.service -p MainPID --value").strip()
            mounts = {line.split()[4]: line.split()[5] for line in place.run(f"cat /proc/{pid}/mountinfo").splitlines()}
            for path in ("/", "/home"):
                assert mounts[path].split(",")[0] == "ro"
            assert mounts["/srv/webapps/shop/shared"].split(",")[0] == "rw"
            assert place.run("echo seen >/tmp/outside; cat /tmp/outside") == "seen\n"
            inside = f"nsenter --mount --target {pid}"
            assert place.run(f"{inside} ls /tmp /home /root /dev/kmsg 2>/dev/null", check=False).split() == [
                "/home:",
                "/root:",
                "/tmp:",
            ]


def test_what_a_sandbox_may_upset_works_in_it(places):
    for place in places:
        told = [place.ask("/libraries").json() for _ in range(2)]
        assert [one["rank"] for one in told] == [200, 200]
        assert told[0]["squares"] == [0, 1, 4]
        assert told[1]["visits"] > told[0]["visits"]


def test_limits_are_set(places):
    for place in filter(systemd, places):
        for name in [*running(place), "shop.tick"]:
            shown = place.run(f"systemctl show {name}.service -p MemoryMax,CPUQuotaPerSecUSec,TasksMax")
            assert set(shown.split()) == {"MemoryMax=419430400", "CPUQuotaPerSecUSec=2s", "TasksMax=200"}
        # What the kernel goes by, by either version of control groups.
        group = place.run(f"systemctl show shop@{live(place)}.service -p ControlGroup --value").strip()
        files = f"/sys/fs/cgroup{group}/memory.max /sys/fs/cgroup/memory{group}/memory.limit_in_bytes"
        assert place.run(f"cat {files} 2>/dev/null", check=False).split() == ["419430400"]


# A deployment while a task runs


@pytest.fixture(scope="module")
def second(places: list[Place], run_playbook):
    """A second release, deployed while a task runs that takes longer than the switch."""
    first = everywhere(settled, places)
    # Somebody's own program, which supervisor also keeps.
    bare = next(place for place in places if not systemd(place))
    bare.run(f"printf '%s' '{OWN}' >/etc/supervisor/conf.d/own.conf && supervisorctl reread && supervisorctl add own")
    pid = bare.run("supervisorctl pid own")
    place = next(filter(systemd, places))
    place.run(f"mkdir {DROP_IN}; printf '[Service]\\nNice=7\\n' >{DROP_IN}/own.conf; systemctl daemon-reload")
    stubborn = everywhere(lambda place: place.run("pgrep -u shop -f 'flask stubborn'").split(), places)
    for place in places:
        enqueue(place, "long", 12)
    everywhere(lambda place: wait_until(lambda: notes(place, "task long begun"), 60), places)
    run = run_playbook(SITE, {"greeting": "two"})
    assert run.status == 0
    return {"first": first, "second": everywhere(settled, places), "own": (bare, pid), "stubborn": stubborn}


def test_a_running_task_ends_where_it_began(places, second):
    for place, first, now in zip(places, second["first"], second["second"], strict=True):
        assert first != now
        assert notes(place, "task long") == [f"task long begun {first}", f"task long done {first}"]


def test_new_tasks_are_the_new_releases(places, second):
    for place, now in zip(places, second["second"], strict=True):
        enqueue(place, "short", 0)
        wait_until(lambda place=place, now=now: f"task short done {now}" in notes(place, "task short"), 60)


def test_an_exclusive_process_never_runs_twice(places, second):
    for place, first, now in zip(places, second["first"], second["second"], strict=True):
        assert notes(place, "beat")[-3:] == [f"beat begun {first}", f"beat ended {first}", f"beat begun {now}"]


def test_a_process_that_does_not_listen_is_ended_with_its_children(places, second):
    for place, before in zip(places, second["stubborn"], strict=True):
        now = place.run("pgrep -u shop -f 'flask stubborn'").split()
        assert (len(before), len(now)) == (2, 2)
        assert not set(before) & set(now)


def test_a_drop_in_of_somebodys_own_is_respected(places, second):
    place = next(filter(systemd, places))
    unit = f"shop@{live(place)}.service"
    assert place.run(f"ps -o ni= -p $(systemctl show {unit} -p MainPID --value)").strip() == "7"


# A worker that does not stay up


@pytest.fixture(scope="module")
def refused(second, run_playbook):
    change = {"greeting": "three", "worker": "echo no broker here; exit 3"}
    return run_playbook(SITE, change)


def test_a_release_whose_worker_ends_never_serves(places, second, refused):
    assert refused.status != 0
    messages = [" ".join(refused.failure(place.name).split()) for place in places]
    # One host alone: the others do not switch after its failure.
    (failed,) = [number for number, message in enumerate(messages) if "its background process shop.worker" in message]
    assert "no broker here" in messages[failed]
    assert f"The release {second['second'][failed]} still serves" in messages[failed]
    waiting = f"failed on {places[failed].name}, so this host does not switch"
    assert all(waiting in message for number, message in enumerate(messages) if number != failed)
    for place, now in zip(places, second["second"], strict=True):
        assert settled(place) == now
        enqueue(place, "after", 0)
        wait_until(lambda place=place, now=now: f"task after done {now}" in notes(place, "task after"), 60)


def test_a_program_of_somebodys_own_is_never_touched(second, refused):
    place, pid = second["own"]
    assert place.run("supervisorctl pid own") == pid
    assert place.run("cat /etc/supervisor/conf.d/own.conf") == OWN


# What people see


def test_logs_are_one_command_away(places, second, run_playbook):
    run = run_playbook("pyweb.stack.logs", {"app": "shop", "lines": 200})
    assert run.status == 0
    for manager in ("systemd", "supervisor"):
        for service in [*SERVICES, "shop.tick"]:
            assert f"== {service} ({manager}) ==" in run.output
    # What tasks print stands in their worker's log.
    assert len(re.findall("working on long", run.output)) >= len(places)
    for place in filter(systemd, places):
        assert "working on" in place.run("journalctl --quiet --output cat -t shop.worker -t shop.worker.2")


def test_logs_are_selected_by_time_and_level(second, run_playbook):
    run = run_playbook("pyweb.stack.logs", {"app": "shop", "since": "1 hour ago", "level": "error"})
    assert run.status == 0
    assert "== shop (systemd) ==" in run.output
    assert "[INFO]" not in run.output
    wrong = run_playbook("pyweb.stack.logs", {"app": "shop", "level": "loud"})
    assert "level is 'loud'" in wrong.output


@pytest.mark.matrix
def test_logs_of_nobody_name_the_applications(run_playbook):
    run = run_playbook("pyweb.stack.logs", {"app": "shp"})
    assert run.status != 0
    assert "'shp' is not an application on this host" in run.output
    assert "Available applications: shop" in run.output


# What goes wrong over time


@pytest.mark.matrix
def test_a_log_that_grows_is_rotated(places):
    """supervisor's; the journal is systemd's own matter."""
    place = next(place for place in places if not systemd(place))
    logs = f"/var/log/supervisor/shop-{live(place)}.log"
    for _ in range(4):
        assert place.ask("/speak?lines=2700", "POST", timeout=30).status_code == 200
    wait_until(lambda: place.run(f"test -e {logs}.1 && echo yes", check=False), 30)
    assert int(place.run(f"stat -c %s {logs}")) < 10_000_000
    place.run(f"rm {logs}.1")


@pytest.mark.matrix
def test_a_full_disk_of_logs_stops_nobody(places, tell, run_playbook):
    small = [place for place in places if place.name != "background-13"]
    for place in small:
        place.run(
            "dd if=/dev/zero of=/var/log/filler bs=64k 2>/dev/null; df --output=avail /var/log | tail -1", check=False
        )
        assert place.run("df --output=avail /var/log | tail -1").strip() == "0"
        for _ in range(20):
            assert place.ask("/speak?lines=100", "POST").status_code == 200
        enqueue(place, "full", 0)
        wait_until(lambda place=place: [note for note in notes(place, "task full") if " done " in note], 60)
    names = ",".join(place.name for place in small)
    try:
        assert run_playbook("pyweb.stack.restart", {"app": "shop"}, "--limit", names).status == 0
        for place in small:
            settled(place)
            tell(f"{place.name}: with /var/log full, it served, worked on tasks, and was restarted without a failure")
    finally:
        for place in small:
            place.run("rm /var/log/filler")


def test_the_job_ran_once_a_minute_in_the_live_release(places):
    for place in places:
        wait_until(lambda place=place: notes(place, "job done"), 100)
        begun = [line.split() for line in notes(place, "job begun")]
        minutes = [words[3] for words in begun]
        assert sorted(set(minutes)) == minutes
        releases = place.run("ls /srv/webapps/shop/releases").split()
        assert begun[-1][2] in releases
        told = json.loads(place.run("cat /srv/webapps/shop/jobs/tick.json"))
        assert told["state"] in ("succeeded", "running")
        assert told["release"] in releases


@pytest.mark.matrix  # the scenario variants kills supervisord in the sample
def test_a_killed_supervisord_leaves_the_site_up_and_the_next_run_takes_over(places, tell, run_playbook):
    place = next(place for place in places if not systemd(place))
    own = place.run("supervisorctl pid own").strip()
    place.run("kill -9 $(cat /run/supervisord.pid)")
    begun = time.monotonic()
    for _ in range(20):
        assert place.answers("/healthz")
    assert run_playbook(SITE, {"greeting": "two"}, "--limit", place.name).status == 0
    tell(f"{place.name}: supervisord was back {time.monotonic() - begun:.1f} s after it was killed, by the next run")
    settled(place)
    place.run(f"! kill -0 {own}")  # the copy of before: there is never a second one
    assert "RUNNING" in place.run("supervisorctl status own")


CRASH_LOOP = {
    True: """
unit=shop.worker.2@{release}.service
until [ $(systemctl is-failed $unit) = failed ]; do
    pid=$(systemctl show $unit -p MainPID --value); [ $pid = 0 ] || kill -9 $pid; sleep 0.1
done
""",
    False: """
# Not by the number that supervisorctl tells: on a busy machine that takes longer than the second after which supervisor
# lets a program count as started.
other=$(supervisorctl pid shop.worker-{release})
(for _ in $(seq 600); do pgrep -u shop -f 'rq worker' | grep -vx $other | xargs -r kill -9; sleep 0.1; done) &
until supervisorctl status shop.worker.2-{release} | grep -q FATAL; do sleep 0.1; done
kill $!
""",
}


@pytest.mark.matrix
def test_a_crash_loop_is_there_for_all_to_see_until_the_next_run(places, tell, run_playbook):
    def crash(place: Place) -> None:
        begun = time.monotonic()
        place.run(CRASH_LOOP[systemd(place)].format(release=live(place)))
        seconds = time.monotonic() - begun
        tell(f"{place.name}: a background process that was killed again and again was given up after {seconds:.0f} s")

    everywhere(crash, places)
    for place in places:
        assert f"shop.worker.2@{live(place)}" not in running(place)
        # Whatever else there is goes on.
        assert place.answers("/healthz")
    assert run_playbook(SITE, {"greeting": "two"}).status == 0
    everywhere(settled, places)


# Less, and nothing


@pytest.fixture(scope="module")
def without(places, run_playbook):
    return [run_playbook(SITE, {"greeting": "five", "idle": True}) for _ in range(2)]


def test_work_that_is_dropped_ends(places, without):
    assert [run.status for run in without] == [0, 0]
    for place in places:
        assert running(place) == [f"shop@{live(place)}"]
        assert place.run("ls /etc/cron.d/pyweb-* /etc/systemd/system/shop.*.timer 2>/dev/null", check=False) == ""
        assert without[1].counts(place.name)["changed"] == 0


def test_a_rollback_brings_it_back(places, without, run_playbook):
    assert run_playbook("pyweb.stack.rollback", {"app": "shop", "greeting": "five", "idle": True}).status == 0
    everywhere(settled, places)


def test_processes_and_a_run_that_was_missed_come_back_after_a_boot(places, without, run_playbook):
    import os
    from pathlib import Path

    sys.path.insert(0, str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], "scripts")))
    import test_hosts

    # With the jobs, which a rollback leaves as the inventory had them.
    assert run_playbook(SITE, {"greeting": "five"}).status == 0
    place = next(place for place in places if place.name == "background-13")
    before = settled(place)
    engine = test_hosts.find_engine(may_install=False)
    name = test_hosts.container_name(place.name)
    test_hosts.close_connections(place.inventory / "test_hosts.json")
    # As if a run had been missed: the last was long ago.
    place.run("rm -f /srv/webapps/shop/shared/data/census")
    place.run("touch -d '2 years ago' /var/lib/systemd/timers/stamp-shop.census.timer")
    engine.check(f"Restarting {place.name}", "restart", "--time", "20", name)
    told = json.loads((place.inventory / "test_hosts.json").read_text())
    told["all"]["hosts"][place.name]["ansible_host"] = engine.address(name)
    (place.inventory / "test_hosts.json").write_text(json.dumps(told, indent=2) + "\n")
    test_hosts.await_ssh(engine, place.name, engine.address(name))
    wait_until(lambda: place.answers("/healthz") and len(running(place)) == len(SERVICES), 60)
    assert settled(place) == before
    wait_until(lambda: place.run("ls /srv/webapps/shop/shared/data/census", check=False), 60)


def test_an_application_that_goes_takes_all_of_it_along(places, run_playbook):
    assert run_playbook(SITE, {"shop_state": "absent"}).status == 0
    next(filter(systemd, places)).run(f"rm {DROP_IN}/own.conf; rmdir {DROP_IN}")  # left alone, as it is nobody else's
    for place in places:
        assert running(place) == []
        folders = "/etc/systemd/system /etc/supervisor /etc/cron.d"
        assert place.run(f"find {folders} -name '*shop*' 2>/dev/null", check=False) == ""
        assert place.run("pgrep -u shop", check=False) == ""
        assert place.run("ls /srv/webapps/shop").split() == ["shared"]
