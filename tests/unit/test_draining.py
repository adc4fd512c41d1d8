# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Drain web hosts: the last host of an application stays, and only a clear answer of each balancer counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.draining import flag
from ansible_collections.pyweb.stack.plugins.module_utils.draining.open_requests import at_applications, to_clients
from ansible_collections.pyweb.stack.plugins.module_utils.draining.seen import is_as_wanted, of_host
from ansible_collections.pyweb.stack.plugins.plugin_utils.draining import choice, rolling
from ansible_collections.pyweb.stack.plugins.plugin_utils.draining.choice import Seen, Server

SERVING = {"web1": ["shop", "api"], "web2": ["shop", "api"], "web3": ["shop"]}
LABELS = {host: host for host in SERVING}


def view(balancer: str = "lb1", **states: str) -> Seen:
    """A balancer's view: the state of every application on each host, up by default."""
    servers = [Server(app, host, states.get(host, "up"), 0) for host, apps in SERVING.items() for app in apps]
    return Seen(balancer, servers)


# The last host


@pytest.mark.parametrize(
    ("leaving", "seen", "away", "told"),
    [
        (["web1"], [view()], {}, ""),
        (["web1"], [], {}, ""),
        (
            ["web1"],
            [view(web2="draining")],
            {},
            "No other host would serve api without web1 (web2 is draining for lb1).",
        ),
        (["web1"], [view(web2="down")], {}, "api without web1 (web2 is down for lb1)"),
        (["web1"], [view(), view("lb2", web2="down")], {}, "api without web1 (web2 is down for lb2)"),
        (["web1", "web2"], [view()], {}, "No other host would serve api without web1, web2."),
        (["web1", "web2", "web3"], [], {}, "No other host would serve shop without web1, web2, web3."),
        (["web1"], [], {"web2": "is drained"}, "api without web1 (web2 is drained)"),
        (
            ["web3"],
            [view(web1="down", web2="down")],
            {},
            "shop without web3 (web1 is down for lb1; web2 is down for lb1)",
        ),
        (["web1"], [Seen("lb1", problem="it can't be reached")], {}, "lb1: it can't be reached. So it may continue to"),
        (["web1"], [Seen("lb1", [])], {}, "(web2 is unknown for lb1; web3 is unknown for lb1)"),
    ],
)
def test_the_last_host_of_an_application_stays(
    leaving: list[str], seen: list[Seen], away: dict[str, str], told: str
) -> None:
    found = choice.refusal(leaving, SERVING, seen, away, LABELS)
    assert (told in found) if told else found == ""
    assert not found or found.endswith(choice.REFUSED)


def test_other_hosts_are_away_if_they_are_drained_or_do_not_answer() -> None:
    results = [
        {"item": "web1", "drained": {}},
        {"item": "web2", "drained": {"since": "x", "by": "y"}},
        {"item": "web3", "unreachable": True},
    ]
    assert choice.away_by(results) == {"web2": "is drained", "web3": "does not count: it can't be reached"}


# Drained or not


def waited(*servers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"item": "lb1", "problem": "", "done": True, "servers": list(servers), **more}


def server(**changed: Any) -> dict[str, Any]:
    return {"app": "shop", "state": "draining", "sessions": 0, "check": "L7OKC 404", **changed}


IDLE = {"open": {}, "answers_checks": True}


@pytest.mark.parametrize(
    ("result", "idle", "told"),
    [
        (waited(server()), IDLE, ""),
        (waited(server(state="down")), IDLE, ""),
        (waited(server(state="up")), IDLE, "lb1 still sends requests for shop"),
        (waited(server(sessions=2)), IDLE, "requests are still open: 2 of shop"),
        (
            waited(server(sessions=2)),
            {"open": {"shop": 3, "": 1}},
            "requests are still open: 3 of shop, 1 of nginx (down",
        ),
        (waited(), {"open": {"shop": True}}, ""),
        ({"item": "lb1", "unreachable": True}, IDLE, "lb1: it can't be reached"),
        ({"item": "lb1", "failed": True, "msg": "no\x1b[2J"}, IDLE, "lb1: no"),
        (waited(problem="HAProxy does not answer"), IDLE, "lb1: HAProxy does not answer"),
        ({"item": "lb1", "failed": False, "msg": "something else"}, IDLE, "lb1: it answered with data of another kind"),
        (waited(server()), {"unreachable": True}, "web3: it can't be reached"),
    ],
)
def test_a_host_is_drained_if_every_balancer_says_so(result: dict[str, Any], idle: dict[str, Any], told: str) -> None:
    found = choice.not_drained("web3", choice.seen_by([result], "web3"), idle)
    assert (told in found) if told else found == ""
    assert "\x1b" not in found


@pytest.mark.attack("17", "A balancer answers that a web host is drained, with figures that are none")
@pytest.mark.parametrize(
    "changed",
    [{"state": "gone"}, {"state": None}, {"sessions": -1}, {"sessions": "0"}, {"sessions": True}, {"sessions": None}],
)
def test_a_wrong_answer_of_a_balancer_is_a_problem(changed: dict[str, Any]) -> None:
    (seen,) = choice.seen_by([waited(server(**changed))], "web3")
    assert seen.problem == "it answered with data of another kind"
    assert choice.seen_by([{"item": "lb1", "problem": "", "servers": [{}]}])[0].problem
    assert choice.seen_by([{"item": "lb1", "problem": "", "apps": ["x"]}])[0].problem


def test_a_host_is_back_if_every_balancer_sends_requests() -> None:
    seen = choice.seen_by([waited(server(state="up")), {**waited(server(state="down")), "item": "lb2"}], "web3")
    assert choice.not_up("web3", seen) == "lb2 sees shop on web3 as down (L7OKC 404)"
    assert choice.not_up("web3", seen[:1]) == ""


def test_a_balancer_that_does_not_know_a_host_does_not_send_it_requests() -> None:
    seen = choice.seen_by([{"item": "lb1", "problem": "", "servers": []}], "web3")
    assert choice.not_up("web3", seen) == "lb1 does not know web3: run site.yml, which configures it"
    assert choice.not_up("web3", seen, has_applications=False) == ""
    assert choice.back("web3", seen[:1]) == "web3 is no longer drained, and gets requests from lb1."


def test_without_balancers_the_message_names_the_health_endpoint() -> None:
    assert "/.well-known/pyweb/health gets status 404" in choice.gone("web3", [], IDLE)
    assert "no balancer sees the mark" in choice.gone("web3", [], {"answers_checks": False})


def test_a_balancer_waits_for_all_applications() -> None:
    def app(name: str, state: str, sessions: int = 0) -> dict[str, Any]:
        one = {"host": "web3", "state": state, "sessions": sessions, "check": ""}
        return {"name": name, "servers": [one, {**one, "host": "web1", "state": "up"}]}

    for apps, up, drained in (
        ([app("shop", "up"), app("api", "up")], True, False),
        ([app("shop", "up"), app("api", "draining")], False, False),
        ([app("shop", "draining"), app("api", "draining")], False, True),
        ([app("shop", "draining", 1), app("api", "draining")], False, False),
        ([app("shop", "down")], False, True),
    ):
        servers = of_host(apps, "web3")
        assert (is_as_wanted(servers, "up"), is_as_wanted(servers, "drained")) == (up, drained)


# The file


def test_the_file_says_since_when_and_by_whom(tmp_path: Path) -> None:
    path = str(tmp_path / "lib/drained")
    assert flag.drained(path) is None
    assert flag.drain("ada@desk", path, check_mode=True)
    assert flag.drained(path) is None
    assert [flag.drain("ada@desk", path), flag.drain("bob@desk", path)] == [True, False]
    found = flag.drained(path)
    assert found
    assert found["by"] == "ada@desk"
    # The workers of nginx must see it.
    assert (tmp_path / "lib").stat().st_mode & 0o777 == 0o755
    assert (
        choice.drained_text(found) == f"drained since {found['since'][:10]} {found['since'][11:19]} (UTC) by ada@desk"
    )
    assert [flag.undrain(path, check_mode=True), flag.undrain(path), flag.undrain(path)] == [True, True, False]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 4000, b"x" * 10_000])
def test_a_file_of_another_kind_drains_as_well(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "drained"
    path.write_bytes(content)
    found = flag.drained(str(path))
    assert found
    assert choice.drained_text(found).endswith("(UTC)")


def test_the_notice_of_a_deployment() -> None:
    assert choice.drained_notice("web3", {}) == ""
    assert choice.drained_notice("web3", {"since": "2026-11-30T01:02:03Z", "by": "ada"}) == (
        "web3 is drained since 2026-11-30 01:02:03 (UTC) by ada. This run deploys to it and leaves it drained. To "
        "end its drain: drain.yml --limit web3 -e drain=off"
    )


# Open requests, as the kernel prints them

UNIX = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 100 /run/webapps/shop.sockets/20261121T010735Z-ab12cd34.sock
0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/webapps/shop.sockets/20261121T010735Z-ab12cd34.sock
0000000000000000: 00000002 00000000 00000000 0001 02 102 /run/webapps/shop.sockets/20261121T010735Z-ab12cd34.sock
0000000000000000: 00000003 00000000 00000000 0001 03 103
0000000000000000: 00000003 00000000 00000000 0001 03 104 /run/webapps/api/20261121T010735Z-ab12cd34.uwsgi.sock
0000000000000000: 00000003 00000000 00000000 0001 03 105 /run/webapps/api/control
0000000000000000: 00000003 00000000 00000000 0001 03 106 /run/dbus/system_bus_socket
0000000000000000: 00000003 00000000 00000000 0001 03 107 @/run/webapps/x/y.sock
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:0050 0100007F:C350 01 00000000:00000000 00:00000000 00000000    33        0 1 1 0
   1: 0B00007F:0050 0100007F:C351 01 00001000:00000000 00:00000000 00000000    33        0 2 1 0
   2: 0B00007F:0050 0100007F:C352 04 00001000:00000000 00:00000000 00000000    33        0 3 1 0
   3: 0B00007F:0051 0100007F:C353 01 00001000:00000000 00:00000000 00000000    33        0 4 1 0
   4: 0B00007F:0050 00000000:0000 0A 00001000:00000000 00:00000000 00000000    33        0 5 1 0
   5: 0B00007F:0050 0100007F:C354 06 00000000:00000000 00:00000000 00000000    33        0 6 1 0
"""


def test_open_connections_to_applications_are_counted() -> None:
    assert at_applications(UNIX, "/run/webapps") == {"api": 1, "shop": 2}


def test_responses_that_clients_still_receive_are_counted() -> None:
    assert to_clients(TCP, {80}) == 2
    assert to_clients(TCP, set()) == 0


# The course of rolling.yml

HOSTS = ["web1", "web2", "web3", "web4"]
DONE = {"state": "done"}


def test_the_table_names_every_host() -> None:
    failed = {"state": "FAILED", "reason": "Run the command, code 1: no space left"}
    rows = rolling.course(HOSTS, ["web2"], {"web1": DONE, "web2": failed})
    assert rolling.table(rows) == [
        "web1  done",
        "web2  FAILED       Run the command, code 1: no space left",
        "web3  not touched",
        "web4  not touched",
    ]
    assert "--limit 'web2:web3:web4'" in rolling.stopped(rows)
    assert rolling.stopped(rolling.course(HOSTS, HOSTS, dict.fromkeys(HOSTS, DONE))) == ""


def test_a_host_that_has_left_the_play_stops_the_next_batch() -> None:
    results = {"web1": DONE}
    assert rolling.earlier_problem(HOSTS, ["web3"], results)
    assert not rolling.earlier_problem(HOSTS, ["web2"], results)
    assert not rolling.earlier_problem(HOSTS, ["web1"], {})
    assert rolling.earlier_problem(HOSTS, ["web2"], {"web1": {"state": "FAILED"}})
    rows = rolling.course(HOSTS, ["web1", "web2"], results)
    assert [row.state for row in rows] == ["done", "LOST", "not touched", "not touched"]
    assert rolling.stopped(rows).startswith("Stopped at web2.")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (
            {"rc": 100, "stderr": "W: x\nE: Unable to lock\n", "msg": "non-zero return code"},
            "T, code 100: E: Unable to lock",
        ),
        ({"msg": "timed out"}, "T: timed out"),
        ({"rc": 1, "stderr": "", "msg": "", "stdout": "a\nb"}, "T, code 1: b"),
        ({"stderr": "\x1b[2Jx"}, "T: "),
        ({}, "T: "),
        (
            {
                "apps": [
                    {"status": {"application": "shop", "in_inventory": True, "healthy": False, "health": "BAD: 502"}}
                ]
            },
            "T: shop: BAD: 502",
        ),
    ],
)
def test_the_reason_is_the_last_line(result: dict[str, Any], told: str) -> None:
    found = rolling.reason_of("T", result)
    assert found.startswith(told.strip())
    assert "\x1b" not in found


def test_a_run_without_an_action_is_refused() -> None:
    assert "there is nothing to do" in rolling.option_problems("", [], "", False)[0]
    assert rolling.option_problems("", [], "", True) == []
    assert rolling.option_problems("", {"a": 1}, "", False)


def test_applications_that_one_host_serves_are_named() -> None:
    lone = choice.lone(["web3"], {**SERVING, "web3": ["shop", "own"]}, [], {}, LABELS)
    assert lone == {"own": ["web3"]}
    assert rolling.lone_text(lone, True) == (
        "web3 alone serves own. Such an application does not respond while its host is drained."
    )
    assert rolling.lone_text({}, True) == ""
