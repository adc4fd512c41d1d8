# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The walk along a role's specification: types, defaults, names of places, and words."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs import synonyms
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import (
    ROLES,
    Checker,
    first_sentence,
    kind,
    label,
    nearest,
    nearest_key,
    role_options,
    secret,
)

OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True, "description": ["The C(name). And more."]},
    "count": {"type": "int", "default": 3},
    "pause": {"type": "float", "default": 0.5},
    "on": {"type": "bool", "default": True},
    "mode": {"choices": ["fast", "slow"], "default": "fast"},
    "tags": {"type": "list", "elements": "str", "default": []},
    "parts": {"type": "list", "elements": "dict", "options": {"size": {"type": "int", "default": 1}}},
    "inner": {"type": "dict", "default": {}, "options": {"deep": {"type": "str", "default": "x"}}},
    "free": {"type": "dict"},
    "any": {"type": "raw"},
}


def check(value: Any) -> tuple[dict[str, Any], list[str]]:
    checker = Checker()
    return checker.mapping(value, OPTIONS, "items 'a'"), checker.problems


def test_defaults_are_filled_at_every_depth() -> None:
    found, problems = check({"name": "a", "parts": [{}]})
    assert problems == []
    assert found == {
        "name": "a",
        "count": 3,
        "pause": 0.5,
        "on": True,
        "mode": "fast",
        "tags": [],
        "parts": [{"size": 1}],
        "inner": {"deep": "x"},
        "free": None,
        "any": None,
    }


def test_nothing_means_the_default() -> None:
    found, problems = check({"name": "a", "count": None, "inner": None})
    assert problems == []
    assert (found["count"], found["inner"]) == (3, {"deep": "x"})


@pytest.mark.parametrize(
    ("given", "key", "wanted"),
    [
        ({"count": "7"}, "count", 7),
        ({"count": " -7 "}, "count", -7),
        ({"pause": "0.2"}, "pause", 0.2),
        ({"pause": 3}, "pause", 3.0),
        ({"on": "no"}, "on", False),
        ({"on": "True"}, "on", True),
        ({"tags": [1, "b", 1.5]}, "tags", ["1", "b", "1.5"]),
        ({"any": {"x": [1]}}, "any", {"x": [1]}),
        ({"free": {"x": 1}}, "free", {"x": 1}),
    ],
)
def test_conversions(given: dict[str, Any], key: str, wanted: Any) -> None:
    found, problems = check({"name": "a", **given})
    assert problems == []
    assert found[key] == wanted
    assert type(found[key]) is type(wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": "seven"}, "items 'a'.count: this is a string ('seven'), but it must be a whole number."),
        ({"count": True}, "items 'a'.count: this is a boolean ('True'), but it must be a whole number."),
        ({"count": 1.5}, "items 'a'.count: this is a number ('1.5'), but it must be a whole number."),
        ({"count": "٣"}, "items 'a'.count: this is a string ('٣'), but it must be a whole number."),
        ({"on": "perhaps"}, "items 'a'.on: this is a string ('perhaps'), but it must be true or false."),
        ({"pause": "soon"}, "items 'a'.pause: this is a string ('soon'), but it must be a number."),
        ({"on": 1}, "items 'a'.on: this is a whole number ('1'), but it must be true or false."),
        ({"mode": "fats"}, "items 'a'.mode: 'fats' is not one of: fast, slow. Did you mean 'fast'?"),
        ({"tags": "x"}, "items 'a'.tags: this is a string, but it must be a list; write it as [x]"),
        ({"tags": {"x": 1}}, "items 'a'.tags: this is a mapping, but it must be a list; write it as - …"),
        ({"tags": [None]}, "items 'a'.tags no. 1: this is nothing, but it must be a string; put it between quotes."),
        (
            {"tags": [True]},
            "items 'a'.tags no. 1: this is a boolean ('True'), but it must be a string; put it between quotes.",
        ),
        (
            {"parts": [{"size": "x"}]},
            "items 'a'.parts no. 1.size: this is a string ('x'), but it must be a whole number.",
        ),
        ({"parts": [{"name": "p", "sise": 1}]}, None),
        ({"inner": []}, "items 'a'.inner: this is a list, but it must be a mapping with the keys deep."),
        ({"free": "x"}, "items 'a'.free: this is a string ('x'), but it must be a mapping (KEY: value)."),
        ({"cuont": 1}, "items 'a': unknown key 'cuont'. Did you mean 'count'?"),
        (
            {5: 1},
            "items 'a': unknown key '5'. Known keys: name, count, pause, on, mode, tags, parts, inner, free, any.",
        ),
    ],
)
def test_messages(given: dict[Any, Any], message: str | None) -> None:
    _found, problems = check({"name": "a", **given})
    if message is None:
        assert "items 'a'.parts 'p': unknown key 'sise'. Did you mean 'size'?" in problems
    else:
        assert problems == [message]


def test_a_missing_key_tells_what_it_is() -> None:
    assert check({})[1] == ["items 'a': the key 'name' is missing. The name."]


def test_all_problems_are_told_together() -> None:
    assert len(check({"count": "x", "on": "x", "tags": 1, "zz": 1})[1]) == 5


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "nothing"),
        (True, "a boolean"),
        (1, "a whole number"),
        (1.5, "a number"),
        ("", "a string"),
        ({}, "a mapping"),
        ([], "a list"),
        (b"", "bytes"),
    ],
)
def test_kinds(value: Any, word: str) -> None:
    assert kind(value) == word


def test_labels_are_names_or_places() -> None:
    assert label({"name": "x"}, 4) == "'x'"
    assert [label(item, 4) for item in ({"name": ""}, {"name": 5}, {}, "x", None)] == ["no. 5"] * 5


def test_nearest_key() -> None:
    assert nearest("DOMIANS", ["domains", "port"]) == " Did you mean 'domains'?"
    assert nearest("xyz", ["domains", "port"]) == ""


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("webapps 'a'.env", True),
        ("webapps 'a'.env.KEY", True),
        ("webapps 'a'.python.extra_index_urls no. 2", True),
        ("webapps 'a'.python.interpreter", False),
        ("webapps 'env'.name", False),
    ],
)
def test_places_of_secrets(where: str, wanted: bool) -> None:
    assert secret(where) is wanted


def test_first_sentences() -> None:
    assert first_sentence({"description": "Ask O(x). More."}) == "Ask x."
    assert first_sentence({}) == ""


def test_every_role_has_options_that_the_walk_can_read() -> None:
    for path in ROLES.iterdir():
        options = role_options(path.name)
        assert options
        Checker().mapping({}, options, path.name)


@pytest.mark.parametrize(
    ("key", "place", "words"),
    [
        ("environment", [], "'env'"),
        ("enviroment", [], "'env'"),
        ("requirements_file", [], "'python.requirements'"),
        ("domain_name", [], "'site.domains'"),
        ("port", [], "'site.port'"),
        ("workers_count", [], "'workers'"),
        ("static_path", [], "'site.static'"),
        ("logfile", [], "The process manager keeps the logs"),
        ("ExecStart", [], "Set wsgi, server and workers"),
        ("MemoryMax", [], "'limits.memory'"),
        ("version", ["python"], "'interpreter'"),
        ("branch", ["source"], "'version'"),
        ("url", ["source"], "'git'"),
        ("url", ["health"], "'path'"),
        ("location", ["site", "static"], "'url'"),
        ("interval", ["jobs"], "'schedule'"),
        ("interval", ["health"], "health.timeout"),
        ("mem", ["limits"], "'memory'"),
        ("config_files", [], "'files'"),
        ("secrets", [], "write files with them by files"),
        ("strategy", [], "'switch'"),
        ("wroker", [], "'workers'"),
        ("zzz", [], ""),
    ],
)
def test_words_of_other_tools(key: str, place: list[str], words: str) -> None:
    options = role_options("webapp")["webapps"]["options"]
    for name in place:
        options = options[name]["options"]
    found = nearest_key(key, options)
    assert words in found
    assert bool(found) is bool(words)


def test_every_word_of_other_tools_means_a_key_that_exists() -> None:
    known: set[str] = set()

    def add(options: dict[str, Any]) -> None:
        known.update(options)
        for spec in options.values():
            add(spec.get("options") or {})

    for path in ROLES.iterdir():
        add(role_options(path.name))
    targets = {part for keys in synonyms.KEYS for key in keys for part in key.split(".")}
    assert targets - known == set()
    assert all(sentence.format(key="x") for sentence in synonyms.SENTENCES.values())
