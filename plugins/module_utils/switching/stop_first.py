# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The switch of an application that cannot run twice: its old release stops before the new one starts.

At each moment, the enabled release is the one that the links lead to. So a boot starts the right one, also after an
interruption.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import await_turn
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManager, process_manager
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import masked
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Manifest, ReleaseError, read_manifest
from ansible_collections.pyweb.stack.plugins.module_utils.release.secret_files import private_values
from ansible_collections.pyweb.stack.plugins.module_utils.switching import live_image
from ansible_collections.pyweb.stack.plugins.module_utils.switching.background import stop_timeout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.commands import run_commands
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Gate, Unhealthy
from ansible_collections.pyweb.stack.plugins.module_utils.switching.held_requests import HeldRequests, uncover
from ansible_collections.pyweb.stack.plugins.module_utils.switching.links import (
    read_links,
    remove_link,
    restore_links,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import Instance, close_sockets_folder
from ansible_collections.pyweb.stack.plugins.module_utils.switching.switch import LINGER, REFUSED_TIMEOUT, Switch

# The number of processes that stop at the same time.
MOST_AT_A_TIME = 8


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Finish what was begun when a signal asks this process to end: no release might serve otherwise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopFirst(Switch):
    """A switch that stops every process of the application before it starts the new release."""

    held: HeldRequests | None = None
    # When the old release stopped accepting requests.
    stopped_at: float | None = None
    # The links before the switch.
    links: dict[str, str | None] | None = None
    # The first problem on the way back to the old release.
    problem = ""
    # Instances that were stopped. When the new release serves, a boot must no longer start them.
    stopped: tuple[Instance, ...] = ()

    def start(self) -> None:
        """Take the lock. The release starts in ``finish``, after the live one has stopped."""
        self.prepare()
        write(File(self.marker, f"{self.target}\n", mode=0o600))
        if self.layout.inherits_sockets(self.target):
            close_sockets_folder(self.layout)
            uncover(self.layout.socket(self.target))

    def finish(self) -> dict[str, Any]:
        """Replace the live release, or raise ReleaseError after it was started again."""
        with self.undone_if_unhealthy():
            self.stop_processes()
            if self.action == "activate" and self.spec["candidate"]:
                run_commands(self)
            self.start_release()
            self.gate.await_healthy()
            healthy_since = time.monotonic()
            self.gate.await_workers()
            self.take_over()
            self.start_background_processes()
            self.gate.await_front()
            self.watch(healthy_since)
        self.end_others(self.others())
        self.clean_up()
        self.accept()
        return self.result()

    def close(self) -> None:
        """Finish the requests that have waited, and give the lock back."""
        try:
            if self.held is not None:
                self.held.close(self.spec["stop_timeout"])
        finally:
            super().close()

    # The steps of the switch

    def stop_processes(self) -> None:
        """Stop all processes of other releases, and those of this one that an interrupted run has started."""
        stopping = self.others()
        self.links = read_links(self.layout)
        if self.replaced:
            stopping += [(self.manager, *one) for one in self.manager.family(self.name) if one[1] == self.target]
            self.hold_requests()
        self.stopped = tuple(one for one in stopping if one[2] != self.target)
        with ThreadPoolExecutor(MOST_AT_A_TIME) as pool:
            # An error is raised here, not in the thread.
            list(pool.map(self.stop_instance, stopping))
        if self.held is not None:
            self.held.place()

    def hold_requests(self) -> None:
        """From now on, requests wait. The old release finishes those that it has."""
        old = str(self.replaced)
        self.stopped_at = time.monotonic()
        if self.layout.inherits_sockets(old):
            held = HeldRequests(self.layout.socket(old))
            self.held = held if held.hold() else None
        # From here on, nginx uses the socket for HTTP.
        remove_link(self.layout.current_uwsgi)
        time.sleep(LINGER)
        deadline = time.monotonic() + self.spec["stop_timeout"]
        if self.held is not None:
            self.held.await_accepted(deadline)
        if self.layout.speaks_uwsgi(old):
            await_turn(self.layout.uwsgi_socket(old), deadline)

    def stop_instance(self, instance: Instance) -> None:
        manager, service, release = instance
        is_web = service == self.name
        timeout = self.spec["stop_timeout"] if is_web else stop_timeout(self.layout, service, release)
        manager.stop(service, release, timeout=timeout)

    def start_release(self) -> None:
        self.gate = Gate(self.spec, self.layout, self.target, self.manager, time.monotonic())
        with self.step("its start failed"):
            live_image.start(self.layout, self.manifest, self.manager, self.run)
            if self.replaced:
                # Until it is healthy, a boot starts the old release.
                self.manager.disable(self.name, self.target)

    def take_over(self) -> None:
        """Let the healthy release serve, and start at boot, instead of the old one."""
        self.enable()
        self.switch_links()
        with self.step("the old release could not be disabled"):
            for manager, service, release in self.stopped:
                manager.disable(service, release)
        self.measure()
        self.pass_on(self.target)

    def pass_on(self, release: str) -> None:
        """Let the requests that have waited go to a release.

        A release of an earlier version has its socket in a folder of the application, where root follows no name. So
        they get 503.
        """
        if self.held is not None and self.layout.inherits_sockets(release):
            self.held.pass_on(self.layout.socket(release))

    def measure(self) -> None:
        """Measure how long no release has served."""
        if self.stopped_at is not None:
            self.measured["without_service"] = round(time.monotonic() - self.stopped_at, 2)

    def start_background_processes(self) -> None:
        """Start all background processes. None of the old release runs, so exclusive ones need no further step."""
        processes = [*self.background.shared, *self.background.exclusive]
        with self.step("its background processes could not be started"):
            self.background.start(processes)
            self.background.await_steady(processes, self.gate.deadline)

    # Failure

    @contextmanager
    def undone_if_unhealthy(self) -> Iterator[None]:
        """Start the old release again, whatever has failed."""
        try:
            yield
        except Unhealthy as error:
            self.undo(masked(str(error), private_values(self.layout, self.target)))
        except Exception as error:
            text = error.text if isinstance(error, ReleaseError) else f"{type(error).__name__}: {error}"
            self.undo(masked(f"the switch failed: {text}", private_values(self.layout, self.target)))

    def go_back(self, reason: str) -> str:
        """End the new release, start the old one again, and return what serves now."""
        if not self.replaced:
            return super().go_back(reason)
        old = self.replaced
        if self.held is not None:
            self.held.wait()
            self.held.place()
        manifest = read_manifest(self.layout, old) or Manifest(old, process_manager=self.manifest.process_manager)
        manager = process_manager(manifest.process_manager, self.run)
        services = [self.name, *(process["service"] for process in manifest.processes)]
        # None of these steps may prevent the next one: a release has to serve.
        for service in services:
            self.attempt(manager.enable, service, old)
        if self.links is not None:
            # Until it has started, nginx uses the socket for HTTP, where requests can wait.
            self.attempt(restore_links, {**self.links, self.layout.current_uwsgi: None})
        self.attempt(self.background.end)
        self.attempt(self.manager.forget, self.name, self.target, REFUSED_TIMEOUT)
        self.attempt(self.discard, reason)
        self.attempt(self.start_again, old, manager, services)
        self.attempt(live_image.restore_links, self.layout, self.links or {}, self.run)
        if self.problem:
            # The next run then starts it again, even if nothing has changed.
            self.is_settled = False
            problem = masked(self.problem, private_values(self.layout, old))
            return f"The release {old} was started again, but is not healthy. Look at it now: {problem}\n"
        if self.stopped_at is None:
            return f"The release {old} still serves. "
        return f"The release {old} serves again, after {self.measured['without_service']:.1f} seconds without service. "

    def attempt(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Take a step on the way back, and note the first problem."""
        try:
            step(*arguments)
        except Exception as error:
            self.problem = self.problem or str(error)

    def start_again(self, old: str, manager: ProcessManager, services: list[str]) -> None:
        """Start a release that was stopped."""
        if self.held is not None:
            self.held.give_back()
        # It was healthy before. So it gets the requests as soon as it listens.
        self.pass_on(old)
        manager.start(self.name, old)
        Gate(self.spec, self.layout, old, manager, time.monotonic()).await_healthy()
        self.measure()
        for service in services[1:]:
            manager.start(service, old)
