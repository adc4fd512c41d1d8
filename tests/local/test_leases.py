# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Provisional switches: the old release keeps running until the switch is committed or reverted."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.folders import remove_unfinished
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import is_live, needs_repair
from ansible_collections.pyweb.stack.plugins.module_utils.release import leases, locking
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import Process, start_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import (
    COMMITTING,
    PROVISIONAL,
    SWITCHING,
    read_lease,
    write_lease,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILT,
    GOOD,
    UWSGI_SETTINGS,
    WITHDRAWN,
    Manifest,
    ReleaseError,
    read_manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import (
    gate,
    links,
    live_image,
    probation,
    removal,
    resume,
    switch,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import guard, stages
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import switch as provisional
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.settlement import settle
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.switch import ProvisionalSwitch
from killing import end_after

from local import test_activation as activations
from local.test_activation import NEW, OLD, Host, Killed

RUN = "0242ac11-0002-run"


def quiet(argv: list[str]) -> tuple[int, str, str]:
    return 0, "", ""


class Leased(Host):
    """An application with the stages of a run."""

    def provisional(self, candidate: str = NEW, **changes: Any) -> ProvisionalSwitch:
        given = {"lease": {"run": RUN, "seconds": 60}, "provisional": True, **changes}
        spec = super().switch(candidate, **given).spec
        return ProvisionalSwitch(spec, self.layout, quiet, "alice@desk")

    def lease(self, candidate: str = NEW, **changes: Any) -> dict[str, Any]:
        one = self.provisional(candidate, **changes)
        try:
            one.start()
            return one.finish()
        finally:
            one.close()

    def stage(self, stage: str, run: str = RUN, **options: Any) -> dict[str, Any]:
        """Take a stage as a module call of a run does; raise ReleaseError where it reports a problem."""
        locking.settings.run = run
        try:
            spec = super().switch(NEW).spec
            results, problems = stages.end(stage, [spec], self.layout.root, quiet, "alice@desk", run, 60, **options)
        finally:
            locking.settings.run = ""
        if problems:
            raise ReleaseError("shop", problems[0])
        return results[0]

    def expire(self) -> None:
        lease = read_lease(self.layout)
        if lease is not None:
            lease.expires = time.time() - 1
            write_lease(self.layout, lease)

    def guard(self) -> None:
        """One look of the guard."""
        lease = guard.lease_of(self.layout, RUN)
        if lease is not None and guard.is_due(lease):
            locking.settings.run = RUN
            try:
                assert guard.decide(self.layout, lease, quiet)
            finally:
                locking.settings.run = ""

    def state(self, release: str) -> str:
        manifest = read_manifest(self.layout, release)
        assert manifest is not None
        return manifest.state


def use(patch: pytest.MonkeyPatch, host: Host) -> None:
    activations.use_manager(patch, lambda name, run: host.manager)
    patch.setattr(provisional, "process_manager", lambda name, run: host.manager)
    patch.setattr(stages, "Layout", lambda name, root: host.layout)
    # This process plays the guard.
    patch.setattr(guard, "start", lambda layouts, run, command: Process(os.getpid(), start_of(os.getpid())))


@pytest.fixture
def make(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Leased]]:
    monkeypatch.setattr(probation, "PROBATION", 0.1)
    for module in (switch, provisional):
        monkeypatch.setattr(module, "LINGER", 0.01)
    monkeypatch.setattr(locking.settings, "settle", lambda layout, lease: settle(layout, lease, quiet))
    # Those of an earlier test.
    locking.settings.take_notes()
    hosts: list[Leased] = []

    def new(**options: Any) -> Leased:
        folder = short_path / str(len(hosts))
        folder.mkdir()
        host = Leased(folder, **options)
        hosts.append(host)
        use(monkeypatch, host)
        return host

    yield new
    for host in hosts:
        host.close()


@pytest.fixture
def host(make: Callable[..., Leased]) -> Leased:
    return make()


def assert_old_serves(host: Leased) -> None:
    assert host.serving == OLD
    assert host.layout.current_release() == OLD
    assert os.readlink(host.layout.current_socket) == host.layout.socket(OLD)
    assert not os.path.lexists(host.layout.previous)
    assert host.manager.instances("shop") == [OLD]
    assert host.manager.enabled == {OLD}
    assert not os.path.exists(host.layout.path(".activating"))
    assert read_lease(host.layout) is None


def assert_new_serves(host: Leased) -> None:
    activations.assert_new_serves(host)
    assert read_lease(host.layout) is None


def test_a_run_that_ends_a_lease_goes_on_with_what_serves_then(host: Leased) -> None:
    host.lease()
    host.expire()
    lease = read_lease(host.layout)
    assert lease
    spec, other = {"seen": NEW}, {"seen": "20261121T000009Z-99999999"}
    with locking.lock(host.layout, "alice@desk"):
        deploy.follow_end(host.layout, lease, spec)
        deploy.follow_end(host.layout, lease, other)
    assert host.layout.current_release() == OLD
    assert spec["seen"] == OLD, "the run itself has gone back, not another one"
    assert other["seen"] == "20261121T000009Z-99999999"


def test_a_commit_makes_a_provisional_switch_final(host: Leased) -> None:
    result = host.lease()
    assert (result["release"], result["replaced"], result["provisional"]) == (NEW, OLD, True)
    assert result["expires"].startswith("20")
    assert host.serving == NEW
    assert host.manager.instances("shop") == [OLD, NEW], "the old release keeps running"
    assert host.manager.enabled == {OLD, NEW}
    assert host.state(NEW) == BUILT
    assert not Path(host.layout.history).exists(), "the deployment has no result yet"
    assert host.stage("confirm")["provisional"]
    assert host.stage("commit")["committed"]
    assert_new_serves(host)
    (last,) = host.history()
    assert (last["result"], last["run"], last["release"], last["replaced"]) == ("live", RUN, NEW, OLD)
    # Once more, such as after a lost answer.
    assert host.stage("commit")["release"] == NEW
    with pytest.raises(ReleaseError, match=r"is final, so it can't be reverted. Roll back with rollback\.yml"):
        host.stage("revert")
    assert_new_serves(host)
    assert len(host.history()) == 1


def test_a_revert_goes_back_and_keeps_the_release_for_the_next_run(host: Leased) -> None:
    host.lease()
    began = time.monotonic()
    assert host.stage("revert", reason="web3 failed")["release"] == OLD
    assert time.monotonic() - began < 5
    assert_old_serves(host)
    assert host.state(NEW) == BUILT
    (last,) = host.history()
    assert (last["result"], last["run"], last["reason"]) == ("reverted", RUN, "web3 failed")
    assert host.stage("revert")["reverted"], "once more"
    with pytest.raises(
        ReleaseError, match=rf"the switch to {NEW} was reverted at .*, and {OLD} is live. .*web3 failed"
    ):
        host.stage("commit")
    host.lease()
    host.stage("confirm")
    host.stage("commit")
    assert_new_serves(host)


def test_another_run_is_refused_while_a_lease_is_valid(host: Leased) -> None:
    host.lease()
    steps: list[Callable[[], Any]] = [
        lambda: host.activate(""),
        lambda: host.activate(NEW),
        lambda: host.activate("", switch="rollback"),
        lambda: host.activate("", switch="restart"),
        lambda: host.lease(OLD, lease={"run": "other", "seconds": 60}),
        lambda: host.stage("commit", run="other"),
        lambda: host.stage("revert", run="other"),
        lambda: removal.remove(host.switch().spec | {"purge": True}, host.layout, quiet, "bob@desk"),
        lambda: resume.resume(host.layout, quiet, "bob@desk"),
    ]
    for step in steps:
        with pytest.raises(
            ReleaseError, match=rf"alice@desk .* {OLD} to {NEW} provisionally \(run {RUN}\), .* until .* UTC"
        ):
            step()
    assert host.manager.instances("shop") == [OLD, NEW]
    assert "provisionally" in locking.holder_of(host.layout)
    assert not needs_repair(host.layout, quiet)
    assert not is_live(host.layout, NEW, quiet), "a run must not record it as final"
    assert remove_unfinished(host.layout, "bob@desk") in (True, False)
    assert host.serving == NEW


def test_the_lease_of_a_run_whose_process_is_gone_ends_at_once(host: Leased, monkeypatch: pytest.MonkeyPatch) -> None:
    host.lease()
    monkeypatch.setattr(locking.settings, "ended_runs", ["another"])
    with pytest.raises(ReleaseError, match="another deployment is under way"):
        host.activate(NEW)
    monkeypatch.setattr(locking.settings, "ended_runs", ["another", RUN])
    monkeypatch.setattr(locking.settings, "settle", lambda layout, lease: settle(layout, lease, quiet))
    assert locking.holder_of(host.layout) == ""
    with locking.lock(host.layout, "alice@desk"):
        pass
    (note,) = locking.settings.take_notes()
    assert note.endswith(f"it went back from {NEW} to {OLD}: the process of its run {RUN} is gone.")
    assert host.serving == OLD
    assert not leases.has_lease(host.layout)


def test_the_run_of_a_lease_switches_only_once(host: Leased, monkeypatch: pytest.MonkeyPatch) -> None:
    host.lease()
    monkeypatch.setattr(locking.settings, "run", RUN)
    for step in (host.lease, host.activate):
        with pytest.raises(ReleaseError, match=f"this run has switched to {NEW} provisionally. Commit or revert"):
            step()
    assert host.manager.instances("shop") == [OLD, NEW]


def test_the_guard_goes_back_when_no_commit_arrives(host: Leased) -> None:
    host.lease()
    host.guard()
    assert host.serving == NEW
    host.expire()
    host.guard()
    assert_old_serves(host)
    assert host.history()[-1]["reason"].startswith("its run did not commit the switch until 20")
    with pytest.raises(ReleaseError, match=r"was reverted at .* its run did not commit"):
        host.stage("commit")
    with pytest.raises(ReleaseError, match="was reverted at "):
        host.stage("confirm")
    assert host.stage("revert")["reverted"]
    assert_old_serves(host)


@pytest.mark.parametrize("stage", ["confirm", "renew", "commit"])
def test_an_expired_lease_without_a_guard_is_reverted_by_its_run(host: Leased, stage: str) -> None:
    host.lease()
    host.expire()
    with pytest.raises(ReleaseError, match=f"did not commit the switch until .* UTC. {OLD} serves again"):
        host.stage(stage)
    assert_old_serves(host)


@pytest.mark.parametrize("stage", ["confirm", "renew", "commit"])
def test_a_switch_that_was_interrupted_is_never_confirmed(host: Leased, stage: str) -> None:
    host.lease()
    lease = read_lease(host.layout)
    assert lease is not None
    lease.state = SWITCHING
    write_lease(host.layout, lease)
    with pytest.raises(ReleaseError, match=f"its switch was interrupted. {OLD} serves again"):
        host.stage(stage)
    assert_old_serves(host)


def test_a_commit_that_was_begun_is_never_reverted(host: Leased) -> None:
    host.lease()
    lease = read_lease(host.layout)
    assert lease is not None
    lease.state = COMMITTING
    write_lease(host.layout, lease)
    with pytest.raises(ReleaseError, match=r"is final, so it can't be reverted"):
        host.stage("revert")
    assert_new_serves(host)


def test_an_expired_lease_without_a_guard_is_reverted_by_the_next_run(host: Leased) -> None:
    host.lease()
    host.expire()
    host.activate(NEW, expected=OLD)
    assert [one["result"] for one in host.history()] == ["reverted", "live"]
    assert "went back from" in " ".join(locking.settings.take_notes())
    assert_new_serves(host)


def test_what_starts_the_live_release_again_lets_an_expired_lease_end_first(
    host: Leased, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "process_manager", lambda name, run: host.manager)
    host.lease()
    host.expire()
    assert not resume.resume(host.layout, quiet, "bob@desk")
    locking.settings.take_notes()
    assert_old_serves(host)


def test_a_lease_far_in_the_future_is_the_work_of_a_clock_and_expires(host: Leased) -> None:
    host.lease()
    lease = read_lease(host.layout)
    assert lease is not None
    lease.expires = time.time() + 86400
    write_lease(host.layout, lease)
    host.guard()
    assert_old_serves(host)


def test_a_damaged_lease_stops_every_run_with_the_remedy(host: Leased) -> None:
    host.lease()
    path = Path(host.layout.path(leases.LEASE))
    for text in ("", "{}", "[]", '{"run": 1}'):
        path.write_text(text)
        for step in (host.activate, lambda: host.stage("commit")):
            with pytest.raises(ReleaseError, match=f"is damaged, .* {NEW} serves. Remove this file"):
                step()
        host.guard()
        assert "damaged" in (leases.lease_in_effect(host.layout) or {})["problem"]
    path.unlink()
    host.activate("")
    assert host.manager.instances("shop") == [NEW]


def test_a_release_that_dies_before_it_is_confirmed_is_replaced_by_the_old_one(host: Leased) -> None:
    host.lease()
    host.manager.processes[NEW].kill()
    host.manager.processes[NEW].wait()
    with pytest.raises(ReleaseError, match=rf"failed after the switch(?s:.)*The release {OLD} serves again"):
        host.stage("confirm")
    assert_old_serves(host)
    assert host.state(NEW) == BAD
    last = host.history()[-1]
    assert (last["result"], last["run"]) == ("failed", RUN)
    with pytest.raises(ReleaseError, match="was reverted at"):
        host.stage("commit")
    assert host.stage("revert")["reverted"]


def test_a_release_that_nginx_does_not_reach_is_not_confirmed(host: Leased) -> None:
    host.lease()
    host.front_status = 500
    with pytest.raises(ReleaseError, match="through nginx"):
        host.stage("confirm")
    assert_old_serves(host)


@pytest.mark.parametrize("behaviour", ["500", "dies"])
def test_an_unhealthy_release_takes_no_lease(host: Leased, behaviour: str) -> None:
    host.manager.behaviour[NEW] = behaviour
    with pytest.raises(ReleaseError, match="still serves"):
        host.lease()
    assert_old_serves(host)
    assert host.state(NEW) == BAD


def test_a_switch_that_fails_behind_the_front_ends_its_lease(host: Leased) -> None:
    host.front_status = 500
    with pytest.raises(ReleaseError, match="serves again"):
        host.lease()
    assert_old_serves(host)
    assert [one["result"] for one in host.history()] == ["failed"]


def test_the_old_release_is_started_again_if_it_has_ended(host: Leased) -> None:
    host.lease()
    host.manager.processes[OLD].kill()
    host.manager.processes[OLD].wait()
    host.stage("revert")
    assert_old_serves(host)


def test_the_new_release_stays_if_the_old_one_no_longer_starts(host: Leased, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisional, "REVIVAL_TIMEOUT", 0.5)
    host.lease()
    host.manager.processes[OLD].kill()
    host.manager.processes[OLD].wait()
    os.unlink(host.layout.socket(OLD))
    host.manager.behaviour[OLD] = "dies"
    with pytest.raises(ReleaseError, match=f"could not go back: the release {OLD} no longer starts"):
        host.stage("revert")
    assert host.serving == NEW
    assert host.manager.instances("shop") == [NEW]
    assert read_lease(host.layout) is None
    assert "no longer starts" in host.history()[-1]["reason"]


def with_worker(host: Leased, *, exclusive: bool, behaviour: str = "sleep 60") -> None:
    worker = {"service": "shop.worker", "stop_timeout": 5, "start_seconds": 0.1, "exclusive": exclusive}
    for identity, state in ((OLD, GOOD), (NEW, BUILT)):
        write_manifest(host.layout, Manifest(identity, state, {"code": identity}, venv="v", processes=[worker]))
    host.manager.start("shop.worker", OLD)
    host.manager.enable("shop.worker", OLD)
    host.manager.behaviour["shop.worker"] = behaviour


@pytest.mark.parametrize("exclusive", [True, False])
def test_background_processes_follow_the_switch_and_the_revert(host: Leased, exclusive: bool) -> None:
    with_worker(host, exclusive=exclusive)
    host.lease()
    running = [("shop.worker", NEW)] if exclusive else [("shop.worker", OLD), ("shop.worker", NEW)]
    assert sorted(host.manager.parts_running) == running
    enabled = {OLD, NEW, f"shop.worker@{NEW}"}
    assert host.manager.enabled == (enabled if exclusive else enabled | {f"shop.worker@{OLD}"}), "a boot starts one"
    host.stage("confirm")
    host.stage("revert")
    assert list(host.manager.parts_running) == [("shop.worker", OLD)]
    assert host.manager.enabled == {OLD, f"shop.worker@{OLD}"}
    host.lease()
    host.stage("commit")
    assert list(host.manager.parts_running) == [("shop.worker", NEW)]
    assert host.manager.enabled == {NEW, f"shop.worker@{NEW}"}


def test_a_background_process_that_ends_before_the_confirmation_leads_back(host: Leased) -> None:
    with_worker(host, exclusive=False)
    host.lease()
    host.manager.parts_running["shop.worker", NEW].kill()
    host.manager.parts_running["shop.worker", NEW].wait()
    with pytest.raises(ReleaseError, match=rf"background process shop.worker has ended(?s:.)*{OLD} serves again"):
        host.stage("confirm")
    assert list(host.manager.parts_running) == [("shop.worker", OLD)]
    assert host.serving == OLD


def test_a_rollback_under_a_lease_holds_only_when_it_stays(host: Leased) -> None:
    host.activate()
    result = host.lease("", switch="rollback")
    assert (result["release"], result["held"], result["provisional"]) == (OLD, NEW, True)
    assert (hold_in_effect(host.layout) or {}).get("release") == NEW
    assert host.stage("revert")["release"] == NEW
    assert hold_in_effect(host.layout) is None
    assert (host.serving, host.state(OLD), host.state(NEW)) == (NEW, GOOD, GOOD)
    host.lease("", switch="rollback")
    host.stage("confirm")
    result = host.stage("commit")
    assert (result["held"], result["replaced"]) == (NEW, NEW)
    assert (hold_in_effect(host.layout) or {}).get("release") == NEW
    assert (host.serving, host.state(NEW)) == (OLD, WITHDRAWN)


def test_a_restart_under_a_lease(host: Leased) -> None:
    (Path(host.layout.release(OLD)) / "bin").mkdir()
    copy = host.lease("", switch="restart")["release"]
    assert host.manager.instances("shop") == [OLD, copy]
    host.stage("revert")
    assert_old_serves(host)
    copy = host.lease("", switch="restart")["release"]
    host.stage("commit")
    assert (host.serving, host.manager.instances("shop")) == (copy, [copy])


def test_a_first_release_under_a_lease(host: Leased) -> None:
    host.manager.forget("shop", OLD)
    for path in (host.layout.current, host.layout.current_socket):
        os.unlink(path)
    shutil.rmtree(host.layout.release(OLD))
    assert host.lease()["replaced"] == ""
    host.stage("revert")
    assert host.layout.current_release() is None
    assert not os.path.lexists(host.layout.current_socket)
    assert host.manager.instances("shop") == []
    host.lease()
    host.stage("commit")
    assert host.serving == NEW


def test_a_live_release_that_is_only_started_again_needs_no_lease(host: Leased) -> None:
    result = host.lease("")
    assert "provisional" not in result
    assert read_lease(host.layout) is None
    assert host.stage("commit")["release"] == OLD
    assert host.history()[-1]["run"] == RUN


def test_what_was_not_switched_is_reverted_already(host: Leased) -> None:
    assert host.stage("revert") == {
        "name": "shop",
        "release": OLD,
        "replaced": "",
        "provisional": False,
        "reverted": False,
    }
    with pytest.raises(ReleaseError, match="this run has not switched it"):
        host.stage("commit")


def test_no_request_is_lost_and_a_revert_takes_less_than_a_second(
    host: Leased, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This process manager kills, so answers must have arrived before.
    monkeypatch.setattr(provisional, "LINGER", 1.0)
    seen: list[tuple[float, str]] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            seen.append((time.monotonic(), ask(Question(unix_socket=host.layout.current_socket)).body))

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    host.lease()
    host.stage("confirm")
    assert wait_for(lambda: seen[-1][1] == NEW, 10)
    began = time.monotonic()
    host.stage("revert")
    assert wait_for(lambda: seen[-1][1] == OLD, 10)
    over.set()
    for visitor in visitors:
        visitor.join()
    assert {body for _moment, body in seen} == {OLD, NEW}
    back = next(moment for moment, body in seen if moment > began and body == OLD)
    assert back - began < 1


def test_uwsgi_and_http_releases_replace_each_other(host: Leased) -> None:
    # Only the new one is of uWSGI: it has two sockets, and the link to the second one stays until it has ended.
    Path(host.layout.release(NEW), UWSGI_SETTINGS).touch()
    host.lease()
    assert os.readlink(host.layout.current_uwsgi_socket) == host.layout.uwsgi_socket(NEW)
    assert os.path.lexists(host.layout.current_uwsgi)
    ended: list[bool] = []
    forget = host.manager.forget

    def note(service: str, instance: str, timeout: float = 30.0) -> None:
        ended.append(os.path.lexists(host.layout.current_uwsgi_socket))
        forget(service, instance, timeout)

    host.manager.forget = note  # type: ignore[method-assign]
    host.stage("revert")
    assert ended == [True]
    assert not os.path.lexists(host.layout.current_uwsgi_socket)
    assert not os.path.lexists(host.layout.current_uwsgi)
    assert_old_serves(host)


STEPS = (
    (links, "atomic_symlink"),
    *((switch, name) for name in ("atomic_symlink", "write", "write_manifest", "prune", "record", "write_hold")),
    *((provisional, name) for name in ("write_lease", "end_lease", "write_manifest", "prune")),
    (live_image, "restore_links"),
    *((provisional, name) for name in ("write_hold", "remove_runtime_files", "remove_link")),
)
CALLS = ("start", "enable", "disable", "forget", "begin_stop", "family")


def kill_at(host: Leased, patch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """End the run after the given step; return the steps that were reached."""
    return end_after(moment, [*STEPS, *((host.manager, name) for name in CALLS)], patch, Killed)


def is_sample(stage: str, action: str) -> bool:
    """The others are only in the full matrix, because each takes several seconds."""
    return action == "activate" and stage in ("switch", "commit", "revert")


@pytest.mark.sampled(by=is_sample)
@pytest.mark.parametrize("action", ["activate", "rollback"])
@pytest.mark.parametrize("stage", ["switch", "switch that fails", "confirm that fails", "commit", "revert"])
def test_a_run_that_is_killed_anywhere_leaves_a_decision(make: Callable[..., Leased], stage: str, action: str) -> None:
    moments = 0
    while True:
        moments += 1
        host = make()
        old, new = OLD, NEW
        changes: dict[str, Any] = {"candidate": NEW}
        if action == "rollback":
            host.activate()
            old, new, changes = NEW, OLD, {"candidate": "", "switch": "rollback"}
        with pytest.MonkeyPatch.context() as patch:
            use(patch, host)
            patch.setattr(probation, "PROBATION", 0.0)
            patch.setattr(gate, "SECOND_THOUGHT", 0.05)
            if not stage.startswith("switch"):
                host.lease(**changes)
            if "fails" in stage:
                host.front_status = 500
            reached = kill_at(host, patch, moments)
            killed = False
            try:
                if stage.startswith("switch"):
                    host.lease(**changes)
                else:
                    host.stage(stage.partition(" ")[0])
            except Killed:
                killed = True
            except ReleaseError:
                assert "fails" in stage
        where = f"killed after step {moments} of {reached}"
        host.front_status = 0
        if not killed:
            break
        lease = read_lease(host.layout)
        is_committed = stage == "commit" and (lease is None or lease.state == COMMITTING)
        if moments % 3 == 0:
            if lease and lease.state == PROVISIONAL:
                host.expire()
            host.guard()
        elif moments % 3 == 1 and stage in ("commit", "revert"):
            # The controller has lost the answer, and asks again.
            host.stage(stage)
            is_committed = stage == "commit"
        live = host.layout.current_release()
        host.expire()
        # The next run.
        host.activate("", expected=live)
        assert read_lease(host.layout) is None, where
        assert host.serving == (new if is_committed else old), where
        assert host.manager.instances("shop") == [host.serving], where
        assert host.manager.enabled == {host.serving}, where
        assert not os.path.exists(host.layout.path(".activating")), where
        held = (hold_in_effect(host.layout) or {}).get("release")
        assert held == (old if is_committed and action == "rollback" else None), where
        results = [one["result"] for one in host.history() if one.get("run") == RUN]
        assert len(set(results)) <= 1, where
        host.close()
    assert moments > 5
