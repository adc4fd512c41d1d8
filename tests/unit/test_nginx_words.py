# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Words with a meaning of their own in nginx: no text of an inventory becomes one by accident."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.nginx_problems import nginx_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

WORDS = [
    *("off", "on", "default", "none", "auto", "all", "any", "_", "*", ".example.com", "~^x$", "~*x", "@x", "=404", "-"),
    *("unix:", "unix:/x y", "$host", "${host}", "volatile", "hostnames", "include", "delete", "ranges", "proxy", "now"),
    *("engine:x:y", "data:x", "stderr", "memory:1m", "syslog:server=192.0.2.1", "proxy_protocol", "127.0.0.1", "/", ""),
    *(
        "/a;b",
        "a b",
        "a{b",
        "a}b",
        'a"b',
        "a'b",
        "a\\",
        "a\nb",
        "a\u2028b",
        "a\u2029b",
        "a\x85b",
        "a\x0bb",
        "a\x1cb",
        "#",
    ),
]

# For each input with a free text, a site that has this text there.
APP = {"path": "/", "upstream": "http://127.0.0.1:1"}
FILES = {"path": "/f", "alias": "/srv"}
HASH = "$6$salt$x"


def shared(**keys: Any) -> dict[str, Any]:
    """A site and a location that both have these keys."""
    return {**keys, "locations": [{**APP, **keys}]}


INPUTS: dict[str, Any] = {
    "name": lambda text: {"name": text},
    "domains[]": lambda text: {"domains": [text]},
    "redirects[]": lambda text: {"redirects": [text]},
    "tls.certificate": lambda text: {"tls": tls(certificate=text)},
    "tls.key": lambda text: {"tls": tls(key=text)},
    "tls.plain_paths[]": lambda text: {"tls": {"mode": "selfsigned", "plain_paths": [text]}},
    "max_body_size": lambda text: {"max_body_size": text},
    "headers{}": lambda text: shared(headers={text: "x"}),
    "headers": lambda text: shared(headers={"X-Own": text}),
    "error_pages[].page": lambda text: shared(error_pages=[{"status": [404], "page": text}]),
    "rate_limit.rate": lambda text: shared(rate_limit={"rate": text}),
    "basic_auth.realm": lambda text: shared(basic_auth={"realm": text, "users": {"a": HASH}}),
    "basic_auth.users{}": lambda text: shared(basic_auth={"users": {text: HASH}}),
    "basic_auth.users": lambda text: shared(basic_auth={"users": {"a": text}}),
    "allow[]": lambda text: shared(allow=[text]),
    "deny[]": lambda text: shared(deny=[text]),
    "maintenance.page": lambda text: shared(maintenance={"page": text}),
    "maintenance.allow[]": lambda text: shared(maintenance={"allow": [text]}),
    "maintenance.open_paths[]": lambda text: shared(maintenance={"open_paths": [text]}),
    "links_root": lambda text: {"links_root": text},
    **{
        f"health_checks[].{key}": lambda text, key=key: {"health_checks": [{"name": "shop", "path": "/up", key: text}]}
        for key in ("name", "path")
    },
    "upstreams[].name": lambda text: {"upstreams": [{"name": text, "servers": [{"address": "127.0.0.1:1"}]}]},
    "upstreams[].servers[].address": lambda text: {"upstreams": [{"name": "x", "servers": [{"address": text}]}]},
    "locations[].path": lambda text: {"locations": [{**APP, "path": text}]},
    "locations[].upstream": lambda text: {"locations": [{**APP, "upstream": text}]},
    "locations[].instead.exists": lambda text: {
        "locations": [{**APP, "instead": {"exists": text, "upstream": "uwsgi:unix:/x"}}]
    },
    "locations[].instead.upstream": lambda text: {
        "locations": [{"path": "/", "upstream": "uwsgi:unix:/x", "instead": {"exists": "/x", "upstream": text}}]
    },
    "locations[].max_temp_file_size": lambda text: {"locations": [{**APP, "max_temp_file_size": text}]},
    "locations[].cache.bypass_cookies[]": lambda text: {"locations": [{**APP, "cache": {"bypass_cookies": [text]}}]},
    "locations[].cache.max_size": lambda text: {"locations": [{**APP, "cache": {"max_size": text}}]},
    "locations[].alias": lambda text: {"locations": [{**FILES, "alias": text}]},
    "locations[].fallback[]": lambda text: {"locations": [{**FILES, "fallback": [text]}]},
    "locations[].page": lambda text: {"locations": [{**FILES, "page": text}]},
    "locations[].charset": lambda text: {"locations": [{**FILES, "charset": text}]},
    "locations[].internal_for": lambda text: {"locations": [APP, {**FILES, "internal": True, "internal_for": text}]},
    "locations[].max_body_size": lambda text: {"locations": [{**APP, "max_body_size": text}]},
    "access_log": lambda text: {"access_log": text},
    "error_log": lambda text: {"error_log": text},
}

# Directives of the user, which are printed as they are.
UNCHANGED = {"extra", "locations[].extra"}

NAMES = frozenset(word for word in WORDS if word.isalpha())
PATHS = frozenset({"/", "/a;b"})
TEXTS = {word for word in WORDS if not set(word) & set("$\n\x0b\x1c")}
# The words that are accepted, because here they mean what the user means: a name, a path, a text, or nginx's own word.
ACCEPTED: dict[str, AbstractSet[str]] = {
    # The name of a check is printed after a slash.
    **dict.fromkeys(("name", "headers{}", "health_checks[].name"), NAMES),
    **dict.fromkeys(("domains[]", "redirects[]"), NAMES | {"127.0.0.1", "proxy_protocol"}),
    "upstreams[].name": NAMES | {"proxy_protocol"},  # printed after the site's name
    "locations[].cache.bypass_cookies[]": NAMES | {"proxy_protocol", "_"},  # printed after $cookie_
    **dict.fromkeys(("tls.certificate", "tls.key", "error_pages[].page", "maintenance.page", "links_root"), PATHS),
    **dict.fromkeys(("locations[].instead.exists", "locations[].alias", "locations[].fallback[]", "error_log"), PATHS),
    "access_log": PATHS | {"off"},
    "headers": TEXTS,
    "locations[].charset": {"off"},
    # Printed after a slash.
    "locations[].page": {word for word in TEXTS if word and word[0] != "/"},
    "basic_auth.realm": TEXTS - {"off"},
    # A line of a file that nginx does not parse as configuration.
    "basic_auth.users{}": TEXTS
    - {"", "#", "data:x", "engine:x:y", "memory:1m", "syslog:server=192.0.2.1", "unix:"}
    - {"unix:/x y"}
    | {"$host", "${host}", "~^x$"},
    **dict.fromkeys(("allow[]", "deny[]"), frozenset({"all", "127.0.0.1"})),
    "maintenance.allow[]": {"127.0.0.1"},
    **dict.fromkeys(("maintenance.open_paths[]", "tls.plain_paths[]", "locations[].path"), frozenset({"/"})),
    "health_checks[].path": {"/"},
}


def tls(**keys: Any) -> dict[str, Any]:
    return {"mode": "provided", "remote_src": True, "certificate": "/c", "key": "/k", **keys}


def leaves(options: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The inputs that hold a free text."""
    for name, option in options.items():
        many = option.get("type") == "list"
        path = f"{prefix}{name}{'[]' if many else ''}"
        if option.get("options"):
            yield from leaves(option["options"], f"{path}.")
        elif option.get("type") == "dict":
            yield from (path, f"{path}{{}}")
        elif (option.get("elements") if many else option.get("type")) == "str" and "choices" not in option:
            yield path


def test_every_free_text_of_a_site_is_tried() -> None:
    options = role_options("nginx")["nginx_sites"]["options"]
    known = {f"locations[].{name}" for name in INPUTS if name.partition(".")[0].partition("[")[0] in shared_keys()}
    assert set(leaves(options)) == set(INPUTS) | UNCHANGED | known


def shared_keys() -> set[str]:
    options = role_options("nginx")["nginx_sites"]["options"]
    return (set(options) & set(options["locations"]["options"])) - {"extra", "max_body_size"} | {"headers{}"}


@pytest.mark.attack("20", 'A text of a site is a word that nginx acts on, such as the realm "off"')
@pytest.mark.parametrize("name", INPUTS)
def test_a_word_of_nginx_is_refused_unless_it_is_meant(name: str) -> None:
    site = {"name": "shop", "domains": ["shop.example.com"], "locations": [APP]}
    accepted = {word for word in WORDS if not nginx_problems([{**site, **INPUTS[name](word)}])}
    assert accepted == ACCEPTED.get(name, set())


@pytest.mark.attack("20", "A header of a site would frame the response in another way")
@pytest.mark.parametrize("name", ["Connection", "content-length", "Transfer-Encoding", "Upgrade", "TE"])
def test_a_header_that_frames_the_response_is_refused(name: str) -> None:
    (problem,) = nginx_problems([{"name": "shop", "headers": {name: "5"}}])
    assert name in problem
    assert "Remove it" in problem


def test_the_message_about_a_word_says_what_it_would_do_and_what_to_write() -> None:
    auth = {"realm": "off", "users": {"alice": HASH}}
    (problem,) = nginx_problems([{"name": "shop", "basic_auth": auth}])
    for word in ("nginx_sites 'shop'.basic_auth.realm", "'off'", "ask for no password", "Use another text"):
        assert word in problem
    (problem,) = nginx_problems([{"name": "shop", "domains": ["_"]}])
    for word in ("'_'", "leave domains empty"):
        assert word in problem
