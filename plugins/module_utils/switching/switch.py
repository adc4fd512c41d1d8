# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The switch of one application from its live release to another, and back where the other is not healthy."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NoReturn

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, atomic_symlink, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.caches import free_space
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import choose_rollback, skipped
from ansible_collections.pyweb.stack.plugins.module_utils.release.cloning import clone
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_of, runnable
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import read_hold, write_hold
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import refuse_second_switch
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import masked
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import kept_by_locks, prune
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    GOOD,
    Layout,
    Manifest,
    ReleaseError,
    manifests,
    read_manifest,
    record,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.revisions import log_fields, with_agreed_revision
from ansible_collections.pyweb.stack.plugins.module_utils.release.secret_files import private_values
from ansible_collections.pyweb.stack.plugins.module_utils.switching import live_image, probation
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import (
    Background,
    Unsteady,
    undefine_unused,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Gate, Unhealthy
from ansible_collections.pyweb.stack.plugins.module_utils.switching.links import read_links, remove_link
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import (
    Instance,
    await_accepted,
    close_sockets_folder,
    end_together,
    other_instances,
    remove_other_sockets,
    remove_runtime_files,
    remove_temporary_files,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.rolling_back import is_held, place_hold, withdraw

# Seconds between the switch and the stop of the old release, which still owns connections that it has not accepted.
LINGER = 0.3
# Seconds that the process of a refused release gets to end.
REFUSED_TIMEOUT = 5


class Switch:
    """The switch of one application: ``start`` starts the release, ``finish`` lets it take over. Both hold the lock."""

    def __init__(self, spec: dict[str, Any], layout: Layout, run: Run, owner: str) -> None:
        self.spec = spec
        self.layout = layout
        self.run = run
        self.owner = owner
        self.name = spec["name"]
        self.action = spec.get("switch") or "activate"
        self.began = time.monotonic()
        self.stack = ExitStack()
        # The release that is live before the switch, and the one that takes over.
        self.before: str | None = None
        self.target = ""
        self.manifest: Manifest
        self.warnings: list[str] = []
        # The releases that a rollback passes over, each with the reason.
        self.skipped: list[str] = []
        self.replaced_links: dict[str, str | None] = {}
        # Further values for the result and for the log of deployments.
        self.measured: dict[str, Any] = {}
        # Whether a failed switch has left a state that no run needs to repair.
        self.is_settled = True

    def start(self) -> None:
        """Take the lock, and start the release beside the live one."""
        self.prepare()
        write(File(self.marker, f"{self.target}\n", mode=0o600))
        if self.layout.inherits_sockets(self.target):
            close_sockets_folder(self.layout)
        with self.undone_if_unhealthy(), self.step("its start failed"):
            live_image.start(self.layout, self.manifest, self.manager, self.run)

    def finish(self) -> dict[str, Any]:
        """Let the started release take over, or raise ReleaseError and leave the live one serving."""
        with self.undone_if_unhealthy():
            self.gate.await_healthy()
            healthy_since = time.monotonic()
            self.gate.await_workers()
            self.start_background_processes()
            self.enable()
            self.switch_links()
            switched = time.monotonic()
            self.gate.await_front()
            self.replace_exclusive_processes()
            self.watch(healthy_since)
            self.outlast_kept_connections(switched)
        self.stop_others()
        self.clean_up()
        self.accept()
        return self.result()

    def result(self) -> dict[str, Any]:
        result = {"name": self.name, "release": self.target, "replaced": self.replaced or "", **self.measured}
        result["seconds"] = round(time.monotonic() - self.began, 2)
        if self.action == "rollback":
            result |= {
                "skipped": self.skipped,
                "held": self.before if is_held(self.layout, self.before, self.manifest) else "",
            }
        warnings = [*self.warnings, *kept_by_locks(self.layout, self.spec["keep"])]
        return {**result, "warnings": warnings} if warnings else result

    def close(self) -> None:
        """Give the lock back."""
        self.stack.close()

    # Paths and releases of this switch

    @property
    def marker(self) -> str:
        """A file that exists during a switch. From it, the next run knows that one was interrupted."""
        return self.layout.path(".activating")

    @property
    def replaced(self) -> str | None:
        """The release that is replaced; None for a first one, and for one that is live already."""
        return self.before if self.before != self.target else None

    @property
    def manager(self) -> ProcessManager:
        return process_manager(self.manifest.process_manager, self.run)

    @functools.cached_property
    def gate(self) -> Gate:
        return Gate(self.spec, self.layout, self.target, self.manager, self.began)

    @functools.cached_property
    def background(self) -> Background:
        return Background(self.layout, self.manifest, self.manager)

    def others(self) -> list[Instance]:
        return other_instances(self.layout, self.manifest, self.spec["process_managers"], self.run)

    # The steps of the switch

    def prepare(self) -> None:
        """Take the lock and find the release."""
        self.stack.enter_context(lock(self.layout, self.owner))
        # Read under the lock: another run may just have switched.
        self.before = self.layout.current_release()
        self.hold_before = read_hold(self.layout)
        refuse_second_switch(self.layout)
        self.check_expected()
        self.target = self.find_target()
        if not self.target:
            raise ReleaseError(self.name, "there is no release to activate. Build one first.")
        manifest = read_manifest(self.layout, self.target)
        if manifest is None:
            raise ReleaseError(
                self.name,
                f"the release {self.target} is not there, or was never finished. Run again to build a new one.",
            )
        self.manifest = with_agreed_revision(self.layout, manifest, self.spec)

    def check_expected(self) -> None:
        """Refuse to replace a release that another run has switched to since this run has decided."""
        expected = self.spec.get("expected")
        candidate = self.spec["candidate"]
        if expected is None or not candidate or (self.before or "") in (expected, candidate):
            return
        raise ReleaseError(
            self.name,
            f"another run has switched to the release {self.before or 'none'} since this run began, so this run does "
            "not replace it. Run again to deploy what the inventory describes now.",
        )

    def check_environment(self, manifest: Manifest | None) -> None:
        """Refuse a release that can't run in its environment, before anything is started or stopped."""
        fault = fault_of(self.layout, manifest) if manifest else None
        if manifest is None or fault is None:
            return
        if fault.stops:
            good = runnable(self.layout, self.before)
            raise ReleaseError(
                self.name,
                f"the release {manifest.id} can't run: {fault.text}. Nothing was changed. Run site.yml, which builds a "
                f"new release, or roll back to one of these: {', '.join(good) or 'none'}.",
            )
        self.warnings.append(f"webapps '{self.name}': the release {manifest.id} can run, but {fault.text}.")

    def find_target(self) -> str:
        if self.action == "rollback":
            known = manifests(self.layout)
            wanted = self.spec.get("release") or ""
            chosen = choose_rollback(self.name, wanted, self.before, known)
            self.check_environment(read_manifest(self.layout, chosen))
            self.skipped = [] if wanted else skipped(chosen, self.before, known)
            return chosen
        if self.action == "restart":
            live = read_manifest(self.layout, self.before) if self.before else None
            if live is None:
                raise ReleaseError(self.name, "nothing serves yet, so there is nothing to restart. Deploy it first.")
            self.check_environment(live)
            return clone(self.layout, live).id
        return self.spec["candidate"] or self.before or ""

    def start_background_processes(self) -> None:
        with self.step("its background processes could not be started"):
            self.background.start(self.background.shared)
            self.background.await_steady(self.background.shared, self.gate.deadline)

    def enable(self) -> None:
        with self.step("it could not be enabled"):
            self.manager.enable(self.name, self.target)
            self.background.enable()

    def switch_links(self) -> None:
        if self.action == "rollback":
            # Before the links, so that a run that is killed leaves no rollback without its hold.
            self.warnings += place_hold(self.layout, self.before, self.manifest, self.hold_before, self.owner)
        self.replaced_links = read_links(self.layout)
        if self.replaced:
            atomic_symlink(os.path.join("releases", self.replaced), self.layout.previous)
        with self.step("its jobs could not be defined"):
            live_image.switch_links(self.layout, self.target, self.run)

    def replace_exclusive_processes(self) -> None:
        with self.step("its background processes could not be started"):
            others = self.others() if self.background.exclusive else []
            self.background.replace_exclusive(others, self.gate.deadline)

    def watch(self, healthy_since: float) -> None:
        """Watch the release through its first seconds, while the old one is still there to go back to."""

        def check_processes() -> None:
            with self.step("it did not stay healthy"):
                self.background.watch()

        if self.target != self.before:
            probation.watch(self.gate, check_processes, healthy_since)

    def outlast_kept_connections(self, switched: float) -> None:
        """Ask through nginx again when it has closed its connections to the old release.

        The first answer may have come from the old release, by a connection that nginx had kept.
        """
        if self.kept_seconds:
            time.sleep(max(0.0, switched + self.kept_seconds - time.monotonic()))
            self.gate.await_front()

    @property
    def kept_seconds(self) -> float:
        """Seconds after a switch in which nginx may still use connections to the old release."""
        return float(self.spec.get("linger", 0))

    def stop_others(self) -> None:
        """Stop every other instance, whatever process manager it has."""
        others = self.others()
        if others:
            time.sleep(LINGER)
            web = [instance for _manager, service, instance in others if service == self.name]
            await_accepted(self.layout, web, time.monotonic() + self.spec["stop_timeout"])
        self.end_others(others)

    def end_others(self, others: list[Instance]) -> None:
        try:
            end_together(others, self.layout, self.spec["stop_timeout"])
        except ProcessManagerError as error:
            raise ReleaseError(
                self.name, f"{self.target} is live, but what was live before could not be stopped: {error}"
            ) from error

    def clean_up(self) -> None:
        remove_other_sockets(self.layout, self.target)
        if not os.path.lexists(self.layout.current_uwsgi):
            remove_link(self.layout.current_uwsgi_socket)
        remove_temporary_files(self.layout, self.spec["process_managers"], self.run)

    def accept(self) -> None:
        """Note that the release is good, and remove releases that are no longer needed."""
        self.manifest.state = GOOD
        write_manifest(self.layout, self.manifest)
        if self.action == "rollback" or self.target == self.before:
            # A rollback that was killed before this step is completed by the next run.
            withdraw(self.layout, self.manifest, self.before)
        elif self.action == "activate":
            write_hold(self.layout, [])
        prune(self.layout, self.spec["keep"])
        self.warnings += free_space(self.layout)
        undefine_unused(self.layout, self.manager)
        self.record("live")
        self.remove_marker()

    def remove_marker(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.marker)

    # Failure

    @contextmanager
    def step(self, failure: str) -> Iterator[None]:
        """Turn an error of a process into an unhealthy release; ``failure`` says what did not work."""
        try:
            yield
        except ProcessManagerError as error:
            raise Unhealthy(f"{failure}: {error}") from error
        except Unsteady as error:
            log = self.gate.log(error.service)
            raise Unhealthy(
                f"the release {self.target} is not healthy: {error}.\n{self.gate.lock_hint(log)}"
                f"Last lines of its log:\n{log}"
            ) from error

    @contextmanager
    def undone_if_unhealthy(self) -> Iterator[None]:
        try:
            yield
        except Unhealthy as error:
            self.undo(masked(str(error), private_values(self.layout, self.target)))

    def undo(self, text: str) -> NoReturn:
        """Go back to the old release, and raise ReleaseError."""
        serving = self.go_back(reason=lines_of(text)[0])
        if self.action == "rollback":
            write_hold(self.layout, self.hold_before)
        self.record("failed", reason=lines_of(text)[0])
        if self.is_settled:
            self.remove_marker()
        if self.replaced:
            text += f"\n{serving}The new one is kept in {self.layout.release(self.target)} for inspection."
        raise ReleaseError(self.name, text)

    def go_back(self, reason: str) -> str:
        """Let the old release serve, end the new one, keep it for inspection as bad, and return what serves now."""
        live_image.restore_links(self.layout, self.replaced_links, self.run)
        if self.replaced_links:
            time.sleep(self.kept_seconds)
        if self.target != self.before:
            self.background.end()
            self.discard(reason)
        return f"The release {self.before} still serves. "

    def discard(self, reason: str) -> None:
        """End the process of the refused release, and mark the release as bad."""
        # A release to roll back to was good once. It fails now for a reason outside of it.
        is_bad = self.action != "rollback"
        if is_bad:
            self.manifest.state, self.manifest.reason = BAD, reason
            write_manifest(self.layout, self.manifest)
        with suppress(ProcessManagerError):
            self.manager.forget(self.name, self.target, timeout=REFUSED_TIMEOUT)
        if is_bad:
            # One bad release is kept for inspection; with every attempt one more would fill the disk.
            prune(self.layout, self.spec["keep"])
            with suppress(ProcessManagerError):
                undefine_unused(self.layout, self.manager)
        # A process that had to be killed has left its socket.
        with suppress(OSError):
            remove_runtime_files(self.layout, lambda name: name.startswith(self.target))

    def record(self, result: str, **more: str) -> None:
        record(
            self.layout,
            action=self.action,
            release=self.target,
            replaced=self.replaced,
            **log_fields(self.manifest, (self.spec.get("lease") or {}).get("run")),
            by=self.owner,
            result=result,
            seconds=round(time.monotonic() - self.began, 2),
            **self.measured,
            **more,
        )
