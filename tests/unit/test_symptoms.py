# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Faults that visitors notice although the health URL works: the conclusions of the doctor, and their facts."""

from __future__ import annotations

import calendar
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.symptoms import (
    look_at_refusals,
    look_at_requests,
    refusals,
    requests_in,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import diagnose, report
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import inspections
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.refusals import RULES
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from pyweb_data import merged
from test_doctor import DEAD, NOW, first, view
from test_doctor import STATES as DOCTOR_STATES

FAILED = {"request": "POST /notes", "status": 500, "failed": 3, "of": 3, "last": NOW - 5}
REQUESTS = {"requests": {"count": 3, "failed": [FAILED]}}
MODE = {"owner": "root", "group": "root", "mode": "0644", "why": "mode", "database": True}
DATABASE = {**MODE, "path": "/srv/shared/notes.db", "named": "/srv/shared/notes.db"}
FOLDER = {**MODE, "path": "/srv/shared/up", "named": "/srv/shared/up", "database": False}
SUPERVISOR = {"process_manager": "supervisor", "process": {"autorestart": "true"}}


def refusing(line: str, path: str = "", **more: Any) -> dict[str, Any]:
    """A healthy application whose log has this line."""
    file = more.pop("file", {})
    return {"found": merged({"refusals": [{"line": line, "path": path, "file": file, "folder": "/var/lib"}]}, more)}


def file_of(group: str, mode: str, path: str = "/run/redis/redis.sock") -> dict[str, str]:
    return {"path": path, "owner": "redis", "group": group, "mode": mode}


REDIS = "PermissionError: [Errno 13] Permission denied: '/run/redis/redis.sock'"
ERRNO_1 = "[Errno 1] Operation not permitted"

# Changes to a healthy view, whether a part is broken, the link, and words.
STATES: list[tuple[dict[str, Any], bool, str, list[str]]] = [
    (
        {"found": {"unwritable": [DATABASE]}},
        True,
        "write access",
        ["may not write its database", "root:root 0644", "chown -h shop:shop"],
    ),
    # The folder belongs to the host.
    (
        {"found": {"unwritable": [{**DATABASE, "path": "/etc", "named": "/etc/app.db"}]}},
        True,
        "write access",
        ["in a folder of shared", "Leave /etc as it is"],
    ),
    # The application chooses the name, and root runs the command.
    (
        {"found": {"unwritable": [{**DATABASE, "path": "/srv/shop/x.db;id", "named": "/srv/shop/x.db;id"}]}},
        True,
        "write access",
        ["chown -h shop:shop '/srv/shop/x.db;id'"],
    ),
    ({"found": {"unwritable": [FOLDER]}}, False, "write access", ["may not write its folder /srv/shared/up"]),
    ({"found": {"unwritable": [FOLDER], **REQUESTS}}, True, "write access", ["may not write its folder"]),
    (
        {"found": {"unwritable": [{**DATABASE, "why": "mount", "path": "/var/lib/shop"}]}},
        True,
        "write access",
        ["read-only for its processes", "ProtectSystem=strict", "systemd: {ReadWritePaths: /var/lib/shop}"],
    ),
    (
        {"found": merged(SUPERVISOR, {"unwritable": [{**DATABASE, "why": "mount"}]})},
        True,
        "write access",
        ["the file system is mounted read-only", "dmesg"],
    ),
    (
        {"found": {**REQUESTS, "traceback": 'File "/srv/src/shop.py", line 3\nValueError: x'}},
        True,
        "requests",
        ["POST /notes: 3 of 3 with 500", "3 of 40 requests", "ValueError: x (shop.py, line 3)"],
    ),
    (
        {"found": {"requests": {"count": 1, "failed": [{**FAILED, "failed": 1}]}}},
        False,
        "requests",
        ["1 of 3 with 500"],
    ),
    (
        {"found": {"header_too_big": ["upstream sent too big header"]}},
        True,
        "headers",
        ["visitors get 502", "proxy_buffer_size"],
    ),
    (
        {"found": {"requests": {"large": 4}}},
        False,
        "headers",
        ["refused 4 requests with 400 or 414", "large_client_header_buffers"],
    ),
    (
        {"found": {"groups": {"account": ["redis", "shop"], "process": ["shop"]}}},
        False,
        "groups",
        ["its account is in the group redis", "restart.yml -e app=shop"],
    ),
    (
        {"host": {"nginx": {"logs_elsewhere": [{"log": "/l/a.log", "written": "/l/a.log.1"}]}}},
        False,
        "logs of nginx",
        ["writes to /l/a.log.1 instead of /l/a.log", "nginx -s reopen"],
    ),
    # Refusals under systemd
    (
        refusing("OSError: [Errno 97] Address family not supported by protocol"),
        False,
        "permissions",
        ["RestrictAddressFamilies: AF_PACKET"],
    ),
    (
        refusing("AF_CAN: [Errno 97] Address family not supported"),
        False,
        "permissions",
        ["{RestrictAddressFamilies: AF_CAN}"],
    ),
    (
        refusing("OSError: [Errno 30] Read-only file system: '/var/lib/x/y.txt'", "/var/lib/x/y.txt"),
        False,
        "permissions",
        ["(ProtectSystem=strict)", "systemd: {ReadWritePaths: /var/lib}"],
    ),
    (
        refusing("sqlite3.OperationalError: attempt to write a readonly database"),
        False,
        "permissions",
        ["ReadWritePaths: FOLDER"],
    ),
    (
        refusing("OSError: [Errno 30] Read-only file system: '/proc/sys/x'", "/proc/sys/x"),
        False,
        "permissions",
        ["ProtectKernelTunables: false"],
    ),
    (
        refusing("PermissionError: [Errno 13] Permission denied: '/run/user/7/x'", "/run/user/7/x"),
        False,
        "permissions",
        ["ProtectHome: read-only}"],
    ),
    (
        refusing(
            "FileNotFoundError: [Errno 2] No such file or directory: '/dev/ttyS0'",
            "/dev/ttyS0",
            file={"path": "/dev/ttyS0"},
        ),
        False,
        "permissions",
        ["PrivateDevices: false"],
    ),
    (refusing(f"OSError: {ERRNO_1}: unshare"), False, "permissions", ["RestrictNamespaces: false"]),
    (refusing(f"PermissionError: {ERRNO_1}: os.nice"), False, "permissions", ['SystemCallFilter: "@resources"']),
    (refusing(f"PermissionError: {ERRNO_1}"), False, "permissions", ['SystemCallFilter: "@GROUP"', "strace"]),
    (refusing("PermissionError: [Errno 13] cannot bind to port 80"), False, "permissions", ["CAP_NET_BIND_SERVICE"]),
    (refusing("sudo: The no new privileges flag is set"), False, "permissions", ["NoNewPrivileges: false"]),
    (
        refusing("[Errno 30] Read-only file system: 'x'", "/srv/webapps/shop/releases/1/src/x"),
        False,
        "permissions",
        ["it writes into its own code", "shared: [instance]"],
    ),
    (
        refusing(REDIS, "/run/redis/redis.sock", file=file_of("redis", "0770")),
        False,
        "permissions",
        ["redis:redis 0770", "not in the group redis", "systemd: {SupplementaryGroups: [redis]}"],
    ),
    (
        refusing(REDIS, "/run/redis/redis.sock", file=file_of("redis", "0770"), groups={"account": ["redis", "shop"]}),
        False,
        "permissions",
        ["its account is in the group, but its process is older"],
    ),
    (
        refusing("Limit request headers fields size", requests={"count": 1, "failed": [FAILED]}),
        True,
        "permissions",
        ["limit_request_field_size"],
    ),
    (refusing("invalid request block size: 9 (max 4)...skip"), False, "permissions", ["buffer-size"]),
    # Under supervisor
    (
        refusing(REDIS, "/run/redis/redis.sock", file=file_of("redis", "0770"), **SUPERVISOR),
        False,
        "permissions",
        ["not in the group redis", "usermod -aG redis shop"],
    ),
    (refusing(f"PermissionError: {ERRNO_1}", **SUPERVISOR), False, "permissions", ["no capabilities"]),
    (
        refusing(
            "[Errno 13] Permission denied: '/etc/x'", "/etc/x", file=file_of("root", "0600", "/etc/x"), **SUPERVISOR
        ),
        False,
        "permissions",
        ["/etc/x is redis:root 0600"],
    ),
]


@pytest.mark.parametrize(("changes", "broken", "link", "words"), STATES)
def test_what_visitors_notice_is_named(changes: dict[str, Any], broken: bool, link: str, words: list[str]) -> None:
    found, is_broken = first(**{**changes, "host": {"supervisor": "running", **changes.get("host", {})}})
    assert (found["link"], is_broken) == (link, broken)
    text = f"{found['seen']}\n{found['cause']}\n{found['fix']}"
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "changes",
    [
        {"found": {"requests": {"large": 2}}},
        # The inventory has lifted it already, or the file does not exist at all.
        {**refusing("[Errno 97] Address family not supported"), "systemd": {"RestrictAddressFamilies": "AF_CAN"}},
        refusing("[Errno 2] No such file or directory: '/dev/ttyS9'", "/dev/ttyS9", file={"path": "/dev"}),
    ],
)
def test_what_needs_no_attention_is_not_told(changes: dict[str, Any]) -> None:
    told = diagnose(view(**changes))
    assert (told["broken"], told["warnings"]) == ([], [])


def test_a_database_that_is_named_already_is_named_once() -> None:
    log = refusing("sqlite3.OperationalError: attempt to write a readonly database")["found"]
    told = diagnose(view(found={**log, "unwritable": [DATABASE]}))
    assert [one["link"] for one in [*told["broken"], *told["warnings"]]] == ["write access"]


def test_a_process_that_does_not_run_is_the_only_cause() -> None:
    told = diagnose(view(found=merged(DEAD, {"unwritable": [DATABASE], **REQUESTS})))
    assert [one["link"] for one in told["broken"]] == ["process"]


def test_a_part_that_fails_is_told_apart_from_a_site_that_is_down() -> None:
    lines = report("web1", "shop", diagnose(view(found=REQUESTS)))
    assert lines[0].startswith("shop on web1 answers its visitors, but a part of it DOES NOT WORK")


def test_every_rule_is_for_a_directive_of_the_sandbox() -> None:
    template = Path(__file__).resolve().parents[2] / "plugins/plugin_utils/processes/systemd.py"
    assert {rule.directive for rule in RULES} <= {*re.findall(r'"([A-Z]\w+)"', template.read_text())}


# Advice for the manager that is there


def changes_without_systemd(changes: dict[str, Any]) -> dict[str, Any]:
    """The same trouble on a host without an init, where supervisor runs the application."""
    found = merged(changes.get("found", {}), {"process_manager": "supervisor"})
    host = merged(
        {"init": "none", "supervisor": "running", "start": {"named": True, "ran": True}}, changes.get("host", {})
    )
    return {**changes, "found": found, "host": host}


@pytest.mark.parametrize("changes", [one[0] for one in [*STATES, *DOCTOR_STATES]])
def test_without_an_init_no_advice_is_for_systemd(changes: dict[str, Any]) -> None:
    if changes.get("found", {}).get("process", {}).get("unit"):
        pytest.skip("only systemd knows this cause")  # only a unit has it
    seen = view(**changes_without_systemd(changes))
    seen.found["process"].pop("unit", None)
    nginx = {**seen.host["nginx"], "enabled": None, "restart": None}
    told = diagnose(View(seen.app, seen.found, {**seen.host, "nginx": nginx}, seen.visits))
    assert told["broken"] or told["warnings"] or changes["found"]
    for finding in [*told["broken"], *told["warnings"]]:
        text = f"{finding['seen']} {finding['cause']} {finding['fix']}"
        text = text.replace("or let systemd run the application", "")
        assert not re.search(r"systemctl|journalctl|systemd", text), text


# The facts

BEGAN = calendar.timegm((2026, 11, 21, 10, 0, 0))
LINE = (
    '192.0.2.1 - - [21/Nov/2026:11:{minute:02}:00 +0100] "{what} HTTP/1.1" {status} 12 "-" "curl" '
    "rt=0.004 uct=0.000 uht={header} urt=0.004 cache=- id=abc"
)
JSON = (
    '{{"time":"2026-11-21T11:{minute:02}:00+01:00","method":"POST","uri":"/notes?token=x","status":{status},'
    '"upstream_header_time":"{header}"}}'
)


def test_both_formats_of_access_logs_are_read() -> None:
    combined = LINE.format(minute=5, what="POST /notes?token=x", status=500, header="0.004")
    asked = list(
        requests_in([combined, JSON.format(minute=5, status=500, header="0.004"), "nonsense", "{}", '{"time": 5}'])
    )
    assert len(asked) == 2
    assert asked[0] == asked[1]
    assert (asked[0].what, asked[0].status, asked[0].answered) == ("POST /notes", 500, True)
    assert asked[0].when == BEGAN + 300


def test_failed_requests_are_counted_by_kind_since_the_start_of_the_process(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    lines = [
        LINE.format(minute=0, what="GET /old", status=500, header="0.1"),
        *(LINE.format(minute=10, what=f"POST /notes?n={n}", status=500, header="0.1") for n in range(3)),
        LINE.format(minute=11, what="POST /notes", status=200, header="0.1"),
        # nginx itself: no application that answers, and a header that is too large
        LINE.format(minute=11, what="GET /", status=502, header="-"),
        LINE.format(minute=11, what="GET /", status=400, header="-"),
        # nginx has sent it twice
        LINE.format(minute=11, what="GET /again", status=503, header="-, 0.2"),
        # another application of the site
        LINE.format(minute=11, what="GET /admin/x", status=500, header="0.1"),
    ]
    log.write_text("\n".join(lines) + "\n")
    found = look_at_requests([str(log), str(tmp_path / "none")], "/", ["/", "/admin"], BEGAN + 60)
    assert (found["total"], found["count"], found["large"]) == (7, 4, 1)
    kinds = [(one["request"], one["failed"], one["of"], one["status"]) for one in found["failed"]]
    assert kinds == [("POST /notes", 3, 4, 500), ("GET /again", 1, 1, 503)]
    assert look_at_requests([str(log)], "/admin", ["/", "/admin"], BEGAN + 60)["count"] == 1


def test_only_what_was_refused_since_the_last_start_counts(tmp_path: Path) -> None:
    path = tmp_path / "there"
    path.touch()
    log = (
        "OSError: [Errno 97] Address family not supported by protocol\n"
        "[2026-11-21 01:00:00 +0000] [7] [INFO] Starting gunicorn 27.0\n"
        f"PermissionError: [Errno 13] Permission denied: '{path}'\n"
        f"PermissionError: [Errno 13] Permission denied: '{path}'\n"
        "all is well\n"
    )
    assert len(refusals(log)) == 1
    (found,) = look_at_refusals(log)
    assert found["path"] == found["file"]["path"] == str(path)
    assert found["folder"] == str(tmp_path)
    (found,) = look_at_refusals("[Errno 30] Read-only file system: '/none/of/it'\n")
    assert (found["file"], found["folder"]) == ({}, "")


def test_the_logs_are_those_of_the_sites_of_an_application() -> None:
    shop = {"name": "shop", "source": {"path": "x"}, "wsgi": "x:a", "site": {"domains": ["shop.example.com"]}}
    admin = {**shop, "name": "admin", "site": {**shop["site"], "path": "/admin"}}
    webapps = [shop, admin, {**shop, "name": "other", "site": {"domains": ["other.example.com"]}}]
    apps, problems = normalised(webapps)
    assert problems == []
    found = {one["name"]: one["logs"] for one in inspections(apps, webapps)}
    assert found["admin"] == {**found["shop"], "mount": "/admin"}
    assert found["shop"]["mounts"] == ["/", "/admin"]
    assert found["other"]["access"] != found["shop"]["access"]
