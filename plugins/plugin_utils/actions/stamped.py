# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Action plugins for modules that leave stamps: no trip where the preflight has seen that nothing is to be done."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction

PLUGINS = Path(__file__).resolve().parents[2]

SPARED = "As wanted, and untouched since a run found it so."


@functools.cache
def code_digest() -> str:
    """A fingerprint of what runs on hosts: what an older version found to be as wanted counts for nothing."""
    total = hashlib.sha256()
    for path in sorted([*(PLUGINS / "modules").glob("*.py"), *(PLUGINS / "module_utils").rglob("*.py")]):
        total.update(str(path.relative_to(PLUGINS)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


# What guessing a secret by its stamp's key costs: rounds of SHA-256, some 20 ms for each guess, because keys stand in
# facts, which a verbose run shows. Every build of Python has this one; scrypt is missing from some.
ROUNDS = 50_000


def stamp_key(arguments: dict[str, Any], secrets: str = "") -> str:
    """Stands for what is wanted."""
    text = json.dumps(arguments, sort_keys=True, default=str)
    key = hashlib.sha256(f"{code_digest()}\0{text}".encode())
    return hashlib.pbkdf2_hmac("sha256", secrets.encode(), key.digest(), ROUNDS).hex() if secrets else key.hexdigest()


def borne(task_vars: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The stamps of one kind that the preflight has found to hold, by their keys: what each of them tells."""
    return task_vars.get("ansible_facts", {}).get("pyweb", {}).get("stamps", {}).get(name, {})


def without(task_vars: dict[str, Any], name: str) -> dict[str, Any]:
    """The facts after a trip: what the preflight saw is not what is there now."""
    facts = task_vars.get("ansible_facts", {}).get("pyweb", {})
    return {"pyweb": {**facts, "stamps": {**facts.get("stamps", {}), name: {}}}}


class StampedAction(HostAction):
    """Runs the module of the same name, unless the host bears a stamp for the same wish.

    With ``foresee`` it only tells whether it does, so that what comes before knows whether anything comes after.
    """

    name: str

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        foresee = boolean(arguments.pop("foresee", False))
        stamps = borne(task_vars, self.name)
        key = stamp_key(arguments)
        if foresee:
            return {"changed": False, "settled": key in stamps}
        if key in stamps:
            return {"changed": False, "msg": SPARED}
        result = self._execute_module(
            module_name=f"pyweb.stack.{self.name}", module_args={**arguments, "stamp": key}, task_vars=task_vars
        )
        if stamps:
            result["ansible_facts"] = without(task_vars, self.name)
        return result
