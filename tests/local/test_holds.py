# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A rollback holds the release that it leaves, whatever happens to it: with real processes behind a real switch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import HOLD, hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    GOOD,
    WITHDRAWN,
    Manifest,
    ReleaseError,
    manifests,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import probation, switch

from local import test_activation as activations
from local.test_activation import NEW, OLD, Host

# Fixtures
host, make = activations.host, activations.make


def held(host: Host) -> str:
    """The release that is held, as the next run sees it."""
    found = hold_in_effect(host.layout)
    return found["release"] if found else ""


def test_a_rollback_holds_what_it_leaves_until_another_release_is_live(host: Host) -> None:
    host.activate()
    assert held(host) == ""
    result = host.activate("", switch="rollback")
    assert (held(host), result["held"]) == (NEW, NEW)
    # A restart copies the live release, and a repair starts it again. Neither lifts the hold.
    assert held(host) == NEW
    (Path(host.layout.release(OLD)) / "bin").mkdir()
    copy = host.activate("", switch="restart")["release"]
    host.activate("")
    assert (host.serving, held(host)) == (copy, NEW)
    newest = "20991122T000000Z-22222222"
    os.makedirs(host.layout.release(newest))
    write_manifest(host.layout, Manifest(newest, BUILT, {"code": newest}, venv="v"))
    host.activate(newest)
    assert held(host) == ""
    assert not os.path.exists(host.layout.path(HOLD))


def test_a_rollback_after_a_restart_reaches_other_code_and_withdraws_the_copies(host: Host) -> None:
    host.activate()
    (Path(host.layout.release(NEW)) / "bin").mkdir()
    copy = host.activate("", switch="restart")["release"]
    result = host.activate("", switch="rollback")
    assert (result["release"], result["replaced"], result["held"]) == (OLD, copy, copy)
    assert result["skipped"] == [f"{NEW} (the same content as the live one)"]
    assert host.serving == OLD
    states = {one.id: one.state for one in manifests(host.layout)}
    assert states == {copy: WITHDRAWN, NEW: WITHDRAWN, OLD: GOOD}
    with pytest.raises(ReleaseError, match="there is no release to roll back to"):
        host.activate("", switch="rollback")


def test_a_rollback_that_fails_leaves_the_hold_as_it_was(host: Host) -> None:
    host.activate()
    host.front_status = 500
    with pytest.raises(ReleaseError):
        host.activate("", switch="rollback")
    assert host.layout.current_release() == NEW
    assert not os.path.exists(host.layout.path(HOLD))


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_killed_rollback_is_never_without_its_hold(make: Callable[..., Host], before: bool) -> None:
    moments = 0
    while True:
        moments += 1
        host = make()
        with pytest.MonkeyPatch.context() as patch:
            activations.use_manager(patch, lambda name, run, host=host: host.manager)
            patch.setattr(probation, "PROBATION", 0.0)
            patch.setattr(switch, "LINGER", 0.0)
            host.activate()
            reached = activations.kill_at(host, patch, moments, before)
            killed = False
            try:
                host.activate("", switch="rollback")
            except activations.Killed:
                killed = True
        where = f"killed {'before' if before else 'after'} step {moments} of {reached}"
        live = host.layout.current_release()
        assert held(host) == (NEW if live == OLD else ""), where
        # The next run leaves what is live as it is, and completes what was interrupted.
        host.activate("", expected=live)
        assert host.serving == live, where
        assert held(host) == (NEW if live == OLD else ""), where
        states = {one.id: one.state for one in manifests(host.layout)}
        assert states[NEW] == (WITHDRAWN if live == OLD else GOOD), where
        host.close()
        if not killed:
            break
    assert moments > 10
