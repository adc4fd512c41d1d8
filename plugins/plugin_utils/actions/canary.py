# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The requests to the first batch of a rollout, compared with those to the other hosts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status.traffic import traffic_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.rollout import Rollout, named
from ansible_collections.pyweb.stack.plugins.plugin_utils.rollout.verdict import (
    UNJUDGED,
    WORSE,
    Verdict,
    bounds_of,
    verdict,
)


def verdicts(rollout: Rollout, results: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Verdict]:
    """The verdict on each application; none before the stage watch has counted requests."""
    if not any(stages["watch"] for stages in results.values()):
        return {}
    bounds, seconds = bounds_of(settings.get("bounds") or {}), settings["watch"]
    found = {}
    for name, hosts in rollout.shared.items():
        traffic = {host: traffic_of(host, name, results[host]["watch"].get("traffic"), seconds) for host in hosts}
        new = [traffic[host] for host in hosts if rollout.batch_of(host) == 0]
        old = [traffic[host] for host in hosts if rollout.batch_of(host) > 0]
        if new:
            found[name] = verdict(new, old, bounds)
    return found


def refused(rollout: Rollout, judged: Mapping[str, Verdict], settings: Mapping[str, Any]) -> dict[str, str]:
    """The applications that go back because of their verdict, each with the reason, as a part of a sentence."""
    stops = (settings.get("bounds") or {}).get("few") == "stop"
    found = {}
    for name, one in judged.items():
        hosts = named([host for host in rollout.shared[name] if rollout.batch_of(host) == 0])
        if one.state == WORSE:
            found[name] = f"the new release was worse on {hosts} than the old one on the other hosts"
        elif one.state == UNJUDGED and stops:
            found[name] = f"the new release on {hosts} could not be compared with the old one"
    return found


def report(name: str, judged: Verdict) -> list[str]:
    """The lines of a verdict, with its two columns."""
    lines = [*judged.reasons, *judged.table]
    return [f"webapps '{name}': requests to the first batch, and to the other hosts", *map(one_line, lines)]
