# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Provisional switches: the old release keeps running until the switch is committed or reverted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release import locking
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import read_lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    ReleaseError,
    read_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import probation, switch
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import stages
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import switch as provisional
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.switch import ProvisionalSwitch

from local import test_activation as activations
from local.test_activation import NEW, OLD, Host

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

    def state(self, release: str) -> str:
        manifest = read_manifest(self.layout, release)
        assert manifest is not None
        return manifest.state


def use(patch: pytest.MonkeyPatch, host: Host) -> None:
    activations.use_manager(patch, lambda name, run: host.manager)
    patch.setattr(provisional, "process_manager", lambda name, run: host.manager)
    patch.setattr(stages, "Layout", lambda name, root: host.layout)


@pytest.fixture
def make(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Leased]]:
    monkeypatch.setattr(probation, "PROBATION", 0.1)
    for module in (switch, provisional):
        monkeypatch.setattr(module, "LINGER", 0.01)
    monkeypatch.setattr(locking.settings, "settle", lambda layout, lease: stages.settle(layout, lease, quiet))
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
