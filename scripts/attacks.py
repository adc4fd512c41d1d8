#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write the table of attacks in docs/security.md from the marks of the tests.

python scripts/attacks.py           write the table
python scripts/attacks.py --check   fail if the table is not current; a unit test does the same

A test has the mark ``@pytest.mark.attack(finding, attempt)``. The finding is a number of FINDINGS, or the name of
another list, such as "low". The attempt is a sentence that says what the attacker tries.
"""

from __future__ import annotations

import argparse
import ast
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = CHECKOUT / "docs" / "security.md"
FOLDERS = ("tests/unit", "tests/local", "molecule")
START = "<!-- Written by scripts/attacks.py from the tests. Do not edit. -->"
END = "<!-- The end of the table. -->"

# The findings of the first review, by their numbers.
FINDINGS = {
    1: "A host decides what the controller reads",
    2: "An archive writes outside of its folder",
    3: "A repository runs commands on the controller",
    4: "One application reads the data of another",
    5: "nginx follows links in static folders",
    6: "nginx follows links to sockets of others",
    7: "A running application changes what the next build installs",
    8: "A running application reads credentials of the build",
    9: "A process survives its deployment, outside of the sandbox",
    10: "The code of a release can be changed",
    11: "Root follows names that an application has made",
    12: "Root runs an interpreter of an application",
    13: "An application redirects nginx to another one",
    14: "nginx and the application read different paths",
    15: "An extra package index replaces packages",
    16: "A source or a file has no limits",
    17: "Credentials appear in records and messages",
    18: "A private key appears in messages",
    19: "Texts of hosts reach the terminal, or forge a state",
    20: "A value becomes a directive",
}
# Finding 6 of issue 13 is 6, and "13.6" is the same.
ISSUE = "13."


@dataclass(frozen=True)
class Attack:
    finding: str
    attempt: str
    # The file, relative to the checkout.
    place: str
    test: str
    # How often the test runs, with other values. At least: some lists can't be counted without running the file.
    cases: int

    @property
    def number(self) -> int | None:
        """The number of the finding; None for a mark of another list."""
        return int(self.name) if self.name.isdigit() else None

    @property
    def name(self) -> str:
        """The finding, without the number of the issue that lists the findings."""
        return self.finding.removeprefix(ISSUE)


def name_of(node: ast.expr) -> str:
    """The dotted name of a decorator, without its arguments."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def length(node: ast.expr | None, tables: dict[str, ast.expr]) -> int:
    """The number of values in a list of a test, at least 1."""
    if isinstance(node, ast.Name):
        return length(tables.get(node.id), {name: value for name, value in tables.items() if name != node.id})
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        starred = [one for one in node.elts if isinstance(one, ast.Starred)]
        counted = sum(length(one.value, tables) for one in starred)
        return max(1, len(node.elts) - len(starred) + counted)
    if isinstance(node, ast.Dict):
        return max(1, len(node.keys))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sorted", "list", "tuple"):
        return length(node.args[0], tables) if node.args else 1
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        return length(node.func.value, tables) if node.func.attr in ("values", "items", "keys") else 1
    return 1


def cases(test: ast.FunctionDef, tables: dict[str, ast.expr]) -> int:
    marks = [mark for mark in test.decorator_list if isinstance(mark, ast.Call)]
    lists = [mark.args[1] for mark in marks if name_of(mark) == "pytest.mark.parametrize" and len(mark.args) > 1]
    return math.prod(length(one, tables) for one in lists)


def attacks_in(text: str, place: str) -> Iterator[Attack]:
    tree = ast.parse(text)
    tables: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            tables[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            tables[node.target.id] = node.value
    for test in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        for mark in test.decorator_list:
            if isinstance(mark, ast.Call) and name_of(mark) == "pytest.mark.attack":
                values = [one.value if isinstance(one, ast.Constant) else None for one in mark.args]
                if len(values) != 2 or not all(isinstance(one, str) and one for one in values):
                    raise SystemExit(f'{place}: {test.name}: write attack("finding", "attempt"), with two strings')
                yield Attack(str(values[0]), str(values[1]), place, test.name, cases(test, tables))


def attacks() -> list[Attack]:
    """All attacks, ordered by the finding, the file and the place in it."""
    found = []
    for folder in FOLDERS:
        for path in sorted((CHECKOUT / folder).rglob("test_*.py")):
            found += list(attacks_in(path.read_text("utf-8"), str(path.relative_to(CHECKOUT))))
    return sorted(found, key=lambda one: (one.number is None, one.number or 0, "" if one.number else one.name))


def cell(text: str) -> str:
    """A text for a cell of a table."""
    return re.sub(r"([|<>*_])", r"\\\1", text.rstrip("."))


def rows(found: list[Attack]) -> list[str]:
    lines = ["| what the attacker tries | test | cases |", "|---|---|---|"]
    return lines + [f"| {cell(one.attempt)} | `{one.place}`: `{one.test}` | {one.cases} |" for one in found]


def table(found: list[Attack]) -> str:
    """The part of the page between its two marks."""
    total = sum(one.cases for one in found)
    lines = [f"{len(found)} tests try attacks, with {total} cases or more.", ""]
    for number, title in FINDINGS.items():
        of_this = [one for one in found if one.number == number]
        lines += [f"### {number}. {title}", "", *(rows(of_this) if of_this else ["No test yet."]), ""]
    rest = [one for one in found if one.number not in FINDINGS]
    if rest:
        lines += ["### Others", "", *rows(rest), ""]
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with a current table."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise SystemExit(f"{PAGE}: it needs one line '{START}', and one line '{END}' after it")
    head, _, rest = text.partition(START)
    return f"{head}{START}\n\n{table(attacks())}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if the table is not current")
    check = parser.parse_args().check
    before = PAGE.read_text("utf-8")
    after = page(before)
    if check:
        if before != after:
            print("docs/security.md is not current. Run: python scripts/attacks.py", file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
