# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The rollout of new releases on several hosts: its batches, its steps, and the decision to commit or to revert. Pure.

Each host keeps its old release until all hosts have confirmed the new one. ``deployments`` are the results of the
stages deploy and build by host, in the order of the play. A state is what a host has recorded about its own switches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# Seconds that a lease lasts beyond the longest time until it can be renewed, and that may pass without a renewal.
SPARE = 120
UNRENEWED = 60
# The longest single wait in seconds. Leases are renewed between two waits.
MOST_WAIT = 300
# The number of applications that a host switches or ends at the same time, as in its modules.
AT_A_TIME = 8
# The results of a stage that ends a host's part in the play.
ENDS = ("unreachable", "failed")

Deployments = Mapping[str, Mapping[str, Any]]
State = Mapping[str, Any]


def share(text: str, hosts: int) -> int:
    """The number of hosts that an input stands for, such as ``2`` or ``25%`` of all hosts."""
    return max(1, hosts * int(text[:-1]) // 100) if text.endswith("%") else max(1, int(text))


def batches(hosts: list[str], first: str, batch: str) -> list[list[str]]:
    """The hosts in batches: the first one, then equal ones. Percentages are of all hosts."""
    if not hosts:
        return []
    start, size = share(first, len(hosts)), share(batch, len(hosts))
    return [hosts[:start], *(hosts[place : place + size] for place in range(start, len(hosts), size))]


@dataclass(frozen=True)
class Rollout:
    """The batches of hosts, and the hosts of each application that has a new release on several hosts."""

    batches: list[list[str]]
    shared: dict[str, list[str]]

    def batch_of(self, host: str) -> int:
        """The batch of a host. A host without new releases only starts stopped ones again, or removes applications."""
        return self.numbers.get(host, 0)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The batch of each host. Each of many hosts asks for all of them."""
        return {host: number for number, hosts in enumerate(self.batches) for host in hosts}


def candidates(deployment: Mapping[str, Any]) -> list[str]:
    """The applications of a host that have a new release."""
    return [one["name"] for one in deployment.get("switch") or [] if one.get("candidate")]


def planned(deployments: Deployments, left_out: Collection[str], first: str, batch: str) -> Rollout:
    """The rollout of these hosts, without the applications that a host could not build (``left_out``)."""
    hosts_of: dict[str, list[str]] = {}
    for host, deployment in deployments.items():
        for name in candidates(deployment):
            if name not in left_out:
                hosts_of.setdefault(name, []).append(host)
    shared = {name: hosts for name, hosts in hosts_of.items() if len(hosts) > 1}
    concerned = {host for hosts in shared.values() for host in hosts}
    return Rollout(batches([host for host in deployments if host in concerned], first, batch), shared)


# The steps


def steps(rollout: Rollout, deployments: Deployments, pause: int, watch: int) -> list[dict[str, Any]]:
    """The stages to run after the release commands, the same for all hosts."""
    found: list[dict[str, Any]] = []
    if not rollout.batches:
        if any(one.get("switch") or one.get("certificates") for one in deployments.values()):
            found.append(step("switch", "all hosts", batch=-1))
        return found
    count = len(rollout.batches)
    for number, hosts in enumerate(rollout.batches):
        if number:
            found += waits(pause, f"pause before batch {number + 1} of {count}", number)
        if number == 1 and watch:
            found += [*waits(watch, "watch the first batch", 1), step("watch", "compare the requests", batch=1)]
        found.append(step("switch", f"batch {number + 1} of {count}: {named(hosts)}", batch=number))
    return [*found, step("confirm", "all hosts", batch=count), step("finish", "all hosts", batch=count)]


def step(stage: str, label: str, batch: int, seconds: int = 0) -> dict[str, Any]:
    """A stage. ``batch`` is its batch, or the one after it; -1 if all hosts switch at once."""
    return {"stage": stage, "label": label, "batch": batch, "seconds": seconds}


def waits(seconds: int, label: str, batch: int) -> list[dict[str, Any]]:
    """Equal waits, so short that leases can be renewed in between."""
    count = math.ceil(seconds / MOST_WAIT)
    return [step("wait", label, batch, math.ceil(seconds / count)) for _number in range(count)]


def named(hosts: list[str], most: int = 5) -> str:
    rest = len(hosts) - most
    return ", ".join(hosts[:most]) + (f" and {rest} more" if rest > 0 else "")


# The times of leases


def lease_seconds(rollout: Rollout, deployments: Deployments, forks: int, wait: int) -> int:
    """How long a lease lasts. It is renewed at the next step, so it must outlast one step and one wait.

    With fewer forks than hosts, a step takes several rounds. A host may need its health timeout twice in a step: for
    the start, and for a probation that a crashed worker extends. After it has been confirmed, other hosts drain.
    """
    slowest = max((slowest_host(given.get("switch") or []) for given in deployments.values()), default=0)
    hosts = sum(map(len, rollout.batches))
    return SPARE + math.ceil(math.ceil(hosts / max(1, forks)) * slowest) + min(wait, MOST_WAIT)


def slowest_host(specs: Collection[Mapping[str, Any]]) -> float:
    """How long a step may take on a host. It takes a few applications at a time, and those that stop first at last."""
    kinds = [[one for one in specs if bool(one.get("stop_first")) == stops_first] for stops_first in (False, True)]
    return sum(math.ceil(len(found) / AT_A_TIME) * max(map(slowest_step, found)) for found in kinds if found)


def slowest_step(spec: Mapping[str, Any]) -> float:
    health = float((spec.get("health") or {}).get("timeout") or 30)
    return 2 * health + float(spec.get("stop_timeout") or 30) + float(spec.get("linger") or 0) + 10


def is_due(until: float, seconds: int, now: float) -> bool:
    """Whether a lease of so many seconds has to be renewed now."""
    return until - now < seconds - UNRENEWED


def moment(until: float) -> str:
    """A time as the messages show it."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(until))


# The settings


def differing(given: Mapping[str, Mapping[str, Any]]) -> str:
    """The problem of hosts with different settings; empty if they are the same. Any host may decide for all."""
    kinds = ("first", "batch", "pause", "watch", "unreachable", "bounds")
    first = next(iter(given), "")
    for host, settings in given.items():
        for kind in kinds:
            if settings.get(kind) != given[first].get(kind):
                return (
                    f"webapp_rollout.{kind} is {given[first][kind]} for {first} and {settings[kind]} for {host}. "
                    "Set the same value for all hosts of a run, for example in group_vars of their group."
                )
    return ""


# The states of hosts


def fresh(token: Any) -> dict[str, Any]:
    """The state of a host before it switches. ``token`` ties it to one deployment."""
    return {
        "token": token,
        "changed": False,
        "apps": [],
        "failures": {"names": [], "problems": []},
        # The applications that failed on this host, and those that it does not switch because of another host.
        "unsuccessful": [],
        "kept_back": [],
        # The releases that serve provisionally, those that serve for good, and those that the host has left again.
        "provisional": {},
        "live": {},
        "reverted": {},
        "confirmed": [],
        # Until when a host that was lost may serve a release provisionally.
        "asked": {},
        # The applications that it was to commit then.
        "committing": [],
        "revisions": {},
        "began": {},
        "ended": {},
    }


def state_of(stages: Mapping[str, Mapping[str, Any]]) -> State:
    """The latest state of a host in this deployment; empty if it has none.

    It is no copy. Each process of Ansible that touches a value copies its page of memory, and asks for all hosts.
    """
    token = (stages["deploy"].get("deployment") or {}).get("token")
    for name in ("finish", "confirm", "switch"):
        if token and stages[name].get("token") == token:
            return stages[name]
    return {}


def is_lost(stages: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a host has left the play during its rollout."""
    return any(stages[name].get(end) for name in ("switch", "watch", "confirm", "finish") for end in ENDS)


def stands(state: State, name: str) -> bool:
    return name in state.get("provisional", ()) or name in state.get("live", ())


def follows(state: State, name: str) -> bool:
    """Whether a host has left or not begun an application only because another host failed."""
    return name in state.get("reverted", ()) or name in state.get("kept_back", ())


# The decisions


def failing(rollout: Rollout, results: Mapping[str, Any], before: int) -> dict[str, str]:
    """The applications that failed in the batches before this one, each with its hosts as a part of a sentence."""
    found = {}
    states = {host: state_of(stages) for host, stages in results.items()}
    for name, hosts in rollout.shared.items():
        begun = [host for host in hosts if rollout.batch_of(host) < before]
        failed = [host for host in begun if not follows(states[host], name)]
        failed = [host for host in failed if is_lost(results[host]) or not stands(states[host], name)]
        if failed:
            found[name] = clause(failed, results)
    return found


def unconfirmed(rollout: Rollout, results: Mapping[str, Any]) -> dict[str, str]:
    """The applications that some host has not confirmed, each with these hosts. All others may be committed.

    Only results of the stage confirm and of earlier ones count, so all hosts come to the same decision, even if one of
    them is lost meanwhile.
    """
    found = {}
    for name, hosts in rollout.shared.items():
        lacking = [host for host in hosts if not has_confirmed(results[host], name)]
        own = [host for host in lacking if not follows(without_finish(results[host]), name)]
        if lacking:
            found[name] = clause(own or lacking, results)
    return found


def without_finish(stages: Mapping[str, Mapping[str, Any]]) -> State:
    return state_of({**stages, "finish": {}})


def has_confirmed(stages: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    token = (stages["deploy"].get("deployment") or {}).get("token")
    confirm = stages["confirm"]
    is_there = bool(token) and confirm.get("token") == token and not any(confirm.get(end) for end in ENDS)
    return is_there and (name in confirm["confirmed"] or name in confirm["live"])


def clause(hosts: Iterable[str], results: Mapping[str, Any]) -> str:
    """The hosts that failed, as a part of a sentence."""
    lost = [host for host in hosts if is_lost(results[host])]
    failed = [host for host in hosts if host not in lost]
    parts = [f"it failed on {named(failed)}"] if failed else []
    parts += [f"{named(lost)} was lost"] if len(lost) == 1 else [f"{named(lost)} were lost"] if lost else []
    return " and ".join(parts)


# Lines at the start


def notices(rollout: Rollout, deployments: Deployments) -> list[str]:
    """The applications that a rollout can't revert, a line for each."""
    final = {
        one["name"]
        for deployment in deployments.values()
        for one in deployment.get("switch") or []
        if one["name"] in rollout.shared and one.get("stop_first")
    }
    return [notice_of_final(name) for name in sorted(final)]


def notice_of_final(name: str) -> str:
    return (
        f"webapps '{name}': with 'switch: stop_first', each host switches for good. If a host fails, the hosts of "
        "later batches keep the old release, and those that have switched keep the new one."
    )
