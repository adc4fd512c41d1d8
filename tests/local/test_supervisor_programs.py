# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The module supervisor_programs and the provider Supervisor against a real supervisord."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.supervisor_definitions import supervisor_definitions
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.plan.apply import complete
from ansible_collections.pyweb.stack.plugins.module_utils.processes import (
    supervisor,
    supervisor_cron,
    supervisor_daemon,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_daemon import exists, running_daemon
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import Supervisor
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.watch import WAKE, WAKE_CODE, WAKE_PROGRAM
from supervising import SLEEP, Lab, both, needs_supervisord

INSTANCE = "20261121T010735Z-ab12cd34"
OTHER = "20261121T010736Z-ab12cd34"
pytestmark = needs_supervisord


def test_check_run_check_run_predicts_acts_and_rests(lab: Lab) -> None:
    assert both(lab, lab.program("one"), lab.program("two"), lab.program("shop@")) == [True, True, False, False]
    assert lab.pid("one")
    assert (lab.folder / "templates" / "shop@.conf").exists()


def test_check_mode_touches_nothing_on_a_host_without_supervisor(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.config.unlink()
    result = lab.run(lab.program("one"), check=True)
    assert (result["changed"], result["started"]) == (True, ["one"])
    assert not os.listdir(tmp_path / "conf.d")


def test_only_the_changed_program_is_touched(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"))
    one, two = lab.pid("one"), lab.pid("two")
    changed = lab.program("two", "exec sleep 2000")
    prediction = lab.run(lab.program("one"), changed, check=True)
    result = lab.run(lab.program("one"), changed)
    assert prediction["restarted"] == result["restarted"] == ["two"]
    assert lab.pid("one") == one
    assert lab.pid("two") not in (0, two)


def test_program_of_the_users_own_is_undisturbed_even_if_its_file_changed(lab: Lab) -> None:
    lab.own("mine")
    lab.run(lab.program("one"))
    mine = lab.pid("mine")
    assert mine
    lab.own("mine", "exec sleep 3000")
    lab.own("added")
    assert lab.run(lab.program("one", "exec sleep 2000"))["restarted"] == ["one"]
    assert lab.pid("mine") == mine
    assert lab.pid("added") == 0


def test_restart_that_an_interrupted_run_owes_is_done(lab: Lab) -> None:
    lab.run(lab.program("one"))
    before = lab.pid("one")
    changed = lab.program("one", "exec sleep 2000")
    (lab.folder / "conf.d" / "one.conf").write_text(changed["content"])
    assert lab.run(changed, check=True)["restarted"] == ["one"]
    assert lab.run(changed)["restarted"] == ["one"]
    assert lab.pid("one") != before


def test_stopped_program_is_started_again(lab: Lab) -> None:
    lab.run(lab.program("one"))
    lab.rpc.stop("one", 5)
    assert lab.run(lab.program("one"))["started"] == ["one"]
    assert lab.pid("one")


def lasting(lab: Lab, script: str = SLEEP) -> dict[str, Any]:
    """A program with the role's own restart policy."""
    lab.startsecs = 1
    program = lab.program("one", script)
    (definition,) = supervisor_definitions([{"name": "one", "command": ["/bin/true"]}])
    (policy,) = [line for line in definition["vars"]["program"]["options"] if line.startswith("autorestart=")]
    return {**program, "content": program["content"].replace("autorestart=unexpected", policy)}


def told(lab: Lab) -> str:
    """supervisord's log. A request on its socket would wake it and distort the measurement."""
    return (lab.folder / "supervisord.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_program_that_ends_after_a_signal_is_back_within_two_seconds(lab: Lab, number: int) -> None:
    lab.run(lasting(lab, 'trap "exit 0" TERM INT QUIT; while :; do sleep 0.05; done'))
    before = lab.pid("one")
    os.kill(before, number)
    began = time.monotonic()
    assert wait_for(lambda: told(lab).count("spawned: 'one'") == 2, 5)
    assert time.monotonic() - began < 2.2  # supervisord checks once a second, twice


def test_program_that_ends_is_back_at_once_where_supervisord_is_woken(lab: Lab) -> None:
    (definition,) = supervisor_definitions([WAKE_PROGRAM])
    content = "\n".join([f"; {MARK}", f"[program:{WAKE}]", *definition["vars"]["program"]["options"]])
    wake = {**lab.program(WAKE), "content": f"{content}\n"}
    lab.run(lasting(lab, 'trap "exit 0" TERM; while :; do sleep 0.05; done'), wake)
    for count in (2, 3, 4):
        time.sleep(1.5)  # by then it has started and is monitored
        os.kill(lab.pid("one"), signal.SIGTERM)
        began = time.monotonic()
        assert wait_for(lambda count=count: told(lab).count("spawned: 'one'") == count, 5, 0.01)
        assert time.monotonic() - began < 0.9


def test_a_system_without_pidfds_leaves_supervisord_its_own_looks() -> None:
    code = f"import os\ndef pidfd_open(pid): raise PermissionError(1, 'no')\nos.pidfd_open = pidfd_open\n{WAKE_CODE}"
    with subprocess.Popen([sys.executable, "-c", code]) as waking:
        with pytest.raises(subprocess.TimeoutExpired):
            waking.wait(1.5)
        waking.kill()


@pytest.mark.parametrize("end", ["stop", "remove"])
def test_program_that_has_just_ended_stays_stopped(lab: Lab, end: str) -> None:
    """supervisord refuses to stop it while it is about to start it again."""
    lab.run(lasting(lab, 'trap "exit 0" TERM; while :; do sleep 0.05; done'))
    os.kill(lab.pid("one"), signal.SIGTERM)
    assert wait_for(lambda: "exited: one" in told(lab), 3, 0.005)
    getattr(lab.rpc, end)("one", 5)
    time.sleep(2.5)
    assert lab.pid("one") == 0


def test_unwanted_program_is_stopped(lab: Lab) -> None:
    lab.run(lab.program("one"))
    assert lab.run(lab.program("one", started=False))["stopped"] == ["one"]
    assert lab.run(lab.program("one", started=False))["changed"] is False


def test_program_that_exits_at_once_is_an_error_with_its_output(lab: Lab) -> None:
    lab.startsecs = 1
    for _again in range(2):
        result = lab.run(lab.program("one", "echo no database; exit 3"))
        assert result["failed"]
        assert "one" in result["msg"]
        assert "no database" in result["msg"]


def test_file_that_supervisor_refuses_is_never_installed(lab: Lab) -> None:
    lab.run(lab.program("one"))
    before, pid = (lab.folder / "conf.d" / "one.conf").read_text(), lab.pid("one")
    bad = lab.program("one")
    bad["content"] += "user=no-such-account\n"
    result = lab.run(bad)
    assert "no-such-account" in result["msg"]
    assert (lab.folder / "conf.d" / "one.conf").read_text() == before
    assert lab.pid("one") == pid


def test_file_that_the_daemon_cannot_read_is_put_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run(lab.program("one"))
    before, pid = (lab.folder / "conf.d" / "one.conf").read_text(), lab.pid("one")
    monkeypatch.setattr(supervisor, "check_files", lambda *_arguments: None)
    bad = lab.program("one")
    bad["content"] += "user=no-such-account\n"
    result = lab.run(bad, lab.program("two"))
    assert "restored" in result["msg"]
    assert "no-such-account" in result["msg"]
    assert (lab.folder / "conf.d" / "one.conf").read_text() == before
    assert not (lab.folder / "conf.d" / "two.conf").exists()
    assert lab.pid("one") == pid
    assert lab.rpc.reread() == ([], [], [])


def test_broken_file_of_the_users_own_is_told_but_stops_nothing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.run(lab.program("one"))
    (lab.folder / "conf.d" / "mine.conf").write_text("[program:mine]\nuser=no-such-account\ncommand=/bin/true\n")
    result = lab.run(lab.program("one"))
    assert result["changed"] is False
    assert "no-such-account" in str(result.get("warnings", "")) + capsys.readouterr().err


def test_foreign_file_is_neither_overwritten_nor_removed(lab: Lab) -> None:
    lab.own("mine")
    lab.run(lab.program("one"))
    mine = lab.pid("mine")
    assert "not from this collection" in lab.run(lab.program("mine"))["msg"]
    assert lab.run({"name": "mine", "state": "absent"})["changed"] is False
    assert lab.pid("mine") == mine


def test_removed_program_is_gone(lab: Lab) -> None:
    lab.run(lab.program("one"), lab.program("two"))
    pid, two = lab.pid("one"), lab.pid("two")
    absent = {"name": "one", "state": "absent", "stop_timeout": 5}
    assert both(lab, absent, lab.program("two")) == [True, True, False, False]
    assert not exists(pid)
    assert lab.pid("two") == two


def test_removed_template_takes_its_instances_with_it_and_no_others(lab: Lab) -> None:
    lab.run(lab.program("shop@"), lab.program("shop-worker@"))
    lab.provider.start("shop", INSTANCE)
    lab.provider.start("shop-worker", INSTANCE)
    lab.run({"name": "shop@", "state": "absent"}, lab.program("shop-worker@"))
    assert lab.provider.instances("shop") == []
    assert lab.provider.state("shop", INSTANCE) == "absent"
    assert lab.provider.instances("shop-worker") == [INSTANCE]


def test_dead_daemon_comes_back_without_second_copies(lab: Lab) -> None:
    lab.own("mine")
    lab.run(lab.program("one", 'trap "" HUP; sleep 1000 & wait'))
    orphan, mine, daemon = lab.pid("one"), lab.pid("mine"), running_daemon(lab.daemon)
    os.kill(daemon, signal.SIGKILL)
    assert wait_for(lambda: not running_daemon(lab.daemon), 20)
    assert exists(orphan), "supervisord's children outlive it, that is the point"
    assert lab.run(lab.program("one", 'trap "" HUP; sleep 1000 & wait'), check=True)["daemon_started"] is True
    result = lab.run(lab.program("one", 'trap "" HUP; sleep 1000 & wait'))
    assert (result["daemon_started"], result["orphans"]) == (True, ["mine", "one"])
    assert not supervisor_daemon.orphans(lab.daemon)
    assert not exists(orphan)
    assert not exists(mine)
    assert lab.pid("one")
    assert lab.run(lab.program("one", 'trap "" HUP; sleep 1000 & wait'))["changed"] is False


def test_daemon_that_is_about_to_end_still_runs(lab: Lab) -> None:
    script = "import sys, time; memory = b'x' * (1 << 29); print(flush=True); time.sleep(1000)"
    with subprocess.Popen([sys.executable, "-c", script, "supervisord"], stdout=subprocess.PIPE) as dying:
        assert dying.stdout
        dying.stdout.readline()
        Path(lab.daemon.pidfile).write_text(str(dying.pid))
        assert running_daemon(lab.daemon) == dying.pid
        dying.kill()
        # The kernel needs a while to free half a GB, long enough for the test.
        assert wait_for(lambda: not running_daemon(lab.daemon), 20, interval=0)
        assert not exists(dying.pid)
    Path(lab.daemon.pidfile).unlink()


def test_orphans_are_found_by_the_log_where_their_environment_is_hidden(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_daemon, "environment_of", lambda _pid: {})
    lab.run(lab.program("one"))
    orphan = lab.pid("one")
    os.kill(running_daemon(lab.daemon), signal.SIGKILL)
    assert wait_for(lambda: not running_daemon(lab.daemon), 20)
    assert lab.run(lab.program("one"))["orphans"] == ["one"]
    assert not exists(orphan)
    assert lab.pid("one")


def test_daemon_that_a_program_has_started_is_no_orphan(lab: Lab) -> None:
    pidfile = lab.folder / "own.pid"
    script = f"setsid sleep 1000 & echo $! > {pidfile}; exec sleep 1000"
    lab.run(lab.program("one", script))
    assert wait_for(pidfile.exists, 20)
    os.kill(running_daemon(lab.daemon), signal.SIGKILL)
    assert wait_for(lambda: not running_daemon(lab.daemon), 20)
    own = int(pidfile.read_text())
    lab.run(lab.program("one", script))
    try:
        assert exists(own)
    finally:
        for pid in (own, int(pidfile.read_text())):
            os.kill(pid, signal.SIGKILL)


def test_daemon_is_detached_from_the_session(lab: Lab) -> None:
    lab.run(lab.program("one"))
    pid = running_daemon(lab.daemon)
    assert os.getsid(pid) != os.getsid(0)
    with open(f"/proc/{pid}/stat") as stream:
        assert stream.read().rsplit(")", 1)[1].split()[4] == "0", "it has a terminal"


def started(lab: Lab, script: str = SLEEP) -> Supervisor:
    lab.run(lab.program("shop@", script))
    lab.provider.start("shop", INSTANCE)
    return lab.provider


def becomes(lab: Lab, state: str, timeout: float = 20) -> bool:
    return wait_for(lambda: lab.provider.state("shop", INSTANCE) == state, timeout)


def test_instance_starts_and_starting_again_leaves_it_alone(lab: Lab) -> None:
    provider = started(lab)
    assert provider.state("shop", INSTANCE) in ("starting", "running")
    assert becomes(lab, "running")
    pid = lab.pid(f"shop-{INSTANCE}")
    provider.start("shop", INSTANCE)
    assert lab.pid(f"shop-{INSTANCE}") == pid
    assert provider.restarts("shop", INSTANCE) == 0
    assert lab.run(lab.program("shop@"))["changed"] is False


def test_change_of_a_template_leaves_its_instances_alone(lab: Lab) -> None:
    started(lab)
    pid = lab.pid(f"shop-{INSTANCE}")
    assert lab.run(lab.program("shop@", "exec sleep 2000"))["restarted"] == []
    assert lab.pid(f"shop-{INSTANCE}") == pid


def test_failing_instance_ends_as_failed_and_starts_afresh_once_mended(lab: Lab) -> None:
    lab.startsecs = 1
    flag = lab.folder / "flag"
    provider = started(lab, f"test -e {flag} && exec sleep 1000; echo no flag; exit 3")
    assert becomes(lab, "failed", 30)
    assert provider.restarts("shop", INSTANCE) == 1
    assert "no flag" in provider.log("shop", INSTANCE)
    flag.touch()
    provider.start("shop", INSTANCE)
    assert becomes(lab, "running")
    assert provider.restarts("shop", INSTANCE) == 0


def test_killed_instance_is_restarted_and_counted(lab: Lab) -> None:
    provider = started(lab)
    assert becomes(lab, "running")
    os.kill(lab.pid(f"shop-{INSTANCE}"), signal.SIGKILL)
    assert wait_for(lambda: provider.restarts("shop", INSTANCE) == 1, 20)


def test_stop_is_graceful_and_leaves_no_worker(lab: Lab) -> None:
    worker = lab.folder / "worker.pid"
    provider = started(lab, f'trap "echo drained; exit 0" TERM; sleep 1000 & echo $! > {worker}; wait')
    assert becomes(lab, "running")
    assert wait_for(lambda: worker.exists() and worker.read_text().strip(), 10)
    pid = int(worker.read_text())
    assert exists(pid)
    provider.stop("shop", INSTANCE, 5)
    assert provider.state("shop", INSTANCE) == "stopped"
    assert "drained" in provider.log("shop", INSTANCE)
    assert wait_for(lambda: not exists(pid), 20)


def test_stop_kills_after_its_timeout(lab: Lab) -> None:
    program = lab.program("shop@", 'trap "" TERM; while :; do sleep 0.1; done')
    program["content"] = program["content"].replace("stopwaitsecs=3", "stopwaitsecs=60")
    lab.run(program)
    lab.provider.start("shop", INSTANCE)
    assert becomes(lab, "running")
    began = time.monotonic()
    lab.provider.stop("shop", INSTANCE, 0.5)
    assert time.monotonic() - began < 5
    assert lab.provider.state("shop", INSTANCE) in ("stopped", "failed")


def test_forget_leaves_nothing_and_can_be_repeated(lab: Lab) -> None:
    provider = started(lab)
    assert provider.instances("shop") == [INSTANCE]
    for _again in range(2):
        provider.forget("shop", INSTANCE)
    assert provider.state("shop", INSTANCE) == "absent"
    assert provider.instances("shop") == []
    assert not list(lab.folder.glob(f"**/*{INSTANCE}*"))


def test_forget_mends_what_was_left_half_made(lab: Lab) -> None:
    provider = started(lab)
    (lab.folder / "conf.d" / f"shop-{INSTANCE}.conf").unlink()
    (lab.folder / "conf.d" / f"shop-{OTHER}.conf").write_text("[program:shop-")
    assert provider.instances("shop") == [INSTANCE, OTHER]
    for instance in (INSTANCE, OTHER):
        provider.forget("shop", instance)
    assert provider.instances("shop") == []


@pytest.mark.parametrize(("enabled", "expected"), [(True, "running"), (False, "stopped")])
def test_enabled_instance_comes_back_with_the_daemon(lab: Lab, enabled: bool, expected: str) -> None:
    provider = started(lab)
    if enabled:
        provider.enable("shop", INSTANCE)
    else:
        provider.disable("shop", INSTANCE)
    lab.end()
    lab.run(lab.program("shop@"))
    assert becomes(lab, expected)


def test_start_that_supervisor_refuses_leaves_no_file(lab: Lab) -> None:
    lab.run(lab.program("one"))
    bad = lab.program("shop@")["content"] + "user=no-such-account\n"
    (lab.folder / "templates" / "shop@.conf").write_text(bad)
    with pytest.raises(ProcessManagerError, match="no-such-account"):
        lab.provider.start("shop", INSTANCE)
    assert lab.provider.instances("shop") == []
    assert lab.rpc.reread() == ([], [], [])


def test_dead_daemon_is_named_with_the_remedy(lab: Lab) -> None:
    with pytest.raises(ProcessManagerError, match=r"does not answer at .*s\.sock.*[Ss]tart"):
        lab.provider.state("shop", INSTANCE)


def test_missing_template_is_named(lab: Lab) -> None:
    lab.run(lab.program("one"))
    with pytest.raises(ProcessManagerError, match=r"shop@\.conf is missing"):
        lab.provider.start("shop", INSTANCE)


# Programs with a schedule, and patterns of programs to remove


@pytest.fixture
def cron(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cron that only sleeps, and PAM as Debian brings it for cron."""
    monkeypatch.setattr(supervisor_cron, "CRON_PROGRAM", lab.program(supervisor_cron.CRON)["content"])
    (lab.folder / "pam").write_text("# audit\nsession    required     pam_loginuid.so\nsession required pam_env.so\n")


def scheduled(name: str = "shop.tick") -> dict[str, Any]:
    content = f"#!/bin/sh\n# {MARK}\n"
    return {"name": name, "state": "present", "content": content, "schedule": "* * * * *", "stop_timeout": 5}


def removal(name: str) -> dict[str, Any]:
    return {"name": name, "state": "absent", "stop_timeout": 5}


@pytest.mark.usefixtures("cron")
def test_scheduled_program_is_crons_and_cron_is_kept_running(lab: Lab) -> None:
    assert both(lab, scheduled()) == [True, True, False, False]
    script = lab.folder / "scheduled" / "shop.tick"
    assert os.access(script, os.X_OK)
    # cron ignores names with dots.
    assert (lab.folder / "cron.d" / "pyweb-shop_tick").read_text().endswith(f"* * * * * root {script}\n")
    assert lab.pid(supervisor_cron.CRON)
    assert "session    optional     pam_loginuid.so\nsession required pam_env.so" in (lab.folder / "pam").read_text()


@pytest.mark.attack("21", "A program has the name of the crontab that renews certificates, and removes or replaces it")
@pytest.mark.usefixtures("cron")
def test_a_crontab_of_another_role_stays(lab: Lab) -> None:
    table = lab.folder / "cron.d" / "pyweb-certificates"
    lab.run(scheduled())
    table.write_text(f"# {MARK} (role nginx).\n0 4 * * * root true\n")
    before = table.read_text()
    lab.run(lab.program("certificates"))
    lab.run(removal("certificates"))
    assert "pyweb-certificates: another file is there already" in lab.run(scheduled("certificates"))["msg"]
    assert table.read_text() == before


@pytest.mark.usefixtures("cron")
def test_cron_goes_with_the_last_scheduled_program(lab: Lab) -> None:
    lab.run(scheduled(), scheduled("blog.tick"))
    lab.run(removal("shop.*"))
    assert os.listdir(lab.folder / "cron.d") == ["pyweb-blog_tick"]
    assert lab.pid(supervisor_cron.CRON)
    assert both(lab, removal("blog.*")) == [True, True, False, False]
    assert os.listdir(lab.folder / "cron.d") == os.listdir(lab.folder / "scheduled") == []
    assert lab.rpc.info(supervisor_cron.CRON) is None


@pytest.mark.usefixtures("cron")
def test_a_program_never_runs_by_supervisor_and_by_cron_at_once(lab: Lab) -> None:
    lab.run(lab.program("shop.tick"))
    pid = lab.pid("shop.tick")
    assert both(lab, scheduled()) == [True, True, False, False]
    assert lab.rpc.info("shop.tick") is None
    assert not exists(pid)
    assert not (lab.folder / "conf.d" / "shop.tick.conf").exists()
    assert both(lab, lab.program("shop.tick")) == [True, True, False, False]
    assert lab.pid("shop.tick")
    assert os.listdir(lab.folder / "cron.d") == os.listdir(lab.folder / "scheduled") == []


@pytest.mark.usefixtures("cron")
def test_pattern_takes_what_is_ours_and_not_listed(lab: Lab) -> None:
    lab.own("shop.own")
    lab.run(
        lab.program("shop@"), lab.program("shop.worker@"), lab.program("shop.a"), lab.program("shop.b"), scheduled()
    )
    for part in ("shop", "shop.worker"):
        lab.provider.start(part, INSTANCE)
    lab.run(lab.program("shop.a"), removal("shop.*"))
    known = set(lab.rpc.infos())
    assert {"shop.a", f"shop.worker-{INSTANCE}", f"shop-{INSTANCE}"} <= known
    assert "shop.b" not in known
    assert (lab.folder / "conf.d" / "shop.own.conf").exists()
    assert lab.provider.family("shop") == [("shop", INSTANCE), ("shop.worker", INSTANCE)]
    assert lab.provider.parts("shop") == ["shop.worker"]
    lab.run(removal("shop.*@"))
    assert lab.provider.family("shop") == [("shop", INSTANCE)]


def test_instance_that_was_asked_to_end_does_not_come_back(lab: Lab) -> None:
    provider = started(lab)
    provider.begin_stop("shop", INSTANCE)
    assert not (lab.folder / "conf.d" / f"shop-{INSTANCE}.conf").exists()
    provider.forget("shop", INSTANCE, 5)
    assert provider.family("shop") == []


def test_instance_that_is_on_its_way_out_is_started_afresh(lab: Lab) -> None:
    # A killed run may have sent the stop signal, and the next run, a rollback, starts the instance again.
    provider = started(lab, 'trap "sleep 0.5; exit 0" TERM; while :; do sleep 0.05; done')
    assert becomes(lab, "running")
    before = lab.pid(f"shop-{INSTANCE}")
    provider.begin_stop("shop", INSTANCE)
    provider.start("shop", INSTANCE)
    assert becomes(lab, "running")
    assert lab.pid(f"shop-{INSTANCE}") not in (0, before)
    assert (lab.folder / "conf.d" / f"shop-{INSTANCE}.conf").exists()


# --- stamps -------------------------------------------------------------------------------------------------------


def stamped(lab: Lab, *programs: dict[str, Any]) -> bool:
    """Whether a run gives the witnesses of a stamp that holds."""
    params = complete(lab.arguments(*programs), supervisor.ARGUMENTS)
    _result, witnesses = supervisor.apply(params, run_command, check_mode=False)
    if witnesses:
        stamps.record("supervisor", "as wished", witnesses)
    return stamps.valid() == {"supervisor": {"as wished": {}}}


def test_stamp_is_left_by_the_run_that_brings_all_to_its_state(lab: Lab) -> None:
    programs = [lab.program("one"), lab.program("shop@")]
    assert stamped(lab, *programs)
    assert stamped(lab, *programs)


def test_new_release_of_a_template_leaves_the_stamp_alone(lab: Lab) -> None:
    templates = [lab.program("shop@"), lab.program("shop.worker@")]
    assert stamped(lab, lab.program("one"), *templates, {"name": "shop.*", "state": "absent"})
    for service in ("shop", "shop.worker"):
        lab.provider.start(service, INSTANCE)
    assert stamps.valid()
    (lab.folder / "conf.d/shop.left.conf").write_text(f"; {MARK}\n")
    assert not stamps.valid(), "what the pattern means is seen"


@pytest.mark.parametrize("case", ["killed", "stopped", "edited", "removed", "schedule", "daemon"])
def test_whatever_the_module_would_mend_makes_the_stamp_void(lab: Lab, case: str) -> None:
    assert stamped(lab, lab.program("one"), lab.program("shop@"))
    pid = running_daemon(lab.daemon) if case == "daemon" else lab.pid("one")
    if case in ("killed", "daemon"):
        os.kill(pid, signal.SIGKILL)
    elif case == "stopped":
        lab.rpc.stop("one", 5)
    elif case == "edited":
        (lab.folder / "templates/shop@.conf").write_text("; somebody's\n")
    elif case == "removed":
        (lab.folder / "conf.d/one.conf").unlink()
    elif case == "schedule":
        (lab.folder / "scheduled").mkdir(exist_ok=True)
        (lab.folder / "scheduled/left").write_text(f"# {MARK}\n")
    assert wait_for(lambda: not stamps.valid(), 5)


def test_program_that_is_not_to_run_leaves_no_stamp(lab: Lab) -> None:
    """A stamp can't detect that an operator has started it."""
    assert not stamped(lab, lab.program("one", started=False))
