# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Characters that a text of the inventory can't hold, wherever it is written later."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label

# A line of a settings file, a command and an address hold no control characters, except the tab.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# A zero byte ends a string in C, and half of a surrogate pair can't be encoded. No program or file takes them.
UNWRITABLE = re.compile(r"[\x00\ud800-\udfff]")

# Options of the type str that hold several lines. Everything that writes them quotes them, or prints them on purpose.
SEVERAL_LINES = frozenset(
    {"extra", "content", "certificate", "key", "nginx_extra", "nginx_ca_certificate", "nginx_ca_key"}
)

NAMES = {"\0": "a zero byte", "\n": "a line break", "\r": "a carriage return", "\x1b": "an escape character"}


def check_texts(checker: Checker, value: Any, spec: dict[str, Any], where: str, key: str = "") -> None:
    """Report every text in a checked value that holds such a character, unless its place has a problem already.

    A dictionary or raw value without a specification of its own has rules of its own; only what nothing can write is
    refused there.
    """
    kind, options = spec.get("type", "str"), spec.get("options")
    if isinstance(value, dict):
        for name, item in value.items():
            check_text(checker, name, UNWRITABLE, where)
            inner = options.get(name, {}) if options else {"type": "raw"}
            check_texts(checker, item, inner, f"{where}.{name}" if where else str(name), str(name))
    elif isinstance(value, (list, tuple)):
        element = {"type": spec.get("elements", "raw"), "options": options}
        for index, item in enumerate(value):
            check_texts(checker, item, element, f"{where} {label(item, index)}", key)
    else:
        several = kind == "raw" or (kind == "str" and key in SEVERAL_LINES)
        check_text(checker, value, UNWRITABLE if several else CONTROL, where)


def check_text(checker: Checker, text: Any, refused: re.Pattern[str], where: str) -> None:
    """The text itself is never shown: it may be a secret."""
    found = isinstance(text, str) and (refused.search(text) or UNWRITABLE.search(text))
    if found and not reported(checker, where):
        name = NAMES.get(found[0], "a control character" if found[0] < "\ud800" else "half of a surrogate pair")
        checker.problem(where, f"the text has {name} (U+{ord(found[0]):04X}). Remove it.")


def reported(checker: Checker, where: str) -> bool:
    """Whether this place, or a list around it, has a problem already."""
    places = (problem.split(": ")[0] for problem in checker.problems)
    return any(where == place or where.startswith(f"{place} ") for place in places)
