#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Writes the table of granian's options that the preflight checks against, from the granian in this environment.

An option whose type this script does not know stops it: decide here what its values may be.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from granian import __version__
from granian.cli import Duration, EnumType, OctalIntType, cli

TABLE = Path(__file__).resolve().parent.parent / "plugins" / "plugin_utils" / "servers" / "granian_settings.py"


def entry(option: Any) -> tuple[str, list[str], list[int | None]]:
    """Type, choices and range of one option."""
    kind: Any = option.type
    if option.multiple or isinstance(kind, click.Tuple):
        return "list", [], []
    if option.is_flag or isinstance(kind, click.types.BoolParamType):
        return "bool", [], []
    if isinstance(kind, EnumType):
        return "str", list(kind.choices), []
    if isinstance(kind, Duration):
        return "duration", [], [kind.min, kind.max]
    if isinstance(kind, click.IntRange):
        return "int", [], [kind.min, kind.max]
    if isinstance(kind, (click.types.IntParamType, OctalIntType)):
        return "int", [], []
    if isinstance(kind, click.types.FloatParamType):
        return "float", [], []
    if isinstance(kind, (click.types.StringParamType, click.Path)):
        return "str", [], []
    raise SystemExit(f"{option.name}: its type {kind!r} is unknown. Add it to {__file__}")


def name_of(option: Any) -> str:
    """The name of an option on the command line, with underscores."""
    longest = max((one for one in option.opts if not one.startswith("--no-")), key=len)
    return str(longest).lstrip("-").replace("-", "_")


def table() -> str:
    """The table as the text of a Python module."""
    lines = [
        "# Copyright: the pyweb.stack contributors",
        "# MIT License (see LICENSE)",
        '"""Every option of granian, with what its value may be. Written by scripts/granian_settings.py."""',
        "",
        "from __future__ import annotations",
        "",
        f'VERSION = "{__version__}"',
        "",
        "# Name: (type, choices, lowest and highest value). A duration is seconds, or a text such as 1h30m.",
        "SETTINGS: dict[str, tuple[str, tuple[str, ...], tuple[int | None, int | None]]] = {",
    ]
    options = [option for option in cli.params if isinstance(option, click.Option) and option.name != "version"]
    for option in sorted(options, key=name_of):
        kind, choices, limits = entry(option)
        listed = "".join(f'"{choice}", ' for choice in choices).rstrip(" " if len(choices) < 2 else ", ")
        low, high = limits or (None, None)
        lines.append(f'    "{name_of(option)}": ("{kind}", ({listed}), ({low}, {high})),')
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    TABLE.write_text(table())
    print(f"{TABLE}: options of granian {__version__}", file=sys.stderr)
