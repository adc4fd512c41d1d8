# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Program files, read as supervisor itself reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.supervisor_definitions import supervisor_definitions

options = pytest.importorskip("supervisor.options", reason="supervisor's own parser comes from the package supervisor")


NASTY = [
    "",
    "plain",
    "a b",
    "100%",
    "%i",
    "%%i",
    "%(here)s",
    "%(ENV_HOME)s",
    "$HOME",
    "it's",
    'say "so"',
    "back\\slash",
    "end\\",
    ";",
    "a ; b",
    "a ;b;c",
    "#",
    "a # b",
    "; #",
    "é ü 漢字",
    "'\"\\$%",
    " leading",
    "trailing ",
    "x=y",
    "[program:x]",
    "\u00a0;",
]


def read_groups(tmp_path: Path, content: str) -> list[Any]:
    """The groups of a file, each program one of its own by itself, as supervisor itself understands it."""
    (tmp_path / "one.conf").write_text(content, encoding="utf-8")
    main = tmp_path / "supervisord.conf"
    main.write_text(f"[supervisord]\nlogfile={tmp_path}/log\n[include]\nfiles={tmp_path}/one.conf\n")
    parser = options.ServerOptions()
    parser.configfile = str(main)
    parser.process_config(do_usage=False)
    return parser.process_group_configs


def read_programs(tmp_path: Path, content: str) -> dict[str, Any]:
    """The programs of a file as supervisor itself understands it."""
    return {group.name: group.process_configs[0] for group in read_groups(tmp_path, content)}


def rendered(render: Any, tmp_path: Path, program: dict[str, Any]) -> str:
    program = {"stdout_logfile": f"{tmp_path}/x.log", **program}
    return render("supervisor", supervisor_definitions([program]))[0]["content"]
