#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write docs/reference/ROLE.md for every role from its argument specification, and plugins.md from the plugins.

python scripts/reference.py           write the pages
python scripts/reference.py --check   fail if a page is not current; a unit test does the same
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / "docs" / "reference"

Options = dict[str, dict[str, Any]]

# The kinds of plugins on the page plugins.md.
KINDS = {"modules": "Modules", "lookup": "Lookups", "filter": "Filters", "callback": "Callbacks"}


def anchor(heading: str) -> str:
    """The anchor that a forge makes of a Markdown heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def text_of(description: str | list[str]) -> str:
    """A description in Markdown for a table cell, without Ansible's markup."""
    text = " ".join([description] if isinstance(description, str) else description)
    text = " ".join(text.split()).replace("|", "\\|")
    text = re.sub(r"P\(pyweb\.stack\.(\w+)#role\)", r"[\1](\1.md)", text)
    text = re.sub(r"[MP]\((?:pyweb\.stack\.)?([\w.]+)(?:#\w+)?\)", r"`\1`", text)
    return re.sub(r"\b(?:[CVOE]|RV)\(((?:[^()]|\([^()]*\))*)\)", r"`\1`", text)


def type_of(option: dict[str, Any]) -> str:
    name = option["type"]
    if name == "list":
        name = f"list of {option['elements']}"
    return "any" if name == "raw" else name


def value(literal: Any) -> str:
    """A default as YAML writes it."""
    if isinstance(literal, bool):
        return str(literal).lower()
    if literal == "":
        return '""'
    if isinstance(literal, dict):
        return "{" + ", ".join(f"{key}: {value(item)}" for key, item in literal.items()) + "}"
    if isinstance(literal, list):
        return "[" + ", ".join(value(item) for item in literal) + "]"
    return str(literal)


def default_of(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    return f"`{value(option['default'])}`" if "default" in option else ""


def nested(path: str, options: Options) -> Iterator[tuple[str, Options]]:
    """Every mapping below the options: its path and its keys, each before those inside of it."""
    for name, option in options.items():
        if inner := option.get("options"):
            place = f"{path}{name}" + ("[]" if option["type"] == "list" else "")
            yield place, inner
            yield from nested(f"{place}.", inner)


def table(path: str, options: Options, sections: dict[str, str]) -> list[str]:
    """One row per key. ``sections`` has the heading that describes a nested mapping, by its path."""
    lines = ["| key | type | default | description |", "|---|---|---|---|"]
    for name, option in options.items():
        place = f"{path}{name}" + ("[]" if option["type"] == "list" else "")
        key = f"[`{name}`](#{anchor(sections[place])})" if place in sections else f"`{name}`"
        text = text_of(option["description"])
        if choices := option.get("choices"):
            text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
        lines.append(f"| {key} | {type_of(option)} | {default_of(option)} | {text} |")
    return lines


def page(role: str) -> str:
    source = f"roles/{role}/meta/argument_specs.yml"
    spec = yaml.safe_load((CHECKOUT / source).read_text(encoding="utf-8"))["argument_specs"]["main"]
    options: Options = spec["options"]
    # A mapping that occurs several times is described once.
    sections: dict[str, str] = {}
    described: list[tuple[str, Options]] = []
    for place, inner in nested("", options):
        same = [known for known, keys in described if keys == inner]
        sections[place] = same[0] if same else place
        if not same:
            described.append((place, inner))
    lines = [
        f"# {role}: reference",
        "",
        f"<!-- Written by scripts/reference.py from {source}. Do not edit. -->",
        "",
        *(text_of(paragraph) for paragraph in spec["description"]),
        "",
        f"Guide: [roles/{role}](../../roles/{role}/README.md).",
        "",
        *table("", options, sections),
    ]
    for place, inner in described:
        lines += ["", f"## {place}", "", *table(f"{place}.", inner, sections)]
    return "\n".join(lines) + "\n"


def documentation(path: Path) -> dict[str, Any]:
    """The documentation of a plugin, from its Python or YAML file; empty for a file with several plugins."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        found: dict[str, Any] = yaml.safe_load(text)
        return {**found["DOCUMENTATION"], "examples": str(found.get("EXAMPLES", ""))}
    texts = {
        statement.targets[0].id: str(statement.value.value)
        for statement in ast.parse(text).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
    }
    if "DOCUMENTATION" not in texts:
        return {}
    return {**yaml.safe_load(texts["DOCUMENTATION"]), "examples": texts.get("EXAMPLES", "")}


def plugin(name: str, found: dict[str, Any]) -> list[str]:
    """The section of a plugin."""
    description = found["description"]
    lines = ["", f"### {name}", "", f"{text_of(found['short_description'])}.", ""]
    lines += [text_of(one) for one in ([description] if isinstance(description, str) else description)]
    options: Options = {
        option: {"type": "str", **told, "options": None} for option, told in found.get("options", {}).items()
    }
    if options:
        lines += ["", *table("", options, {})]
    if example := found["examples"].strip():
        lines += ["", "```text", example, "```"]
    return lines


def plugins_page() -> str:
    lines = [
        "# Modules and plugins: reference",
        "",
        "<!-- Written by scripts/reference.py from plugins/. Do not edit. -->",
        "",
        "The roles and playbooks use these modules and plugins. In your own playbooks, write the whole name, such as",
        "`pyweb.stack.packages`. `ansible-doc pyweb.stack.packages` shows more, such as the values that it returns.",
    ]
    for kind, title in KINDS.items():
        files = sorted(path for end in ("py", "yml") for path in (CHECKOUT / "plugins" / kind).glob(f"[a-z]*.{end}"))
        found = {path.stem: told for path in files if (told := documentation(path))}
        lines += ["", f"## {title}"]
        for name in sorted(found):
            lines += plugin(name, found[name])
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    roles = sorted(path.parents[1].name for path in (CHECKOUT / "roles").glob("*/meta/argument_specs.yml"))
    return {FOLDER / f"{role}.md": page(role) for role in roles} | {FOLDER / "plugins.md": plugins_page()}


def stale_pages() -> list[str]:
    return [path.name for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail if a page is not current")
    if parser.parse_args().check:
        stale = stale_pages()
        if stale:
            print(f"not current: {', '.join(stale)}. Run: python scripts/reference.py", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
