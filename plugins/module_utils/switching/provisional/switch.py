# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A switch that is not final: the old release keeps running until the switch is committed or reverted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import Held, write_hold
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import (
    COMMITTING,
    PROVISIONAL,
    REVERTING,
    SWITCHING,
    Lease,
    end_lease,
    entry_of,
    write_lease,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import prune
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    Layout,
    Manifest,
    ReleaseError,
    read_manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import live_image
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import STOP_MARGIN
from ansible_collections.pyweb.stack.plugins.module_utils.switching.held_requests import is_answered
from ansible_collections.pyweb.stack.plugins.module_utils.switching.links import read_links, remove_link
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import (
    await_accepted,
    remove_runtime_files,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.switch import LINGER, REFUSED_TIMEOUT, Switch

# The settings of an application that the end of a lease needs, where another process than the switch ends it.
KEPT_SETTINGS = ("name", "root", "process_managers", "stop_timeout", "keep", "linger")
# Seconds that an old release gets to answer, if it no longer runs.
REVIVAL_TIMEOUT = 30.0


class ProvisionalSwitch(Switch):
    """A switch under a lease. ``finish`` sends requests to the release; ``commit`` or ``go_back`` ends the lease."""

    lease: Lease | None = None
    healthy_since = 0.0

    @classmethod
    def resumed(cls, spec: dict[str, Any], layout: Layout, run: Run, lease: Lease) -> ProvisionalSwitch:
        """The switch of a lease. The caller holds the lock."""
        found = cls({**spec, "lease": {"run": lease.run}}, layout, run, lease.owner)
        found.lease = lease
        found.action, found.before, found.target = lease.action, lease.before or None, lease.release
        found.began -= max(0.0, time.time() - lease.began)
        found.manifest = read_manifest(layout, lease.release) or Manifest(lease.release)
        found.hold_before = [Held(**one) for one in lease.hold]
        found.replaced_links = lease.links
        return found

    def finish(self) -> dict[str, Any]:
        """Let the started release serve provisionally, or raise ReleaseError and leave the live one serving."""
        if not self.replaced and self.before:
            # The live release was only started again. There is nothing to go back to.
            return super().finish()
        with self.undone_if_unhealthy():
            self.gate.await_healthy()
            self.healthy_since = time.monotonic()
            self.gate.await_workers()
            self.start_background_processes()
            self.enable()
            self.take_lease()
            self.switch_links()
            self.lease_of_switch.switched = time.time()
            self.gate.await_front()
            self.replace_exclusive_processes()
            self.advance(PROVISIONAL)
        return self.provisional_result()

    def provisional_result(self) -> dict[str, Any]:
        lease = self.lease_of_switch
        return {**self.result(), "provisional": True, "expires": lease.until}

    @property
    def lease_of_switch(self) -> Lease:
        if self.lease is None:
            raise ReleaseError(self.name, f"the switch to {self.target} has no lease.")
        return self.lease

    # The lease

    def take_lease(self) -> None:
        given = self.spec["lease"]
        clock = time.time() - time.monotonic()
        self.replaced_links = read_links(self.layout)
        self.lease = Lease(
            run=given["run"],
            owner=self.owner,
            action=self.action,
            release=self.target,
            before=self.before or "",
            seconds=given["seconds"],
            expires=time.time() + given["seconds"],
            links=self.replaced_links,
            hold=[asdict(one) for one in self.hold_before],
            began=clock + self.began,
            healthy=clock + self.healthy_since,
            boot_seconds=self.healthy_since - self.gate.began,
            settings={key: self.spec[key] for key in KEPT_SETTINGS if key in self.spec},
            guard=given.get("guard") or {},
        )
        self.advance(SWITCHING)

    def advance(self, state: str, **changes: Any) -> None:
        """Note the next state in the lease, before the first step of it."""
        lease = self.lease_of_switch
        lease.state = state
        lease.restarts |= {service: restarts for service, (_when, restarts) in self.background.started.items()}
        for key, value in changes.items():
            setattr(lease, key, value)
        write_lease(self.layout, lease)

    def replace_exclusive_processes(self) -> None:
        super().replace_exclusive_processes()
        # A boot must not start both.
        for manager, service, instance in self.background.displaced:
            manager.disable(service, instance)

    # The two ends

    def commit(self) -> dict[str, Any]:
        """Make the switch final: stop the old release."""
        self.advance(COMMITTING)
        self.stop_others()
        self.clean_up()
        self.accept()
        end_lease(self.layout)
        return self.result()

    def revert(self, reason: str) -> dict[str, Any]:
        """Go back to the old release, for a reason outside of the new one."""
        self.attempt(self.advance, REVERTING, reason=reason)
        self.swing_back()
        if self.action == "rollback":
            self.attempt(write_hold, self.layout, self.hold_before)
        self.attempt(self.record, "reverted")
        end_lease(self.layout)
        if self.is_settled:
            self.remove_marker()
        result = {"name": self.name, "release": self.before or "", "replaced": self.target, "reverted": True}
        return {**result, "warnings": self.warnings} if self.warnings else result

    def undo(self, text: str) -> NoReturn:
        try:
            super().undo(text)
        except ReleaseError:
            # After the entry in the log, from which a later call of this run learns the result.
            end_lease(self.layout)
            raise

    def go_back(self, reason: str) -> str:
        if self.lease is None:
            return super().go_back(reason)
        self.attempt(self.advance, REVERTING, reason=reason, failed=True)
        self.swing_back()
        return f"The release {self.before} serves again. " if self.before else ""

    def swing_back(self) -> None:
        """Send requests to the old release again, then end the new one. Each step can be repeated."""
        lease = self.lease_of_switch
        if not self.revive() and not lease.failed and is_answered(self.layout.socket(self.target)):
            self.stay()
        uwsgi_socket = self.layout.current_uwsgi_socket
        # A request that has chosen the uwsgi protocol may arrive later, so this link stays until the release has ended.
        kept = uwsgi_socket if self.replaced_links.get(uwsgi_socket) is None else ""
        restored = {path: target for path, target in self.replaced_links.items() if path != kept}
        live_image.restore_links(self.layout, restored, self.run)
        switched = time.monotonic()
        self.end_background_processes()
        self.start_old_processes()
        time.sleep(max(0.0, switched + max(LINGER, self.kept_seconds) - time.monotonic()))
        timeout = REFUSED_TIMEOUT if lease.failed else self.spec["stop_timeout"]
        await_accepted(self.layout, [self.target], time.monotonic() + timeout)
        self.attempt(self.manager.forget, self.name, self.target, timeout=timeout)
        if kept:
            remove_link(kept)
        if lease.failed and self.action != "rollback":
            self.attempt(self.mark_bad, lease.reason)
        self.attempt(remove_runtime_files, self.layout, lambda name: name.startswith(self.target))

    def mark_bad(self, reason: str) -> None:
        self.manifest.state, self.manifest.reason = BAD, reason
        write_manifest(self.layout, self.manifest)
        prune(self.layout, self.spec["keep"])

    def attempt(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Take a step on the way back, which must not prevent the next one."""
        try:
            step(*arguments, **options)
        except Exception as error:
            # The next run then ends what is left.
            self.is_settled = False
            self.warnings.append(f"webapps '{self.name}': after the return to {self.before or 'no release'}: {error}")

    def old_services(self) -> tuple[ProcessManager, list[str]] | None:
        """The process manager of the old release, and its services, the web process first."""
        manifest = read_manifest(self.layout, self.before) if self.before else None
        if manifest is None:
            return None
        services = [self.name, *(process["service"] for process in manifest.processes)]
        return process_manager(manifest.process_manager, self.run), services

    def revive(self) -> bool:
        """Whether the old release listens. Its web process is started again if it no longer runs."""
        release, old = self.before, self.old_services()
        if release is None:
            return True
        if old is not None and not is_started(old[0], self.name, release):
            self.attempt(old[0].start, self.name, release)
        return wait_for(lambda: is_answered(self.layout.socket(release)), REVIVAL_TIMEOUT)

    def stay(self) -> NoReturn:
        """Keep the new release, because the old one no longer starts and visitors would get no answer."""
        why = f"the release {self.before} no longer starts, so {self.target} stays live"
        self.attempt(self.advance, COMMITTING, reason=f"{why}: {self.lease_of_switch.reason}")
        self.commit()
        raise ReleaseError(self.name, f"it could not go back: {why}, and the switch is final. Look at both releases.")

    def record(self, result: str, **more: str) -> None:
        """Add the result to the log of deployments, unless an interrupted step has done so."""
        lease = self.lease
        if lease is None:
            super().record(result, **more)
            return
        entry = entry_of(self.layout, lease.run)
        if entry is not None and str(entry.get("time")) >= lease.since:
            return
        reason = {"reason": lease.reason} if lease.reason else {}
        super().record("failed" if lease.failed else result, **{**reason, **more})

    def end_background_processes(self) -> None:
        processes = self.manifest.processes
        for process in processes:
            self.attempt(self.manager.begin_stop, process["service"], self.target)
        for process in processes:
            timeout = process["stop_timeout"] + STOP_MARGIN
            self.attempt(self.manager.forget, process["service"], self.target, timeout=timeout)

    def start_old_processes(self) -> None:
        """Start and enable the processes of the old release that do not run, such as exclusive ones."""
        old = self.old_services()
        if old is None or self.before is None:
            return
        manager, services = old
        for service in services:
            self.attempt(manager.enable, service, self.before)
            if not is_started(manager, service, self.before):
                self.attempt(manager.start, service, self.before)


def is_started(manager: ProcessManager, service: str, release: str) -> bool:
    try:
        return manager.state(service, release) in ("running", "starting")
    except ProcessManagerError:
        # The start reports it.
        return False
