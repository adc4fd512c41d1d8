# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The examples in the READMEs of the roles, as users copy them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Play = dict[str, Any]


def role_names() -> list[str]:
    return sorted(path.parent.name for path in ROLES.glob("*/README.md"))


def examples(role: str) -> list[Any]:
    """The YAML blocks of a README."""
    text = (ROLES / role / "README.md").read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in BLOCK.findall(text)]


def plays(role: str) -> list[Play]:
    """The complete plays of a README."""
    return [play for example in examples(role) if isinstance(example, list) for play in example if "hosts" in play]


def roles_of(play: Play) -> list[str]:
    """The roles of this collection in a play, however it names them."""
    named = [one if isinstance(one, str) else one["role"] for one in play.get("roles", [])]
    named += [task["ansible.builtin.import_role"]["name"] for task in imports(play)]
    return [name.removeprefix("pyweb.stack.") for name in named]


def imports(play: Play) -> list[dict[str, Any]]:
    return [task for task in play.get("tasks", []) if "ansible.builtin.import_role" in task]


def inputs(example: Any) -> dict[str, Any]:
    """The variables that an example sets: those of a play and of its roles, or a block of variables."""
    if isinstance(example, dict):
        return example
    found: dict[str, Any] = {}
    for play in example:
        if isinstance(play, dict) and "hosts" in play:
            found |= play.get("vars", {})
            for role in play.get("roles", []):
                found |= role.get("vars", {}) if isinstance(role, dict) else {}
    return found
