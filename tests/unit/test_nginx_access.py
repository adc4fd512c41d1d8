# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Access rules: the cost of password hashes, and rules that locations inherit."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.nginx_problems import nginx_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inherited_access import (
    directive_lines,
    with_inherited_access,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.internal_folders import guarded_extra
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.statements import statements

SALT = "abcdefghijklmnopqrstuu"
CHEAP = [
    "$apr1$salt$hash",
    "$1$salt$hash",
    "{SSHA}aGFzaA==",
    "$5$salt$hash",
    "$6$salt$hash",
    "$6$rounds=5000$salt$hash",
    *(f"$2{kind}$0{cost}${SALT}" for kind in "aby" for cost in (4, 5, 6)),
    "$y$j75$salt$hash",
    "$gy$j85$salt$hash",
]
EXPENSIVE = [
    "$5$rounds=5001$salt$hash",
    "$6$rounds=656000$salt$hash",
    "$6$rounds=$salt$hash",
    *(f"$2{kind}${cost}${SALT}" for kind in "aby" for cost in ("07", "10", "12", "31", "x")),
    "$y$j9T$salt$hash",
    "$y$jFT$salt$hash",
    "$gy$j9T$salt$hash",
    "$7$CU..../....salt$hash",
]


def problems_of(hashed: str) -> list[str]:
    return list(nginx_problems([{"name": "shop", "basic_auth": {"users": {"alice": hashed}}}]))


@pytest.mark.parametrize("hashed", CHEAP)
def test_a_cheap_password_hash_is_accepted(hashed: str) -> None:
    assert problems_of(hashed) == []


@pytest.mark.attack("21", "A visitor with a wrong password stops all sites, because nginx computes an expensive hash")
@pytest.mark.parametrize("hashed", EXPENSIVE)
def test_an_expensive_password_hash_is_refused(hashed: str) -> None:
    (problem,) = problems_of(hashed)
    for word in ("nginx_sites 'shop'.basic_auth.users.alice", "too expensive", "openssl passwd -6", "5000 rounds"):
        assert word in problem
    assert hashed not in problem


def locations(*items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The locations of a site by their paths, with the rules that they inherit."""
    up = {"upstream": "http://127.0.0.1:5000"}
    ((site,), _settings, problems) = checked([{"name": "shop", "locations": [{**up, **item} for item in items]}], {})
    assert problems == []
    return {location["path"]: location for location in with_inherited_access(site["locations"])}


def test_a_location_inherits_from_the_longest_path_around_it_in_any_order() -> None:
    found = locations(
        {"path": "/a/b/c"},
        {"path": "/a/b/", "deny": ["10.0.0.1"]},
        {"path": "/a", "deny": ["10.0.0.2"], "satisfy": "any"},
        {"path": "/ab"},
        {"path": "/"},
    )
    assert {path: (location["deny"], location["satisfy"]) for path, location in found.items()} == {
        "/a/b/c": (["10.0.0.1"], None),
        "/a/b/": (["10.0.0.1"], None),
        "/a": (["10.0.0.2"], "any"),
        "/ab": (None, None),
        "/": (None, None),
    }


def test_own_directives_keep_their_lines_and_are_no_reason_to_lose_other_rules() -> None:
    outer = '# deny me;\nset $a b;\nauth_request /verify;\nif ($a = "};") {\n    return 403;\n}\nreturn 301 /x;\n'
    found = locations({"path": "/a", "extra": outer}, {"path": "/a/b", "extra": "proxy_read_timeout 9s;\n\nallow all;"})
    assert directive_lines(found["/a/b"]) == [
        "# Inherited:",
        "set $a b;",
        'if ($a = "};") {',
        "    return 403;",
        "}",
        "auth_request /verify;",
        "# begin extra of location /a/b, as the inventory has it",
        "proxy_read_timeout 9s;",
        "",
        "allow all;",
        "# end extra of location /a/b",
    ]


def test_directives_are_found_outside_of_blocks() -> None:
    text = 'a \'x;}\' "\\"{"; # b;\nif (c) { d; }\nlocation /e { f; g { h; } } i ${j};k'
    assert statements(text) == [
        ("a", 'a \'x;}\' "\\"{";'),
        ("if", "if (c) { d; }"),
        ("location", "location /e { f; g { h; } }"),
        ("i", "i ${j};"),
    ]


@pytest.mark.parametrize("internal", [True, None])
def test_named_locations_are_guarded_on_their_own_line(internal: bool | None) -> None:
    extra = "error_page 502 @sorry;\nlocation @sorry\n{\n    return 200;\n}\nlocation @b { return 404; }"
    folder = {"path": "/files/", "alias": "/srv/files", "internal": internal}
    given = [{"path": "/", "upstream": "http://127.0.0.1:5000"}, folder]
    ((site,), _settings, _problems) = checked([{"name": "shop", "locations": given, "extra": extra}], {})
    lines = guarded_extra(site).split("\n")
    assert [index for index, line in enumerate(lines) if "x_accel_redirect" in line] == ([2, 5] if internal else [])
    assert len(lines) == len(extra.split("\n"))
