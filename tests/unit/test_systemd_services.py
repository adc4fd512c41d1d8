# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The module systemd_services: its decisions, from the desired state and the output of `systemctl show`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File
from ansible_collections.pyweb.stack.plugins.module_utils.processes import systemd, systemd_plan
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import Systemctl

CONTENT = f"# {MARK} (role systemd).\n[Service]\nExecStart=/bin/w\n"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="unit files belong to root")
pytestmark = ROOT


def service(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": "present", "content": CONTENT, "started": True, "enabled": True, **more}


def shown(unit: str, active: str = "active", **more: str) -> dict[str, dict[str, str]]:
    sub = "running" if active == "active" else "dead"
    state = {"Id": unit, "ActiveState": active, "SubState": sub, "UnitFileState": "enabled", "NeedDaemonReload": "no"}
    return {unit: {**state, **more}}


def decide(
    folder: Path, services: list[dict[str, Any]], units: dict[str, dict[str, str]], links: tuple[str, ...] = ()
) -> systemd_plan.Plan:
    def mtime(path: str) -> float | None:
        return os.stat(path).st_mtime if os.path.exists(path) else None

    return systemd_plan.plan(services, str(folder), units, lambda _pattern: list(links), mtime, time.time())


def test_new_service_is_written_enabled_and_started(tmp_path: Path) -> None:
    todo = decide(tmp_path, [service("w")], shown("w.service", "inactive", UnitFileState=""))
    assert [file.path for file in todo.files] == [str(tmp_path / "w.service")]
    assert (todo.start, todo.enable, todo.restart, todo.reload) == (["w.service"], ["w.service"], [], True)


def test_service_as_it_should_be_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    assert not decide(tmp_path, [service("w")], shown("w.service")).changes


def test_changed_service_is_restarted(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT + "# old\n")
    assert decide(tmp_path, [service("w")], shown("w.service")).restart == ["w.service"]


def test_restart_that_an_interrupted_run_owes_is_done(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    began = "Sat 2001-01-01 01:00:00.500000 UTC"
    assert decide(tmp_path, [service("w")], shown("w.service", ExecMainStartTimestamp=began)).restart == ["w.service"]


def test_reload_that_an_interrupted_run_owes_is_done(tmp_path: Path) -> None:
    (tmp_path / "shop@.service").write_text(CONTENT)
    units = shown("shop@20261121T010735Z-ab12cd34.service", NeedDaemonReload="yes")
    todo = decide(tmp_path, [service("shop@")], units)
    assert todo.reload
    assert todo.changes


def test_a_changed_socket_unit_restarts_an_ordinary_service_with_it(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    (tmp_path / "w.socket").write_text(CONTENT + "# old\n")
    items = [service("w"), service("w.socket", triggered=True)]
    todo = decide(tmp_path, items, {**shown("w.service"), **shown("w.socket")})
    assert (todo.restart, todo.start, todo.enable) == (["w.socket", "w.service"], [], [])
    (tmp_path / "w.socket").write_text(CONTENT)
    assert not decide(tmp_path, items, {**shown("w.service"), **shown("w.socket")}).changes


def test_a_socket_template_goes_with_its_service(tmp_path: Path) -> None:
    for kind in ("service", "socket"):
        (tmp_path / f"shop@.{kind}").write_text(CONTENT)
    items = systemd_plan.resolve_removals([{"name": "shop@", "state": "absent"}], str(tmp_path))
    assert [item["name"] for item in items] == ["shop@", "shop@.socket"]
    instance = "shop@20261121T010735Z-ab12cd34"
    todo = decide(tmp_path, items, {**shown(f"{instance}.service"), **shown(f"{instance}.socket")})
    assert todo.stop == [f"{instance}.service", f"{instance}.socket"]
    assert {os.path.basename(file.path) for file in todo.files} == {"shop@.service", "shop@.socket"}


def test_instances_of_a_changed_template_are_left_alone(tmp_path: Path) -> None:
    todo = decide(tmp_path, [service("shop@")], shown("shop@20261121T010735Z-ab12cd34.service"))
    assert (todo.start, todo.restart, todo.stop, todo.enable) == ([], [], [], [])
    assert todo.reload


@pytest.mark.parametrize("sub", ["auto-restart", "auto-restart-queued"])
def test_crashing_service_does_not_count_as_running(tmp_path: Path, sub: str) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    todo = decide(tmp_path, [service("w")], shown("w.service", "activating", SubState=sub))
    assert (todo.start, todo.reset) == (["w.service"], ["w.service"])


def test_service_in_a_new_attempt_after_a_crash_does_not_count_as_running(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    todo = decide(tmp_path, [service("w")], shown("w.service", "activating", SubState="start", NRestarts="1"))
    assert todo.start == ["w.service"]


def test_service_that_was_restarted_lately_is_watched_without_being_a_change(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    os.utime(tmp_path / "w.service", (1, 1))
    began = time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime())
    todo = decide(tmp_path, [service("w")], shown("w.service", NRestarts="1", ExecMainStartTimestamp=began))
    assert (todo.watch, todo.changes) == (["w.service"], False)


def test_unwanted_service_is_stopped_and_disabled(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text(CONTENT)
    todo = decide(tmp_path, [service("w", started=False, enabled=False)], shown("w.service"))
    assert (todo.stop, todo.disable, todo.start) == (["w.service"], ["w.service"], [])


def test_removed_template_takes_its_instances_with_it_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "shop@.service").write_text(CONTENT)
    units = {
        **shown("shop@20261121T010735Z-ab12cd34.service"),
        **shown("shop@20261121T010736Z-ab12cd34.service", "failed"),
        **shown("shop-worker@20261121T010735Z-ab12cd34.service"),
    }
    link = "shop@20261121T010735Z-ab12cd34.service"
    todo = decide(tmp_path, [{"name": "shop@", "state": "absent"}], units, (link,))
    assert todo.stop == [link]
    assert todo.disable == [link]
    assert todo.reset == ["shop@20261121T010736Z-ab12cd34.service"]
    assert todo.files == [File(str(tmp_path / "shop@.service"), None)]


def test_foreign_unit_is_neither_overwritten_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "w.service").write_text("[Service]\n")
    with pytest.raises(systemd_plan.ServiceError, match="not from this collection"):
        decide(tmp_path, [service("w")], {})
    todo = decide(tmp_path, [{"name": "w", "state": "absent"}], shown("w.service"))
    assert not todo.changes
    assert "left alone" in todo.warnings[0]


def test_absent_service_that_was_never_ours_is_not_stopped(tmp_path: Path) -> None:
    assert not decide(tmp_path, [{"name": "ssh", "state": "absent"}], shown("ssh.service")).changes


def test_links_to_the_distributions_units_are_not_ours(tmp_path: Path) -> None:
    wants = tmp_path / "multi-user.target.wants"
    wants.mkdir()
    (wants / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    (wants / "w.service").symlink_to(tmp_path / "w.service")
    host = systemd.Host(lambda _argv: (0, "", ""), str(tmp_path))
    assert host.links("*.service") == ["w.service"]


def test_show_is_parsed_by_unit() -> None:
    text = "Id=a.service\nActiveState=active\nJob=x=y\n\nId=b@1.service\nActiveState=failed\n"
    parsed = Systemctl(lambda _argv: (0, text, ""), systemd_plan.ServiceError).show_all(["*"], "ActiveState")
    assert parsed["a.service"]["Job"] == "x=y"
    assert parsed["b@1.service"]["ActiveState"] == "failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sat 2026-11-21 01:20:43.250000 UTC", 1795224043.25),
        ("Sat 2026-11-21 01:20:43 UTC", 1795224043.0),
        ("n/a", None),
    ],
)
def test_timestamp(text: str, expected: float | None) -> None:
    assert systemd_plan.timestamp(text) == expected


def test_verification_tells_refusals_from_warnings_and_from_a_missing_program() -> None:
    missing = "w@i.service: Command /srv/x is not executable: No such file or directory\n"
    ignored = "w@.service:15: Unknown key 'Fooo' in section [Service], ignoring.\n"
    assert systemd.judge_verification(missing) == (False, [])
    assert systemd.judge_verification(missing + ignored) == (False, [ignored.strip()])
    assert systemd.judge_verification("Unit w@i.service has a bad unit file setting.\n")[0]


def test_refused_unit_is_an_error_before_it_is_installed(tmp_path: Path) -> None:
    staged: list[str] = []

    def run(argv: list[str]) -> tuple[int, str, str]:
        staged.extend(argv[4:])
        return 1, "", f"{argv[-1]}:3: nonsense\nUnit w.service has a bad unit file setting.\n"

    with pytest.raises(systemd_plan.ServiceError, match=r"w\.service:3: nonsense"):
        systemd.verify(run, [File(str(tmp_path / "w.service"), CONTENT)])
    assert not (tmp_path / "w.service").exists()
    assert not os.path.exists(staged[0])


# Timers, and patterns of units to remove


def removed(name: str) -> dict[str, Any]:
    return {"name": name, "state": "absent", "content": None, "started": True, "enabled": True}


def test_service_of_a_timer_is_left_to_it(tmp_path: Path) -> None:
    services = [service("job", triggered=True), service("job.timer")]
    todo = decide(tmp_path, services, shown("job.service", "inactive", UnitFileState="static"))
    assert [os.path.basename(file.path) for file in todo.files] == ["job.service", "job.timer"]
    assert (todo.start, todo.enable, todo.restart) == (["job.timer"], ["job.timer"], [])


def test_changed_job_restarts_no_run_that_is_under_way(tmp_path: Path) -> None:
    (tmp_path / "job.service").write_text(CONTENT + "# old\n")
    todo = decide(tmp_path, [service("job", triggered=True)], shown("job.service", "activating"))
    assert (todo.start, todo.stop, todo.restart, todo.reload) == ([], [], [], True)


def test_changed_timer_is_restarted(tmp_path: Path) -> None:
    (tmp_path / "job.timer").write_text(CONTENT + "# old\n")
    assert decide(tmp_path, [service("job.timer")], shown("job.timer")).restart == ["job.timer"]


def test_pattern_takes_what_is_ours_and_not_listed(tmp_path: Path) -> None:
    for name in ("shop@", "shop.worker@", "shop.old", "shop.kept", "shopping.x"):
        (tmp_path / f"{name}.service").write_text(CONTENT)
    (tmp_path / "shop.old.timer").write_text(CONTENT)
    (tmp_path / "shop.foreign.service").write_text("[Service]\n")
    listed = [service("shop.kept"), removed("shop.*")]
    found = systemd_plan.resolve_removals(listed, str(tmp_path))
    assert [one["name"] for one in found] == ["shop.kept", "shop.old", "shop.old.timer"]
    assert [one["name"] for one in systemd_plan.resolve_removals([removed("shop.*@")], str(tmp_path))] == [
        "shop.worker@"
    ]


def test_removal_takes_the_timer_too(tmp_path: Path) -> None:
    for suffix in ("service", "timer"):
        (tmp_path / f"job.{suffix}").write_text(CONTENT)
    units = {**shown("job.service", "activating"), **shown("job.timer")}
    todo = decide(tmp_path, systemd_plan.resolve_removals([removed("job")], str(tmp_path)), units, ("job.timer",))
    assert {os.path.basename(file.path) for file in todo.files} == {"job.service", "job.timer"}
    assert set(todo.stop) == {"job.service", "job.timer"}


def test_stamp_for_a_pattern_sees_what_is_added(tmp_path: Path) -> None:
    wanted = [removed("shop.*")]
    before = systemd.witnesses(wanted, str(tmp_path))
    assert stamps.holds({**before, "until": None})
    (tmp_path / "shop.x.service").write_text(CONTENT)
    assert not stamps.holds({**before, "until": None})


def test_timer_is_no_matter_of_files_alone() -> None:
    assert systemd.only_files_matter([{**service("job"), "triggered": True}, {**service("shop@"), "triggered": False}])
    assert not systemd.only_files_matter([{**service("job.timer"), "triggered": False}])
