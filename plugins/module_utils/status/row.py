# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status of one application as a row for machines, from what a host has found. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import page_problem

# A process that was started again this often since its release became live is unstable.
RESTARTS = 3
# Seconds for which a restart counts as recent. A worker that ends in order, as after max_requests, does not count.
RECENT = 3600.0


def status_row(found: dict[str, Any], host: dict[str, Any], works: bool, balancers: dict[str, str]) -> dict[str, Any]:
    """One application: bytes, whole numbers, None where a value does not apply.

    ``works`` says whether it answers correctly through nginx. ``balancers`` are its states on them.
    """
    process = found["process"]
    return {
        "in_inventory": True,
        "host": host["name"],
        "application": found["name"],
        "release": found["release"],
        "revision": found.get("revision", ""),
        "source": found.get("source", ""),
        "run": found.get("run", ""),
        "hold": found.get("hold"),
        "lease": found.get("lease"),
        "since": found["since"],
        "drained": host.get("drained") or None,
        "status_page": page_problem(host.get("status_page"), host["time"]) or None,
        "without_service": found.get("without_service"),
        "server": found["server"],
        "python": python(found["environment"]),
        "process_manager": found["process_manager"],
        "state": process["state"],
        "workers": process["workers"],
        "memory": process["memory"],
        "restarts": process["restarts"],
        "worker_deaths": (found["deaths"] or {}).get("count"),
        "healthy": works,
        "health": health(found, host, works),
        "balancers": balancers,
        "certificate_days": certificate_days(found, host),
        "processes": [{key: one[key] for key in ("service", "state", "restarts")} for one in found["processes"]],
        "jobs": [
            {"name": one["name"], "state": one["state"], "status": one["status"], "started": one["started"]}
            for one in found["jobs"]
        ],
    }


def python(environment: dict[str, Any]) -> str:
    """The version of the interpreter, and whether uv provides it."""
    provided = " (uv)" if environment["provided"] else ""
    return f"{environment['version']}{provided}" if environment["version"] else ""


def certificate_days(found: dict[str, Any], host: dict[str, Any]) -> int | None:
    """Whole days until the first certificate expires; negative afterwards, None without TLS."""
    ends = [one["shown"].get("ends") or one["disk"].get("ends") for one in found["certificates"]]
    return min((int((end - host["time"]) // 86400) for end in ends if end), default=None)


def health(found: dict[str, Any], host: dict[str, Any], works: bool) -> str:
    """The answer through nginx; if it is not healthy, also the state of the process."""
    if not found["release"]:
        return "not deployed"
    if works:
        closed = ", in maintenance" if found["maintenance"] else ""
        seen = unstable(found, host)
        return f"ok ({found['front']['status']}){closed}{', BUT ' if seen else ''}{seen}"
    state, answer = found["process"]["state"], answer_text(found["front"])
    return f"BAD: {answer}" if state == "running" else f"BAD: {answer}; its process is {state}"


def answer_text(answer: dict[str, Any]) -> str:
    return f"status {answer['status']}" if answer["status"] is not None else answer["error"]


def passes(answer: dict[str, Any], healthy: Collection[int], is_protected: bool) -> bool:
    """Whether nginx answers correctly. A protected site refuses visitors without credentials."""
    return Answer(answer["status"]).healthy([*healthy]) or (is_protected and answer["status"] in (401, 403))


def unstable(found: dict[str, Any], host: dict[str, Any]) -> str:
    """How often workers of the live release have died recently, or its process was restarted; empty if rarely."""
    deaths = found["deaths"]
    if deaths and deaths["recent"] >= RESTARTS:
        return f"its workers died {deaths['recent']} times in the last hour, since {moment(deaths['since'])}"
    process = found["process"]
    up = host["time"] - (process.get("started") or 0)
    if process["restarts"] >= RESTARTS and up < RECENT:
        return (
            f"its process was started again {process['restarts']} times, the last time at {moment(process['started'])}"
        )
    return ""


def moment(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):  # the host reports it
        return "an unknown time"
