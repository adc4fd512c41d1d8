# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Groups of programs: how sections are read and processes are named."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_groups import process_name, read_sections


def test_sections_are_read_as_supervisor_reads_them() -> None:
    text = "[group:a] ; x\nprograms = one, two ; three\n[program:one]\ncommand=x\n[unix_http_server]\nfile=/x\n"
    found = read_sections("x.conf", text, ours=True)
    assert [(one.kind, one.name, one.programs) for one in found] == [
        ("group", "a", ("one", "two")),
        ("program", "one", ()),
    ]
    assert read_sections("x.conf", "[program:", ours=True) == []


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("", "a.b", True),
        ("", "axb", False),
        ("process_name=%(program_name)s_%(process_num)02d", "a.b_07", True),
        ("process_name=%(program_name)s_%(process_num)02d", "a.b", False),
        ("process_name=%(ENV_SITE)s.%(group_name)s", "here.mail", True),
    ],
)
def test_process_is_known_by_its_name(line: str, name: str, expected: bool) -> None:
    program = {"name": "a.b", "content": f"[program:a.b]\n{line}\n"}
    assert bool(process_name(program, "mail").fullmatch(name)) is expected
