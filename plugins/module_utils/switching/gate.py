# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The gate between a release and its clients: it requests the health URL, and refuses an unhealthy release."""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManager, ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.hints import family_hint, lock_hint
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching.own_command import (
    listens_elsewhere,
    own_command_hint,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import crashes, read_notes, workers_with
from ansible_collections.pyweb.stack.plugins.module_utils.tls.serving import served

# Seconds between two questions to a release that starts. A small application takes half a second to boot.
INTERVAL = 0.02
# Seconds between two looks at its processes, each of which costs calls of the process manager.
PROCESS_INTERVAL = 0.3
# Seconds that half of the workers of a healthy release may take to be ready, after the first.
WORKERS_TIMEOUT = 15.0
# Seconds for an answer through nginx, which needs no time to start. They are for a host under load.
FRONT_TIMEOUT = 5.0
# Seconds for an answer on the release's own socket, where a question waits during the boot. A question that is given up
# leaves a dead connection in the queue of the socket.
OWN_TIMEOUT = 30.0
# Seconds that a release gets for a better answer, once it has given a wrong one that waiting does not change.
SECOND_THOUGHT = 1.0
# The statuses of a release, or of nginx before it, that is not ready yet.
NOT_YET = (502, 503, 504)
# Other statuses below 500 of a release that may still warm up: time-out, too early, too many requests. Redirects, 404
# and the like come from its code and its settings, which do not change.
MAY_PASS = (408, 425, 429)
# A process that was restarted this often is in a crash loop, and waiting longer does not help.
MOST_RESTARTS = 2

# How programs say that they may not write to a file.
UNWRITABLE = re.compile(
    r"unable to open database file|attempt to write a readonly database|Read-only file system"
    r"|PermissionError: \[Errno 13\]"
)


class Unhealthy(Exception):
    """A release must not serve; the message says why."""


@dataclass
class Gate:
    """Asks one release. Every question that is not answered well raises Unhealthy."""

    spec: dict[str, Any]
    layout: Layout
    release: str
    manager: ProcessManager
    began: float

    @property
    def health(self) -> dict[str, Any]:
        health: dict[str, Any] = self.spec["health"]
        return health

    @property
    def deadline(self) -> float:
        return self.began + float(self.health["timeout"])

    @property
    def patience(self) -> float:
        """Seconds that a release gets for a better answer after an error such as 500: health.timeout, if it is set."""
        return float(self.health.get("error_timeout", self.health["timeout"]))

    @property
    def own_question(self) -> Question:
        """The health URL on the release's own socket."""
        return Question(unix_socket=self.layout.socket(self.release), **self.visitor)

    @property
    def front_question(self) -> Question:
        """The health request of a client. A site that waits for its first certificate is still served by HTTP."""
        port = self.spec.get("front_tls_port")
        if port and served(port, self.health["host"].partition(":")[0]):
            return Question(port=port, **self.visitor)
        plain = {"scheme": "http", "host": self.spec.get("front_host", self.health["host"])}
        return Question(port=self.spec["front_port"], **{**self.visitor, **plain})

    @property
    def visitor(self) -> dict[str, Any]:
        return {key: self.health[key] for key in ("path", "host", "scheme")}

    def await_healthy(self) -> None:
        """Ask on the release's own socket until it is healthy."""
        self.ask_until_healthy(self.own_question, self.health["status"], self.deadline, "on its own socket")

    def await_front(self) -> None:
        """Send requests as a client does, until nginx passes on a healthy answer. Without a site, send none."""
        if self.spec.get("front_port"):
            given = self.spec.get("front_status")
            statuses = self.health["status"] if given is None else given
            self.ask_until_healthy(self.front_question, statuses, time.monotonic() + FRONT_TIMEOUT, "through nginx")

    def ask_until_healthy(self, question: Question, statuses: list[int], deadline: float, where: str) -> None:
        """Ask until the answer is healthy. Refuse at the deadline, or as soon as waiting is useless."""
        began = looked = time.monotonic()
        while True:
            longest = OWN_TIMEOUT if question.unix_socket else 10.0
            timeout = max(0.5, min(longest, deadline - time.monotonic()))
            answer = self.ask_alive(question, timeout, statuses) if question.unix_socket else ask(question, timeout)
            if is_healthy(answer, question, statuses):
                return
            if time.monotonic() > deadline:
                limit = self.health["timeout"] if question.unix_socket else 0
                is_patient = self.patience >= self.health["timeout"]
                waited = after(time.monotonic() - began, answer, limit, is_patient)
                self.refuse(question, answer, statuses, f"{where} {waited}")
            if question.unix_socket and time.monotonic() - looked > PROCESS_INTERVAL:
                looked = time.monotonic()
                self.refuse_if_ended(question, answer, statuses)
            if answer.status is not None and answer.status not in NOT_YET:
                # The release has booted, and this is its answer.
                waits = question.unix_socket and may_pass(answer)
                deadline = min(deadline, time.monotonic() + (self.patience if waits else SECOND_THOUGHT))
            time.sleep(INTERVAL)

    def ask_alive(self, question: Question, timeout: float, statuses: list[int]) -> Answer:
        """Ask on the release's own socket, and refuse the release as soon as its process has ended.

        Its process manager holds the socket. So a question waits there while the process starts, and while it starts
        again and again.
        """
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(ask(question, timeout)), daemon=True)
        asking.start()
        while True:
            asking.join(PROCESS_INTERVAL)
            if answers:
                return answers[0]
            self.refuse_if_ended(question, Answer(error="no answer yet"), statuses)

    def refuse_if_ended(self, question: Question, answer: Answer, statuses: list[int]) -> None:
        reason = self.useless_to_wait()
        if reason:
            self.refuse(question, answer, statuses, f"on its own socket because {reason}")

    def useless_to_wait(self) -> str:
        """Why the process of the release will never answer; empty where it may."""
        if self.manager.state(self.spec["name"], self.release) in ("failed", "stopped", "absent"):
            return "its process has ended"
        if self.manager.restarts(self.spec["name"], self.release) >= MOST_RESTARTS:
            return "its process ends again and again"
        return listens_elsewhere(self.layout, self.release, time.monotonic() - self.began)

    def await_workers(self) -> None:
        """Wait until half of the workers are ready, so that requests don't wait in the queue of the first one.

        Half of them is enough, because the others are ready soon after, and each has free threads. Waiting for the last
        one would delay the new code of a small application by a third of a second.
        """
        until = min(self.deadline, time.monotonic() + WORKERS_TIMEOUT)
        while time.monotonic() < until:
            notes = read_notes(self.layout, self.release)
            if not notes or 2 * len(workers_with(notes, "ready")) >= self.spec["workers"]:
                return
            time.sleep(INTERVAL)

    def crashes(self) -> int:
        """How many workers have crashed."""
        return crashes(self.layout, self.release, self.spec.get("most_workers", 0))

    def refuse(self, question: Question, answer: Answer, statuses: list[int], where: str) -> NoReturn:
        expected = ", ".join(map(str, statuses)) or "any 2xx or 3xx, 401 or 403"
        log = self.log()
        hint = health_hint(answer, question) or self.lock_hint(log) or family_hint(log)
        hint = hint or write_hint(log, self.layout.shared) or own_command_hint(self.layout, self.release)
        raise Unhealthy(
            f"the release {self.release} did not become healthy {where}.\n"
            f"Asked: {question}\nExpected: status {expected}\nCame back: {answer}\n{hint}"
            f"Last lines of its log:\n{log}"
        )

    def lock_hint(self, log: str) -> str:
        return lock_hint(log, stopped_first=bool(self.spec.get("stop_first")))

    def log(self, service: str = "") -> str:
        """The last lines that the release has logged, or one of its background processes."""
        with suppress(ProcessManagerError):
            return tail(self.manager.log(service or self.spec["name"], self.release, 20), 20) or "(it is empty)"
        return "(it can't be read)"


def may_pass(answer: Answer) -> bool:
    """Whether a wrong answer can be that of a release that is still warming up."""
    return answer.status is not None and (answer.status >= 500 or answer.status in MAY_PASS)


def after(seconds: float, answer: Answer, limit: float, is_patient: bool = True) -> str:
    """How long a release was asked in vain. ``limit`` is health.timeout where that decides."""
    if not limit:
        return f"within {seconds:.0f} seconds"
    if answer.status is None or answer.status in NOT_YET or (is_patient and may_pass(answer)):
        return f"within {limit:g} seconds (health.timeout)"
    if may_pass(answer):
        return f"after {seconds:.1f} seconds of errors. If it needs longer to warm up, set health.timeout"
    return (
        f"after {seconds:.1f} seconds: its answer is wrong, and waiting does not change such an answer. If it needs to "
        "warm up, let it answer 503 until then: health.timeout waits for that"
    )


def is_healthy(answer: Answer, question: Question, statuses: list[int]) -> bool:
    """Whether an answer is healthy.

    On the release's own socket, a redirect to https is not: clients that are served by HTTP alone would be lost. It is
    healthy where the user names its status.
    """
    is_lost = question.unix_socket and not statuses and question.scheme == "http" and answer.leads_to_https
    return answer.healthy(statuses) and not is_lost


def health_hint(answer: Answer, question: Question) -> str:
    """The usual cause of an unhealthy answer."""
    if answer.status == 404:
        return (
            f"The application runs, but has no page {question.path}. If that is right, name one that it has as "
            'health.path. Else move the registration of its routes out of: if __name__ == "__main__". They must be '
            "registered when the module is imported.\n"
        )
    if answer.leads_to_https and question.scheme == "http":
        return (
            f"The application sends every visitor to https ({answer.headers['location']}), where this site does not "
            "answer: turn that off in the application, or let health.path name a page that answers without it. If "
            f"TLS ends before this host, set health.status: [{answer.status}].\n"
        )
    if answer.status == 400:
        return (
            f"Let the application accept the host name {question.host}, which is the first domain of the site, if it "
            "refuses that.\n"
        )
    return ""


def write_hint(log: str, shared: str) -> str:
    """The remedy for an application that writes into its own release."""
    if not UNWRITABLE.search(log):
        return ""
    return (
        "If it writes into its own code: a release can't be changed. Name the folder as shared, such as shared: "
        f"[instance], which is {shared}/instance, and have the application keep its files there.\n"
    )
