# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One transaction per application: no host switches it before all hosts of the run have built it. Pure.

``results`` are the results of the stages on each host of the play, in its order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
# The length of a reason in the table.
MOST_REASON = 120


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


# The table at the end


def table(results: Results, active: Collection[str]) -> list[str]:
    """The applications that failed anywhere, as lines of a table: what each host serves, and why."""
    failed = {name for stages in results.values() for name in failures_in(stages)}
    for host, stages in results.items():
        failed |= {*unbuilt_on(stages, host in active, False), *(unknown(stages) if host not in active else ())}
    rows: list[tuple[str, ...]] = [("application", "host", "release", "result", "reason")]
    for name in sorted(failed):
        rows += [row(name, host, stages, host in active) for host, stages in results.items() if has(name, stages)]
    if len(rows) == 1:
        return []
    lines = [[one_line(cell) for cell in cells] for cells in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def unknown(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The applications of a host that was lost while it switched. So their live releases are unknown."""
    if not any(stages["switch"].get(how) for how in ("unreachable", "failed")):
        return []
    return [one["name"] for one in stages["deploy"].get("deployment", {}).get("apps") or [] if one.get("candidate")]


def has(name: str, stages: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a host is to have an application, as far as it was looked at."""
    deployment = stages["deploy"].get("deployment") or {}
    return name in ((stages["look"].get("fleet") or deployment).get("names") or [])


def failures_in(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The applications that failed on a host, each with its message."""
    deployment = stages["deploy"].get("deployment") or {}
    found: dict[str, str] = {}
    for stage in (deployment, stages["commands"], stages["switch"]):
        failures = stage.get("failures") or {}
        problems = failures.get("problems") or []
        for name in failures.get("names") or []:
            message = next((text for text in problems if text.startswith(f"webapps '{name}': ")), "")
            found.setdefault(name, message.removeprefix(f"webapps '{name}': "))
    return found


def row(name: str, host: str, stages: Mapping[str, Mapping[str, Any]], is_active: bool) -> tuple[str, ...]:
    deployment = stages["deploy"].get("deployment") or {}
    build: Mapping[str, Any] = next((one for one in deployment.get("apps") or [] if one.get("name") == name), {})
    current, candidate = str(build.get("current") or "none"), str(build.get("candidate") or "")
    messages = failures_in(stages)
    if name in messages:
        is_kept = name in (stages["switch"].get("kept_back") or [])
        return name, host, current, "not switched" if is_kept else "failed", reason_of(messages[name])
    if name in unbuilt_on(stages, is_active, False):
        return (
            name,
            host,
            current if build else "unknown",
            why_lost(stages),
            reason_of(str(stages["deploy"].get("msg") or "")),
        )
    if not is_active and name in unknown(stages):
        how = "unreachable" if stages["switch"].get("unreachable") else "failed"
        return name, host, "unknown", how, reason_of(str(stages["switch"].get("msg") or ""))
    return name, host, candidate or current, "switched" if candidate else "unchanged", ""


def reason_of(message: str) -> str:
    """The first line of a message, shortened."""
    line = message.partition("\n")[0]
    return line if len(line) <= MOST_REASON else f"{line[: MOST_REASON - 1]}…"
