# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Which data the account of an application cannot write, with real files and accounts."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.writing import look_at_groups, look_at_writing
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from hostile_account import needs_root

pytestmark = needs_root

# An account that every Debian has, and no group of others.
ACCOUNT = "nobody"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folders of an application whose account is ``nobody``."""
    found = Layout(ACCOUNT, str(tmp_path))
    os.makedirs(os.path.join(found.shared, "instance"))
    for folder, _folders, _files in os.walk(found.home):
        os.chown(folder, 65534, 65534)
        os.chmod(folder, 0o750)
    return found


def database(path: Path, owner: int = 65534) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("create table notes (text)")
    os.chown(path, owner, owner)
    path.chmod(0o644)
    return path


def test_data_of_the_account_are_well(layout: Layout) -> None:
    database(Path(layout.shared, "instance", "notes.db"))
    assert look_at_writing(layout, {}, 0) == []


@pytest.mark.parametrize("name", ["notes.db", "ledger", "cache.sqlite3-wal"])
def test_a_database_of_root_is_found(layout: Layout, name: str) -> None:
    path = database(Path(layout.shared, "instance", name), owner=0)
    (found,) = look_at_writing(layout, {}, 0)
    assert (found["path"], found["owner"], found["mode"], found["database"]) == (str(path), "root", "0644", True)


def test_a_database_in_a_folder_of_root_is_found_before_the_folder(layout: Layout) -> None:
    """SQLite makes its journal beside the database."""
    folder = Path(layout.shared, "instance")
    path = database(folder / "notes.db")
    os.chown(folder, 0, 65534)
    first, second = look_at_writing(layout, {}, 0)
    assert (first["named"], first["path"], first["database"]) == (str(path), str(folder), True)
    assert (second["named"], second["database"]) == (str(folder), False)


def test_a_database_that_a_variable_names_is_looked_at(layout: Layout, tmp_path: Path) -> None:
    path = database(tmp_path / "elsewhere.sqlite", owner=0)
    url = {"DATABASE_URL": f"sqlite:///{path}?timeout=5", "OTHER": "postgresql://u:p@h/d"}
    (found,) = look_at_writing(layout, url, 0)
    assert found["named"] == str(path)


def test_files_that_are_no_databases_may_be_of_root(layout: Layout) -> None:
    Path(layout.shared, "instance", "logo.png").write_text("x")
    Path(layout.shared, "instance", "README").write_text("x")
    assert look_at_writing(layout, {}, 0) == []


def test_the_groups_of_a_process_are_compared_with_those_of_its_account() -> None:
    found = look_at_groups("root", os.getpid())
    assert "root" in found["account"]
    assert "root" in found["process"]
    assert look_at_groups("nobody", 0) == {"account": [], "process": []}
