# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A rollback or a restart on several hosts as one: all of them switch, or none. The decisions are pure.

``results`` holds the results of the stages on each host that has the application, in the order of the play.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import rollout
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.barrier import REASONS
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import REMEDY
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.rollout import SPARE, slowest_host

# The stages, and the variables that their results are registered in.
STAGES = {
    "choose": "__choice",
    "batches": "__batches",
    "switch": "__switched",
    "confirm": "__confirmed",
    "finish": "__finished",
}
# Seconds of a lease: for the confirmations of all hosts, and for each switch that may take place before them.
LEAST_SECONDS, SECONDS_OF_SWITCH = 300, 60

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def batches_of(results: Results, first: str, batch: str) -> list[list[str]]:
    """The hosts that switch at the same time: all of them, or batches if an application stops before it starts."""
    hosts = [host for host, stages in results.items() if stages["choose"].get("names")]
    return rollout.batches(hosts, first, batch) if stopping_first(results) else [hosts]


def stopping_first(results: Results) -> list[str]:
    """The applications whose live release stops before the other one starts."""
    found = {name for stages in results.values() for name in stages["choose"].get("stop_first") or ()}
    return sorted(found) if len(results) > 1 else []


def steps_of(batches: list[list[str]]) -> list[dict[str, Any]]:
    """A step of the playbook for each batch."""
    count = len(batches)
    return [
        {"batch": number, "label": f"batch {number + 1} of {count}: {rollout.named(hosts)}"}
        for number, hosts in enumerate(batches)
    ]


def lease_seconds(hosts: int, forks: int, specs: Collection[Mapping[str, Any]] = (), batches: int = 1) -> int:
    """The length of a lease. The first host that switches waits for the last one.

    ``specs`` are the applications of a host, whose timeouts may be long.
    """
    rounds = max(-(-hosts // max(1, forks)), batches)
    least = LEAST_SECONDS + SECONDS_OF_SWITCH * (rounds - 1)
    return max(least, SPARE + math.ceil(rounds * slowest_host(specs)))


def missing(results: Results, skips_unreachable: bool) -> str:
    """The message of a run whose hosts are not all there; empty if it may switch."""
    lost = {host: why for host, stages in results.items() if (why := why_lost(stages["choose"]))}
    lost = {host: why for host, why in lost.items() if why != "unreachable" or not skips_unreachable}
    if not lost:
        return ""
    told = ", ".join(f"{host} ({REASONS[why]})" for host, why in lost.items())
    limit = ":".join(["all", *(f"!{host}" for host in lost)])
    return (
        f"Hosts of this run are missing: {told}. Nothing was switched on any host. Repair these hosts, or leave them "
        f"out with --limit '{limit}'. They then stay on the release that they have. To switch without hosts that can't "
        "be reached, set webapp_rollout: {unreachable: skip}."
    )


def why_lost(result: Mapping[str, Any]) -> str:
    """Why a host has not taken a stage; empty if it has.

    The results decide, not the list of active hosts. That changes while the hosts of a task run one after the other.
    """
    if not result:
        return "left"
    return "unreachable" if result.get("unreachable") else "failed" if result.get("failed") else ""


def checked_results(found: Any, names: Iterable[str], host: str) -> list[dict[str, Any]]:
    """The results of a host about applications that it was asked for, each once."""
    left = set(names)
    results = found if isinstance(found, list) else [found]
    for one in results:
        if not isinstance(one, dict) or one.get("name") not in left or not isinstance(one.get("release"), str):
            raise AnsibleActionFail(
                f"{host} answered with a switch of the wrong kind: {one_line(str(one))[:200]}. {REMEDY}"
            )
        left.remove(one["name"])
    return results


def named(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The result of a stage for one application; empty if it has none."""
    return next((one for one in answer.get("apps") or [] if one.get("name") == name), {})


def state_of(stages: Mapping[str, Mapping[str, Any]], name: str, last: str) -> str:
    """The state of an application on a host after the stage ``last``: good, final, stays, behind, failed or lost."""
    done = [stages[stage] for stage in (("switch",) if last == "switch" else ("switch", "confirm"))]
    if any(map(why_lost, done)):
        return "lost"
    if stages["switch"].get("staying"):
        return "stays"
    if name in stages["switch"].get("behind", ()):
        return "behind"
    switched = named(stages["switch"], name)
    if not switched or any(name in (stage.get("failures") or {}).get("names", []) for stage in done):
        return "failed"
    if not switched.get("provisional"):
        return "final"
    return "good" if last == "switch" or named(stages["confirm"], name).get("provisional") else "failed"


def failed_on(results: Results, name: str, last: str) -> list[str]:
    """The hosts on which an application has not switched as it should."""
    having = {host: stages for host, stages in results.items() if name in (stages["choose"].get("names") or ())}
    return [host for host, stages in having.items() if state_of(stages, name, last) in ("failed", "lost")]


def failures_of_end(answer: Mapping[str, Any], names: Iterable[str], stage: str) -> dict[str, list[str]]:
    """The failures of a commit or revert, also of applications about which the host has reported nothing.

    A module that fails as a whole has no data about its applications. The guard on the host ends their leases.
    """
    own: Mapping[str, Any] = {} if answer.get("failed") else answer.get("failures") or {}
    failed, problems = list(own.get("names") or []), list(own.get("problems") or [])
    for name in names:
        if name in failed or (not answer.get("failed") and named(answer, name)):
            continue
        failed.append(name)
        why = one_line(str(answer.get("msg") or "the host did not report its result"))
        problems.append(
            f"webapps '{name}': the {stage} failed: {why}. Without a decision, the host goes back by itself when its "
            f"lease ends. Look at status.yml -e app={name}, then run again."
        )
    return {"names": failed, "problems": problems}


def why_reverted(name: str, hosts: list[str], host: str) -> str:
    others = [one for one in hosts if one != host]
    return f"it failed on {', '.join(others)}" if others else "it failed here"


def problem_of_final(name: str, release: str, hosts: list[str]) -> str:
    """The message of an application that can't go back, because its old release has stopped first."""
    return (
        f"webapps '{name}': it failed on {', '.join(hosts)}, but this host stays on {release}, because 'switch: "
        "stop_first' makes each switch final. Correct the problem, then run again on the other hosts."
    )


def problem_of_behind(name: str, hosts: list[str]) -> str:
    """The message of an application that has failed in an earlier batch."""
    return (
        f"webapps '{name}': it failed on {', '.join(hosts)}, so this host does not switch either. Correct the problem, "
        "then run again."
    )


def problem_of_reverted(name: str, release: str, hosts: list[str]) -> str:
    return f"webapps '{name}': it failed on {', '.join(hosts)}, so this host is back on {release or 'no release'}."


# Reports


def lines_of(
    results: Iterable[Mapping[str, Any]], staying: Mapping[str, str], revisions: Mapping[str, str]
) -> list[str]:
    """The live releases, a line for each application."""
    lines = []
    for one in results:
        name, seconds = one["name"], one.get("without_service")
        pause = f", after {seconds:.1f} seconds without service" if isinstance(seconds, (int, float)) else ""
        revision = f" (revision {revisions[name]})" if revisions.get(name) else ""
        text = f"{name}: release {one['release']}{revision} is live and has replaced {one.get('replaced')}{pause}"
        if one.get("skipped"):
            text += f". Skipped: {', '.join(map(str, one['skipped']))}"
        if one.get("held"):
            text += (
                f". {one['held']} is held: site.yml does not deploy it again until its code, dependencies, settings or "
                f"secrets differ in the inventory. -e lift_hold={name} lifts the hold"
            )
        lines.append(text)
    lines += [f"{name}: release {release} stays, because its revision is live" for name, release in staying.items()]
    return lines
