# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The outcome of a run: for each application, the revision of each host, the seconds, and the reason. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import rollout
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.barrier import Results, unbuilt_on, why_lost

# The length of a reason in the table.
MOST_REASON = 120
STAGES = ("commands", "switch", "confirm", "finish")
HEAD = ("application", "host", "revision", "result", "seconds", "reason")
# The table of applications that have switched everywhere.
DONE = ("application", "host", "revision", "seconds", "address")

Stages = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """An application on a host. ``began`` and ``ended`` are the times of its switch."""

    name: str
    host: str
    revision: str
    result: str
    reason: str = ""
    began: float = 0.0
    ended: float = 0.0

    @property
    def cells(self) -> tuple[str, ...]:
        seconds = f"{self.ended - self.began:.1f}" if self.ended else ""
        return self.name, self.host, self.revision, self.result, seconds, self.reason


def table(results: Results, active: Collection[str], addresses: Mapping[str, str] | None = None) -> list[str]:
    """The changes and failures, as lines: a table of the applications that have switched, and one of the others."""
    names = dict.fromkeys(name for stages in results.values() for name in names_of(stages))
    done: list[tuple[str, ...]] = []
    rows: list[tuple[str, ...]] = []
    for name in names:
        found = [row(name, host, stages, host in active) for host, stages in results.items() if has(name, stages)]
        if all(one.result == "unchanged" for one in found):
            continue
        if all(one.result in ("live", "unchanged") for one in found):
            done += compact(found, (addresses or {}).get(name, ""))
        else:
            rows += [one.cells for one in found]
    return [*(aligned([DONE, *done]) if done else []), *(aligned([HEAD, *rows]) if rows else [])]


def compact(rows: list[Row], address: str) -> list[tuple[str, ...]]:
    """One row for each revision that hosts have switched to."""
    found: list[tuple[str, ...]] = []
    live = [one for one in rows if one.result == "live"]
    for revision in dict.fromkeys(one.revision for one in live):
        same = [one for one in live if one.revision == revision]
        ended = max(one.ended for one in same)
        seconds = f"{ended - min(one.began for one in same):.1f}" if ended else ""
        hosts = f"{len(same)} hosts" if len(same) > 1 else same[0].host
        found.append((same[0].name, hosts, revision, seconds, address))
    return found


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    lines = [[one_line(cell) for cell in cells] for cells in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def names_of(stages: Stages) -> list[str]:
    """The applications that a host is to have, as far as it was looked at."""
    deployment = stages["deploy"].get("deployment") or {}
    return list((stages["look"].get("fleet") or deployment).get("names") or [])


def has(name: str, stages: Stages) -> bool:
    return name in names_of(stages)


def failures_in(stages: Stages) -> dict[str, str]:
    """The applications that failed on a host, each with its message."""
    deployment = stages["deploy"].get("deployment") or {}
    found: dict[str, str] = {}
    for stage in (deployment, *(stages[name] for name in STAGES)):
        failures = stage.get("failures") or {}
        problems = failures.get("problems") or []
        for name in failures.get("names") or []:
            message = next((text for text in problems if text.startswith(f"webapps '{name}': ")), "")
            found.setdefault(name, message.removeprefix(f"webapps '{name}': "))
    return found


def row(name: str, host: str, stages: Stages, is_active: bool) -> Row:
    deployment = stages["deploy"].get("deployment") or {}
    build: Mapping[str, Any] = next((one for one in deployment.get("apps") or [] if one.get("name") == name), {})
    before, after = revisions_of(name, build, stages)
    state = rollout.state_of(stages)
    times = times_of(name, state, stages)

    def told(revision: str, result: str, reason: str = "") -> Row:
        return Row(name, host, revision, result, reason_of(reason), **times)

    lost = next((stages[stage] for stage in reversed(STAGES) if ends(stages[stage])), None)
    if build.get("candidate") and not is_active and lost is not None and name not in state.get("live", {}):
        return told("unknown", "unreachable" if lost.get("unreachable") else "failed", lost_reason(name, state, lost))
    messages = failures_in(stages)
    if name in messages:
        is_kept = name in (stages["switch"].get("kept_back") or []) or name in state.get("kept_back", [])
        result = "not switched" if is_kept else "went back" if name in state.get("reverted", {}) else "failed"
        return told(before, result, messages[name])
    if name in unbuilt_on(stages, is_active, False):
        return told(before if build else "unknown", why_lost(stages), str(stages["deploy"].get("msg") or ""))
    if name in state.get("provisional", {}):
        until = state["provisional"][name]["until"]
        return told(after, "unknown", f"provisional, {end_of(name, state, until)}")
    if not build.get("candidate"):
        return told(before, "unchanged")
    return told(f"{before} → {after}", "live")


def times_of(name: str, state: Mapping[str, Any], stages: Stages) -> dict[str, float]:
    """When the switch of an application began and ended. A single host reports the seconds between the two."""
    began, ended = ((state.get(key) or {}).get(name) for key in ("began", "ended"))
    if ended:
        return {"began": float(began or 0), "ended": float(ended)}
    webapp = (stages["deploy"].get("parts") or {}).get("webapp") or {}
    switched = [*(webapp.get("activated") or []), *(stages["switch"].get("apps") or [])]
    seconds = [one.get("seconds") for one in switched if isinstance(one, Mapping) and one.get("name") == name]
    # A host may report anything.
    return {"ended": next((float(one) for one in seconds if isinstance(one, (int, float))), 0.0)}


def ends(stage: Mapping[str, Any]) -> bool:
    return any(stage.get(end) for end in rollout.ENDS)


def lost_reason(name: str, state: Mapping[str, Any], lost: Mapping[str, Any]) -> str:
    """The known facts about a host that was lost during its switch."""
    until = (state.get("asked") or {}).get(name) or (state.get("provisional") or {}).get(name, {}).get("until")
    message = one_line(str(lost.get("msg") or ""))
    return f"{end_of(name, state, until)}; {message}" if until else message


def end_of(name: str, state: Mapping[str, Any], until: float) -> str:
    """The release that a host ends on whose last answer is missing."""
    if name in state.get("committing", ()):
        return f"it keeps the new release if the commit reached it, otherwise it goes back at {rollout.moment(until)}"
    return f"if it serves the new release, it goes back at {rollout.moment(until)} by itself"


def revisions_of(name: str, build: Mapping[str, Any], stages: Stages) -> tuple[str, str]:
    """The revisions before and after the run. The ID of a release stands for a revision that a host does not report."""
    reported = ((stages["look"].get("fleet") or {}).get("revisions") or {}).get(name) or {}
    agreed = (rollout.state_of(stages).get("revisions") or {}).get(name)
    before = str(reported.get("live") or build.get("current") or "none")
    return before, str(agreed or build.get("revision") or build.get("candidate") or "")


def reason_of(message: str) -> str:
    """The first line of a message, shortened."""
    line = message.partition("\n")[0]
    return line if len(line) <= MOST_REASON else f"{line[: MOST_REASON - 1]}…"
