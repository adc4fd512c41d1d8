# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Which Python an inventory and a source ask for, and the archives that the controller sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.requirements import pythons
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import (
    Request,
    archive_version,
    is_version,
    request_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.python_archives import listed_archives, wrong_checksum
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import source_folders
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.interpreters import interpreter_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.source_folders import python_of
from host_facts import GOOD

ARCHIVE = "cpython-3.13.5+20250612-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"


@pytest.mark.parametrize(
    ("text", "version", "unknown"),
    [
        ("3.12\n", "3.12", ""),
        ("3.9.6\n3.8.1\n", "3.9.6", ""),
        ("# ours\n\n  3.12.4  # since May\n", "3.12.4", ""),
        ("cpython-3.12", "3.12", ""),
        ("cpython@3.12.1", "3.12.1", ""),
        ("python3.12", "3.12", ""),
        ("system\n", "", ""),
        ("3\n", "", ""),
        ("", "", ""),
        ("pypy3.10-7.3.12\n", "", "pypy3.10-7.3.12"),
        ("3.13t\n", "", "3.13t"),
        ("shop-3.11\n", "", "shop-3.11"),
    ],
)
def test_a_version_file_is_read_as_its_tools_do(tmp_path: Path, text: str, version: str, unknown: str) -> None:
    (tmp_path / ".python-version").write_text(text)
    request = request_of(str(tmp_path), str(tmp_path))
    assert (request.version, request.unknown) == (version, unknown)


def test_the_nearest_version_file_counts(tmp_path: Path) -> None:
    (tmp_path / "api" / "shop").mkdir(parents=True)
    (tmp_path / ".python-version").write_text("3.9")
    assert request_of(str(tmp_path / "api" / "shop"), str(tmp_path)).version == "3.9"
    assert request_of(str(tmp_path / "api" / "shop"), str(tmp_path / "api")).version == "", "not above the source"
    (tmp_path / "api" / ".python-version").write_text("3.12")
    assert request_of(str(tmp_path / "api" / "shop"), str(tmp_path)).version == "3.12"


def test_what_requires_python_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pyproject.toml"
    assert request_of(str(tmp_path), str(tmp_path)).requires == ""
    path.write_text("[project]\nrequires-python = '>=3.12'\n")
    assert request_of(str(tmp_path), str(tmp_path)).requires == ">=3.12"
    monkeypatch.setattr(pythons, "table", lambda text: None)
    assert request_of(str(tmp_path), str(tmp_path)).requires == ">=3.12", "without a parser"
    path.write_text("nonsense")
    assert request_of(str(tmp_path), str(tmp_path)).requires == ""


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '^3.9'\n", ">=3.9,<4"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '~3.11'\n", ">=3.11,<3.12"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '3.12'\n", ">=3.12,<3.13"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '3.12.*'\n", "==3.12.*"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '>= 3.9 <3.13'\n", ">=3.9,<3.13"),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '*'\n", ""),
        ("pyproject.toml", "[tool.poetry.dependencies]\npython = '~2.7 || ^3.9'\n", ""),
        ("pyproject.toml", "[tool]\npoetry = 1\n", ""),
        (
            "pyproject.toml",
            "[project]\nrequires-python = '>=3.12'\n[tool.poetry.dependencies]\npython = '^3.9'\n",
            ">=3.12",
        ),
        (
            "setup.cfg",
            "[metadata]\nname = x\n\n[options]\npackages = find:\npython_requires = >=3.12,<4\n",
            ">=3.12,<4",
        ),
        ("setup.cfg", "[other]\npython_requires = >=3.12\n", ""),
        ("setup.py", "setup(name='x', python_requires='>=3.12, <4')", ">=3.12,<4"),
        ("setup.py", "setup(name='x', python_requires='>=3.7.*,')", ">=3.7"),
        ("setup.py", "setup(name='x', python_requires=REQUIRES)", ""),
    ],
)
def test_the_python_of_other_tools_is_read(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    (tmp_path / name).write_text(text)
    assert request_of(str(tmp_path), str(tmp_path)).requires == wanted


@pytest.mark.attack("16", "A version file of a source is a link to a file outside of it")
def test_a_version_file_outside_of_the_source_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("3.12")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / ".python-version").symlink_to("../secret")
    (tmp_path / "pyproject.toml").write_text("[project]\nrequires-python = '>=3.12'\n")
    (tmp_path / "src" / "pyproject.toml").symlink_to("../pyproject.toml")
    assert request_of(str(tmp_path / "src"), str(tmp_path / "src")) == Request()


def test_a_version_file_that_is_not_sent_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".python-version").write_text("3.12")
    app: dict[str, Any] = {"source": {"subdir": ""}}
    assert python_of(app, tmp_path).version == "3.12"
    monkeypatch.setattr(source_folders, "source_files", lambda folder: ["app.py"])
    assert python_of(app, tmp_path).version == ""


@pytest.mark.parametrize(
    ("asked", "fitting", "others"),
    [
        (Request("3.12"), ["3.12.0", "3.12.9"], ["3.1.2", "3.11.9", "3.13.0"]),
        (Request("3.12.4"), ["3.12.4", "3.12.9"], ["3.13.4"]),
        (Request("3.12.4", exact=True), ["3.12.4"], ["3.12.40", "3.12.3"]),
        (Request("3.12", exact=True), ["3.12.4"], ["3.1.2"]),
        (Request(requires=">=3.11.4,<3.13"), ["3.11.4", "3.12.1"], ["3.11.2", "3.13.0"]),
        (Request("3.12", ">=3.12.3"), ["3.12.3"], ["3.12.1", "3.13.3"]),
    ],
)
def test_a_request_is_met(asked: Request, fitting: list[str], others: list[str]) -> None:
    assert [one for one in (*fitting, *others) if asked.is_met_by(one)] == fitting


def test_versions_are_told_from_programs() -> None:
    assert [is_version(text) for text in ("3.13", "3.13.5", "python3.13", "/opt/3.13", "3", "2.7")] == [
        True,
        True,
        *[False] * 4,
    ]


def test_a_version_has_a_fingerprint_before_the_host_has_it() -> None:
    versions = InterpreterVersions()
    assert (versions["3.99"], versions["3.99.1"], versions.seen) == ("cpython-3.99", "cpython-3.99.1", {})


# The choice of a source on a host


def problems(asked: Request, interpreter: str | None = None) -> list[str]:
    return list(interpreter_problems({"python": {"interpreter": interpreter}}, GOOD, asked, []))


@pytest.mark.parametrize(
    "asked",
    [
        Request(),
        Request("3.11.9"),
        Request("3.13"),
        Request("3.9.6", ">=3.8"),
        Request(requires=">=3.12"),
        Request(requires=">=3.11.4"),
        Request("3.12", ">=3.12.3"),
    ],
)
def test_what_the_host_or_uv_has_is_no_problem(asked: Request) -> None:
    assert problems(asked) == []


def test_the_inventory_may_ignore_a_version_file() -> None:
    assert problems(Request("3.7"), "python3") == []


# Archives


def test_the_version_of_an_archive_is_in_its_name() -> None:
    assert archive_version(ARCHIVE) == "3.13.5"
    assert archive_version("Python-3.13.5.tgz") == ""


def test_listed_archives_are_found(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_text("x")
    items = [{"path": ARCHIVE, "checksum": f"sha256:{'0' * 64}"}]
    assert listed_archives(items, ["/nowhere", str(tmp_path)]) == (
        [{"name": ARCHIVE, "sha256": "0" * 64, "local": str(tmp_path / ARCHIVE)}],
        [],
    )
    assert "has the checksum sha256:2d711642" in wrong_checksum(str(tmp_path / ARCHIVE), "0" * 64)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x", "python_archives: this must be a list"),
        ([{"path": ARCHIVE}], "no. 1: set path and checksum"),
        (
            [{"path": "Python-3.13.5.tgz", "checksum": ""}],
            "'Python-3.13.5.tgz' is no archive of python-build-standalone",
        ),
        ([{"path": f"other/{ARCHIVE}", "checksum": f"sha256:{'0' * 64}"}], "is not a file on the controller"),
        ([{"path": ARCHIVE, "checksum": "0" * 64}], "Write it as 'sha256:'"),
        ([{"path": ARCHIVE, "checksum": f"sha256:{'0' * 64}"}] * 2, "another item is Python 3.13.5 too"),
    ],
)
def test_a_wrong_archive_is_refused(tmp_path: Path, value: Any, words: str) -> None:
    (tmp_path / ARCHIVE).write_text("x")
    _found, told = listed_archives(value, [str(tmp_path)])
    assert words in "\n".join(told)
