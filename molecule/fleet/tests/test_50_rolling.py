# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""rolling.yml goes through the fleet under load, without a lost request. It stops at the first unhealthy host."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import pyweb_faults
from conftest import HOME, Place, assert_settled, builds

ROLLING = "pyweb.stack.rolling"
# The kernel's own would not change when a container is started again, and Ansible would wait for a reboot that is over.
OWN_BOOT_ID = """
cat >/usr/local/sbin/own-boot-id <<'END'
#!/bin/sh
cat /proc/sys/kernel/random/uuid >/run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
END
chmod 755 /usr/local/sbin/own-boot-id
cat >/etc/systemd/system/own-boot-id.service <<'END'
[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=/usr/local/sbin/own-boot-id
[Install]
WantedBy=basic.target
END
systemctl enable --quiet own-boot-id
"""


def rolled(webs: Sequence[Place], name: str) -> list[float]:
    """The moments at which the hosts were changed."""
    return [float(place.run(f"cat /run/{name}")) for place in webs]


def assert_one_after_the_other(moments: list[float]) -> None:
    assert moments == sorted(moments), "in the order of the inventory"
    # Each host is drained and comes back in between.
    assert min(late - early for early, late in pairwise(moments)) > 1


@pytest.mark.matrix(whole=True)
def test_a_command_goes_through_the_fleet_and_nobody_notices(webs, traffic, run_playbook):
    with traffic() as visitors:
        run = run_playbook(ROLLING, {"command": "date +%s.%N >/run/rolled"}, timeout=600)
        assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    assert_one_after_the_other(rolled(webs, "rolled"))


@pytest.mark.matrix(whole=True)
def test_roles_and_tasks_go_through_the_fleet_and_nobody_notices(webs, traffic, run_playbook, tmp_path: Path):
    note = "- ansible.builtin.shell: date +%s.%N >/run/{}\n"
    for role in ("first", "second"):
        (tmp_path / f"roles/{role}/tasks").mkdir(parents=True)
        (tmp_path / f"roles/{role}/tasks/main.yml").write_text(note.format(role))
    (tmp_path / "more.yml").write_text(note.format("third"))
    environment = {"ANSIBLE_ROLES_PATH": str(tmp_path / "roles")}
    given = {"roles": "first,second", "tasks": str(tmp_path / "more.yml")}
    with traffic() as visitors:
        run = run_playbook(ROLLING, given, timeout=600, environment=environment)
        assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    moments = [rolled(webs, name) for name in ("first", "second", "third")]
    assert_one_after_the_other(moments[0])
    flat = [one for of_host in zip(*moments, strict=True) for one in of_host]
    assert flat == sorted(flat), "the roles, then the tasks, on each host"


@contextlib.contextmanager
def machines(webs: Sequence[Place]) -> Iterator[list[str]]:
    """Start each container again that has ended, as a machine does that reboots. Yields the names of those started."""
    over, started = threading.Event(), []

    def watch() -> None:
        while not over.wait(0.2):
            for place in webs:
                format_ = ("--format", "{{.State.Running}}", pyweb_faults.container(place))
                if pyweb_faults.engine().run("inspect", *format_).stdout.strip() == "false":
                    started.append(place.name)
                    pyweb_faults.start(place)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield started
    finally:
        over.set()
        thread.join(120)


@pytest.mark.matrix(whole=True)
def test_every_host_is_rebooted_and_nobody_notices(webs, traffic, run_playbook):
    # A host without init has no reboot.
    rebooting = [place for place in webs if place.run("command -v systemctl || true")]
    assert len(rebooting) == 3
    for place in rebooting:
        place.run(OWN_BOOT_ID)
    before = builds(webs)
    limit = ":".join(place.name for place in rebooting)
    with machines(rebooting) as started, traffic() as visitors:
        run = run_playbook(ROLLING, {"reboot": True}, "--limit", limit, timeout=600)
        assert run.status == 0, run.output
    assert started == [place.name for place in rebooting]
    visitors.assert_nothing_was_lost()
    assert_settled(webs, before[0])


@pytest.mark.matrix(whole=True)
def test_it_stops_at_the_first_host_that_does_not_come_back(webs, traffic, run_playbook):
    build, sick = builds(webs)[0], webs[1]
    moods = f"{HOME}/shared/data/moods.json"
    breaks = f"""date +%s >/run/touched; test $(hostname) != {sick.name} || echo '{{"{build}": "gate"}}' >{moods}"""
    for place in webs:
        place.run(f"rm -f /run/touched; test -e {moods} || echo '{{}}' >{moods}; chmod 644 {moods}")
    try:
        with traffic() as visitors:
            run = run_playbook(ROLLING, {"command": breaks, "healthy": 10}, timeout=600)
            assert run.status != 0
            time.sleep(3)
            drained = sick.run("test -e /var/lib/pyweb/drained && echo drained || true").strip()
        visitors.assert_nothing_was_lost()
        assert drained == "drained", "a sick host must not get requests"
        touched = [place.name for place in webs if place.run("cat /run/touched 2>/dev/null || true")]
        assert touched == [place.name for place in webs[:2]]
        text = " ".join(run.output.split())
        assert f"Stopped at {sick.name}." in text
        assert f"--limit '{':'.join(place.name for place in webs[1:])}'" in text
    finally:
        sick.told({})
    with traffic() as visitors:
        limit = ":".join(place.name for place in webs[1:])
        run = run_playbook(ROLLING, {"command": "date +%s >/run/touched"}, "--limit", limit, timeout=600)
        assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    assert_settled(webs, build)
