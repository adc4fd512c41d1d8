# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Action plugins for modules that leave stamps: no trip where the preflight has seen that nothing is to be done."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

PLUGINS = Path(__file__).resolve().parents[1]


@functools.cache
def code_digest() -> str:
    """A fingerprint of what runs on hosts: what an older version found to be as wanted counts for nothing."""
    total = hashlib.sha256()
    for path in sorted([*(PLUGINS / "modules").glob("*.py"), *(PLUGINS / "module_utils").glob("*.py")]):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def stamp_key(arguments: dict[str, Any]) -> str:
    """Stands for what is wanted."""
    text = json.dumps(arguments, sort_keys=True, default=str)
    return hashlib.sha256(f"{code_digest()}\0{text}".encode()).hexdigest()


class StampedAction(ActionBase):
    """Runs the module of the same name, unless the host bears a stamp for the same wish."""

    name: str

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        facts = task_vars.get("ansible_facts", {}).get("pyweb", {})
        stamps = facts.get("stamps", {})
        key = stamp_key(arguments)
        if key in stamps.get(self.name, []):
            return {"changed": False, "msg": "As wanted, and untouched since a run found it so."}
        result = self._execute_module(
            module_name=f"pyweb.stack.{self.name}", module_args={**arguments, "stamp": key}, task_vars=task_vars
        )
        if stamps.get(self.name):
            # What the preflight saw is not what is there now.
            result["ansible_facts"] = {"pyweb": {**facts, "stamps": {**stamps, self.name: []}}}
        return result
