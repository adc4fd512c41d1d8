# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The log of deployments of all hosts as one timeline: a deployment of several hosts is one entry. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status import values
from ansible_collections.pyweb.stack.plugins.module_utils.status.values import dictionaries
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import short_run, shown_revision

# Entries of an application that the page shows.
MOST = 12
# Hosts that a run has switched further apart than this are no longer one entry.
APART = 3600.0
# The actions in the log of deployments, and their words on the page.
WORDS = {"activate": "deployed", "restart": "restarted", "rollback": "rolled back to", "build": "built"}
FAILED = {
    "activate": "deployment failed",
    "restart": "restart failed",
    "rollback": "rollback failed",
    "build": "build failed",
}


@dataclass
class Deployment:
    """One step of an application, on all hosts that took it together."""

    app: str
    action: str
    result: str
    run: str
    at: float
    release: str
    revision: str
    by: str
    hosts: list[str] = field(default_factory=list)
    seconds: float = 0.0
    without_service: float | None = None
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.result != "live"

    @property
    def kind(self) -> str:
        return "failed" if self.failed else "rollback" if self.action == "rollback" else "live"

    @property
    def words(self) -> str:
        if self.result == "reverted":
            return "deployment reverted"
        table = FAILED if self.failed else WORDS
        return table.get(self.action, values.text(f"{self.action}: {self.result}", 60))

    def as_dict(self) -> dict[str, Any]:
        """The texts of an entry of the timeline."""
        return {
            "app": values.text(self.app),
            "kind": self.kind,
            "words": self.words,
            "release": values.text(self.release),
            "revision": values.text(self.revision, 40),
            "run": values.text(short_run(self.run)) if self.run else "",
            "by": values.text(self.by, 60),
            "hosts": values.names(self.hosts),
            "time": values.clock(self.at),
            "seconds": values.seconds(self.seconds),
            "without_service": "" if self.without_service is None else values.seconds(self.without_service),
            "reason": values.text(self.reason, 400) if self.reason else "",
        }


def deployments(hosts: Iterable[tuple[str, Any]]) -> list[Deployment]:
    """The deployments of all hosts, the newest first. Each host has the ``apps`` that webapp_info has returned."""
    steps = [step for host, apps in hosts for step in steps_of(host, apps)]
    found: list[Deployment] = []
    latest: dict[tuple[str, ...], Deployment] = {}
    for step in sorted(steps, key=lambda step: step.at):
        key = (step.app, step.action, step.result, step.run or step.release)
        same = latest.get(key)
        if same is None or step.hosts[0] in same.hosts or step.at - same.at > APART:
            latest[key] = step
            found.append(step)
        else:
            merge(same, step)
    return sorted(found, key=lambda one: one.at, reverse=True)


def merge(same: Deployment, step: Deployment) -> None:
    same.hosts += step.hosts
    same.at = max(same.at, step.at)
    same.seconds = max(same.seconds, step.seconds)
    same.without_service = max(
        (one for one in (same.without_service, step.without_service) if one is not None), default=None
    )
    same.reason = same.reason or step.reason


def steps_of(host: str, apps: Any) -> Iterable[Deployment]:
    for app in dictionaries(apps):
        reasons = reasons_of(app.get("releases"))
        for entry in dictionaries(app.get("history")):
            at = values.timestamp(entry.get("time"))
            if at is not None:
                yield step_of(host, str(app.get("name")), at, entry, reasons)


def reasons_of(releases: Any) -> dict[str, str]:
    """Why releases failed, by their IDs."""
    found = dictionaries(releases)
    return {str(one.get("id")): str(one["reason"]) for one in found if one.get("reason")}


def step_of(host: str, name: str, at: float, entry: Mapping[str, Any], reasons: Mapping[str, str]) -> Deployment:
    spent, pause = entry.get("seconds"), entry.get("without_service")
    release, result = str(entry.get("release") or ""), str(entry.get("result") or "")
    reason = str(entry.get("reason") or (reasons.get(release, "") if result == "failed" else ""))
    return Deployment(
        app=name,
        action=str(entry.get("action") or ""),
        result=result,
        run=str(entry.get("run") or ""),
        at=at,
        release=release,
        revision=shown_revision(str(entry.get("revision") or ""), str(entry.get("source") or "")),
        by=str(entry.get("by") or ""),
        hosts=[host],
        seconds=float(spent) if values.is_number(spent) else 0.0,
        without_service=float(pause) if values.is_number(pause) else None,
        reason=reason.partition("\n")[0],
    )


def newest(found: list[Deployment], most: int = MOST) -> list[Deployment]:
    """The newest entries of each application."""
    seen: Counter[str] = Counter()
    kept = []
    for one in found:
        seen[one.app] += 1
        if seen[one.app] <= most:
            kept.append(one)
    return kept


def days(found: list[Deployment]) -> list[dict[str, Any]]:
    """The entries by their days."""
    by_day: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        by_day.setdefault(values.day(one.at), []).append(one.as_dict())
    return [{"day": day, "entries": entries} for day, entries in by_day.items()]
