# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The provider Systemd with a fake systemctl, and the pure functions of both providers."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.processes import supervisor_instances
from ansible_collections.pyweb.stack.plugins.module_utils.processes.instances import instances_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError, process_manager
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import (
    count_restarts,
    instantiate,
    program_state,
    set_autostart,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_instances import Systemd

INSTANCE = "20261121T010735Z-ab12cd34"
UNIT = f"shop@{INSTANCE}.service"


class Paper:
    """Answers like systemctl and records the commands."""

    def __init__(self, rc: int = 0, listing: str = "", **properties: str) -> None:
        self.rc = rc
        self.listing = listing
        self.properties = {"LoadState": "loaded", "ActiveState": "inactive", "NRestarts": "0", "Job": "0", **properties}
        self.asked: list[list[str]] = []

    def __call__(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[:2] == ["systemctl", "show"]:
            return 0, "".join(f"{key}={value}\n" for key, value in self.properties.items()), ""
        if argv[:2] == ["systemctl", "list-units"]:
            return 0, self.listing, ""
        self.asked.append(argv)
        return self.rc, "", "it broke"


@pytest.mark.parametrize(
    ("properties", "state"),
    [
        ({"ActiveState": "active"}, "running"),
        ({"ActiveState": "reloading"}, "running"),
        ({"ActiveState": "activating", "SubState": "start"}, "starting"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "starting"),
        ({"ActiveState": "deactivating"}, "stopping"),
        ({"ActiveState": "failed"}, "failed"),
        ({"ActiveState": "inactive", "Job": "217"}, "starting"),
        ({"ActiveState": "inactive"}, "absent"),
        ({"ActiveState": "inactive", "LoadState": "not-found"}, "absent"),
    ],
)
def test_state_in_our_words(tmp_path: Path, properties: dict[str, str], state: str) -> None:
    assert Systemd(Paper(**properties), str(tmp_path)).state("shop", INSTANCE) == state


def test_no_output_is_not_the_end_of_a_process(tmp_path: Path) -> None:
    with pytest.raises(ProcessManagerError, match="prints nothing"):
        Systemd(lambda _argv: (0, "", ""), str(tmp_path)).state("shop", INSTANCE)


def enable(folder: Path, unit: str = UNIT) -> Path:
    wants = folder / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit).symlink_to(folder / "shop@.service")
    return wants / unit


def test_enabled_instance_that_does_not_run_is_stopped(tmp_path: Path) -> None:
    enable(tmp_path)
    assert Systemd(Paper(), str(tmp_path)).state("shop", INSTANCE) == "stopped"


def test_start_forgets_an_earlier_failure_and_does_not_wait(tmp_path: Path) -> None:
    paper = Paper(ActiveState="failed")
    Systemd(paper, str(tmp_path)).start("shop", INSTANCE)
    assert paper.asked == [["systemctl", "reset-failed", UNIT], ["systemctl", "start", "--no-block", UNIT]]


def test_start_without_a_template_names_it(tmp_path: Path) -> None:
    with pytest.raises(ProcessManagerError, match=r"shop@\.service is not usable .*Run the systemd role"):
        Systemd(Paper(LoadState="not-found"), str(tmp_path)).start("shop", INSTANCE)


def test_refused_start_tells_command_service_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(ProcessManagerError, match=rf"Starting {UNIT}: .*--no-block.*it broke.*systemctl status"):
        Systemd(Paper(rc=1), str(tmp_path)).start("shop", INSTANCE)


def test_stop_waits_no_longer_than_its_timeout_and_kills_then(tmp_path: Path) -> None:
    paper = Paper(rc=124, ActiveState="active")
    with pytest.raises(ProcessManagerError, match="Killing"):  # the fake never ends
        Systemd(paper, str(tmp_path)).stop("shop", INSTANCE, 7)
    assert paper.asked[0] == ["timeout", "7.000", "systemctl", "stop", UNIT]
    assert paper.asked[1] == ["systemctl", "kill", "--signal=SIGKILL", UNIT]


def test_disable_needs_no_template(tmp_path: Path) -> None:
    link = enable(tmp_path)
    Systemd(Paper(), str(tmp_path)).disable("shop", INSTANCE)
    assert not link.is_symlink()


def test_enabling_links_the_template_into_every_target_that_it_names(tmp_path: Path) -> None:
    template = tmp_path / "shop@.service"
    template.write_text("[Service]\n[Install]\nWantedBy=multi-user.target shop.target\n")
    paper = Paper()
    for _ in range(2):
        Systemd(paper, str(tmp_path)).enable("shop", INSTANCE)
    for target in ("multi-user.target", "shop.target"):
        assert (tmp_path / f"{target}.wants" / UNIT).readlink() == template
    # systemd 257 calls every unit outdated after an `enable --no-reload`, so it is not queried.
    assert paper.asked == []


def test_enabling_without_a_template_tells_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ProcessManagerError, match=r"its template .*/shop@\.service is missing\. Run the systemd role"):
        Systemd(Paper(), str(tmp_path)).enable("shop", INSTANCE)


def test_forget_stops_disables_and_clears_the_failure(tmp_path: Path) -> None:
    link = enable(tmp_path)
    paper = Paper(ActiveState="failed")
    Systemd(paper, str(tmp_path)).forget("shop", INSTANCE)
    assert not link.is_symlink()
    assert paper.asked[-1] == ["systemctl", "reset-failed", UNIT]


def test_the_sockets_of_an_instance_end_and_fail_with_it(tmp_path: Path) -> None:
    (tmp_path / "shop@.socket").write_text("")
    sockets = f"shop@{INSTANCE}.socket"
    paper = Paper(ActiveState="failed")
    Systemd(paper, str(tmp_path)).start("shop", INSTANCE)
    assert paper.asked[0] == ["systemctl", "reset-failed", UNIT, sockets]
    paper.asked.clear()
    Systemd(paper, str(tmp_path)).forget("shop", INSTANCE)
    assert paper.asked[1:] == [["systemctl", "stop", sockets], ["systemctl", "reset-failed", UNIT, sockets]]


def test_instances_are_those_that_run_failed_or_are_enabled(tmp_path: Path) -> None:
    enable(tmp_path, "shop@20261121T010736Z-b.service")
    enable(tmp_path, "shop@notes.service")
    listing = (
        f"{UNIT} loaded active running The shop\n"
        "shop@20261121T010737Z-c.service loaded failed failed The shop\n"
        "shop@20261121T010738Z-d.service loaded inactive dead The shop\n"
    )
    found = Systemd(Paper(listing=listing), str(tmp_path)).instances("shop")
    assert found == [INSTANCE, "20261121T010736Z-b", "20261121T010737Z-c"]


@pytest.mark.parametrize(
    ("service", "instance"), [("a/b", INSTANCE), ("shop@", INSTANCE), ("shop", "../x"), ("shop", "x")]
)
def test_bad_names_are_refused(service: str, instance: str) -> None:
    with pytest.raises(ProcessManagerError, match="is no"):
        Systemd(Paper()).state(service, instance)


def test_unknown_process_manager_is_refused() -> None:
    with pytest.raises(ProcessManagerError, match=r"runit.*systemd or supervisor"):
        process_manager("runit", Paper())


def test_other_services_instances_are_not_mistaken() -> None:
    names = [f"shop-{INSTANCE}.conf", f"shop-worker-{INSTANCE}.conf", "shop-old.conf", f"shop-2-{INSTANCE}.conf"]
    assert instances_of("shop", names, "-", ".conf") == [INSTANCE]
    assert instances_of("shop-2", names, "-", ".conf") == [INSTANCE]


@pytest.mark.parametrize(
    ("template", "expected"),
    [("%i", "ID"), ("%%i", "%%i"), ("%%%i", "%%ID"), ("100%% %i-%i", "100%% ID-ID"), ("%%%%i", "%%%%i")],
)
def test_instantiate(template: str, expected: str) -> None:
    assert instantiate(template, "ID") == expected


def test_set_autostart_changes_that_line_alone() -> None:
    assert set_autostart("a=1\nautostart=true\nb=autostart=true\n", False) == "a=1\nautostart=false\nb=autostart=true\n"


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"statename": "RUNNING"}, "running"),
        ({"statename": "BACKOFF"}, "starting"),
        ({"statename": "STOPPED"}, "stopped"),
        ({"statename": "EXITED", "exitstatus": 0}, "stopped"),
        ({"statename": "EXITED", "exitstatus": 3}, "failed"),
        ({"statename": "FATAL"}, "failed"),
        ({"statename": "UNKNOWN"}, "failed"),
    ],
)
def test_program_state(info: dict[str, object], state: str) -> None:
    assert program_state(info) == state


def test_restarts_are_counted_from_the_last_start() -> None:
    spawned, other = "INFO spawned: 'x' with pid 1\n", "INFO spawned: 'y' with pid 1\n"
    assert count_restarts("", "x") == 0
    assert count_restarts(spawned + other, "x") == 0
    assert count_restarts(spawned * 3 + other, "x") == 2
    assert count_restarts(spawned * 3 + "INFO stopped: x (terminated by SIGTERM)\n" + spawned, "x") == 0
    gave_up = "INFO gave up: x entered FATAL state, too many start retries too quickly\n"
    assert count_restarts(spawned * 3 + gave_up, "x") == 2
    assert count_restarts(spawned * 3 + gave_up + spawned, "x") == 0
    assert count_restarts(spawned * 3 + "INFO supervisord started with pid 1\n" + spawned, "x") == 0


BACKOFF = """\
2026-11-28 03:58:36,133 INFO spawned: 'x' with pid 4647
2026-11-28 03:58:36,176 WARN exited: x (exit status 2; not expected)
2026-11-28 03:58:37,180 INFO spawned: 'x' with pid 4658
2026-11-28 03:58:37,197 WARN exited: x (exit status 2; not expected)
2026-11-28 03:58:39,223 INFO spawned: 'x' with pid 4704
2026-11-28 03:58:39,235 WARN exited: x (exit status 2; not expected)
"""


@pytest.mark.parametrize(
    ("time", "restarts", "what"),
    [
        ("03:58:42,236", 3, "its fourth attempt, three seconds after the third"),
        ("03:58:42,190", 3, "the same, by a clock that is read a little later"),
        ("03:58:39,601", 0, "supervisorctl restart, which is not logged"),
    ],
)
def test_a_start_by_hand_between_two_attempts_begins_anew(time: str, restarts: int, what: str) -> None:
    log = BACKOFF + f"2026-11-28 {time} INFO spawned: 'x' with pid 4719\n"
    assert count_restarts(log, "x") == restarts
    up = "2026-11-28 03:58:44,261 INFO success: x entered RUNNING state\n"
    crash = "2026-11-28 03:59:00,100 WARN exited: x (exit status 3; not expected)\n"
    again = "2026-11-28 03:59:00,102 INFO spawned: 'x' with pid 4720\n"
    assert count_restarts(log + up + crash + again, "x") == restarts + 1, "it is started again at once"


def test_a_crash_loop_after_a_start_by_hand_is_seen() -> None:
    log = (
        BACKOFF
        + """\
2026-11-28 03:58:39,601 INFO spawned: 'x' with pid 4719
2026-11-28 03:58:39,650 WARN exited: x (exit status 2; not expected)
2026-11-28 03:58:40,700 INFO spawned: 'x' with pid 4720
2026-11-28 03:58:40,750 WARN exited: x (exit status 2; not expected)
2026-11-28 03:58:42,800 INFO spawned: 'x' with pid 4721
"""
    )
    assert count_restarts(log, "x") == 2, "the program was added again, so supervisord counts from one"


def test_the_end_of_logs_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_instances, "BEFORE_BYTES", 10)
    log, kept = tmp_path / f"shop-{INSTANCE}.log", tmp_path / "shop-before.log"
    assert supervisor_instances.before_log(str(log), f"shop-{INSTANCE}", "shop") == str(kept)
    supervisor_instances.keep_log(str(log), str(kept))
    assert not kept.exists()
    for text in ("first\n", "second\n"):
        log.write_text(text)
        supervisor_instances.keep_log(str(log), str(kept))
    assert kept.read_text() == "st\nsecond\n"
