# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the items of a list that is an input of a role, such as services or programs. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label

# Words that YAML reads as booleans where they are not quoted.
WORDS = {True: {"true", "yes", "on"}, False: {"false", "no", "off"}}

Check = Callable[[Checker, dict[str, Any], str], None]


def checked_items(
    checker: Checker, items: Any, options: dict[str, Any], where: str, check: Check
) -> list[dict[str, Any]]:
    """The items of a role's input, converted and with defaults. Problems are collected in the checker.

    ``check`` says what is wrong with one item beyond its specification.
    """
    if not isinstance(items, list):
        checker.list(items, {"elements": "dict"}, where)
        return []
    result = []
    names: set[str] = set()
    for index, given in enumerate(items):
        place = f"{where} {label(given, index)}"
        before = len(checker.problems)
        item = checker.mapping(with_words(given, options), options, place)
        if len(checker.problems) > before:
            continue
        if item["name"] in names:
            checker.problem(place, "the name is in the list twice. Remove or rename one of the two.")
        names.add(item["name"])
        check(checker, item, place)
        result.append(item)
    return result


def with_words(item: Any, options: dict[str, Any]) -> Any:
    """The item with booleans turned back into the choice that was meant, as `restart: no`. Ansible does the same."""
    if not isinstance(item, dict):
        return item
    result = dict(item)
    for key, value in item.items():
        choices = set(options.get(key, {}).get("choices", []))
        if isinstance(value, bool) and len(choices & WORDS[value]) == 1:
            (result[key],) = choices & WORDS[value]
    return result
