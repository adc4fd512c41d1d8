# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The facts about all hosts of a rollout that a step needs on each of them. Pure, and computed once for each step.

``results`` are the results of the stages on the hosts that build and switch together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import canary, rollout
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.rollout import Rollout


@dataclass(frozen=True)
class Overview:
    """The facts about all hosts that each of them needs in a step."""

    settings: dict[str, Any]
    # The hosts of each application that has a new release on several hosts, and the batches of these hosts.
    shared: dict[str, list[str]]
    batches: list[list[str]]
    # How long the lease of a provisional switch lasts.
    lease_seconds: int
    # The applications that go back or do not switch, each with the reason as a part of a sentence.
    failed: dict[str, str] = field(default_factory=dict)
    # The lines that one host displays for all.
    lines: list[str] = field(default_factory=list)
    # In the stage commands: the steps after it, or the problem with the settings.
    steps: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""

    def batch_of(self, host: str) -> int:
        return Rollout(self.batches, self.shared).batch_of(host)


def overview_of(results: Mapping[str, Any], unbuilt: Collection[str], stage: str, number: int, forks: int) -> Overview:
    """The overview for a stage. ``number`` is its batch, or the one after it; ``unbuilt`` are left out."""
    deployments = {host: stages["deploy"]["deployment"] for host, stages in results.items()}
    settings: dict[str, Any] = next((one["rollout"] for one in deployments.values()), {})
    found = rollout.planned(deployments, unbuilt, settings["first"], settings["batch"])
    seconds = rollout.lease_seconds(found, deployments, forks, max(settings["pause"], settings["watch"]))
    known = (settings, found.shared, found.batches, seconds)
    if stage == "commands":
        problem = rollout.differing({host: one["rollout"] for host, one in deployments.items()})
        steps = rollout.steps(found, deployments, settings["pause"], settings["watch"])
        return Overview(*known, lines=rollout.notices(found, deployments), steps=steps, problem=problem)
    if stage == "finish":
        return Overview(*known, failed=rollout.unconfirmed(found, results))
    failed = rollout.failing(found, results, number)
    # The hosts are still counting their requests in the stage watch.
    if stage == "watch" or not settings["watch"] or not number:
        return Overview(*known, failed=failed)
    judged = canary.verdicts(found, results, settings)
    lines = [line for name, one in judged.items() for line in canary.report(name, one)]
    return Overview(*known, failed={**canary.refused(found, judged, settings), **failed}, lines=lines)
