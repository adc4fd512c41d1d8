# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The status of all hosts as one HTML page that needs no other file. Pure, apart from reading its own style and script.

Every value comes from a host, so it is data alone: each one is escaped (elements.py), and the policy of the page
permits only its own style and its own script, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status import charts, hosts, rows, timeline, values
from ansible_collections.pyweb.stack.plugins.module_utils.status.drift import with_drift
from ansible_collections.pyweb.stack.plugins.module_utils.status.hosts import Answers
from ansible_collections.pyweb.stack.plugins.module_utils.status.markup import document
from ansible_collections.pyweb.stack.plugins.module_utils.status.traffic import Traffic, traffic_of

# Parts of the window of the charts.
SLICES = 72
# Lines of the list of problems.
MOST_ATTENTION = 40
# Seconds after which a page marks itself as old.
OLD = 3600


def page(
    answers: Sequence[Answers],
    now: float,
    hours: int,
    old: int = OLD,
    maker: str = "Made by status.yml of pyweb.stack.",
) -> str:
    """The page, from the answers of all hosts. It marks itself as old after ``old`` seconds."""
    found = with_drift([app["status"] for host in answers for app in host.apps])
    window = charts.Window(now - hours * 3600, now, SLICES)
    deployed = timeline.deployments((host.name, host.releases.get("apps")) for host in answers)
    listed = {str(row["application"]) for row in found if row.get("in_inventory") is not False}
    names = sorted(listed.union(*(host.expected for host in answers if host.problem)))
    cards = [application(name, found, answers, window, deployed) for name in names]
    instances = [rows.instance(row) for row in found]
    levels: dict[str, list[str]] = {}
    for row, one in zip(found, instances):
        levels.setdefault(str(row["host"]), []).append(one["level"])
    context = {
        "made": f"{values.day(now)} {values.clock(now)}",
        "made_at": int(now),
        "old": old,
        "hours": hours,
        "maker": maker,
        "summary": summary(answers, found, instances, cards),
        "attention": attention(answers, found),
        "most_attention": MOST_ATTENTION,
        "applications": cards,
        "columns": rows.COLUMNS,
        "instances": instances,
        "days": timeline.days(timeline.newest([one for one in deployed if one.app in set(names)])),
        "most_deployments": timeline.MOST,
        "hosts": [hosts.card(host, levels.get(host.name, [])) for host in answers],
        "height": charts.HEIGHT,
        "width": charts.WIDTH,
        "ticks": charts.ticks(window),
        "data": embedded(
            {
                "status": found,
                "details": [one.pop("details") for one in instances],
                "charts": [card.pop("series") for card in cards],
                "window": window.__dict__,
            }
        ),
        "style": own("page.css"),
        "script": own("page.js"),
        "style_hash": digest(own("page.css")),
        "script_hash": digest(own("page.js")),
    }
    return document(context)


@cache
def own(name: str) -> str:
    """The style or the script of the page."""
    # On a host, it is in an archive with this file.
    found = pkgutil.get_data(__name__.rpartition(".")[0], name)
    if found is None:
        raise FileNotFoundError(f"{name} is missing beside {__name__}")
    return found.decode().strip()


def digest(text: str) -> str:
    """The hash by which the policy of the page permits a text of its own."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def embedded(data: Any) -> str:
    """Data as JSON that can stand in a page: no character of it begins a tag, a comment or an entity."""
    try:
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(finite(data), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def finite(data: Any) -> Any:
    """Data without the numbers that JSON does not have. A host can report them, and no browser would read them."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def application(
    name: str,
    found: Sequence[rows.Row],
    answers: Sequence[Answers],
    window: charts.Window,
    deployed: Sequence[timeline.Deployment],
) -> dict[str, Any]:
    """One application on all its hosts: its health, its revisions and its charts."""
    own_rows = [row for row in found if str(row["application"]) == name]
    here = {str(row["host"]) for row in own_rows}
    traffic, notes = traffic_on([host for host in answers if host.name in here], name, window)
    series = charts.series(traffic, window)
    levels = [rows.level(row) for row in own_rows]
    lost = sum(1 for host in answers if host.problem and name in host.expected)
    revisions = sorted({rows.revision_text(row) for row in own_rows if row.get("release")})
    drift = next((row["drift"] for row in own_rows if row.get("drift")), None)
    return {
        "name": values.text(name),
        "level": max([*levels, rows.WARN if lost else rows.OK], key=rows.LEVELS.index),
        "well": sum(1 for level in levels if level in (rows.OK, rows.NOTE)),
        "of": values.plural(len(levels) + lost, "host"),
        "lost": lost,
        "revision": revisions[0]
        if len(revisions) == 1
        else values.plural(len(revisions), "revision")
        if revisions
        else "",
        "drift": [group_text(group) for group in drift["groups"]] if drift else [],
        "counted": bool(traffic),
        "figures": figures(traffic, window),
        "charts": charts.charts(series, window),
        "marks": marks(deployed, name, window),
        "notes": notes,
        "series": {"name": name, **series},
    }


def group_text(group: Mapping[str, Any]) -> str:
    return f"{values.text(group['revision'], 40)} on {values.names(group['hosts'])}"


def figures(traffic: Sequence[Traffic], window: charts.Window) -> dict[str, str]:
    found = charts.figures(traffic)
    minutes = (window.end - window.begin) / 60
    return {
        "rate": values.rate(found["requests"] / minutes),
        "requests": f"{found['requests']:,}",
        "share": values.share(found["share"]),
        "errors": f"{found['errors']:,}",
        "p50": values.latency(found["p50"]),
        "p95": values.latency(found["p95"]),
    }


def traffic_on(answers: Sequence[Answers], name: str, window: charts.Window) -> tuple[list[Traffic], list[str]]:
    """The traffic of an application on each host, and why it is not complete."""
    seconds = round(window.end - window.begin)
    traffic = [traffic_of(host.name, name, host.traffic, seconds, window.slices) for host in answers]
    problems = [f"{values.text(one.host, 80)}: {values.text(one.problem)}" for one in traffic if one.problem]
    cut = [host.name for host in answers if is_cut(host, name)]
    if cut:
        problems.append(
            f"On {values.names(cut)}, the logs are too large or were rotated often. Their first requests are missing."
        )
    return [one for one in traffic if not one.problem], problems


def is_cut(host: Answers, name: str) -> bool:
    apps = values.dictionaries(host.traffic.get("apps"))
    return any(one.get("name") == name and one.get("cut") is True for one in apps)


def marks(deployed: Sequence[timeline.Deployment], name: str, window: charts.Window) -> list[dict[str, Any]]:
    """The releases of an application in the window of its charts."""
    return [
        {
            "x": window.x(one.at),
            "kind": one.kind,
            "text": f"{values.clock(one.at)} {one.words} {values.text(one.revision, 40)}",
        }
        for one in reversed(deployed)
        if one.app == name and window.begin <= one.at < window.end
    ]


def summary(
    answers: Sequence[Answers], found: Sequence[rows.Row], instances: list[dict[str, Any]], cards: list[dict[str, Any]]
) -> dict[str, Any]:
    """The state of the fleet in one line and a few numbers."""
    lost = [host for host in answers if host.problem]
    expected = len(found) + sum(len(host.expected) for host in lost)
    bad = [one for one in cards if one["level"] == rows.BAD]
    level = rows.BAD if lost or bad else max((one["level"] for one in cards), key=rows.LEVELS.index, default=rows.OK)
    texts = []
    if bad:
        texts.append(f"{values.plural(len(bad), 'application')} {'needs' if len(bad) == 1 else 'need'} help")
    if lost:
        texts.append(f"{values.plural(len(lost), 'host')} did not answer")
    well = "Everything works" if level in (rows.OK, rows.NOTE) else "Everything works, with remarks"
    return {
        "level": level,
        "text": (", and ".join(texts) if texts else well) if cards or lost else "There is no application",
        "tiles": [
            ("applications", f"{len(cards):,}"),
            (
                "instances well",
                f"{sum(1 for one in instances if one['level'] in (rows.OK, rows.NOTE)):,} of {expected:,}",
            ),
            ("hosts that answered", f"{len(answers) - len(lost):,} of {len(answers):,}"),
            ("with drift", f"{sum(1 for one in cards if one['drift']):,}"),
        ],
    }


def attention(answers: Sequence[Answers], found: Sequence[rows.Row]) -> list[dict[str, Any]]:
    """The problems of hosts and applications, the worst first. The same problem on several hosts is one line."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for host in answers:
        for one in hosts.problems(host):
            groups.setdefault((one.level, "", one.text), []).append(host.name)
    for row in found:
        for one in rows.problems(row):
            groups.setdefault((one.level, str(row["application"]), one.text), []).append(str(row["host"]))
    lines = [
        {"level": level, "app": values.text(app) if app else "", "hosts": values.names(names), "text": text}
        for (level, app, text), names in groups.items()
    ]
    for row in {str(row["application"]): row for row in found if row.get("drift")}.values():
        texts = "; ".join(group_text(group) for group in row["drift"]["groups"])
        lines.append(
            {"level": rows.WARN, "app": values.text(row["application"]), "hosts": "", "text": f"hosts differ: {texts}"}
        )
    return sorted(lines, key=lambda line: rows.LEVELS.index(str(line["level"])), reverse=True)
