# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The first seconds of a release that serves: it must stay healthy while the old one is there to go back to."""

from __future__ import annotations

import time
from collections.abc import Callable

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, ask
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import (
    INTERVAL,
    MOST_RESTARTS,
    PROCESS_INTERVAL,
    Gate,
)

# Seconds from the first healthy answer. They do not count from the start: on a busy host the boot would use them up.
PROBATION = 2.5


def watch(gate: Gate, check_processes: Callable[[], None], healthy_since: float) -> None:
    """Watch a release through its probation. Raises Unhealthy where it fails.

    A worker that crashes prolongs the probation: whether its successors crash too shows after they have booted.
    """
    boot_seconds = healthy_since - gate.began
    crashes_seen, looked = 0, 0.0
    until = healthy_since + PROBATION
    # At least one look: the start of background processes may have taken longer than the probation.
    while True:
        answer = ask(gate.own_question, timeout=5)
        if not answer.healthy(gate.health["status"]):
            refuse(gate, answer, "and failed after the switch, which was undone")
        crashes = gate.crashes()
        if crashes >= MOST_RESTARTS:
            refuse(gate, answer, "because its workers end again and again")
        if crashes > crashes_seen:
            crashes_seen, until = crashes, time.monotonic() + max(PROBATION, 2 * boot_seconds)
        if time.monotonic() - looked > PROCESS_INTERVAL:
            looked = time.monotonic()
            check_processes()
        if time.monotonic() > until:
            break
        time.sleep(INTERVAL)
    if gate.manager.restarts(gate.spec["name"], gate.release):
        refuse(gate, ask(gate.own_question), "because its process ended and had to be started again")


def refuse(gate: Gate, answer: Answer, why: str) -> None:
    gate.refuse(gate.own_question, answer, gate.health["status"], f"for long {why}")
