# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Dependencies of Poetry as lines of a requirements file."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.poetry import lines_of_poetry

HEAD = "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = '^3.9'\n"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("flask = '^3.1'", "flask>=3.1,<4"),
        ("flask = '^0.2.3'", "flask>=0.2.3,<0.3"),
        ("flask = '^0.0.3'", "flask>=0.0.3,<0.0.4"),
        ("flask = '^0'", "flask>=0,<1"),
        ("flask = '^2.0b1'", "flask>=2.0b1,<3"),
        ("flask = '~1.2.3'", "flask>=1.2.3,<1.3"),
        ("flask = '~1'", "flask>=1,<2"),
        ("flask = '1.2'", "flask==1.2"),
        ("flask = '1.2.*'", "flask==1.2.*"),
        ("flask = '>= 2, <3'", "flask>=2,<3"),
        ("flask = '>=2 <3'", "flask>=2,<3"),
        ("flask = '*'", "flask"),
        ("flask = {version = '^3', extras = ['async']}", "flask[async]>=3,<4"),
        (
            "flask = {version = '^3', python = '<3.12', markers = \"sys_platform == 'linux'\"}",
            "flask>=3,<4 ; (sys_platform == 'linux') and python_full_version < '3.12'",
        ),
    ],
)
def test_a_dependency_of_poetry_is_a_line(line: str, wanted: str) -> None:
    assert lines_of_poetry(f"{HEAD}{line}\n") == [wanted]


@pytest.mark.parametrize(
    "line",
    [
        "flask = {path = 'libs/flask'}",
        "flask = {git = 'https://git.example.com/flask.git'}",
        "flask = '^2 || ^3'",
        "flask = [{version = '^2'}, {version = '^3'}]",
        "flask = {version = '^3', source = 'internal'}",
        "flask = 3",
        "'flask\\n--index-url x' = '^3'",
        "'-r more.txt' = '*'",
        'flask = {version = "^3", markers = "a\\n-r x"}',
    ],
)
def test_what_no_line_expresses_is_told(line: str) -> None:
    assert lines_of_poetry(f"{HEAD}{line}\n") is None


def test_other_projects_are_none_of_poetry_alone() -> None:
    assert lines_of_poetry(f"{HEAD}flask = {{version = '^3', optional = true}}\n") == []
    assert lines_of_poetry(HEAD.replace("false", "true")) is None
    assert lines_of_poetry(f"[project]\nname = 'x'\n{HEAD}") is None
    assert lines_of_poetry("[tool]\npoetry = 1\n") is None
    assert lines_of_poetry("nonsense") is None
