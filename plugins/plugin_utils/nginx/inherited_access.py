# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Access rules of a location, for the locations below its path. Pure.

nginx takes the one location with the longest path, and no rules of shorter ones. So what protects /admin would leave
/admin/upload open. Here a location inherits each kind of rule that it does not have itself from the location around it.
A location that opens its own path opens no location below it: those inherit what the next one around it protects.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import extra_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.statements import statements

# Kinds of rules, with the keys and the directives of each.
KEYS = {"address": ("allow", "deny"), "password": ("basic_auth",), "satisfy": ("satisfy",)}
DIRECTIVES = {
    "address": re.compile(r"allow|deny"),
    "password": re.compile(r"auth_basic(?:_user_file)?"),
    "satisfy": re.compile(r"satisfy"),
    "request": re.compile(r"auth_(?!basic|delay)\w+"),
    "methods": re.compile(r"limit_except"),
    "link": re.compile(r"secure_link\w*"),
    "answer": re.compile(r"if|return|set"),
}
REFUSAL = re.compile(r"\breturn\s+4\d\d\b|\bdeny\b")
OFF = re.compile(r"auth_\w+\s+[\"']?off[\"']?\s*;")
# Directives that are no rule alone.
AIDS = re.compile(r"(?:auth_request_set|auth_basic_user_file|set)\s")
# Directives that can end the ones after them.
STEPS = ("return", "rewrite", "break", "if")
# The kinds that satisfy is about.
COMBINED = ("address", "password", "request")

# The rules of a location: for each kind its keys, and its directives as text.
Rules = dict[str, tuple[dict[str, Any], list[str]]]


def with_inherited_access(locations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The locations of a site, each with the rules that it inherits."""
    handed_down: dict[str, Rules] = {}
    changed: dict[str, dict[str, Any]] = {}
    for location in sorted(locations, key=lambda location: len(below(location))):
        around = [path for path in handed_down if below(location).startswith(path)]
        outer = handed_down[max(around, key=len)] if around and location["inherit_access"] else {}
        own = rules_of(location)
        missing = inherited(own, outer)
        handed_down[below(location)] = handed_on(own, missing, outer)
        changed[location["path"]] = extended(location, missing)
    return [changed[location["path"]] for location in locations]


def below(location: dict[str, Any]) -> str:
    return str(location["path"]).rstrip("/") + "/"


def rules_of(location: dict[str, Any]) -> Rules:
    """The rules that a location has itself."""
    own = {kind: {key: location[key] for key in keys if location[key]} for kind, keys in KEYS.items()}
    found: Rules = {kind: (keys, []) for kind, keys in own.items() if keys}
    for name, text in statements("\n".join([location.get("inherited", ""), location["extra"]])):
        for kind, pattern in DIRECTIVES.items():
            if pattern.fullmatch(name):
                found.setdefault(kind, ({}, []))[1].append(text)
    return {kind: rules for kind, rules in found.items() if rules[0] or not all(map(AIDS.match, rules[1]))}


def inherited(own: Rules, outer: Rules) -> Rules:
    """The rules that a location lacks, of those that the location around hands down."""
    # Directives for the answer are added to a location's own ones, and run before them.
    missing = {kind: rules for kind, rules in outer.items() if kind not in own or kind == "answer"}
    has_own = any(kind in own for kind in COMBINED)
    if has_own:
        missing.pop("satisfy", None)
    if has_own and "satisfy" not in own and any(kind in missing for kind in COMBINED):
        # "any" would let an inherited rule open what the location's own rule closes.
        missing["satisfy"] = ({"satisfy": "all"}, [])
    return missing


def handed_on(own: Rules, missing: Rules, outer: Rules) -> Rules:
    """The rules for the locations below: the location's own ones that close something, else those around it."""
    closing = {kind: rules for kind, rules in own.items() if is_protection(kind, rules)}
    found = {**outer, **closing}
    if "answer" in closing and "answer" in outer:
        found["answer"] = ({}, [*outer["answer"][1], *closing["answer"][1]])
    found.pop("satisfy", None)
    satisfy = own.get("satisfy") or missing.get("satisfy")
    return {**found, "satisfy": satisfy} if satisfy else found


def is_protection(kind: str, rules: tuple[dict[str, Any], list[str]]) -> bool:
    """Whether rules close something, rather than opening it."""
    keys, directives = rules
    if kind == "address":
        allow = keys.get("allow") or ["all"]
        return "all" not in allow or bool(keys.get("deny")) or any(text.startswith("deny") for text in directives)
    if kind == "password":
        users = (keys.get("basic_auth") or {}).get("users")
        return bool(users) or bool(directives and not any(OFF.match(text) for text in directives))
    if kind == "request":
        return not all(OFF.match(text) for text in directives)
    return kind != "answer" or any(REFUSAL.search(text) for text in directives)


def extended(location: dict[str, Any], missing: Rules) -> dict[str, Any]:
    """The location with these rules. Its own directives keep their line numbers, for the messages of nginx.

    The inherited ones are printed first: after ``break`` or a rewrite, nginx runs no ``if`` and no ``return``.
    """
    keys = {key: value for kind_keys, _texts in missing.values() for key, value in kind_keys.items()}
    texts = [text for _keys, kind_texts in missing.values() for text in kind_texts if is_inheritable(text)]
    if always_answers(location["extra"]):
        texts = [text for text in texts if not text.startswith("return")]
    return {**location, **keys, "inherited": "\n".join(texts)}


def always_answers(extra: str) -> bool:
    """Whether a location has a response of its own, which no other directive can prevent."""
    steps = [name for name, _text in statements(extra) if name in STEPS]
    return steps[:1] == ["return"]


def directive_lines(location: dict[str, Any]) -> list[str]:
    """The lines of a location's directives: inherited ones, and those of the user."""
    inherited = location.get("inherited")
    before = ["# Inherited:", *inherited.split("\n")] if inherited else []
    return [*before, *extra_lines(location["extra"], f"extra of location {location['path']}")]


def is_inheritable(text: str) -> bool:
    """Whether a directive is about access: a redirect of one location, for example, is not."""
    return not text.startswith(("return", "if")) or bool(REFUSAL.search(text))


def with_inner_refusals(found: dict[str, Any], location: dict[str, Any]) -> dict[str, Any]:
    """The block of a location, whose directives that refuse requests are repeated in the locations inside it.

    nginx passes on the other rules, but not these.
    """
    texts = [text for kind in ("methods", "answer") for text in rules_of(location).get(kind, ({}, []))[1]]
    if not any(REFUSAL.search(text) for text in texts):
        return found
    lines = [line for text in texts if is_inheritable(text) for line in text.split("\n")]
    inside = [
        {**inner, "lines": [*lines, *inner["lines"]]} if inner["head"].startswith("location ") else inner
        for inner in found["inside"]
    ]
    return {**found, "inside": inside}
