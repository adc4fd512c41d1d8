# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Conclusions of the doctor, the checks and the status, including states that no test host can reach."""

from __future__ import annotations

import os
import re
import runpy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.files import first_file, newest_file
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.processes import last_traceback
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.sockets import blocked_at
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import CHECKS, check_table, checks
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import LINKS, diagnose, report
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import size, status_row, status_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import Verdict, judged
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.visits import reserved, resolved, wanted_headers
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from pyweb_data import merged

APP = {
    "name": "shop",
    "source": {"path": "shop"},
    "wsgi": "shop:app",
    "site": {"domains": ["shop.example.com"], "redirects": ["www.shop.example.com"]},
}
RELEASE = "20261121T010735Z-ab12cd34"
SOCKET = f"/run/webapps/shop.sockets/{RELEASE}.sock"
NOW = 1_800_000_000.0
DAY = 86400
OK = {"status": 200, "error": "", "headers": {"server": "nginx"}}
FOUND: dict[str, Any] = {
    "name": "shop",
    "question": {"path": "/", "host": "shop.example.com", "scheme": "http"},
    "account": True,
    "deployed": True,
    "release": RELEASE,
    "state": "good",
    "since": "2026-11-21T01:07:38Z",
    "process_manager": "systemd",
    "server": "gunicorn",
    "configured": True,
    "maintenance": False,
    "socket": {
        "link": SOCKET,
        "expected": SOCKET,
        "there": True,
        "is_socket": True,
        "inherited": True,
        "live": [{"path": SOCKET, "owner": "root", "group": "www-data", "mode": "0660", "is_socket": True}],
        "writer": "",
        "folder": {"path": "/run/webapps/shop.sockets", "owner": "root", "group": "root", "mode": "0711"},
        "blocked": "",
        "nginx": "ok",
        "stranger": "Permission denied",
    },
    "process": {
        "state": "running",
        "restarts": 0,
        "pid": 100,
        "workers": 3,
        "memory": 200 * 1024**2,
        "enabled": True,
        "others": [],
        "stopped": False,
        "unit": {
            "User": "shop",
            "Result": "success",
            "Restart": "always",
            "NoNewPrivileges": "yes",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "ProtectProc": "invisible",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
            "RestrictSUIDSGID": "yes",
            "CapabilityBoundingSet": "",
        },
    },
    "requests": {"since": NOW - 600, "total": 40, "count": 0, "failed": [], "large": 0},
    "refusals": [],
    "header_too_big": [],
    "unwritable": [],
    "groups": {"account": ["shop"], "process": ["shop"]},
    "deaths": {"count": 0, "recent": 0, "since": 0, "last": 0},
    "log": "",
    "traceback": "",
    "nginx_errors": [],
    "static": [],
    "certificates": [],
    "processes": [],
    "jobs": [],
    "files": {
        "env": {"path": "env", "owner": "root", "group": "shop", "mode": "0640"},
        "manifest": {"path": "release.json", "owner": "root", "group": "root", "mode": "0600"},
        "key": {"path": "key", "owner": "root", "group": "root", "mode": "0600"},
        "source": {"path": "src", "owner": "root", "group": "root", "mode": "0755"},
        "python": {"path": "venv/bin/python", "there": True, "venvs": "/srv/webapps/shop/venvs"},
    },
    "exposed": {},
    "reached": {},
    "tried": {"accounts": ["nobody"], "processes": [100], "secrets": 1, "unread": []},
    "told": [],
    "open_proc": [],
    "environment": {"version": "3.11.2", "folder": "/usr/bin", "provided": False, "fault": ""},
    "changeable": [],
    "direct": OK,
    "front": OK,
}
HOST: dict[str, Any] = {
    "name": "web1",
    "ahead": 0.0,
    "memory": {"total": 2**31, "available": 2**30},
    "disks": [{"path": "/srv/webapps", "size": 2**35, "free": 2**34, "files": 10**6, "files_free": 10**5}],
    "listeners": [{"port": 80, "address": "0.0.0.0", "program": "nginx", "pid": 5, "account": "root"}],
    "nginx": {
        "installed": True,
        "running": True,
        "complaint": "",
        "enabled": True,
        "live": "t",
        "loaded": "t",
        "restart": "always",
    },
    "supervisor": "none",
    "supervisor_enabled": None,
    "nginx_watch": None,
    "start": None,
    "init": "systemd",
    "time": NOW,
}


def visit(domain: str = "shop.example.com", *, redirect: bool = False, **answer: Any) -> dict[str, Any]:
    return {
        "domain": domain,
        "redirect": redirect,
        "address": "192.0.2.7",
        "resolved": ["192.0.2.7"],
        "answer": {**OK, **answer},
        "plain": None,
    }


VISITS = [
    visit(),
    visit("www.shop.example.com", redirect=True, status=301, headers={"location": "http://shop.example.com/"}),
]


def view(
    found: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    visits: list[dict[str, Any]] | None = None,
    balancers: list[dict[str, Any]] | None = None,
    **app: Any,
) -> View:
    (normal,), problems = normalised([merged(APP, app)])
    assert problems == []
    seen = VISITS if visits is None else visits
    return View(normal, merged(FOUND, found or {}), merged(HOST, host or {}), seen, balancers or [])


def first(**changes: Any) -> tuple[dict[str, Any], bool]:
    """The first reported problem, and whether visitors notice it."""
    told = diagnose(view(**changes))
    return (told["broken"] or told["warnings"])[0], bool(told["broken"])


UPLOADS = {"url": "/media/", "folder": "/srv/shared/media", "there": True, "shared": True}
DOWN = {"status": None, "error": "there is no socket", "headers": {}}
DEAD = {"process": {"state": "failed"}, "socket": {"there": False}, "direct": DOWN, "front": {**OK, "status": 502}}


def test_a_site_that_works_has_nothing_wrong() -> None:
    links = [name for name in LINKS if name != "balancer"]
    assert diagnose(view()) == {"links": links, "broken": [], "warnings": []}
    assert [one for one in checks(view()) if one["problem"]] == []


def disk(free: int = 2**34, files_free: int = 10) -> dict[str, Any]:
    return {"disks": [{"path": "/srv", "size": 2**35, "free": free, "files": 100, "files_free": files_free}]}


TLS = {"mode": "provided", "certificate": "shop.crt", "key": "shop.key"}
GOOD_CERTIFICATE = {
    "fingerprint": "f",
    "names": ["shop.example.com", "www.shop.example.com"],
    "missing": [],
    "ends": NOW + 200 * DAY,
    "due_at": NOW + 100 * DAY,
    "end_date": "2027-08-03",
}


def certified(disk: dict[str, Any] | None = None, shown: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A view of a site with TLS, with changes to the certificate on the disk and to the one that visitors get."""
    one = {
        "site": "shop",
        "mode": more.pop("mode", "provided"),
        "names": ["shop.example.com", "www.shop.example.com"],
        "port": 443,
        "path": "/etc/nginx/pyweb/certificates/shop.pem",
        "key": {"path": "/etc/nginx/pyweb/certificates/shop.pem", "owner": "root", "group": "root", "mode": "0600"},
        "problem": "",
        "disk": {**GOOD_CERTIFICATE, **disk} if disk is not None else {},
        "shown": {**GOOD_CERTIFICATE, **shown} if shown is not None else {},
        **more,
    }
    tls = TLS if one["mode"] == "provided" else {"mode": one["mode"]}
    moved = {"status": 301, "error": "", "headers": {"location": "https://shop.example.com/"}}
    away = visit("www.shop.example.com", redirect=True, status=301, headers={"location": "https://shop.example.com/"})
    return {
        "site": {"tls": tls},
        "found": {"certificates": [one]},
        "host": {"listeners": [*HOST["listeners"], {**HOST["listeners"][0], "port": 443}]},
        "visits": [{**visit(), "plain": moved}, {**away, "plain": moved}],
    }


SOON = {"ends": NOW + 9.5 * DAY, "due_at": NOW - DAY, "end_date": "2027-01-24"}
PAST = {"ends": NOW - DAY, "end_date": "2027-01-14"}


def background(**changes: Any) -> dict[str, Any]:
    one = {"service": "shop.worker", "state": "running", "restarts": 0, "up": 900.0, "log": "", "traceback": ""}
    one["unit"] = FOUND["process"]["unit"]
    return {"found": {"processes": [{**one, **changes}]}}


def job(**changes: Any) -> dict[str, Any]:
    one = {
        "name": "nightly",
        "timeout": 600,
        "state": "succeeded",
        "status": 0,
        "started": "2027-01-14T00:00:00Z",
        "seconds": 3,
        "scheduled": True,
        "log": "",
        "traceback": "",
    }
    return {"found": {"jobs": [{**one, **changes}]}}


# Changes to a healthy view, whether visitors notice, the link, and parts of the message.
STATES: list[tuple[dict[str, Any], bool, str, list[str]]] = [
    ({"host": disk(0), "found": DEAD}, True, "process", ["/srv is full", "make room"]),
    ({"found": {**DEAD, "log": "OSError: [Errno 28] No space left on device"}}, True, "process", ["a disk is full"]),
    ({"host": disk(0)}, False, "disk", ["the disk of /srv is full: 0 MiB are left", "webapp_keep_releases"]),
    ({"host": disk(files_free=0)}, False, "disk", ["no further file can be made"]),
    ({"host": disk(2**30)}, False, "disk", ["nearly full: 1024 MiB of 32768 MiB"]),
    ({"host": {"memory": {"available": 2**20}}}, False, "memory", ["1 MiB of 2048 MiB", "those of shop take 200 MiB"]),
    ({"host": {"ahead": 400.0}}, False, "clock", ["400 seconds ahead of", "systemd-timesyncd"]),
    ({"host": {"ahead": -45.0}}, False, "clock", ["45 seconds behind"]),
    (
        {"found": merged(DEAD, {"process": {"unit": {"Result": "oom-kill", "MemoryMax": "536870912"}}})},
        True,
        "process",
        ["more memory than it may (limits.memory: 536870912)", "raise limits.memory"],
    ),
    (
        {"found": merged(DEAD, {"process": {"unit": {"Result": "signal", "ExecMainStatus": "9"}}})},
        True,
        "process",
        ["killed by signal 9", "restart.yml -e app=shop"],
    ),
    (
        {"found": merged(DEAD, {"process": {"unit": {"Result": "exit-code", "ExecMainStatus": "226"}}})},
        True,
        "process",
        ["could not start it: its sandbox can't be made"],
    ),
    ({"found": merged(DEAD, {"account": False})}, True, "process", ["the account 'shop' is missing", "site.yml"]),
    ({"found": merged(DEAD, {"process": {"said": "can't find command"}})}, True, "process", ["can't find command"]),
    (
        {"found": {"process": {"restarts": 4}, "traceback": 'File "/srv/src/shop.py", line 3\nValueError: x'}},
        False,
        "process",
        ["started again 4 times", "ValueError: x (shop.py, line 3)"],
    ),
    (
        {"found": merged(DEAD, {"process": {"state": "stopped"}, "traceback": "ValueError: long ago"})},
        True,
        "process",
        ["it was stopped by hand"],
    ),
    (
        {"found": merged(DEAD, {"process": {"state": "stopped"}, "interrupted": True}), "switch": "stop_first"},
        True,
        "process",
        ["a deployment has stopped it, and was interrupted", "deploy again: ansible-playbook site.yml"],
    ),
    (
        {"found": merged(DEAD, {"process": {"state": "running", "restarts": 1}, "traceback": "ValueError: x"})},
        True,
        "process",
        ["1 times so far (a crash loop)", "ValueError: x"],
    ),
    ({"host": {"nginx": {"installed": False}, "listeners": []}}, True, "listener", ["not installed"]),
    (
        {"host": {"nginx": {"running": False, "result": "oom-kill"}, "listeners": []}},
        True,
        "listener",
        ["memory ran out"],
    ),
    ({"host": {"listeners": []}}, True, "listener", ["does not listen on port 80", "without this site"]),
    ({"host": {"nginx": {"loaded": "old"}}}, False, "nginx configuration", ["not reloaded"]),
    ({"visits": [visit(status=None, error="timed out")]}, True, "port", ["it answers on the host", "a firewall"]),
    (
        {"visits": [{**visit(), "resolved": ["198.51.100.9"]}]},
        False,
        "name",
        ["leads to 198.51.100.9", "at 192.0.2.7", "load balancer"],
    ),
    ({"found": {"configured": False}}, True, "site", ["another site answers", "no site for the name shop.example.com"]),
    ({"found": {"maintenance": True}}, False, "maintenance", ["503", "maintenance.yml -e maintenance=off -e app=shop"]),
    (
        {"host": {"drained": {"since": "2026-11-30T01:02:03Z", "by": "ada@desk\x1b[2J"}}},
        False,
        "drain",
        ["drained since 2026-11-30 01:02:03 (UTC) by ada@desk", "drain.yml -e drain=off --limit"],
    ),
    ({"found": {"socket": {"link": "/x"}}}, False, "upstream link", ["leads to /x", "something answers there"]),
    ({"found": {"socket": {"nginx": "Connection refused"}, "front": DOWN, "direct": DOWN}}, True, "site", []),
    (
        {"found": {"socket": {"nginx": "Connection refused"}, "front": {**OK, "status": 502}, "direct": DOWN}},
        True,
        "socket",
        ["nothing listens on", "listens elsewhere"],
    ),
    (
        {"found": {"socket": {"blocked": "/run/webapps"}, "front": {**OK, "status": 502}}},
        True,
        "socket",
        ["may not pass /run/webapps"],
    ),
    (
        {"found": {"front": {**OK, "status": 504}, "nginx_errors": ["upstream timed out"]}},
        True,
        "answer through nginx",
        ["through nginx comes status 504", "nginx says: upstream timed out"],
    ),
    (
        {"found": {"direct": {**OK, "status": 500}, "front": {**OK, "status": 500}}},
        True,
        "answer on the socket",
        ["which its log does not show"],
    ),
    (
        {"found": {"direct": {**OK, "status": 405}, "front": {**OK, "status": 405}}},
        True,
        "answer on the socket",
        ["it refuses the request for /", "health.path"],
    ),
    (
        {
            "found": {
                "static": [
                    {"url": "/s/", "there": True, "blocked": "", "asked": "/s/x", "answer": {**OK, "status": 404}}
                ]
            }
        },
        True,
        "static paths",
        ["/s/x is there, but nginx answers status 404"],
    ),
    (
        {"found": {"static": [{**UPLOADS, "blocked": "/srv/shared/media/a.jpg", "mode": "0600", "lists": True}]}},
        True,
        "static paths",
        ["may not read /srv/shared/media/a.jpg", "the mode 0600, as tempfile does", "os.chmod(path, 0o644)"],
    ),
    (
        {"found": {"static": [{**UPLOADS, "blocked": "/srv/shared/media/a", "mode": "0750", "lists": False}]}},
        True,
        "static paths",
        ["has no access control lists", "mode is 0750", "chmod -R go+rX /srv/shared/media"],
    ),
    # Certificates
    (
        certified(PAST, PAST),
        True,
        "certificate",
        ["has expired on 2027-01-14", "the inventory has no new one", "site.yml"],
    ),
    (
        certified(PAST, PAST, mode="selfsigned"),
        True,
        "certificate",
        ["its renewal does not work", "journalctl -u pyweb-certificates"],
    ),
    (certified({}, PAST), True, "certificate", ["has expired", "nginx was not reloaded after its renewal"]),
    (
        certified({"missing": ["www.shop.example.com"]}, {"missing": ["www.shop.example.com"]}),
        True,
        "certificate",
        ["visitors of www.shop.example.com get", "shop.pem does not have every name", "site.tls.certificate"],
    ),
    (
        certified({}, {"fingerprint": "x", "names": ["other.test"], "missing": ["shop.example.com"]}),
        True,
        "certificate",
        ["get a certificate for other.test", "a file in conf.d or sites-enabled has the name", "nginx -T"],
    ),
    (
        certified({}, {"fingerprint": "x"}),
        False,
        "certificate",
        ["serves another certificate than /etc/nginx/pyweb/certificates/shop.pem", "not reloaded after a renewal"],
    ),
    (certified(None, {}), False, "certificate", ["shop.pem is not there", "restart or a boot", "removed or changed"]),
    (
        certified(None, {}, problem="its key belongs to another certificate"),
        False,
        "certificate",
        ["can not be served: its key belongs to another certificate"],
    ),
    (certified({}, None), True, "certificate", ["serves no certificate on port 443", "site.yml"]),
    (
        {**certified(None, None, mode="acme"), "host": {}},
        True,
        "certificate",
        ["served over http alone", "the authority has not given one", "port 80 of every name"],
    ),
    (certified(SOON, SOON), False, "certificate", ["ends in 9 days, on 2027-01-24", "the inventory has no new one"]),
    (certified(SOON, SOON, mode="acme"), False, "certificate", ["ends in 9 days", "its renewal does not work"]),
    (
        {
            **certified({}, None),
            "host": {"nginx": {"running": False, "complaint": 'cannot load certificate "x.pem"'}, "listeners": []},
        },
        True,
        "listener",
        ["cannot load certificate", "put the certificate back"],
    ),
    # In the background
    (
        background(state="failed", restarts=5, traceback='File "/srv/src/tasks.py", line 3\nKeyError: 1'),
        True,
        "background processes",
        ["shop.worker does not run: it has ended", "KeyError: 1 (tasks.py, line 3)", "restart.yml -e app=shop"],
    ),
    (
        background(restarts=2, up=1.0, log="beginning\nno broker at redis:6379\n"),
        True,
        "background processes",
        [
            "2 times so far (a crash loop)",
            "the last line of its log is: no broker at redis:6379",
            "logs.yml -e app=shop",
        ],
    ),
    (background(state="starting", restarts=1), True, "background processes", ["1 times so far", "shows no reason"]),
    (
        background(state="stopped"),
        True,
        "background processes",
        ["shop.worker does not run: it is stopped", "stopped by hand"],
    ),
    (background(restarts=3), False, "background processes", ["shop.worker runs, but had to be started again 3 times"]),
    (
        job(state="failed", status=2, traceback='File "/srv/src/tasks.py", line 9\nValueError: x'),
        False,
        "jobs",
        [
            "the last run of the job nightly, at 2027-01-14T00:00:00Z, ended with status 2",
            "ValueError: x (tasks.py, line 9)",
        ],
    ),
    (job(state="timed out", status=124), False, "jobs", ["took longer than 600 seconds", "raise its timeout"]),
    (job(scheduled=False), False, "jobs", ["nothing starts the job nightly: its timer is not active"]),
    ({**job(scheduled=False), "host": {"init": "none"}}, False, "jobs", ["cron does not run"]),
]


@pytest.mark.parametrize(("changes", "noticed", "link", "words"), STATES)
def test_the_cause_is_named(changes: dict[str, Any], noticed: bool, link: str, words: list[str]) -> None:
    found, broken = first(**changes)
    assert (found["link"], broken) == (link, noticed)
    text = f"{found['seen']}\n{found['cause']}\n{found['fix']}"
    for word in words:
        assert word in text
    assert all(found[key] for key in ("seen", "cause", "fix"))


WELL = [
    certified({}, {}),
    # Valid for six days and renewed every four, so it always ends soon.
    certified({"ends": NOW + 5 * DAY, "due_at": NOW + DAY}, {"ends": NOW + 5 * DAY, "due_at": NOW + DAY}, mode="acme"),
    background(),
    background(state="starting"),
    background(restarts=1, up=5.0),
    job(),
    job(state=None, status=None, started=None),
    job(state="running", status=None),
]


@pytest.mark.parametrize("changes", WELL)
def test_what_is_well_is_left_alone(changes: dict[str, Any]) -> None:
    told = diagnose(view(**changes))
    assert (told["broken"], told["warnings"]) == ([], [])


@pytest.mark.parametrize(
    ("part", "changes"), [("found", {"configured": False}), ("host", {"nginx": {"running": False}})]
)
def test_a_certificate_is_no_cause_where_nginx_does_not_serve_the_site(part: str, changes: dict[str, Any]) -> None:
    given = certified({}, PAST)
    assert "certificate" in [one["link"] for one in diagnose(view(**given))["broken"]]
    given[part] = merged(given[part], changes)
    assert "certificate" not in [one["link"] for one in diagnose(view(**given))["broken"]]


def test_what_visitors_do_not_notice_is_said_so() -> None:
    told = diagnose(view(**background(state="failed")))
    assert report("web1", "shop", told)[0] == (
        "shop on web1 answers its visitors, but a part of it DOES NOT WORK. "
        "The first failing part: background processes"
    )


def test_what_was_never_deployed_is_told_alone() -> None:
    nothing = {"release": "", "deployed": False}
    assert [one["link"] for one in diagnose(view(found=nothing))["broken"]] == ["deployment"]
    assert "first deployment failed" in diagnose(view(found={"release": ""}))["broken"][0]["cause"]


def test_a_report_names_the_first_link_then_the_others() -> None:
    told = diagnose(view(found=DEAD, host={"ahead": 99.0}))
    lines = report("web1", "shop", told)
    assert lines[0] == "shop on web1 DOES NOT WORK. The first failing part: process"
    assert lines[1].startswith("    seen:   ")
    assert "  watch: clock" in lines
    lines = report("web1", "shop", diagnose(view()))
    assert lines[0] == "shop on web1 works."
    assert lines[1].startswith("  Checked: name, port,")


# Workers that die again and again

LOOP = {
    "count": 12,
    "recent": 5,
    "since": NOW - 600,
    "last": NOW - 5,
    "reason": "[ERROR] Worker (pid:7) was sent SIGSEGV!",
}


def test_workers_that_die_again_and_again_are_reported_although_the_site_answers() -> None:
    seen = view(found={"deaths": LOOP, "traceback": 'File "/srv/src/shop.py", line 3\nValueError: x'})
    lines = report("web1", "shop", diagnose(seen))
    assert lines[0].startswith("shop on web1 answers its visitors, but a part of it DOES NOT WORK")
    text = "\n".join(lines)
    for words in ("its workers died 5 times in the last hour, since 20", "SIGSEGV", "ValueError: x (shop.py, line 3)"):
        assert words in text
    row = status_row(seen)
    assert (row["restarts"], row["worker_deaths"]) == (0, 12)
    assert row["health"].startswith("ok (200), BUT its workers died 5 times in the last hour, since")
    assert "0, of workers 12" in status_table([row])[1]


@pytest.mark.parametrize(
    "found",
    [
        {"deaths": {**LOOP, "recent": 2}},
        {"deaths": None},
        {"process": {"restarts": 9, "started": NOW - 7200}},
        {"process": {"restarts": 2, "started": NOW - 7}},
    ],
)
def test_few_or_old_deaths_are_no_alarm(found: dict[str, Any]) -> None:
    seen = view(found=found)
    assert [one["check"] for one in checks(seen) if one["problem"]] == []
    assert status_row(seen)["health"] == "ok (200)"


def test_a_process_that_ends_again_and_again_breaks_the_promise() -> None:
    seen = view(found={"process": {"restarts": 3, "started": NOW - 7}})
    (problem,) = [one["problem"] for one in checks(seen) if one["problem"]]
    assert "its process was started again 3 times, the last time at 20" in problem
    assert "its log shows no reason" in problem
    seen = view(found={"process": {"restarts": 3, "started": 1e30}})
    assert "the last time at an unknown time" in next(one["problem"] for one in checks(seen) if one["problem"])


# The checks, each broken once

BUILD = {"path": "/b", "owner": "pyweb-b-1", "mode": "0700", "wanted": "pyweb-b-1"}
WORLDS = {"build": BUILD, "systemd": True, "problem": "", "no_new_privs": "1", "capabilities": "", "in_unit": True}
BROKEN: dict[str, dict[str, Any]] = {
    "the release runs and is good": {"found": {"process": {"state": "failed"}}},
    "no other release runs": {"found": {"process": {"others": ["20250101T000000Z-0"]}}},
    "it comes back after a boot": {"found": {"process": {"enabled": False}}},
    "nginx runs what is configured": {"host": {"nginx": {"loaded": "other"}}},
    "it is started again when it ends": {"found": {"process": {"unit": {"Restart": "on-failure"}}}},
    "its workers stay alive": {"found": {"deaths": LOOP}},
    "nginx is started again when it ends": {"host": {"nginx": {"restart": "on-failure"}}},
    "it listens on loopback only": {
        "host": {
            "listeners": [{"port": 5000, "address": "0.0.0.0", "program": "flask", "pid": 9, "account": "shop"}],
        }
    },
    "every domain is healthy": {"visits": [visit(status=502)]},
    "every redirect leads to the first domain": {"visits": [visit("www.shop.example.com", redirect=True)]},
    "http leads to https": {**certified({}, {}), "visits": [{**visit(), "plain": {**OK, "headers": {}}}]},
    "its certificate is valid": certified(PAST, PAST),
    "its headers are set": {"site": {"header_preset": "basic"}},
    "nginx hides its version": {"visits": [visit(headers={"server": "nginx/1.22.1"})]},
    "static files come from nginx": {"found": {"static": [{"url": "/s/", "folder": "/f", "there": False}]}},
    "secrets are for the application alone": {"found": {"files": {"env": {"mode": "0644"}}}},
    "no other account can read its files": {"found": {"exposed": {"path": "/x", "account": "blog"}}},
    "no other account can reach its processes": {"found": {"reached": {"path": "process 7: x", "account": "blog"}}},
    "its command lines hold no secret": {"found": {"told": ["process 7 has API_KEY"]}},
    "it sees no processes of others": {"found": {"process": {"unit": {"ProtectProc": "default"}}}},
    "it can not change its own code": {"found": {"changeable": ["/srv/webapps/shop/src/app.py has mode 0666"]}},
    "its environment is as installed": {"found": {"environment": {"fault": "its interpreter is gone"}}},
    "what its builds trust is closed to it": {"found": {"worlds": {**WORLDS, "build": {**BUILD, "mode": "0755"}}}},
    "its commands are sandboxed": {"found": {"worlds": {**WORLDS, "in_unit": False}}},
    "only nginx reaches its socket": {"found": {"socket": {"stranger": "ok"}}},
    "its sockets belong to root": {"found": {"socket": {"writer": "shop"}}},
    "its units are hardened": {"found": {"process": {"unit": {"ProtectSystem": "no"}}}},
    "its background processes run": background(state="failed"),
    "its jobs are scheduled": job(scheduled=False),
}


def test_every_check_is_broken_once() -> None:
    assert list(BROKEN) == [check.__name__.replace("_", " ") for check in CHECKS]


def test_what_pytest_verifies_is_every_check() -> None:
    path = Path(__file__).resolve().parents[2] / "verify" / "test_promises.py"
    assert list(runpy.run_path(str(path))["PROMISES"]) == list(BROKEN)


LIVE = {"path": SOCKET, "owner": "root", "group": "www-data", "mode": "0660", "is_socket": True}
FOLDER = {"path": "/run/webapps/shop.sockets", "owner": "root", "group": "root", "mode": "0711"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inherited": False}, "makes its own sockets: run the playbook site"),
        ({"live": [{**LIVE, "owner": "shop"}]}, "is shop:www-data 0660"),
        ({"live": [{**LIVE, "mode": "0666"}]}, "is root:www-data 0666"),
        ({"live": [LIVE, {**LIVE, "is_socket": False}]}, "is not a socket"),
        ({"live": [LIVE, {}]}, "a socket is missing"),
        ({"folder": {**FOLDER, "owner": "shop"}}, "shop.sockets is shop:root 0711"),
        ({"folder": {**FOLDER, "mode": "0733"}}, "shop.sockets is root:root 0733"),
        ({"writer": "blog"}, "the account blog can write to the folder of the sockets"),
    ],
)
def test_sockets_that_an_application_could_replace_are_told(changes: dict[str, Any], words: str) -> None:
    told = {one["check"]: one["problem"] for one in checks(view(found={"socket": changes}))}
    assert words in told["its sockets belong to root"]


@pytest.mark.parametrize("name", BROKEN)
def test_each_check_fails_for_what_it_names(name: str) -> None:
    failed = [one["check"] for one in checks(view(**BROKEN[name])) if one["problem"]]
    assert failed == [name]


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        (certified({}, {"fingerprint": "x"}), "its certificate is valid", "nginx serves another one than"),
        (certified({}, None), "its certificate is valid", "nginx serves none on port 443"),
        (certified(None, {}), "its certificate is valid", "it is not there"),
        (
            certified({}, {}, key={"path": "shop.pem", "owner": "root", "group": "root", "mode": "0644"}),
            "secrets are for the application alone",
            "shop.pem has mode 0644",
        ),
        (
            background(unit={"ProtectSystem": "full", "User": "shop"}),
            "its units are hardened",
            "shop.worker: ProtectSystem=full",
        ),
    ],
)
def test_a_check_tells_what_it_found(changes: dict[str, Any], name: str, words: str) -> None:
    (problem,) = [one["problem"] for one in checks(view(**changes)) if one["check"] == name]
    assert words in problem


def test_the_headers_of_a_place_are_those_of_its_site_and_its_own() -> None:
    site = {"header_preset": "strict", "headers": {"X-Own": "1", "X-Frame-Options": ""}}
    place = {"path": "/healthz", "headers": {"X-Place": "2"}}
    names = wanted_headers(view(health={"path": "/healthz"}, site={**site, "locations": [place]}).app)
    assert {"X-Own", "X-Place", "Permissions-Policy"} < set(names)
    assert not {"X-Frame-Options", "Strict-Transport-Security"} & set(names)


def test_what_does_not_hold_is_printed_first() -> None:
    told = checks(view(found={"process": {"enabled": False}}))
    lines = check_table("web1", [{"name": "shop", "checks": told}])
    applicable = len([one for one in told if one["state"] != "n/a"])
    assert lines[0] == f"shop on web1: {applicable - 1} of {applicable} checks passed"
    assert lines[1] == "  FAILED it comes back after a boot: the instance of the live release is not enabled"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"found": {"open_proc": None}}, "supervisor has no sandbox"),
        ({"found": {"open_proc": [7]}}, "processes 7 see all others"),
        ({"systemd": {"ProtectProc": "default"}}, "the inventory sets ProtectProc: default"),
    ],
)
def test_a_promise_that_does_not_apply_is_told_apart(changes: dict[str, Any], words: str) -> None:
    told = checks(view(**changes))
    lines = check_table("web1", [{"name": "shop", "checks": told}])
    assert not [line for line in lines if "FAILED" in line]
    assert [line for line in lines if line.startswith(f"  n/a    it sees no processes of others: {words}")]


def test_the_status_names_a_drained_host_once() -> None:
    row = status_row(view(host={"drained": {"since": "2026-11-30T01:02:03Z", "by": "ada@desk"}}))
    lines = [line for line in status_table([row, row]) if "drained" in line]
    assert len(lines) == 1
    assert "is drained since 2026-11-30 01:02:03 (UTC) by ada@desk: it gets no requests from balancers." in lines[0]


def test_what_the_inventory_loosens_is_no_broken_promise() -> None:
    loose = view(found={"process": {"unit": {"ProtectHome": "no"}}}, systemd={"ProtectHome": "no"})
    assert [one for one in checks(loose) if one["problem"]] == []


def test_supervisor_confines_nothing_and_is_not_blamed_for_it() -> None:
    changed = view(found={"process_manager": "supervisor", "process": {"autorestart": "true"}})
    del changed.found["process"]["unit"]
    told = {one["check"]: one for one in checks(changed)}
    assert [one for one in told.values() if one["problem"]] == []
    assert "supervisor has no sandbox" in told["its units are hardened"]["note"]
    assert told["it is started again when it ends"]["state"] == "ok"


# A promise that has looked at nothing is not ok


def blank(value: Any) -> Any:
    """The same structure with nothing in it: what an inspection reports that could not look."""
    if isinstance(value, dict):
        return {key: blank(one) for key, one in value.items()}
    return {str: "", list: [], bool: False, int: 0, float: 0.0}.get(type(value))


def test_no_promise_is_ok_without_a_look() -> None:
    nothing = {**blank(FOUND), "release": RELEASE, "process_manager": "systemd"}
    nothing["process"] = {**nothing["process"], "state": "", "others": None, "unit": None}
    # The link to the live release is no look at a socket, and unknown errors are no look at a process.
    seen = View(view().app, nothing, {**blank(HOST), "time": NOW}, [])
    told = checks(seen)
    assert [one["check"] for one in told if one["state"] == "ok"] == []
    assert all(one["problem"] or one["note"] for one in told)


def test_without_a_release_only_that_is_said_to_fail() -> None:
    told = checks(view(found={"release": ""}))
    assert [one["check"] for one in told if one["state"] == "failed"] == ["the release runs and is good"]
    assert {one["note"] for one in told[1:]} == {"no release is live"}


def test_a_verdict_of_nothing_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="has looked at nothing"):
        Verdict()
    with pytest.raises(ValueError, match="has looked at nothing"):
        judged([], [], nothing="")
    assert judged([], [], nothing="there is none").state == "n/a"
    assert judged(["one"], [], nothing="there is none").state == "ok"
    assert judged([], ["it is bad"], nothing="there is none").state == "failed"


NO_INIT: dict[str, Any] = {"init": "none", "start": {"named": False, "ran": False}, "nginx_watch": "running"}
EMPTY_FOLDER = {"url": "/media/", "folder": "/srv/media", "there": True, "blocked": "", "shared": True}


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"host": NO_INIT}, "it comes back after a boot", "does not run /usr/local/sbin/pyweb-start"),
        ({"visits": [visit()]}, "every redirect leads to the first domain", "site.redirects is empty"),
        ({}, "http leads to https", "the site has no TLS"),
        ({}, "its certificate is valid", "the site has no TLS"),
        ({}, "its headers are set", "the inventory declares no header"),
        ({"visits": [visit(**DOWN)]}, "nginx hides its version", "did not answer"),
        ({}, "static files come from nginx", "site.static is empty"),
        ({"found": {"static": [EMPTY_FOLDER]}}, "static files come from nginx", "has no file yet"),
        ({"found": {"tried": {"accounts": []}}}, "no other account can read its files", "did not run as root"),
        ({"found": {"tried": {"accounts": []}}}, "no other account can reach its processes", "did not run as root"),
        ({"found": {"tried": {"processes": []}}}, "no other account can reach its processes", "no process of its"),
        ({"found": {"tried": {"secrets": 0}}}, "its command lines hold no secret", "no password or key"),
        ({"found": {"worlds": {**WORLDS, "systemd": False}}}, "its commands are sandboxed", "without systemd"),
        ({}, "what its builds trust is closed to it", "did not run as root"),
        ({"found": {"socket": {"nginx": "", "stranger": ""}}}, "only nginx reaches its socket", "did not run as root"),
        ({"found": {"deaths": None}}, "its workers stay alive", "does not record workers"),
        ({"host": {"nginx": {"live": None}}}, "nginx runs what is configured", "another tool configures nginx"),
        ({"systemd": {"Restart": "no"}}, "it is started again when it ends", "the inventory sets Restart"),
        ({}, "its background processes run", "no background process"),
        ({}, "its jobs are scheduled", "no job"),
    ],
)
def test_what_was_not_looked_at_is_said_with_the_reason(changes: dict[str, Any], name: str, words: str) -> None:
    (told,) = [one for one in checks(view(**changes)) if one["check"] == name]
    assert (told["state"], told["problem"]) == ("n/a", "")
    assert words in told["note"]


def test_a_part_that_was_not_looked_at_is_told_beside_ok() -> None:
    asked = {"url": "/s/", "folder": "/s", "there": True, "blocked": "", "asked": "/s/x", "answer": OK}
    told = checks(view(found={"static": [asked, EMPTY_FOLDER]}))
    (line,) = [line for line in check_table("web1", [{"name": "shop", "checks": told}]) if "static files" in line]
    assert line.startswith("  ok     static files come from nginx (not looked at: /media/ was not requested")


@pytest.mark.parametrize("start", [{"named": True, "ran": False}, {"named": False, "ran": True}])
def test_a_container_whose_start_command_starts_the_site_keeps_the_promise(start: dict[str, bool]) -> None:
    told = {one["check"]: one for one in checks(view(host={**NO_INIT, "start": start}))}
    assert told["it comes back after a boot"]["state"] == "ok"


def test_a_boot_has_to_start_supervisor_too() -> None:
    changes = {"found": {"process_manager": "supervisor"}, "host": {"supervisor_enabled": False}}
    told = {one["check"]: one for one in checks(view(**changes))}
    assert told["it comes back after a boot"]["problem"] == "the service supervisor is not enabled"


def test_the_watch_of_nginx_has_to_run_without_an_init() -> None:
    nginx = {key: value for key, value in HOST["nginx"].items() if key != "restart"}
    seen = view()
    for watch, state in (("running", "ok"), ("fatal", "failed"), (None, "n/a")):
        changed = View(seen.app, seen.found, {**seen.host, "nginx": nginx, "nginx_watch": watch}, seen.visits)
        told = {one["check"]: one for one in checks(changed)}
        assert told["nginx is started again when it ends"]["state"] == state


# The status


def test_a_table_shows_what_is_known() -> None:
    rows = [status_row(view()), status_row(view(found={"release": "", "since": "", "front": {**OK, "status": 404}}))]
    lines = status_table(rows)
    assert lines[0].startswith("host  application  release ")
    assert re.split(r" {2,}", lines[0])[3:] == [
        *("revision", "since (UTC)", "server", "python", "process manager", "workers", "memory", "restarts"),
        *("processes", "certificate", "health", "jobs"),
    ]
    assert re.split(r" {2,}", lines[1])[6:] == ["3.11.2", "systemd", "3", "200 MiB", "0", "-", "-", "ok (200)", "-"]
    assert re.split(r" {2,}", lines[2])[8:] == ["-", "-", "-", "-", "-", "not deployed", "-"]


def cells(row: dict[str, Any]) -> dict[str, str]:
    """A row as the table shows it, by its columns."""
    head, line = (re.split(r" {2,}", line) for line in status_table([row]))
    return dict(zip(head, line, strict=True))


def test_the_days_of_the_certificate_that_ends_first_are_shown() -> None:
    assert status_row(view())["certificate_days"] is None
    row = status_row(view(**certified({}, {"ends": NOW + 12.9 * DAY})))
    assert (row["certificate_days"], cells(row)["certificate"]) == (12, "12 days")
    assert status_row(view(**certified(PAST, PAST)))["certificate_days"] == -1


def test_background_work_is_shown() -> None:
    told = background()["found"] | job(state="failed", status=2)["found"]
    told["processes"].append({**told["processes"][0], "service": "shop.beat", "state": "failed", "restarts": 5})
    row = status_row(view(found=told))
    assert row["processes"][1] == {"service": "shop.beat", "state": "failed", "restarts": 5}
    assert row["jobs"] == [{"name": "nightly", "state": "failed", "status": 2, "started": "2027-01-14T00:00:00Z"}]
    assert cells(row)["processes"] == "1/2"
    assert cells(row)["jobs"] == "nightly: FAILED (2) 2027-01-14 00:00:00"
    assert cells(status_row(view(**job())))["jobs"] == "nightly: succeeded 2027-01-14 00:00:00"
    assert cells(status_row(view(**job(state=None))))["jobs"] == "nightly: has not run yet"


def test_a_process_that_is_down_is_told_with_the_answer() -> None:
    assert status_row(view(found=DEAD))["health"] == "BAD: status 502; its process is failed"


def test_sizes_are_for_people() -> None:
    assert size(200 * 1024**2) == "200 MiB"
    assert size(12 * 1024**3) == "12 GiB"


# Gathered facts


LOG = """[2026-11-21] starting
Traceback (most recent call last):
  File "/srv/old/src/x.py", line 1, in <module>
OldError: long ago
[2026-11-21] again
Traceback (most recent call last):
  File "/venv/gunicorn/arbiter.py", line 608, in spawn_worker
    worker.init_process()
  File "/srv/webapps/shop/releases/1/src/shop.py", line 7, in <module>
    os.environ["X"]
  File "<frozen os>", line 679, in __getitem__
KeyError: 'X'
[2026-11-21] Worker exiting
"""


def test_of_a_log_the_last_traceback_counts_from_the_applications_own_frame_on() -> None:
    told = last_traceback(LOG).splitlines()
    assert told[0].strip().startswith('File "/srv/webapps/shop/releases/1/src/shop.py", line 7')
    assert told[-1] == "KeyError: 'X'"
    assert last_traceback("nothing here") == ""


@pytest.mark.parametrize(
    ("mode", "uid", "groups", "wanted", "allowed"),
    [
        (0o710, 1, [5], 1, True),  # the owner
        (0o710, 2, [6], 1, True),  # its group
        (0o710, 3, [7], 1, False),
        (0o700, 2, [6], 1, False),
        (0o077, 1, [6], 1, False),  # for the owner, only the owner's bits count
        (0o000, 0, [0], 4, True),
    ],
)
def test_who_may_do_what(mode: int, uid: int, groups: list[int], wanted: int, allowed: bool) -> None:
    assert acl.may(mode, 1, 6, uid, groups, wanted) is allowed


def test_the_first_obstacle_on_the_way_is_found() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        way = Path(folder, "a", "b")
        way.mkdir(parents=True)
        (way / "file").touch(mode=0o644)
        (way.parent).chmod(0o750)
        assert blocked_at(str(way / "file"), 54321, [54321]) == str(way.parent)
        (way.parent).chmod(0o755)
        assert blocked_at(str(way / "file"), 54321, [54321]) == ""
        assert blocked_at(str(way / "none"), 54321, [54321]) == ""


def test_of_a_static_folder_a_plain_file_is_asked_for(tmp_path: Any) -> None:
    assert first_file(str(tmp_path)) == ""
    (tmp_path / "ä b").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "style.css").touch()
    assert first_file(str(tmp_path)) == "sub/style.css"


def test_the_newest_file_of_a_shared_folder_is_looked_at(tmp_path: Any) -> None:
    for name in ("z", "sub/a", ".hidden/b", "sub/.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    # The time of the content does not count: a program that unpacks files sets it.
    os.utime(tmp_path / "z", (2**32, 2**32))
    # The clock of a file system may be coarser than these steps.
    for name in ("sub/a", ".hidden/b", "sub/.c"):
        while (tmp_path / name).stat().st_ctime_ns <= (tmp_path / "z").stat().st_ctime_ns:
            os.chmod(tmp_path / name, 0o600)
    assert newest_file(str(tmp_path)) == "sub/a"
    assert newest_file(str(tmp_path / "none")) == ""


def test_names_for_tests_are_not_looked_up() -> None:
    assert reserved("shop.example.com")
    assert reserved("localhost")
    assert not reserved("notexample.com")
    assert resolved("shop.test") is None
    assert resolved("*.shop.org") is None
