# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Fleets for tests of the status page, pleasant and hostile ones, and a reader of the page. Pure."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
import time
from functools import cache
from html.parser import HTMLParser
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.hosts import Answers
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import SLICES
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.orphans import row as row_of_orphan
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import status_row
from test_doctor import HOST, view

# Monday, 2026-11-30 14:05 UTC.
NOW = 1_796_047_500.0
HOURS = 6
APPS = ["shop", "api", "accounts", "blog", "catalogue", "search", "mail", "reports", "admin", "images"]
REVISIONS = ["8e77b01a4c2f", "5d2c9e0b7a4f", "a9f0c1d4e7b8"]
USERS = ["anna", "ben", "chen"]

# Texts that execute, break a layout or end an element, if a page takes them for more than texts.
HOSTILE = [
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "</style><svg onload=window.hacked=1>",
    "<!--",
    "]]>",
    "' onmouseover='window.hacked=1' '",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:window.hacked=1",
    "\u202egnp.exe\x1b[31m\x00\u2028",
    "W" * 3000,
    "😀" * 40 + "\u0301" * 40,
    "&lt;b&gt;&#60;i&#62;",
]


def stamp(ago: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - ago))


def identity(ago: float, revision: str) -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(NOW - ago))}-{revision[:8]}"


def traffic(names: list[str], seed: int = 1, load: float = 1.0) -> dict[str, Any]:
    """An answer of webapp_traffic. It is one of a few, because each takes a while to make."""
    made = made_traffic(tuple(names), seed % 3, load)
    return {**made, "apps": [dict(app) for app in made["apps"]]}


@cache
def made_traffic(names: tuple[str, ...], seed: int, load: float) -> dict[str, Any]:
    """An answer of webapp_traffic: a day's curve, few errors, and latencies around 30 ms."""
    chance = random.Random(seed)
    apps = []
    for place, name in enumerate(names):
        slices = []
        for number in range(SLICES):
            wave = 1 + 0.6 * math.sin(number / 11 + place) + chance.uniform(-0.15, 0.15)
            count = max(0, round(240 * load * wave / (place + 1)))
            is_bad = place == 1 and 50 < number < 56
            errors = round(count * 0.12) if is_bad else int(count > 60 and chance.random() < 0.05)
            around = 8 * math.log2((90 if is_bad else 24) + 6 * wave + 9 * place)
            found: dict[int, int] = {}
            for _request in range(min(count, 40)):
                bucket = round(chance.gauss(around, 5) + (14 if chance.random() < 0.06 else 0))
                found[bucket] = found.get(bucket, 0) + 1
            slices.append(
                {"requests": count, "errors": errors, "buckets": [list(one) for one in sorted(found.items())]}
            )
        apps.append({"name": name, "slices": slices, "unread": 0, "cut": False, "problems": []})
    return {"apps": apps, "seconds": HOURS * 3600.0}


def history(name: str, place: int, revision: str, by: str) -> list[dict[str, Any]]:
    def entry(ago: float, number: int, **changed: Any) -> dict[str, Any]:
        return {
            "time": stamp(ago),
            "app": name,
            "action": "activate",
            "release": identity(ago, REVISIONS[number]),
            "revision": REVISIONS[number],
            "source": "",
            "run": f"0242ac11-0002-{place:04x}-{number:04x}-000000000005",
            "by": by,
            "result": "live",
            "seconds": 6.4 + place,
            **changed,
        }

    older = 86400 * (1 + place % 3) + 4000 * place
    found = [entry(older + 90000, 1), entry(older, 2, by=USERS[(place + 1) % 3])]
    if place == 1:
        why = "the release is not healthy: its health URL answered with status 500 instead of 200"
        found += [entry(7000, 0, result="failed", reason=why), entry(3000, 0)]
    elif place == 2:
        found += [entry(9000, 0), entry(8100, 2, action="rollback", seconds=1.2, run="")]
    else:
        found.append(entry(5200 + 640 * place, 0))
    return found


def fleet(hosts: int, apps: int, *, troubles: bool = False) -> list[Answers]:
    """Hosts that all serve the same applications. With ``troubles``, some of everything is broken."""
    names = [(APPS[place % 10] + (f"-{place // 10 + 1}" if place >= 10 else "")) for place in range(apps)]
    return [answers(f"web{number + 1}", names, number, troubles) for number in range(hosts)]


def answers(host: str, names: list[str], number: int, troubles: bool) -> Answers:
    rows = [row(host, name, place, number, troubles) for place, name in enumerate(names)]
    if troubles and number == 1:
        rows.append(row_of_orphan("oldshop", host, "20260101T000000Z-00000000", "systemd", "4 processes run"))
    found = {
        **copy.deepcopy(HOST),
        "name": host,
        "memory": {"total": 8 * 2**30, "available": round((4.1 - 0.7 * (number % 4)) * 2**30)},
        "disks": [
            {
                "path": "/srv/webapps",
                "size": 2**37,
                "free": round(2**36 / (1 + number % 3)),
                "files": 9,
                "files_free": 9,
            },
            {"path": "/run", "size": 2**30, "free": round(2**30 * 0.97), "files": 9, "files_free": 9},
        ],
    }
    if troubles and number == 2:
        found |= {"drained": {"since": stamp(1500), "by": "ben"}}
        found["disks"][0]["free"] = 2**32
    return Answers(
        host,
        {"apps": [{"name": one["application"], "status": one} for one in rows], "host": found},
        traffic(names, seed=number),
        {"apps": [releases(name, place) for place, name in enumerate(names)]},
    )


def releases(name: str, place: int) -> dict[str, Any]:
    found = history(name, place, REVISIONS[0], USERS[place % 3])
    return {"name": name, "releases": [{"id": found[-1]["release"], "state": "good", "reason": ""}], "history": found}


def row(host: str, name: str, place: int, number: int, troubles: bool) -> dict[str, Any]:
    live = history(name, place, REVISIONS[0], USERS[place % 3])[-1]
    found = {
        **status_row(view()),
        "host": host,
        "application": name,
        "release": live["release"],
        "revision": live["revision"],
        "run": live["run"],
        "since": live["time"],
        "server": ["gunicorn", "granian", "uwsgi"][place % 3],
        "python": "3.13.5 (uv)" if place % 2 else "3.11.2",
        "workers": 3 + place % 4,
        "memory": (180 + 37 * place + 5 * number) * 2**20,
        "restarts": 0,
        "certificate_days": 61 - place,
        "processes": [{"service": f"{name}.worker", "state": "running", "restarts": 0}] if place % 2 == 0 else [],
        "jobs": [{"name": "nightly", "state": "succeeded", "status": 0, "started": stamp(40000)}]
        if place % 3 == 0
        else [],
    }
    return {**found, **(trouble(name, place, number) if troubles else {})}


def trouble(name: str, place: int, number: int) -> dict[str, Any]:
    changes: dict[tuple[int, int], dict[str, Any]] = {
        (1, 0): {
            "healthy": False,
            "health": "BAD: status 502; its process is failed",
            "state": "failed",
            "restarts": 5,
        },
        (0, 1): {"jobs": [{"name": "nightly", "state": "failed", "status": 2, "started": stamp(40000)}]},
        (3, 0): {"certificate_days": 9},
        (2, 1): {"revision": REVISIONS[1], "release": identity(90000, REVISIONS[1]), "run": "x", "since": stamp(90000)},
        (2, 0): {
            "hold": {
                "release": identity(9000, REVISIONS[0]),
                "revision": REVISIONS[0],
                "by": "chen",
                "time": stamp(8100),
                "to": identity(86400, REVISIONS[2]),
            }
        },
    }
    return changes.get((place, number), {})


def hostile_fleet(hosts: int, apps: int) -> list[Answers]:
    """A fleet whose every text is hostile, also the names and the keys that a host chooses."""
    texts = itertools.cycle(HOSTILE)
    found = []
    for number, host in enumerate(fleet(hosts, apps, troubles=True)):
        renamed = {one["name"]: f"{HOSTILE[place % len(HOSTILE)]}{place}" for place, one in enumerate(host.apps)}
        name = f"{HOSTILE[number % len(HOSTILE)]}{number}"
        parts = [spoilt(one, texts, {**renamed, host.name: name}) for one in (host.status, host.traffic, host.releases)]
        found.append(Answers(name, *parts))
    found.append(Answers("lost<i>", {"unreachable": True, "msg": f"{HOSTILE[0]}\nmore"}))
    found.append(Answers("failed<i>", {"failed": True, "msg": HOSTILE[1]}))
    return found


# The keys whose texts are of a form that the controller has checked, or that join the answers of a host.
KEPT = ("time", "action", "result", "state")


def spoilt(data: Any, texts: Any, renamed: dict[str, str], key: str = "") -> Any:
    if isinstance(data, dict):
        return {one: spoilt(value, texts, renamed, one) for one, value in data.items()} | {}
    if isinstance(data, list):
        return [spoilt(one, texts, renamed) for one in data]
    if isinstance(data, str) and key not in KEPT:
        return renamed.get(data) or next(texts)
    return data


class Page(HTMLParser):
    """The elements of a page: texts of each row by the key of the JSON output, scripts, and all attributes."""

    VOID = frozenset({"meta", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[dict[str, str]] = []
        self.scripts: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _value in attrs}
        if tag == "tbody":
            self.rows.append({})
        if tag == "script":
            self.scripts.append("")
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _value in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1][0] == "script":
            self.scripts[-1] += data
            return
        if self.open and self.open[-1][0] == "style":
            return
        self.text += data
        for _tag, attributes in reversed(self.open):
            field = attributes.get("data-field")
            if field and self.rows:
                self.rows[-1][field] = self.rows[-1].get(field, "") + data
                return

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found
