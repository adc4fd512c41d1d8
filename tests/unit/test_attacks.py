# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The table of attacks in docs/security.md is made from the tests, and no finding is without one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("attacks", CHECKOUT / "scripts" / "attacks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["attacks"] = module
    spec.loader.exec_module(module)
    return module


script = load_script()

FILE = """
TRICKS = {"a": 1, "b": 2}
MORE: list[str] = [*TRICKS, "c"]

@pytest.mark.attack("6", "An application links to a <socket>")
@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize(("x", "y"), [(1, 2), (3, 4)])
def test_one(kind, x, y): ...

@pytest.mark.parametrize("kind", unknown())
@pytest.mark.attack("low", "A visitor sends a header")
def test_two(kind): ...

def test_three(): ...
"""


def test_attacks_are_read_with_the_number_of_their_cases() -> None:
    first, second = script.attacks_in(FILE, "tests/unit/test_x.py")
    assert (first.number, first.cases, first.test) == (6, 6, "test_one")
    assert (second.number, second.cases, second.finding) == (None, 1, "low")
    assert script.rows([first])[-1] == (
        "| An application links to a \\<socket\\> | `tests/unit/test_x.py`: `test_one` | 6 |"
    )


@pytest.mark.parametrize("mark", ['attack("6")', "attack(6, 'x')", 'attack("6", "")', 'attack("6", TEXT)'])
def test_a_mark_without_its_two_texts_is_an_error(mark: str) -> None:
    with pytest.raises(SystemExit, match="with two strings"):
        list(script.attacks_in(f"@pytest.mark.{mark}\ndef test_one(): ...\n", "x"))


def test_the_table_is_current() -> None:
    text = script.PAGE.read_text("utf-8")
    assert script.page(text) == text, "run: python scripts/attacks.py"


def test_there_are_at_least_sixty_attacks() -> None:
    assert len(script.attacks()) >= 60


def test_every_finding_has_an_attack() -> None:
    found = {attack.number for attack in script.attacks()}
    assert [number for number in script.FINDINGS if number not in found] == []
