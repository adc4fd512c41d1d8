# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Let a release take over: start it beside the live one, ask it, swing the link, stop the old one. Or leave all be."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, atomic_symlink, sweep, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question, ask, await_turn
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import (
    ProcessManager,
    ProcessManagerError,
    process_manager,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.background import (
    Background,
    Unsteady,
    stop_timeout,
    undefine_unused,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.building import (
    OWN_VARIABLES,
    masked,
    run_as_account,
    tail,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    GOOD,
    WITHDRAWN,
    Layout,
    Manifest,
    ReleaseError,
    account,
    choose_rollback,
    clone,
    lock,
    manifests,
    prune,
    read_manifest,
    record,
    remove_tree,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificates import served

# Seconds between two looks at a release that is starting; small beside the half second that a small application takes
# to boot.
INTERVAL = 0.02
# Seconds after the switch before the old release is told to stop: connections that it has not accepted yet are still
# its own.
LINGER = 0.3
# Seconds from its first healthy answer in which a release must not fail; the old one stays beside it until then.
# Counted from the answer, not from the start: on a busy machine the boot alone would use them up.
PROBATION = 2.5
# Seconds that half of the workers of a healthy release may take to be ready, beyond the first.
WORKERS_TIMEOUT = 15.0
# How many applications take over at a time: their boots share the processors, and each is asked again and again.
TOGETHER = 8
# A process that had to be started again this often is crash-looping; waiting longer won't help it.
RESTARTS = 2

Run = Callable[[list[str]], tuple[int, str, str]]


class Activation:
    """One application's switch: ``begin`` starts the release, ``finish`` lets it take over. Both hold the lock."""

    def __init__(self, spec: dict[str, Any], layout: Layout, run: Run, owner: str) -> None:
        self.spec = spec
        self.layout = layout
        self.run = run
        self.owner = owner
        self.name = spec["name"]
        self.before: str | None = None
        self.target: str | None = None
        self.action = spec.get("switch") or "activate"
        self.stack = contextlib.ExitStack()
        self.began = time.monotonic()
        self.healthy_since = self.swung = self.began
        self.boot_seconds = 0.0
        self.manifest: Manifest | None = None
        self.replaced_links: dict[str, str | None] = {}

    @property
    def marker(self) -> str:
        return self.layout.path(".activating")

    def begin(self) -> None:
        """Take the lock, and start the release beside the one that is live."""
        self.prepare()
        write(File(self.marker, f"{self.target}\n", mode=0o600))
        with self.judged("its start failed"):
            self.manager.start(self.name, self.target)

    def prepare(self) -> None:
        """Take the lock and find the release."""
        self.stack.enter_context(lock(self.layout, self.owner))
        # Only now: another run may just have switched.
        self.before = self.layout.current_release()
        self.target = self.spec["candidate"] or self.before
        if self.action == "rollback":
            self.target = choose_rollback(
                self.name, self.spec.get("release") or "", self.before, manifests(self.layout)
            )
        elif self.action == "restart":
            live = read_manifest(self.layout, self.before) if self.before else None
            if live is None:
                raise ReleaseError(self.name, "nothing serves yet, so there is nothing to restart. Deploy it first.")
            self.target = clone(self.layout, live).id
        if not self.target:
            raise ReleaseError(self.name, "there is no release to activate. Build one first.")
        self.manifest = read_manifest(self.layout, self.target)
        if self.manifest is None:
            raise ReleaseError(
                self.name,
                f"the release {self.target} is not there, or was never finished. Run again to build a new one.",
            )

    def finish(self) -> dict[str, Any]:
        """Ask the new release, switch, ask again through the web server, end the old one."""
        self.gate(self.own_question, self.deadline, "on its own socket")
        self.healthy_since = time.monotonic()
        self.boot_seconds = self.healthy_since - self.began
        self.wait_for_workers()
        with self.judged("its background processes could not be started"):
            self.background.start(self.background.shared)
            self.background.settle(self.background.shared, self.deadline)
        with self.judged("it could not be enabled"):
            self.manager.enable(self.name, self.target)
            self.background.enable()
        self.replaced_links = self.links()
        if self.before and self.before != self.target:
            atomic_symlink(os.path.join("releases", self.before), self.layout.previous)
        self.swing()
        self.swung = time.monotonic()
        self.gate_front()
        with self.judged("its background processes could not be started"):
            self.background.take_turns(self.others() if self.background.exclusive else [], self.deadline)
        self.probation()
        if self.kept_seconds:
            # The answer before may have come from the old release, by a connection that nginx had kept.
            self.outlast_kept_connections()
            self.gate_front()
        self.settle()
        return {
            "name": self.name,
            "release": self.target,
            "replaced": self.before if self.before != self.target else "",
        }

    def close(self) -> None:
        self.stack.close()

    # What is asked

    @property
    def question(self) -> dict[str, str]:
        health = self.spec["health"]
        return {"path": health["path"], "host": health["host"], "scheme": health["scheme"]}

    @property
    def own_question(self) -> Question:
        return Question(unix_socket=self.layout.socket(self.target), **self.question)

    @property
    def front_question(self) -> Question:
        """As a visitor asks. A site that waits for its first certificate is still served over http."""
        port = self.spec.get("front_tls_port")
        if port and served(port, self.question["host"].partition(":")[0]):
            return Question(port=port, **self.question)
        plain = {"scheme": "http", "host": self.spec.get("front_host", self.question["host"])}
        return Question(port=self.spec["front_port"], **{**self.question, **plain})

    @property
    def deadline(self) -> float:
        return self.began + self.spec["health"]["timeout"]

    @property
    def manager(self) -> ProcessManager:
        return process_manager(self.manifest.process_manager, self.run)

    @functools.cached_property
    def background(self) -> Background:
        return Background(self.name, self.layout, self.manifest, self.manager)

    def gate(self, question: Question, deadline: float, where: str, statuses: list[int] | None = None) -> None:
        """Ask until the release is healthy; give up at the deadline, or as soon as waiting is useless."""
        statuses = self.spec["health"]["status"] if statuses is None else statuses
        own = question.unix_socket is not None
        looked = time.monotonic()
        while True:
            answer = ask(question, timeout=max(0.5, min(10.0, deadline - time.monotonic())))
            # Whoever is sent away to https finds nobody there; only a status that was named makes that right.
            lost = own and not statuses and question.scheme == "http" and answer.leads_to_https
            if answer.healthy(statuses) and not lost:
                return
            if time.monotonic() > deadline:
                self.reject(question, answer, where, f"within {self.spec['health']['timeout']} seconds" if own else "")
            if own and time.monotonic() - looked > 0.3:
                looked = time.monotonic()
                state = self.manager.state(self.name, self.target)
                if state in ("failed", "stopped", "absent"):
                    self.reject(question, answer, where, "because its process has ended")
                if self.manager.restarts(self.name, self.target) >= RESTARTS:
                    self.reject(question, answer, where, "because its process ends again and again")
            if answer.status is not None and answer.status not in (502, 503, 504):
                # It has booted, and this is its answer; it gets a second to think better of it.
                deadline = min(deadline, time.monotonic() + 1.0)
            time.sleep(INTERVAL)

    def gate_front(self) -> None:
        """Ask as a visitor does. nginx needs no time to get ready: a few seconds are for a machine under load."""
        if self.spec.get("front_port"):
            self.gate(self.front_question, time.monotonic() + 5, "through nginx", self.spec.get("front_status"))

    @property
    def kept_seconds(self) -> float:
        """Seconds after a switch in which nginx may still use connections to whoever had the visitors before."""
        return self.spec.get("linger", 0)

    def outlast_kept_connections(self) -> None:
        time.sleep(max(0.0, self.swung + self.kept_seconds - time.monotonic()))

    def workers_told(self) -> str:
        """What the app server has noted of its workers; nothing where it does not."""
        try:
            with open(f"{self.layout.socket(self.target)}.ready", encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def worker_crashes(self) -> int:
        told = self.workers_told()
        if os.path.exists(self.layout.uwsgi_socket(self.target)):
            return uwsgi_crashes(told, self.spec["most_workers"])
        return worker_crashes(told)

    def wait_for_workers(self) -> None:
        """Until half of the workers are ready, so that visitors don't wait in the queue of the first for the others.

        Half, because the others boot on within the next moments, and each has threads to spare; waiting for the last
        one costs a small application a third of a second before its new code is seen.
        """
        until = min(self.deadline, time.monotonic() + WORKERS_TIMEOUT)
        while time.monotonic() < until:
            told = self.workers_told()
            if not told or 2 * len(workers_that(told, "ready")) >= self.spec["workers"]:
                return
            time.sleep(INTERVAL)

    def probation(self) -> None:
        """Watch the release through its first seconds, while the old one is still there to go back to.

        A worker that crashes prolongs them: the next ones show whether it was a mishap, however long they take to boot.
        """
        if self.target == self.before:
            return
        question = self.own_question
        crashes_seen, looked = 0, 0.0
        until = self.healthy_since + PROBATION
        # At least once: its background processes may have taken longer to be judged.
        while True:
            answer = ask(question, timeout=5)
            if not answer.healthy(self.spec["health"]["status"]):
                self.reject(question, answer, "for long", "and failed after the switch, which was undone")
            crashes = self.worker_crashes()
            if crashes >= RESTARTS:
                self.reject(question, answer, "for long", "because its workers end again and again")
            if crashes > crashes_seen:
                crashes_seen, until = crashes, time.monotonic() + max(PROBATION, 2 * self.boot_seconds)
            if time.monotonic() - looked > 0.3:
                looked = time.monotonic()
                with self.judged("it did not stay healthy"):
                    self.background.watch()
            if time.monotonic() > until:
                break
            time.sleep(INTERVAL)
        if self.manager.restarts(self.name, self.target):
            self.reject(question, ask(question), "for long", "because its process ended and had to be started again")

    def reject(self, question: Question, answer: Answer, where: str, why: str) -> None:
        expected = ", ".join(map(str, self.spec["health"]["status"])) or "any 2xx or 3xx, 401 or 403"
        log = self.log()
        hint = health_hint(answer, question) or write_hint(log, self.layout.shared)
        text = (
            f"the release {self.target} did not become healthy {where}{' ' + why if why else ''}.\n"
            f"Asked: {question}\nExpected: status {expected}\nCame back: {answer}\n{hint}"
            f"Last lines of its log:\n{log}"
        )
        self.fail(text)

    def log(self, service: str = "") -> str:
        with contextlib.suppress(ProcessManagerError):
            return tail(self.manager.log(service or self.name, self.target, 20), 20) or "(it wrote nothing)"
        return "(its log can't be read)"

    def fail(self, text: str) -> None:
        """End the new release, keep it for inspection as bad, and say that the old one still serves."""
        text = masked(text, self.variables())
        self.swing_back()
        if self.replaced_links:
            time.sleep(self.kept_seconds)
        if self.target != self.before:
            self.background.end()
        if self.action == "rollback":
            # It was good once; what fails now is outside of it.
            with contextlib.suppress(ProcessManagerError):
                self.manager.forget(self.name, self.target, timeout=5)
        elif self.target != self.before:
            self.manifest.state, self.manifest.reason = BAD, text.splitlines()[0]
            write_manifest(self.layout, self.manifest)
            with contextlib.suppress(ProcessManagerError):
                self.manager.forget(self.name, self.target, timeout=5)
            # One bad release is kept for inspection; attempt after attempt would fill the disk.
            prune(self.layout, self.spec["keep"])
            with contextlib.suppress(ProcessManagerError):
                undefine_unused(self.name, self.layout, self.manager)
        if self.target != self.before:
            # One that had to be killed has left its socket behind.
            for path in glob.glob(f"{glob.escape(self.layout.socket(self.target).removesuffix('.sock'))}*"):
                remove_link(path)
        self.note("failed")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.marker)
        if self.before and self.before != self.target:
            kept = self.layout.release(self.target)
            text += f"\nThe release {self.before} still serves. The new one is kept in {kept} for inspection."
        raise ReleaseError(self.name, text)

    def variables(self) -> dict[str, str]:
        """The release's environment as its launcher reads it: an application's log may show what no message should."""
        try:
            with open(os.path.join(self.layout.release(self.target), "env"), encoding="utf-8") as stream:
                words = shlex.split(stream.read())
        except (OSError, ValueError):
            return {}
        pairs = (word.partition("=")[::2] for word in words)
        return {name: value for name, value in pairs if name not in OWN_VARIABLES}

    @contextlib.contextmanager
    def judged(self, doing: str) -> Any:
        try:
            yield
        except ProcessManagerError as error:
            self.fail(f"{doing}: {error}")
        except Unsteady as error:
            self.fail(
                f"the release {self.target} is not healthy: {error}.\nLast lines of its log:\n{self.log(error.service)}"
            )

    # Switching

    def links(self) -> dict[str, str | None]:
        """Where the links lead, in the order in which they can be put back."""
        layout, found = self.layout, {}
        uwsgi = (layout.current_uwsgi, layout.current_uwsgi_socket)
        for path in (layout.current_socket, *uwsgi, layout.current, layout.previous):
            found[path] = os.readlink(path) if os.path.islink(path) else None
        return found

    def swing(self) -> None:
        """Send visitors to the release. After each step nginx finds somebody who answers.

        Every release speaks HTTP. One of uWSGI's also speaks its own protocol, and nginx prefers that while
        current.uwsgi is there; a request that has chosen it may come later, so its socket stays until the old release
        has ended.
        """
        layout = self.layout
        if os.path.exists(layout.uwsgi_socket(self.target)):
            atomic_symlink(layout.uwsgi_socket(self.target), layout.current_uwsgi_socket)
            # To a file, for nginx sees no socket when it looks for one.
            atomic_symlink(os.path.join("releases", self.target, "uwsgi.ini"), layout.current_uwsgi)
            atomic_symlink(layout.socket(self.target), layout.current_socket)
        else:
            atomic_symlink(layout.socket(self.target), layout.current_socket)
            remove_link(layout.current_uwsgi)
        atomic_symlink(os.path.join("releases", self.target), layout.current)

    def swing_back(self) -> None:
        """Send visitors to the release that had them before, which still runs."""
        for path, target in self.replaced_links.items():
            if target is None:
                remove_link(path)
            else:
                atomic_symlink(target, path)

    def settle(self) -> None:
        """End every other instance, whatever manages it; then the release counts as good, and old ones may go."""
        others = list(self.others())
        if others:
            time.sleep(LINGER)
            self.await_accepted([instance for _manager, service, instance in others if service == self.name])
        try:
            end_together(others, self.layout, self.spec["stop_timeout"])
        except ProcessManagerError as error:
            raise ReleaseError(
                self.name, f"{self.target} is live, but what was live before could not be stopped: {error}"
            ) from error
        self.clean_sockets()
        if not os.path.lexists(self.layout.current_uwsgi):
            remove_link(self.layout.current_uwsgi_socket)
        self.tidy()
        self.manifest.state = GOOD
        write_manifest(self.layout, self.manifest)
        if self.action == "rollback":
            self.withdraw()
        prune(self.layout, self.spec["keep"])
        undefine_unused(self.name, self.layout, self.manager)
        self.note("live")
        os.unlink(self.marker)

    def await_accepted(self, instances: list[str]) -> None:
        """Until old releases have taken up every connection that waits at their sockets.

        A server that is told to stop answers what it has taken up, and no more: with all of its workers busy, visitors
        who came before the switch may still be waiting in the queue.
        """
        deadline = time.monotonic() + self.spec["stop_timeout"]
        for instance in instances:
            for path in (self.layout.socket(instance), self.layout.uwsgi_socket(instance)):
                await_turn(path, deadline)

    def withdraw(self) -> None:
        """Note that somebody went back from the release before, so that no later rollback leads to it."""
        left = read_manifest(self.layout, self.before) if self.before and self.before > self.target else None
        if left and left.state == GOOD:
            left.state = WITHDRAWN
            write_manifest(self.layout, left)

    def others(self) -> list[tuple[ProcessManager, str, str]]:
        found = []
        for name in self.spec["process_managers"]:
            manager = process_manager(name, self.run)
            try:
                instances = manager.family(self.name)
            except ProcessManagerError:
                if name == self.manifest.process_manager:
                    raise
                continue
            found += [
                (manager, service, instance)
                for service, instance in instances
                if (name, instance) != (self.manifest.process_manager, self.target)
            ]
        return found

    def tidy(self) -> None:
        """Remove what interrupted runs have half written: nobody else writes there while the lock is held."""
        home = glob.escape(self.layout.home)
        sweep(
            path
            for place in ("", "releases/*/", "releases/*/bin/")
            for path in glob.glob(f"{home}/{place}*.new", include_hidden=True)
        )
        for name in self.spec["process_managers"]:
            process_manager(name, self.run).tidy(self.name)

    def clean_sockets(self) -> None:
        """Sockets of processes that were killed are nobody's any more."""
        folder = os.path.dirname(self.layout.socket(self.target))
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(folder):
                if not name.startswith(self.target):
                    os.unlink(os.path.join(folder, name))

    def release_commands(self) -> None:
        launcher = os.path.join(self.layout.release(self.target), "bin", "run")
        for command in self.spec["release_commands"]:
            # No limit: a migration takes its time, and half of one is worse than none.
            answer = run_as_account(self.layout, [launcher, "/bin/sh", "-c", command], self.layout.home, {}, None)
            if answer.returncode != 0:
                self.fail(
                    f"the release command '{command}' failed with status {answer.returncode}. It "
                    f"said:\n{tail(answer.stdout + answer.stderr, 15)}"
                )

    def note(self, result: str) -> None:
        record(
            self.layout,
            action=self.action,
            release=self.target,
            replaced=self.before if self.before != self.target else None,
            revision=self.manifest.revision,
            by=self.owner,
            result=result,
            seconds=round(time.monotonic() - self.began, 2),
        )


def workers_that(told: str, what: str) -> set[str]:
    """The process ids of the workers of which an app server has noted something: ``ready``, ``left`` or ``gone``."""
    words = (line.split() for line in told.splitlines())
    return {word[1] for word in words if len(word) == 2 and word[0] == what}


def worker_crashes(told: str) -> int:
    """How many workers have gone without leaving: one that was told to stop, or had answered its share, leaves."""
    return len(workers_that(told, "gone") - workers_that(told, "left"))


def uwsgi_crashes(told: str, most: int) -> int:
    """The same of uWSGI, which notes only who is ready.

    In its cheaper mode a worker may end for want of work; but then no other has come beyond ``most``.
    """
    ready = workers_that(told, "ready")
    ended = [pid for pid in ready if not os.path.exists(f"/proc/{pid}")]
    return min(len(ended), max(0, len(ready) - most))


def remove_link(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def health_hint(answer: Answer, question: Question) -> str:
    """What usually causes an unhealthy answer."""
    if answer.status == 404:
        return (
            f"The application runs, but knows no page {question.path}. If that is right, name one that it has as "
            "health.path. If it has one, are "
            'its routes registered under: if __name__ == "__main__"? They must be registered when the module is '
            "imported.\n"
        )
    if answer.leads_to_https and question.scheme == "http":
        return (
            f"The application sends every visitor to https ({answer.headers['location']}), where this site does not "
            "answer: turn that off in the application, or let health.path name a page that answers without it. Does "
            f"TLS end before this host? Then say so: health.status: [{answer.status}].\n"
        )
    if answer.status == 400:
        return f"Does the application accept the host name {question.host}? It is the first domain of the site.\n"
    return ""


# How programs say that they may not write where they want to.
UNWRITABLE = re.compile(
    r"unable to open database file|attempt to write a readonly database|Read-only file system"
    r"|PermissionError: \[Errno 13\]"
)


def write_hint(log: str, shared: str) -> str:
    """What to do where an application wants to write into its own release."""
    if not UNWRITABLE.search(log):
        return ""
    return (
        "Does it write into its own code? A release can't be changed. Name the folder as shared, such as shared: "
        f"[instance], which is {shared}/instance, and have the application keep its files there.\n"
    )


def end_together(instances: list[tuple[ProcessManager, str, str]], layout: Layout, web_timeout: float) -> None:
    """End instances of web and background processes, each in its own time, all at once."""
    for manager, service, instance in instances:
        manager.begin_stop(service, instance)
    for manager, service, instance in instances:
        web = service == layout.name
        timeout = web_timeout if web else stop_timeout(layout, service, instance)
        manager.forget(service, instance, timeout=timeout)


def remove(spec: dict[str, Any], layout: Layout, run: Run, owner: str) -> dict[str, Any]:
    """Remove an application: its processes, its releases, and with purge its data and account."""
    if not os.path.isdir(layout.home):
        return {"name": spec["name"], "release": "", "replaced": "", "removed": False}
    with lock(layout, owner):
        for name in spec["process_managers"]:
            with contextlib.suppress(ProcessManagerError):
                manager = process_manager(name, run)
                instances = manager.family(spec["name"])
                end_together([(manager, *instance) for instance in instances], layout, spec["stop_timeout"])
                manager.undefine([spec["name"], *manager.parts(spec["name"])])
        has_data = os.path.isdir(layout.shared) and os.listdir(layout.shared)
        keeps = [os.path.basename(layout.shared)] if has_data and not spec["purge"] else []
        for entry in os.listdir(layout.home):
            if entry not in (*keeps, ".lock"):
                remove_tree(layout.path(entry))
        remove_tree(os.path.dirname(layout.socket("any")))
        if not keeps and account(spec["name"]) is not None:
            run(["userdel", spec["name"]])
        # As the last thing under the lock: whoever takes the next one finds all of it gone.
        os.unlink(layout.path(".lock"))
        if not keeps:
            # Unless somebody deploys it anew already.
            with contextlib.suppress(OSError):
                os.rmdir(layout.home)
    return {"name": spec["name"], "release": "", "replaced": "", "removed": True}


def run_commands(
    specs: list[dict[str, Any]], root: str, run: Run, owner: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run the release commands of each application in its new release, before any host switches to it."""
    results: list[dict[str, Any]] = []
    problems: list[str] = []
    for spec in specs:
        activation = Activation(spec, Layout(spec["name"], root), run, owner)
        try:
            activation.prepare()
            activation.release_commands()
            results.append({"name": spec["name"], "release": activation.target, "replaced": ""})
        except ReleaseError as error:
            problems.append(str(error))
        finally:
            activation.close()
    return results, problems


def activate(specs: list[dict[str, Any]], root: str, run: Run, owner: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Switch all applications: all start together, then each is asked and takes over. Return results and problems."""
    results: list[dict[str, Any]] = []
    problems: list[str] = []
    under_way = []
    for spec in specs:
        layout = Layout(spec["name"], root)
        try:
            if spec["state"] == "absent":
                results.append(remove(spec, layout, run, owner))
                continue
            activation = Activation(spec, layout, run, owner)
            try:
                activation.begin()
            except BaseException:
                activation.close()
                raise
            under_way.append(activation)
        except (ReleaseError, ProcessManagerError) as error:
            problems.append(str(error))
        except OSError as error:
            # A full disk, say: the other applications are not left half way for it.
            problems.append(f"webapps '{spec['name']}': starting its release failed: {error}. Mend that and run again.")
    # Side by side, for each mostly waits: for its boot, through its probation, for the old one's last requests.
    with ThreadPoolExecutor(TOGETHER) as pool:
        for result, problem in pool.map(finished, under_way):
            results += [result] if result else []
            problems += [problem] if problem else []
    return results, problems


def finished(activation: Activation) -> tuple[dict[str, Any] | None, str | None]:
    """The result of an activation that has begun, or what went wrong with it; the lock is given back."""
    try:
        return activation.finish(), None
    except (ReleaseError, ProcessManagerError) as error:
        return None, str(error)
    except OSError as error:
        return None, f"webapps '{activation.name}': the switch failed: {error}. Mend that and run again."
    finally:
        activation.close()
