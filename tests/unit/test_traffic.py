# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Count requests in access logs: which lines count, for which application, and what visitors write into them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.logs import traffic
from ansible_collections.pyweb.stack.plugins.module_utils.logs.access import access_of
from ansible_collections.pyweb.stack.plugins.module_utils.logs.traffic import Window, count
from ansible_collections.pyweb.stack.plugins.plugin_utils.rollout.traffic import questions

# 2026-11-29 22:54:30 UTC.
NOW = 1_795_992_870


def combined(
    ago: float = 10,
    uri: str = "/",
    status: int = 200,
    urt: str = "0.050",
    rt: float = 0.06,
    user: str = "-",
    agent: str = "curl",
) -> str:
    when = time.strftime("%d/%b/%Y:%H:%M:%S +0100", time.gmtime(NOW - ago + 3600))
    return (
        f'192.0.2.7 - {user} [{when}] "GET {uri} HTTP/1.1" {status} 12 "-" "{agent}" '
        f"rt={rt:.3f} uct=0.000 uht={urt} urt={urt} cache=- id=8630f964f73a891b conn=7"
    )


def in_json(ago: float = 10, uri: str = "/", status: int = 200, urt: str = "0.050", rt: float = 0.06) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(NOW - ago))
    entry = {"time": when, "method": "GET", "uri": uri, "status": status, "request_time": rt}
    return json.dumps({**entry, "upstream_response_time": urt})


def counted(log: Path, *lines: str, apps: list[dict[str, Any]] | None = None, **options: Any) -> list[dict[str, Any]]:
    log.write_text("".join(f"{line}\n" for line in lines))
    return count(apps or [app(log)], Window(NOW - 60, NOW), **options)


def app(log: Path, **changed: Any) -> dict[str, Any]:
    return {"name": "shop", "logs": [str(log)], "mount": "/", "mounts": ["/"], "health": "/healthz", **changed}


def totals(found: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(one["requests"], one["errors"]) for one in found]


@pytest.mark.parametrize("line", [combined, in_json])
@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ({}, (1, 0)),
        ({"status": 500}, (1, 1)),
        ({"status": 404}, (1, 0)),
        ({"status": 499, "urt": "3.000"}, (1, 0)),
        # nginx alone: a static file or a hit of a cache, the maintenance page, a limit.
        ({"urt": "-"}, (0, 0)),
        ({"urt": "", "status": 304}, (0, 0)),
        ({"urt": "-", "status": 503}, (0, 0)),
        ({"urt": "-", "status": 429}, (0, 0)),
        # The application does not answer.
        ({"urt": "-", "status": 502}, (1, 1)),
        ({"urt": "60.000", "status": 504}, (1, 1)),
        ({"urt": "0.000, 0.120 : 0.010"}, (1, 0)),
        # Begun before the window, or after it.
        ({"ago": 70}, (0, 0)),
        ({"ago": 55, "rt": 10.0}, (0, 0)),
        ({"ago": -1}, (0, 0)),
        ({"uri": "/healthz?full=1"}, (0, 0)),
        ({"uri": "/%68ealthz"}, (0, 0)),
        ({"uri": "/healthz/more"}, (1, 0)),
    ],
)
def test_requests_that_reached_the_application_count(
    tmp_path: Path, line: Any, told: dict[str, Any], meant: tuple[int, int]
) -> None:
    assert totals(counted(tmp_path / "log", line(**told))) == [meant]


def test_the_latency_is_that_of_the_application(tmp_path: Path) -> None:
    (found,) = counted(
        tmp_path / "log", *(combined(urt="0.100", rt=5.0) for _ in range(99)), combined(urt="1.000, 2.0")
    )
    assert found["p50"] == pytest.approx(0.1, rel=0.05)
    assert found["p95"] == pytest.approx(0.1, rel=0.09)
    assert sum(n for one in found["slices"] for bucket, n in one["buckets"] if bucket > 80) == 1


def test_a_websocket_is_a_request_without_a_latency(tmp_path: Path) -> None:
    (found,) = counted(tmp_path / "log", combined(status=101, urt="40.0", rt=40.0))
    assert (found["requests"], found["p50"]) == (1, None)


def test_slices_are_parts_of_the_window(tmp_path: Path) -> None:
    (found,) = counted(tmp_path / "log", *(combined(ago=second) for second in range(2, 60)))
    assert [one["requests"] for one in found["slices"]] == [5] * 11 + [3]


def test_applications_that_share_a_site_are_counted_by_their_paths(tmp_path: Path) -> None:
    log = tmp_path / "log"
    mounts = ["/", "/api"]
    apps = [app(log, mounts=mounts), app(log, name="api", mount="/api", mounts=mounts, health="/api/healthz")]
    uris = ["/", "/apix", "/api", "/api/x", "/%61pi/x", "//api//x", "http://shop.test/api/x", "/x?to=/api/"]
    assert totals(counted(log, *(combined(uri=uri) for uri in uris), apps=apps)) == [(3, 0), (5, 0)]


@pytest.mark.attack("17", "A visitor writes lines of a log into a request, so that a canary looks good or bad")
def test_what_visitors_write_is_no_field_of_a_line(tmp_path: Path) -> None:
    """As nginx writes it: a quote in a value is \\x22. The user name alone has no quotes, and can contain brackets."""
    forged = "x\\x22 500 1 \\x22-\\x22 \\x22-\\x22 rt=0.1 uct=- uht=- urt=9.000 cache=- id=- conn=1"
    old = "x [01/Jan/2020:00:00:00 +0000] \\x22GET / HTTP/1.0\\x22 500 0"
    (found,) = counted(
        tmp_path / "log",
        combined(user=forged),
        combined(user=old),
        combined(user="a [b"),
        combined(agent=forged),
        combined(uri=f"/{forged}"),
        in_json(uri='/","status":500,"time":"'),
        in_json(uri="/\u2028\u0085"),
    )
    assert (found["requests"], found["errors"], found["unread"]) == (7, 0, 0)
    assert found["p99"] < 0.06


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "{}",
        "[" * 5000,
        '{"a":' * 5000,
        '"' * 6,
        '192.0.2.7 - - [29/Nov/2026:23:54:20 +0100] "GET / HTTP/1.1" 200 12',
        combined().replace("Nov", "Abc"),
        combined().replace("2026", "0000").replace("29/", "99/"),
        in_json().replace("0.06", '"x"'),
        in_json().replace("200", "null"),
        in_json().replace('"0.050"', "{}"),
        "\x00\x1b[2J",
    ],
)
def test_a_line_of_another_format_is_none(line: str) -> None:
    assert access_of(line) is None


def test_lines_of_another_format_are_counted(tmp_path: Path) -> None:
    (found,) = counted(tmp_path / "log", "hello", combined(), "\x00", "{}")
    assert (found["requests"], found["unread"]) == (1, 3)


def test_a_log_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    (found,) = count([app(tmp_path / "none")], Window(NOW - 60, NOW))
    assert found["problems"] == [f"{tmp_path}/none can't be read: No such file or directory"]
    (found,) = count([app(tmp_path / "none", logs=[])], Window(NOW - 60, NOW))
    assert found["problems"] == ["the site has no access log (access_log)"]


def test_the_file_before_a_rotation_counts(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("".join(f"{combined(ago=second)}\n" for second in range(300, 30, -1)))
    (found,) = counted(tmp_path / "log", *(combined(ago=second) for second in range(30, 1, -1)))
    assert found["requests"] == 58
    # An empty log, just after a rotation.
    (found,) = counted(tmp_path / "log")
    assert found["requests"] == 29
    # The same file under both names counts once.
    (tmp_path / "log").unlink()
    (tmp_path / "log").hardlink_to(tmp_path / "log.1")
    (found,) = count([app(tmp_path / "log")], Window(NOW - 60, NOW))
    assert found["requests"] == 29


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "FIRST_STEP", 1000)
    read: list[int] = []
    genuine = access_of
    monkeypatch.setattr(traffic, "access_of", lambda line: read.append(1) or genuine(line))
    lines = [combined(ago=second / 10) for second in range(30_000, 20, -1)]
    (found,) = counted(tmp_path / "log", *lines)
    assert found["requests"] == sum(20 < second <= 590 for second in range(30_000))
    assert not found["cut"]
    assert len(read) < 3000


def test_more_than_the_limit_is_not_read_and_said(tmp_path: Path) -> None:
    lines = [combined(ago=second / 100) for second in range(5900, 100, -1)]
    (found,) = counted(tmp_path / "log", *lines, most=50_000)
    assert found["cut"]
    assert 200 < found["requests"] < 400
    assert found["slices"][0]["requests"] == 0


@pytest.mark.parametrize(("name", "ago", "cut"), [("log.2.gz", 30, True), ("log.1.gz", 30, True), ("log.2", 90, False)])
def test_requests_in_an_older_file_are_said_to_be_missing(tmp_path: Path, name: str, ago: int, cut: bool) -> None:
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (NOW - ago, NOW - ago))
    (found,) = counted(tmp_path / "log", combined(ago=20))
    assert (found["requests"], found["cut"]) == (1, cut)


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        f"{combined()}\n" + "x" * (3 * traffic.LONGEST_LINE + traffic.PIECE) + f"\n{combined()}\n{combined()[:50]}"
    )
    (found,) = count([app(log)], Window(NOW - 60, NOW))
    assert (found["requests"], found["unread"]) == (2, 0)


def test_the_logs_of_an_application_come_from_the_inventory() -> None:
    site = {"domains": ["shop.test"]}
    webapps = [
        {"name": "shop", "source": {"path": "shop"}, "wsgi": "a:b", "site": site, "health": {"path": "/healthz"}},
        {"name": "api", "source": {"path": "api"}, "wsgi": "a:b", "site": {**site, "path": "/api"}},
        {"name": "own", "source": {"path": "own"}, "wsgi": "a:b", "site": {"domains": ["own.test"]}},
    ]
    found = questions(["api", "shop"], webapps)
    assert [one["name"] for one in found] == ["shop", "api"]
    assert [(one["mount"], one["health"]) for one in found] == [("/", "/healthz"), ("/api", "")]
    for one in found:
        assert (one["logs"], one["mounts"]) == (["/var/log/nginx/shop.access.log"], ["/", "/api"])
