# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The dependencies that Poetry alone reads, as lines of a requirements file.

They count only for a project that is no package (``package-mode = false``), which poetry-core refuses to describe.
Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import NAME, table

PART = r"\d+(?:\.\d+)*"
TILDE_OR_CARET = re.compile(rf"(?P<sign>[\^~])\s*(?P<release>{PART})(?P<rest>[A-Za-z0-9.+-]*)")
COMPARED = re.compile(rf"(?:[<>]=?|[!=]=|~=)\s*{PART}[A-Za-z0-9.+!*-]*")
EXACT = re.compile(rf"{PART}(?:\.\*|[A-Za-z0-9.+-]*)")
# The keys of a dependency that have an equal in a requirements file.
KNOWN = frozenset({"version", "extras", "markers", "python", "optional"})


class Inexpressible(ValueError):
    """A dependency that only Poetry understands."""


def lines_of_poetry(text: str) -> list[str] | None:
    """The lines that a pyproject.toml of Poetry alone stands for; None for any other project.

    Also None if a line can't express a dependency: a path, a repository, or alternatives.
    """
    found = table(text) or {}
    poetry = found.get("tool", {}).get("poetry", {}) if isinstance(found.get("tool"), dict) else {}
    if not isinstance(poetry, dict) or poetry.get("package-mode") is not False or "project" in found:
        return None
    given = poetry.get("dependencies", {})
    try:
        lines = [line_of(name, value) for name, value in given.items() if name.lower() != "python"]
    except (ValueError, AttributeError, TypeError):
        return None
    if any(re.search(r"[\r\n]", line) for line in lines):
        return None
    return [line for line in lines if line]


def line_of(name: str, value: Any) -> str:
    """The line of one dependency; empty for an optional one."""
    given = {"version": value} if isinstance(value, str) else dict(value)
    if not re.fullmatch(NAME, name) or not given.keys() <= KNOWN or not isinstance(given.get("version"), str):
        raise Inexpressible(name)
    if given.get("optional"):
        return ""
    extras = f"[{','.join(given['extras'])}]" if given.get("extras") else ""
    markers = [f"({given['markers']})"] if given.get("markers") else []
    for clause in clauses_of_poetry(given.get("python", "*")):
        sign, bound = re.findall(r"[<>=!~]+|[^<>=!~]+", clause)
        markers.append(f"python_full_version {sign} '{bound}'")
    versions = ",".join(clauses_of_poetry(given["version"]))
    return f"{name}{extras}{versions}" + (f" ; {' and '.join(markers)}" if markers else "")


def clauses_of_poetry(text: str) -> list[str]:
    """The clauses that a constraint of Poetry stands for, such as ``^3.9``; none for any version.

    Raises Inexpressible for alternatives.
    """
    found = []
    for clause in re.split(r"\s*,\s*|\s+", re.sub(r"([\^~<>=!]=?)\s+", r"\1", text.strip())):
        bounded = TILDE_OR_CARET.fullmatch(clause)
        if bounded:
            numbers = [int(part) for part in bounded["release"].split(".")]
            found += [f">={bounded['release']}{bounded['rest']}", f"<{above(bounded['sign'], numbers)}"]
        elif COMPARED.fullmatch(clause):
            found.append(clause)
        elif EXACT.fullmatch(clause):
            found.append(f"=={clause}")
        elif clause != "*":
            raise Inexpressible(clause)
    return found


def above(sign: str, numbers: list[int]) -> str:
    """The first version that a caret or a tilde excludes."""
    kept = min(1, len(numbers) - 1)
    if sign == "^":
        # The first number that is not zero may not change.
        kept = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    return ".".join(str(number) for number in [*numbers[:kept], numbers[kept] + 1])
