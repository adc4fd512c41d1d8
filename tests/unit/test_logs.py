# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lines of logs that an operator asks for: by time, by level and by request."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible import context
from ansible_collections.pyweb.stack.plugins.action.webapp_logs import spaced
from ansible_collections.pyweb.stack.plugins.module_utils.logs import asked, levels, requests, times
from ansible_collections.pyweb.stack.plugins.module_utils.logs.records import read_text, records_of
from ansible_collections.pyweb.stack.plugins.module_utils.logs.report import (
    CUT,
    MEANWHILE,
    TIMELESS,
    Wanted,
    report,
)
from ansible_collections.pyweb.stack.plugins.module_utils.logs.services import Log, entries_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import site_logs

NOW = datetime.datetime(2026, 11, 29, 14, 0, 0)
ID = "8630f964f73a891b6a91e05c601837af"
OTHER = "fc76d3d0031e6f04ee0305e5be48a592"

# Times


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10 min ago", "2026-11-29 13:50:00"),
        ("10min", "2026-11-29 13:50:00"),
        ("1 hour 30 minutes ago", "2026-11-29 12:30:00"),
        ("90s", "2026-11-29 13:58:30"),
        ("2 Days ago", "2026-11-27 14:00:00"),
        ("13:30", "2026-11-29 13:30:00"),
        ("9:05:07", "2026-11-29 09:05:07"),
        ("23:50", "2026-11-28 23:50:00"),
        ("2026-11-28", "2026-11-28 00:00:00"),
        (" 2026-11-28 07:08 ", "2026-11-28 07:08:00"),
        ("2026-11-28T07:08:09.5", "2026-11-28 07:08:09.500000"),
        ("2026-11-28T07:08:09Z", "2026-11-28 07:08:09+00:00"),
        ("2026-11-28 07:08:09+0130", "2026-11-28 07:08:09+01:30"),
        ("2026-11-28 07:08:09-03:00", "2026-11-28 07:08:09-03:00"),
    ],
)
def test_a_time_is_understood(text: str, meant: str) -> None:
    assert str(times.moment(text, NOW)) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("tomorrow", "10 fortnights", "10", "25:00", "12:60", "23:5", "2026-02-30", "2026-13-01", "now", "-1h"),
        *("10 minx", "999999 weeks ago", "2026-11-28T07:08:09Q", "1h ago 2", "0000-01-01", "10 min ago; reboot"),
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert times.moment(text, NOW) is None


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("[2026-11-29 23:54:34 +0000] [1043] [ERROR] Worker", "2026-11-29 23:54:34+00:00"),
        ("2026-11-29 23:54:34,630 ERROR shop: x", "2026-11-29 23:54:34.630000"),
        ('{"level": "info", "time": "2026-11-29T23:54:34.5+01:00"}', "2026-11-29 23:54:34.500000+01:00"),
        ("2026/11/29 23:54:34 [error] 1031#1031: *12 upstream", "2026-11-29 23:54:34"),
        ('10.0.0.1 - - [29/Nov/2026:23:54:34 +0100] "GET /"', "2026-11-29 23:54:34+01:00"),
        ('[29/Nov/2026 23:54:34] "GET / HTTP/1.1" 200 3', "2026-11-29 23:54:34"),
        ("Sun Nov  1 23:54:34 2026 - *** uWSGI is running", "2026-11-01 23:54:34"),
        ("ValueError: no time at all", "None"),
        ("[99/Nov/2026:23:54:34 +0100]", "None"),
        ("[29/Abc/2026:23:54:34 +0100]", "None"),
    ],
)
def test_the_time_of_a_line_is_found(line: str, meant: str) -> None:
    assert str(times.in_line(line)) == meant


# Values


def problem(on_host: bool = True, **given: Any) -> str:
    defaults = {"app": "shop", "names": ["shop"], "lines": 50, "since": "", "level": "", "request": ""}
    return asked.problem({**defaults, **given}, NOW, on_host)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"app": "shp"}, "'shp' is not an application on this host. Set -e app=NAME. Available applications: shop."),
        ({"app": ""}, "no application is given"),
        ({"lines": "many"}, "many is not a valid number of lines"),
        ({"lines": 0}, "0 is not a valid number of lines"),
        ({"since": "soon"}, "since is 'soon'. Give a time, such as -e since='10 min ago'"),
        ({"since": "2026-11-29 15:00"}, "which is in the future: on this host, it is 2026-11-29 14:00:00"),
        ({"level": "loud"}, "level is 'loud'. Set -e level=error, or another of: debug, info, notice, warning, error"),
        ({"request": "short"}, "request is 'short'. Give the ID of one request"),
        ({"request": f"{ID} or 1"}, "Give the ID of one request"),
        ({"request": "*" * 32}, "Give the ID of one request"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(given: dict[str, Any], told: str) -> None:
    assert told in problem(**given)


def test_the_future_is_that_of_the_host() -> None:
    assert problem(on_host=False, since="2026-11-29 15:00") == ""


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("since=10 min ago", "10 min ago"),
        ("since='10 min ago'", "10 min ago"),
        ("since=14:30 app=shop", "14:30"),
        ("app=shop", ""),
    ],
)
def test_a_time_of_the_command_line_keeps_its_spaces(given: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", {"extra_vars": (given,)})
    assert spaced("since") == value


# Levels


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026/11/29 23:54:34 [error] 1031#1031: *12 upstream", "error"),
        ("2026/11/29 23:54:34 [crit] 1#1: x", "critical"),
        ("2026/11/29 23:54:34 [emerg] 1#1: x", "critical"),
        ("[2026-11-29 23:54:34 +0000] [1043] [WARNING] Worker", "warning"),
        ("ERROR:root:the message", "error"),
        ("2026-11-29 23:54:34,630 INFO shop: retried after ERROR 5", "info"),
        ('{"time": "x", "level": "error", "message": "INFO"}', "error"),
        ('{"severity":"Warning"}', "warning"),
        ("time=x level=fatal msg=y", "critical"),
        ("Traceback (most recent call last):", "error"),
        ("the word error in a sentence", None),
        ("ERRORS=3", None),
        ("sea levels: warn", None),
    ],
)
def test_the_level_of_a_line_is_what_it_names(line: str, level: str | None) -> None:
    assert levels.marked(line) == (levels.rank_of(level) if level else None)


@pytest.mark.parametrize(("status", "level"), [("200", "info"), ("404", "warning"), ("502", "error")])
def test_the_level_of_a_request_is_that_of_its_status(status: str, level: str) -> None:
    combined = f'10.0.0.1 - - [29/Nov/2026:23:54:34 +0000] "GET /\\x22 500 HTTP/1.1" {status} 265 "-" "x"'
    assert levels.of_request(combined) == levels.rank_of(level)
    assert levels.of_request(json.dumps({"uri": '/"status":500', "status": int(status)})) == levels.rank_of(level)


TRACEBACK = """\
[2026-11-29 13:00:01 +0000] [9] [ERROR] Error handling request /fail
Traceback (most recent call last):
  File "shop.py", line 3, in fail
    raise ValueError("x")
ValueError: x

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "shop.py", line 5, in fail
KeyError: 'y'
next line
[2026-11-29 13:00:02 +0000] [9] [INFO] Handled
"""


def test_a_traceback_belongs_to_its_error() -> None:
    records = records_of(read_text(TRACEBACK.split("\n")[:-1]))
    assert [(len(one.lines), one.level) for one in records] == [(11, levels.ERROR), (1, 1), (1, 1)]


def journal(*entries: tuple[str, Any, str, int]) -> str:
    lines = [
        {"MESSAGE": text, "_PID": pid, "PRIORITY": priority, "__REALTIME_TIMESTAMP": str(time * 1_000_000)}
        for text, pid, priority, time in entries
    ]
    return "\n".join(["cut off} ", *map(json.dumps, lines)])


def test_processes_that_write_at_the_same_time_are_told_apart() -> None:
    output = journal(
        ("Traceback (most recent call last):", 1, "6", 5),
        ("started", 2, "6", 5),
        ('  File "x"', 1, "6", 5),
        ("ValueError: x", 1, "6", 5),
        ("Failed with result 'exit-code'.", 3, "4", 6),
        ("said by logging", 4, "3", 7),
        (list(b"\xff\x1b[0m"), 5, "6", 8),
    )
    records = records_of([line for entry in entries_of(output) for line in entry])
    assert [(one.lines[0].process, len(one.lines), levels.LEVELS[one.level]) for one in records] == [
        ("1", 3, "error"),
        ("2", 1, "info"),
        ("3", 1, "warning"),
        ("4", 1, "error"),
        ("5", 1, "info"),
    ]
    assert records[0].time == 5


# Reports


def log(name: str, text: str, cut: bool = False) -> Log:
    return Log(name, read_text(text.split("\n")), cut)


def combined(identity: str, path: str, status: int, connection: str = "12", agent: str = "curl") -> str:
    return (
        f'10.0.0.1 - - [29/Nov/2026:13:00:05 +0000] "GET {path} HTTP/1.1" {status} 265 "-" "{agent}" '
        f"rt=2.150 uct=0.000, 0.000 uht=-, - urt=0.024, 2.1 cache=- id={identity} conn={connection}"
    )


APPLICATION = f"""\
[2026-11-29 13:00:00 +0000] [9] [INFO] Long before
[2026-11-29 13:00:04 +0000] [9] [INFO] Meanwhile
[2026-11-29 13:00:05 +0000] [9] [WARNING] Low stock, request {ID}
[2026-11-29 13:00:09 +0000] [9] [ERROR] Afterwards"""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """nginx writes local times. Here, this is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


ERRORS = """\
2026/11/29 12:00:05 [error] 7#7: *12 of an earlier connection with this number
2026/11/29 13:00:04 [error] 7#7: *12 upstream prematurely closed connection
2026/11/29 13:00:04 [error] 7#7: *13 of another connection, whose request says *12 and id"""


def test_one_request_is_followed_through_all_logs() -> None:
    access = log("access", f"{combined(OTHER, '/', 200)}\n{combined(ID, '/fail', 502)}")
    told = report(Wanted(50, request=ID), [log("shop", APPLICATION)], [log("errors", ERRORS)], [access])
    assert told[1:2] == [combined(ID, "/fail", 502)]
    assert told[4:5] == ["2026/11/29 13:00:04 [error] 7#7: *12 upstream prematurely closed connection"]
    assert told[7:8] == [f"[2026-11-29 13:00:05 +0000] [9] [WARNING] Low stock, request {ID}"]
    assert len(told) == 9


def test_an_application_that_does_not_log_the_id_shows_the_lines_of_that_time() -> None:
    access = log("access", combined(OTHER, "/", 200))
    told = report(Wanted(50, request=OTHER), [log("shop", APPLICATION)], [], [access])
    assert told[4:] == [MEANWHILE, *APPLICATION.split("\n")[1:3], ""]


@pytest.mark.attack("16.7", "A visitor writes the ID of another request into the access log, and hides it among others")
def test_a_visitor_does_not_write_the_id_of_another_request() -> None:
    forged = combined(OTHER, f"/?id={ID}", 200, agent=f"rt=9.000 uct=0 id={ID} conn=13")
    access = log("access", f"{forged}\n{combined(ID, '/fail', 502)}")
    told = report(Wanted(50, request=ID), [], [log("errors", ERRORS)], [access])
    assert told[1:3] == [combined(ID, "/fail", 502), ""]
    assert [line for line in told if "*13" in line] == []


def test_json_logs_are_followed_as_well() -> None:
    entry = {"time": "2026-11-29T13:00:05+00:00", "request_time": 2.15, "request_id": ID, "connection": 12}
    assert requests.accessed(json.dumps(entry)) == (ID, 2.15, "12")
    assert requests.accessed('{"request_id": ') == ("", 0.0, "")


def test_an_id_that_no_log_has_is_said() -> None:
    told = report(Wanted(50, request=ID), [], [], [log("access", combined(OTHER, "/", 200))])
    assert told[0].startswith(f"No access log of the site has the request ID {ID}")


def test_a_level_brings_the_requests_that_failed_with_their_ids() -> None:
    access = log("access", f"{combined(OTHER, '/', 200)}\n{combined(ID, '/fail', 502)}")
    told = report(Wanted(50, level=levels.ERROR), [log("shop", APPLICATION)], [log("errors", ERRORS)], [access])
    assert "[2026-11-29 13:00:09 +0000] [9] [ERROR] Afterwards" in told
    assert [line for line in told if "INFO" in line or "WARNING" in line or OTHER in line] == []
    assert combined(ID, "/fail", 502) in told


def test_a_time_leaves_out_what_was_before() -> None:
    start = datetime.datetime(2026, 11, 29, 13, 0, 5, tzinfo=datetime.UTC).timestamp()
    told = report(Wanted(50, start=start), [log("shop", APPLICATION + "\nno time of its own")], [], [])
    assert told[1:-1] == [*APPLICATION.split("\n")[2:], "no time of its own"]
    assert report(Wanted(50, start=start), [log("shop", "a\nb")], [], []) == ["== shop ==", TIMELESS, "a", "b", ""]


def test_a_search_that_ends_early_is_said() -> None:
    told = report(Wanted(50, level=levels.ERROR), [log("shop", APPLICATION, cut=True)], [], [])
    assert CUT in told
    assert CUT not in report(Wanted(2), [log("shop", APPLICATION, cut=True)], [], [])


@pytest.mark.attack("16.7", "An application writes escape sequences, and the terminal of an operator acts on them")
def test_no_line_of_a_log_acts_on_a_terminal() -> None:
    told = report(Wanted(50), [log("shop", "\x1b]0;x\x07 \u202e red\t.  ")], [], [])
    assert told == ["== shop ==", "\\x1b]0;x\\x07 \\u202e red .", ""]


def test_the_logs_of_a_site_are_those_of_the_inventory() -> None:
    """Applications with the same domain share a site, and so its logs."""
    shop: dict[str, Any] = {"name": "shop", "source": {"path": "x"}, "wsgi": "a:b", "site": {"domains": ["a.org"]}}
    admin = {**shop, "name": "admin", "site": {"domains": ["a.org"], "path": "/admin"}}
    blog = {**shop, "name": "blog", "site": {"domains": ["b.org"]}}
    assert site_logs("admin", [shop, admin, blog]) == site_logs("shop", [shop, admin, blog])
    assert site_logs("blog", [shop, admin, blog]) == {
        "access_logs": ["/var/log/nginx/blog.access.log"],
        "error_logs": ["/var/log/nginx/blog.error.log"],
    }


@pytest.mark.parametrize("offset", ["+9959", "-99:00", "+2400"])
def test_an_offset_that_no_place_has_is_no_time(offset: str) -> None:
    assert times.in_line(f"2026-01-31 14:30:00 {offset} a visitor wrote this") is None
    assert times.moment(f"2026-01-31T14:30:00{offset}", NOW) is None


@pytest.mark.attack("16.7", "A visitor writes lines into the access log that take minutes to search")
def test_a_search_for_a_request_takes_linear_time() -> None:
    agent = "rt=1.0 uct= id=a " * 450
    line = f'1.2.3.4 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "{agent}" rt=0.1 uct="0.1" id=x conn=1'
    begin = time.process_time()
    for _line in range(200):
        requests.accessed(line)
    assert time.process_time() - begin < 1
