# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications in containers: what they see, how they change, and what fails."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from pyweb_places import Place, everywhere, wait_until
from pyweb_playbooks import PROGRAM, usual_environment
from testinfra.host import Host

CHECKOUT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
sys.path.insert(0, str(CHECKOUT / "scripts"))

import test_hosts  # noqa: E402  # see above

LOAD = CHECKOUT / "tests" / "load" / "load.py"
BOXED = {"Host": "boxed.example.com"}
SUITES = {"containers-debian12": ("bookworm", "3.11"), "containers-debian13": ("trixie", "3.13")}
OTHER = {"bookworm": "trixie", "trixie": "bookworm"}
LIBRARY = "libpq5"
# On the host, the library must be there.
ON_HOST = {"boxed_runtime": "host", "boxed_container": {}, "python_packages": [LIBRARY]}

Playbook = Callable[..., Any]


def seen(place: Place) -> dict[str, Any]:
    return place.ask("/seen", headers=BOXED).json()


def release(place: Place, name: str = "boxed") -> str:
    return place.run(f"basename $(readlink /srv/webapps/{name}/current)").strip()


def is_served(place: Place) -> bool:
    with contextlib.suppress(requests.RequestException):
        return place.ask("/healthz", headers=BOXED, timeout=2).status_code == 200
    return False


def reboot(place: Place) -> None:
    """Restart a machine, and write its new address into the inventory."""
    engine = test_hosts.find_engine(may_install=False)
    name = test_hosts.container_name(place.name)
    engine.check(f"Restarting {place.name}", "restart", "--time", "20", name)
    address = engine.address(name)
    test_hosts.await_ssh(engine, place.name, address)
    assert not test_hosts.boots(engine, name, 60)
    path = place.inventory / "test_hosts.json"
    told = json.loads(path.read_text())
    told["all"]["hosts"][place.name]["ansible_host"] = address
    path.write_text(json.dumps(told, indent=2) + "\n")


def images(place: Place) -> list[str]:
    return place.run("ls /srv/webapps/.images").split()


def state(place: Place) -> tuple[str, list[str], str]:
    """The answer of the live release, the images, and the releases of a host."""
    return place.ask("/", headers=BOXED).text, images(place), place.run("ls /srv/webapps/boxed/releases")


def job(place: Place) -> str:
    """The line that the job writes."""
    place.run("systemctl start boxed.tick.service")
    return place.ask("/notes", headers=BOXED).text.splitlines()[-1]


def succeeded(run: Any) -> None:
    assert run.status == 0, run.output[-3000:]


@contextlib.contextmanager
def load(places: list[Place], tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """Requests to all hosts during a deployment, and what was lost of them."""
    reports: list[dict[str, Any]] = []
    clients = []
    for place in places:
        report = tmp_path / f"{place.name}.json"
        argv = [sys.executable, str(LOAD), f"http://{place.address}/", "--host", BOXED["Host"], "--rate", "60"]
        argv += ["--seconds", "400", "--slow", "1", "--json", str(report)]
        clients.append((subprocess.Popen(argv, stdout=subprocess.DEVNULL), report))
    try:
        time.sleep(1)
        yield reports
        time.sleep(1)
    finally:
        for client, _report in clients:
            client.send_signal(signal.SIGTERM)
        for client, _report in clients:
            client.wait(60)
    reports += [json.loads(report.read_text()) for _client, report in clients]


def lost(report: dict[str, Any]) -> int:
    return int(report["failed"])


# The sample


def test_the_processes_of_a_host_run_in_an_image(host: Host) -> None:
    folders = host.check_output("systemctl show --property=RootDirectory --value 'boxed@*.service'").split()
    assert len(folders) == 1
    assert folders[0].startswith("/srv/webapps/.images/")


def test_a_program_sees_the_image_and_nothing_of_the_host(places: list[Place]) -> None:
    for place in places:
        suite, python = SUITES[place.name]
        found = seen(place)
        assert (found["debian"], found["python"], found["account"]) == (suite, python, "boxed")
        assert found["there"] == []
        assert found["writable"] == ["data", "/tmp"]
        assert found["uid"] > 0
        assert LIBRARY not in place.run("dpkg-query -W -f '${Package}\\n'").split(), "the host has it, too"


def test_pages_static_files_and_migrations_are_served(places: list[Place]) -> None:
    for place in places:
        assert place.ask("/", headers={"Host": "hello.example.com"}).status_code == 200
        assert "font" in place.ask("/static/style.css", headers={"Host": "hello.example.com"}).text
        assert place.ask("/books/", headers={"Host": "catalogue.example.com"}).status_code == 200
        assert place.ask("/static/admin/css/base.css", headers={"Host": "catalogue.example.com"}).status_code == 200


def test_workers_jobs_and_commands_run_in_the_image(places: list[Place], run_playbook: Playbook) -> None:
    for place in places:
        suite, _python = SUITES[place.name]
        notes = place.ask("/notes", headers=BOXED).text
        assert f"worker {release(place)} {suite} " in notes
        assert job(place).startswith(f"job {release(place)} {suite} ")
    run = run_playbook("pyweb.stack.run", {"app": "boxed", "command": "grep -o VERSION_CODENAME=.* /etc/os-release"})
    # It runs on one of the hosts.
    assert "VERSION_CODENAME=" in run.output


def test_a_change_of_code_makes_no_image_and_loses_no_request(
    places: list[Place], run_playbook: Playbook, tmp_path: Path
) -> None:
    before = everywhere(images, places)
    with load(places, tmp_path) as reports:
        succeeded(run_playbook("pyweb.stack.site", {"greeting": "two"}))
    assert [lost(report) for report in reports] == [0, 0], reports
    assert everywhere(images, places) == before
    assert all(place.ask("/", headers=BOXED).text.startswith("two ") for place in places)


# The full matrix


@pytest.mark.matrix
def test_the_runtime_changes_under_load_and_back(places: list[Place], run_playbook: Playbook, tmp_path: Path) -> None:
    old = everywhere(release, places)
    with load(places, tmp_path) as reports:
        succeeded(run_playbook("pyweb.stack.site", ON_HOST))
        for place in places:
            assert "/etc/ssh" in seen(place)["there"]
            assert job(place).startswith(f"job {release(place)} {SUITES[place.name][0]} ")
            assert not place.run("ls /etc/systemd/system/boxed.tick.service.d", check=False)
        succeeded(run_playbook("pyweb.stack.rollback", {"app": "boxed", "confirm": "boxed"}))
        assert everywhere(release, places) == old
        for place in places:
            assert seen(place)["there"] == []
            assert job(place).startswith(f"job {release(place)} ")
            assert "50-pyweb-image.conf" in place.run("ls /etc/systemd/system/boxed.tick.service.d")
        succeeded(run_playbook("pyweb.stack.site", {"release_hold": False, **ON_HOST}))
        succeeded(run_playbook("pyweb.stack.site", {"greeting": "two"}))
    assert [lost(report) for report in reports] == [0, 0], reports
    for place in places:
        assert seen(place)["there"] == []
    succeeded(run_playbook("pyweb.stack.verify"))


@pytest.mark.matrix
def test_a_killed_process_and_a_restarted_host_come_back_in_the_image(places: list[Place]) -> None:
    for place in places:
        unit = f"boxed@{release(place)}.service"
        place.run(f"kill -9 $(systemctl show -p MainPID --value {unit})")
        wait_until(lambda place=place: is_served(place), 10)
        assert seen(place)["there"] == []
    old = everywhere(release, places)
    test_hosts.close_connections(places[0].inventory / "test_hosts.json")
    for place in places:
        reboot(place)
    for place in places:
        wait_until(lambda place=place: is_served(place), 30)
        assert seen(place)["there"] == []
    assert everywhere(release, places) == old


# The image of the inventory, and parts of the message
MISTAKES = [
    ({"base": "bookwrm", "packages": [LIBRARY]}, ["'bookwrm' is not a suite", "such as bookworm or trixie"]),
    ({"packages": ["libpq55"]}, ["container.packages: 'libpq55'", "Correct the name"]),
]


@pytest.mark.matrix
@pytest.mark.parametrize(("container", "says"), MISTAKES)
def test_an_image_that_cannot_be_made_changes_nothing(
    places: list[Place], run_playbook: Playbook, container: dict[str, Any], says: list[str]
) -> None:
    before = [state(place) for place in places]
    run = run_playbook("pyweb.stack.site", {"greeting": "two", "boxed_container": container})
    assert run.status != 0
    for place in places:
        assert all(words in run.failure(place.name) for words in says), run.output[-3000:]
    assert [state(place) for place in places] == before


@pytest.mark.matrix
def test_a_full_disk_and_a_killed_run_leave_no_half_of_an_image(places: list[Place], run_playbook: Playbook) -> None:
    before = everywhere(images, places)
    wanted = {"greeting": "two", "boxed_container": {"packages": [LIBRARY, "file"]}}
    # There is room at the beginning, and none later.
    folder = "/srv/webapps/.images"
    # The next image would remove a file of the folder, but not one that has no name any longer.
    fill = (
        f"until ls {folder} | grep -q 'new$'; do sleep 0.1; done; exec 3>{folder}/fill; rm {folder}/fill; "
        "head -c 440M /dev/zero >&3; until test -e /var/tmp/filled; do sleep 0.2; done"
    )
    kept = "mkdir -p /var/tmp/kept && mv /srv/webapps/.images/* /var/tmp/kept/"
    for place in places:
        place.run(f"{kept} && mount -t tmpfs -o size=530M,mode=0700 none /srv/webapps/.images")
    fillers = [place.begin(f"timeout 200 sh -c {shlex.quote(fill)}") for place in places]
    try:
        run = run_playbook("pyweb.stack.site", wanted)
        left = [set(images(place)) for place in places]
    finally:
        for place, filler in zip(places, fillers, strict=True):
            place.run("touch /var/tmp/filled")
            filler.wait(200)
            place.run("rm /var/tmp/filled; umount /srv/webapps/.images && mv /var/tmp/kept/* /srv/webapps/.images/")
    assert run.status != 0
    assert all("the disk is full. Make room" in run.failure(place.name) for place in places), run.output[-3000:]
    assert left == [set(), set()]
    assert everywhere(images, places) == before
    assert all(place.ask("/", headers=BOXED).status_code == 200 for place in places)

    place = places[0]
    killed = subprocess.Popen(
        [str(PROGRAM), "pyweb.stack.site", "-i", str(place.inventory), "-e", json.dumps(wanted)],
        cwd=CHECKOUT,
        env=usual_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: any(name.endswith(".new") for name in images(place)), 120)
    killed.kill()
    for one in places:
        one.run("kill -9 $(grep -o '[0-9]*$' /srv/webapps/boxed/.lock); sleep 1", check=False)
    assert all(one.ask("/", headers=BOXED).status_code == 200 for one in places)
    succeeded(run_playbook("pyweb.stack.site", {"greeting": "two"}))
    assert not any(name.endswith(".new") for one in places for name in images(one))
    assert "pyweb-image" not in place.run("systemctl list-units --plain --no-legend 'pyweb-image*'")


@pytest.mark.matrix
def test_another_base_brings_another_python_and_unused_images_go(places: list[Place], run_playbook: Playbook) -> None:
    kept = everywhere(images, places)
    for number in range(2):
        packages = [LIBRARY, *(["media-types"] if number else [])]
        bases = "{{ {'containers-debian12': 'trixie', 'containers-debian13': 'bookworm'}[inventory_hostname] }}"
        container = {"base": bases, "packages": packages}
        succeeded(run_playbook("pyweb.stack.site", {"greeting": "two", "boxed_container": container}))
        for place in places:
            other = OTHER[SUITES[place.name][0]]
            assert seen(place)["debian"] == other
    keep = {"webapp_keep_releases": 2}
    succeeded(run_playbook("pyweb.stack.site", {"greeting": "three", **keep}))
    succeeded(run_playbook("pyweb.stack.site", {"greeting": "four", **keep}))
    assert everywhere(images, places) == kept


@pytest.mark.matrix
def test_a_removed_application_leaves_no_drop_in(places: list[Place], run_playbook: Playbook) -> None:
    succeeded(run_playbook("pyweb.stack.remove", {"app": "boxed", "confirm": "boxed"}))
    for place in places:
        assert "boxed" not in place.run("ls /etc/systemd/system")
        assert images(place), "other applications use it"
