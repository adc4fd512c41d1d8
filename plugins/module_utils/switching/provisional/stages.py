# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The stages that follow a provisional switch: confirm, renew, commit and revert."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.faults import unexpected
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import (
    COMMITTING,
    PROVISIONAL,
    entry_of,
    read_lease,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.switching import probation
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Gate
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import guard
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.settlement import check_term
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.switch import ProvisionalSwitch

# The number of applications that one call works on at a time.
MOST_AT_A_TIME = 8
# Seconds to wait for the lock, which the guard holds while it goes back. A revert that waits has nothing left to do.
PATIENCE, REVERT_PATIENCE = 10.0, 60.0

# The results and the problems of a call.
Answer = tuple[list[dict[str, Any]], list[str]]


def end(
    stage: str,
    specs: list[dict[str, Any]],
    root: str,
    run: Run,
    owner: str,
    identity: str,
    seconds: int = 0,
    reason: str = "",
) -> Answer:
    """Take a stage, ``confirm``, ``renew``, ``commit`` or ``revert``, for each application. Return results, problems.

    ``identity`` is the run. ``seconds`` is the length of a renewed lease, ``reason`` that of a revert.
    """
    layouts = {spec["name"]: Layout(spec["name"], spec.get("root") or root) for spec in specs}
    lone = [] if stage in ("commit", "revert") else unguarded(list(layouts.values()), identity)
    try:
        process = asdict(guard.start(lone, identity, run)) if lone else {}
    except (guard.GuardError, OSError) as error:
        return [], [f"webapps '{spec['name']}': {error}" for spec in specs]
    step: Callable[[ProvisionalSwitch], dict[str, Any]] = {
        "confirm": lambda switch: confirm(switch, seconds, process),
        "renew": lambda switch: renew(switch, seconds, process),
        "commit": commit,
        "revert": lambda switch: revert(switch, reason),
    }[stage]

    def take(spec: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
        layout = layouts[spec["name"]]
        try:
            with lock(layout, owner, REVERT_PATIENCE if stage == "revert" else PATIENCE):
                lease = read_lease(layout)
                if lease is None:
                    return without_lease(stage, layout, identity), None
                return step(ProvisionalSwitch.resumed(spec, layout, run, lease)), None
        except (ReleaseError, ProcessManagerError) as error:
            return None, str(error)
        except OSError as error:
            return None, f"webapps '{spec['name']}': the {stage} failed: {error}. Remove the cause and run again."
        except Exception as error:
            return None, unexpected(spec["name"], f"the {stage}", error)

    with ThreadPoolExecutor(MOST_AT_A_TIME) as pool:
        found = list(pool.map(take, specs))
    return [result for result, _problem in found if result], [problem for _result, problem in found if problem]


def unguarded(layouts: list[Layout], run: str) -> list[Layout]:
    """The applications with a lease of a run whose guard is gone, such as after a boot."""
    leases = [(layout, guard.lease_of(layout, run)) for layout in layouts]
    return [layout for layout, lease in leases if lease is not None and not lease.is_guarded]


def without_lease(stage: str, layout: Layout, run: str) -> dict[str, Any]:
    """The result of a stage that finds no lease of its run: it was decided before, or the switch was final."""
    live = layout.current_release() or ""
    entry = entry_of(layout, run)
    decided = entry["result"] if entry else ""
    result = {"name": layout.name, "release": live, "replaced": "", "provisional": False}
    if (stage, decided) in (("commit", "live"), ("confirm", "live"), ("renew", "live")):
        return {**result, "release": str(entry["release"]) if entry else live}
    if stage == "revert" and decided != "live":
        return {**result, "reverted": bool(decided)}
    if stage == "revert":
        raise final(layout, live)
    if decided:
        why = f" Reason: {entry['reason']}" if entry and entry.get("reason") else ""
        raise ReleaseError(
            layout.name,
            f"the switch to {entry['release'] if entry else ''} was reverted at {entry['time'] if entry else ''}, and "
            f"{live or 'no release'} is live.{why}",
        )
    raise ReleaseError(
        layout.name, f"this run has not switched it, or its lease is gone. {live or 'No release'} is live. Run again."
    )


def final(layout: Layout, release: str) -> ReleaseError:
    return ReleaseError(
        layout.name, f"its switch to {release} is final, so it can't be reverted. Roll back with rollback.yml."
    )


def confirm(switch: ProvisionalSwitch, seconds: int, process: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of the probation, check the release, and renew the lease. Revert an unhealthy one at once."""
    lease = check_term(switch)
    now = time.monotonic()
    healthy_since = now - max(0.0, time.time() - lease.healthy)
    switch.gate = Gate(
        switch.spec, switch.layout, switch.target, switch.manager, began=healthy_since - lease.boot_seconds
    )
    switch.background.started = {service: (now, restarts) for service, restarts in lease.restarts.items()}

    def check_processes() -> None:
        with switch.step("it did not stay healthy"):
            switch.background.watch()

    with switch.undone_if_unhealthy():
        probation.watch(switch.gate, check_processes, healthy_since)
        switch.outlast_kept_connections(now - max(0.0, time.time() - lease.switched))
        switch.gate.await_front()
    return renew(switch, seconds, process)


def renew(switch: ProvisionalSwitch, seconds: int, process: dict[str, Any]) -> dict[str, Any]:
    """Extend the lease. ``process`` is its new guard, if the first one is gone."""
    lease = check_term(switch)
    lease.guard = process if process and not lease.is_guarded else lease.guard
    lease.seconds = seconds or lease.seconds
    lease.renew()
    switch.advance(PROVISIONAL)
    return {
        "name": switch.name,
        "release": switch.target,
        "replaced": switch.replaced or "",
        "provisional": True,
        "expires": lease.until,
    }


def commit(switch: ProvisionalSwitch) -> dict[str, Any]:
    if switch.lease_of_switch.state != COMMITTING:
        check_term(switch)
    return {**switch.commit(), "provisional": False, "committed": True}


def revert(switch: ProvisionalSwitch, reason: str) -> dict[str, Any]:
    lease = switch.lease_of_switch
    if lease.state == COMMITTING:
        # The old release may have ended already.
        switch.commit()
        raise final(switch.layout, switch.target)
    return switch.revert(lease.reason or reason)
