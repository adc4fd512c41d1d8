# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The decisions of the nginx transaction, and its messages."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import listeners as listeners_module
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import decode_address, listeners, parse_table
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.changes import State, decide
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import explain, holders, user_line
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import for_host
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.tree_files import invalid_files

# --- decisions ----------------------------------------------------------------------------------------------------

HEALTHY = State(
    live="t1",
    content={"nginx.conf": "x"},
    entry="entry",
    default_site=False,
    drop_in=[],
    daemon_reload=False,
    running=True,
    enabled=True,
    loaded="t1",
)


@pytest.mark.parametrize(
    ("change", "actions"),
    [
        ({}, []),
        ({"content": {}}, ["install tree", "reload"]),
        ({"live": None, "content": {}, "loaded": None}, ["install tree", "reload"]),
        ({"entry": "theirs"}, ["install nginx.conf", "reload"]),
        ({"default_site": True}, ["disable the default site", "reload"]),
        ({"loaded": "t0"}, ["reload"]),
        ({"loaded": None}, ["reload"]),
        ({"running": False, "loaded": None}, ["start"]),
        ({"enabled": False}, ["enable"]),
        ({"drop_in": [{}]}, ["install drop-in", "reload systemd"]),
        ({"daemon_reload": True}, ["reload systemd"]),
    ],
)
def test_the_plan_is_the_difference(change: dict[str, Any], actions: list[str]) -> None:
    look = State(**(vars(HEALTHY) | change))
    assert decide(look, {"nginx.conf": "x"}, "entry").actions == actions


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"sites/a.conf": ""}, "no nginx.conf"),
        ({"nginx.conf": ""}, "error_log @TREE@/loaded emerg;"),
        ({"nginx.conf": "@TREE@/loaded", "../x": ""}, "'../x'"),
        ({"nginx.conf": "@TREE@/loaded", "/x": ""}, "'/x'"),
        ({"nginx.conf": "@TREE@/loaded", "loaded": ""}, "reserved"),
    ],
)
def test_unusable_files_are_refused(files: dict[str, str], words: str) -> None:
    trouble = invalid_files([{"path": path, "content": content} for path, content in files.items()])
    assert trouble is not None
    assert words in trouble


RENDERED = "server {\n# begin extra, as the inventory has it\none;\ntwo;\n# end extra\nthree;\n}\n"


@pytest.mark.parametrize(
    ("line", "found"),
    [(1, None), (2, None), (3, ("extra", 1, "one;")), (4, ("extra", 2, "two;")), (5, None), (6, None), (99, None)],
)
def test_a_line_of_a_file_is_traced_back_to_the_user_s_line(line: int, found: Any) -> None:
    assert user_line(RENDERED, line) == found


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('nginx: [emerg] unknown directive "two" in /t/sites/a.conf:4\n', "site 'a', line 2 of extra, 'two;'"),
        ("nginx: [emerg] bad value in /t/sites/a.conf:6\n", "site 'a', line 6 of its file, 'three;'"),
        ("nginx: [emerg] bad value in /etc/other:6\n", "/etc/other line 6, which is not a file of this role"),
        ("2026/01/01 00:00:00 [emerg] 1#1: no file\n", "nginx says: no file"),
        ("Segmentation fault\n", "nginx says: Segmentation fault"),
    ],
)
def test_nginx_s_words_are_put_in_the_user_s_terms(output: str, words: str) -> None:
    assert words in explain(output, "/t", {"sites/a.conf": RENDERED})


def test_a_host_without_ipv6_gets_no_ipv6_listeners() -> None:
    text = "listen 80;\n    listen [::]:80 default_server;\nallow [::1];\n"
    assert for_host({"a": text}, "/t", ipv6=False) == {"a": "listen 80;\nallow [::1];\n"}
    assert for_host({"a": text}, "/t", ipv6=True) == {"a": text}


@pytest.mark.skipif(sys.byteorder == "big", reason="the kernel writes addresses in its own byte order")
def test_connections_are_not_listeners() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100\n"
        "   1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100\n"
    )
    assert parse_table(table) == [("127.0.0.1", 8080, "11", 0)]
    assert decode_address("00000000000000000000000001000000:0050") == ("::1", 80)


def test_who_holds_a_port_is_told_with_the_remedy() -> None:
    complaint = "[emerg] 1#1: bind() to [::]:80 failed (98: Address already in use)"
    told = holders(complaint, [listeners_module.Listener("::", 80, 7, "apache2")])
    assert "Port 80 is taken: apache2 (pid 7) on [::]:80" in told
    assert holders("[emerg] 1#1: no such file", listeners()) == ""
