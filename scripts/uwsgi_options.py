#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Writes the table of uWSGI's options that the preflight checks against, from the uWSGI in this environment."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent / "plugins" / "plugin_utils" / "servers" / "uwsgi_options.py"

OPTION = re.compile(r"^\s+(?:-\S\|)?--(?P<name>\S+)", re.MULTILINE)


def asked(option: str) -> str:
    program = Path(sys.executable).with_name("uwsgi")
    return subprocess.run([str(program), option], capture_output=True, text=True, check=True).stdout


def table() -> str:
    """The table as the text of a Python module."""
    names = " ".join(sorted(set(OPTION.findall(asked("--help")))))
    lines = [
        "# Copyright: the pyweb.stack contributors",
        "# MIT License (see LICENSE)",
        '"""Every option of uWSGI as its wheels (pyuwsgi) have it. Written by scripts/uwsgi_options.py."""',
        "",
        "from __future__ import annotations",
        "",
        f'VERSION = "{asked("--version").strip()}"',
        "",
        'NAMES = """',
        *textwrap.wrap(names, 120, break_on_hyphens=False),
        '"""',
        "",
        "OPTIONS = frozenset(NAMES.split())",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    TABLE.write_text(table())
