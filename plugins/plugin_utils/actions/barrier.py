# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One transaction per application: no host switches it before all hosts of the run have built it. Pure.

``results`` are the results of the stages on each host of the play, in its order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


# Hosts that are missing


def why_lost(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a host is missing, by the results of its stages."""
    found = [stage for stage in (stages["look"], stages["deploy"]) if stage]
    if not found:
        return "left"
    return "unreachable" if any(stage.get("unreachable") for stage in found) else "failed"


REASONS = {
    "unreachable": "could not be reached",
    "failed": "failed, see its message",
    "left": "failed or could not be reached before this stage, or left the play",
}


def missing(results: Results, active: Collection[str]) -> dict[str, str]:
    """The hosts that no stage has looked at, and why: they failed or could not be reached."""
    return {
        host: why_lost(stages)
        for host, stages in results.items()
        if host not in active and not stages["look"].get("fleet")
    }


def message_of_missing(lost: Mapping[str, str], skip_unreachable: bool, begun: Collection[str] = ()) -> str:
    """The message of a run that stops because of missing hosts; empty if it may continue without them.

    ``begun`` are the hosts of earlier batches, which this run has deployed to.
    """
    stopping = {host: why for host, why in lost.items() if why == "failed" or not skip_unreachable}
    if not stopping:
        return ""
    told = ", ".join(f"{host} ({REASONS[why]})" for host, why in stopping.items())
    limit = ":".join(["all", *(f"!{host}" for host in stopping)])
    built = f"Only earlier batches were deployed: {', '.join(begun)}." if begun else "Nothing was built on any host."
    return (
        f"Hosts of this run are missing: {told}. {built} Repair these hosts, or leave them out "
        f"with --limit '{limit}'. To deploy without hosts that can't be reached, set "
        "webapp_rollout: {unreachable: skip}."
    )


def begun(results: Results) -> list[str]:
    """The hosts that the stage deploy has reached."""
    return [host for host, stages in results.items() if stages["deploy"].get("deployment")]


# Builds that failed


def unbuilt(results: Results, active: Collection[str], skip_unreachable: bool) -> dict[str, list[str]]:
    """The applications that could not be built, and the hosts on which they failed.

    A host that failed as a whole, or was lost meanwhile, has built none of its applications.
    """
    found: dict[str, list[str]] = {}
    for host, stages in results.items():
        for name in unbuilt_on(stages, host in active, skip_unreachable):
            found.setdefault(name, []).append(host)
    return found


def unbuilt_on(stages: Mapping[str, Mapping[str, Any]], is_active: bool, skip_unreachable: bool) -> list[str]:
    deployment = stages["deploy"].get("deployment") or {}
    is_whole = bool(deployment) and not stages["deploy"].get("failed") and not deployment.get("unresolved")
    if is_active or is_whole:
        return list((deployment.get("failures") or {}).get("names") or [])
    if skip_unreachable and why_lost(stages) != "failed":
        return []
    return list((stages["look"].get("fleet") or {}).get("names") or [])


def kept_back(names: Iterable[str], failed_on: Mapping[str, list[str]], host: str) -> dict[str, list[str]]:
    """The applications that do not switch here, because another host could not build them, as failures."""
    kept = [name for name in names if name in failed_on and host not in failed_on[name]]
    return {
        "names": kept,
        "problems": [
            f"webapps '{name}': its build failed on {', '.join(failed_on[name])}, so this host does not switch to the "
            "new release either."
            for name in kept
        ],
    }
