# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check a value against the options of a role's argument specification, and report every problem at once.

Ansible's own check stops at the first group of problems, prints values, fills no nested defaults and suggests no keys.
So the site playbook uses this one first. Both read the same ``meta/argument_specs.yml``.
"""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.synonyms import meant, meant_nearly
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.words import COMMANDS, split_command

ROLES = Path(__file__).resolve().parents[3] / "roles"

# The loader in C reads a specification in 4 ms instead of 40; every task reads one again.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Keys whose values no message shows.
SECRETS = frozenset(
    {"env", "content", "index_url", "python_uv_index_url", "extra_index_urls"}
    | {"users", "key", "nginx_ca_key", "password"}
)

WHOLE_NUMBER = re.compile(r"\s*-?[0-9]+\s*\Z")
NUMBER = re.compile(r"\s*-?[0-9]+(\.[0-9]+)?\s*\Z")

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@functools.cache
def role_options(role: str, entry_point: str = "main") -> dict[str, Any]:
    """The options of a role of this collection. They are shared, so do not change them."""
    with open(ROLES / role / "meta" / "argument_specs.yml", encoding="utf-8") as stream:
        specs = yaml.load(stream, Loader=LOADER)["argument_specs"]  # noqa: S506  # LOADER is safe
    options: dict[str, Any] = specs[entry_point]["options"]
    return options


def nearest(name: str, known: list[str], cutoff: float = 0.6) -> str:
    """A question that offers the known name nearest to a misspelt one, or an empty string."""
    match = difflib.get_close_matches(name.lower(), known, n=1, cutoff=cutoff)
    return f" Did you mean '{match[0]}'?" if match else ""


def nearest_key(key: str, options: dict[str, Any]) -> str:
    """A question that offers the nearest key here or one level deeper, or what holds instead; else an empty string."""
    deeper = {
        name: f"{place}.{name}"
        for place, spec in options.items()
        if spec.get("type") == "dict"
        for name in spec.get("options") or {}
    }
    if meaning := meant(key, options):
        return meaning
    if key in deeper:
        return f" Did you mean '{deeper[key]}'?"
    here = nearest(key, list(options))
    match = difflib.get_close_matches(key.lower(), deeper, n=1, cutoff=0.8)
    return (
        nearest(key, list(options), 0.85)
        or meant_nearly(key, options)
        or here
        or (f" Did you mean '{deeper[match[0]]}'?" if match else "")
    )


def label(item: Any, index: int) -> str:
    """The name of a list's item in a message: its name, URL or path if it has one, else its number (from 1)."""
    for key in ("name", "url", "path"):
        name = item.get(key) if isinstance(item, dict) else None
        if isinstance(name, str) and name:
            return f"'{name}'"
    return f"no. {index + 1}"


def kind(value: Any) -> str:
    """The type of a value, in YAML's terms."""
    if value is None:
        return "nothing"
    for types, word in (
        (bool, "a boolean"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "a string"),
        (dict, "a mapping"),
        (list, "a list"),
    ):
        if isinstance(value, types):
            return word
    return type(value).__name__


class Checker:
    """Walks a value along its specification: collects problems, converts types, fills defaults."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, where: str, text: str) -> None:
        self.problems.append(redacted(f"{where}: {text}"))

    def mapping(self, value: Any, options: dict[str, Any], where: str) -> dict[str, Any]:
        """A mapping with known keys only."""
        if not isinstance(value, dict):
            self.problem(where, f"this is {kind(value)}, but it must be a mapping with the keys {', '.join(options)}.")
            return {}
        for key in value:
            if key not in options:
                hint = nearest_key(str(key), options) or f" Known keys: {', '.join(options)}."
                self.problem(where, f"unknown key '{key}'.{hint}")
        return self.filled(value, options, where)

    def filled(self, value: dict[str, Any], options: dict[str, Any], where: str) -> dict[str, Any]:
        """The known keys of a mapping, converted, with defaults for missing ones."""
        result = {}
        for key, spec in options.items():
            place = f"{where}.{key}" if where else key
            if key in value and value[key] is not None:
                result[key] = self.value(value[key], spec, place)
                self.choice(result[key], spec, place)
            elif spec.get("required"):
                self.problem(where, f"the key '{key}' is missing. {first_sentence(spec)}")
                result[key] = None
            else:
                default = spec.get("default")
                if spec.get("type") == "dict" and spec.get("options") and default is not None:
                    default = self.mapping(default, spec["options"], place)
                result[key] = default
        return result

    def choice(self, value: Any, spec: dict[str, Any], where: str) -> None:
        """Report a value that is not one of the choices. A value of the wrong type is reported elsewhere."""
        if "choices" in spec and value is not None and value not in spec["choices"]:
            names = [str(choice) for choice in spec["choices"]]
            self.problem(where, f"'{value}' is not one of: {', '.join(names)}.{nearest(str(value), names)}")

    def value(self, value: Any, spec: dict[str, Any], where: str) -> Any:
        """One value, by the type of its specification."""
        wanted = spec.get("type", "str")
        if wanted == "raw":
            return value
        if wanted == "dict":
            if "options" in spec:
                return self.mapping(value, spec["options"], where)
            if isinstance(value, dict):
                return dict(value)
            return self.wrong(value, where, "a mapping (KEY: value)")
        if wanted == "list":
            return self.list(value, spec, where)
        if wanted == "bool":
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in BOOLEANS:
                return BOOLEANS[value.lower()]
            return self.wrong(value, where, "true or false")
        if wanted == "int":
            if isinstance(value, int) and not isinstance(value, bool):
                return int(value)
            if isinstance(value, str) and WHOLE_NUMBER.match(value):
                return int(value)
            return self.wrong(value, where, "a whole number")
        if wanted == "float":
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value)
            if isinstance(value, str) and NUMBER.match(value):
                return float(value)
            return self.wrong(value, where, "a number")
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return str(value)
        return self.wrong(value, where, "a string; put it between quotes")

    def list(self, value: Any, spec: dict[str, Any], where: str) -> list[Any]:
        if isinstance(value, str) and where.rpartition(".")[2] in COMMANDS:
            words, problem = split_command(value)
            if problem:
                self.problem(where, problem)
            return words
        if not isinstance(value, list):
            simple = isinstance(value, (str, int)) and not isinstance(value, bool) and not secret(where)
            shown = f"[{value}]" if simple else "- …"
            self.problem(where, f"this is {kind(value)}, but it must be a list; write it as {shown}")
            return []
        element = {"type": spec.get("elements", "raw"), "options": spec.get("options")}
        if element["options"] is None:
            del element["options"]
        return [self.value(item, element, f"{where} {label(item, index)}") for index, item in enumerate(value)]

    def wrong(self, value: Any, where: str, wanted: str) -> None:
        """Report a value of the wrong type. A text or number is shown, unless its place holds secrets."""
        shown = f" ('{value}')" if isinstance(value, (str, int, float)) and not secret(where) else ""
        self.problem(where, f"this is {kind(value)}{shown}, but it must be {wanted}.")


def secret(where: str) -> bool:
    """Whether this place is, or is inside, a key that holds secrets."""
    return any(part.split(" ")[0] in SECRETS for part in where.split("."))


def first_sentence(spec: dict[str, Any]) -> str:
    """The first sentence of an option's description, without Ansible's markup."""
    description = spec.get("description", "")
    text = description[0] if isinstance(description, list) else description
    for mark in ("C(", "V(", "O("):
        text = text.replace(mark, "")
    return text.split(". ")[0].rstrip(".").replace(")", "") + "." if text else ""
