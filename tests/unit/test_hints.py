# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remedies for errors in the output of an application."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.hints import family_hint, import_hint, lock_hint

MISSING = [
    "FileNotFoundError: [Errno 2] No such file or directory: 'instance/config.json'",
    "sqlite3.OperationalError: no such table: users",
    "sqlite3.OperationalError: unable to open database file",
    'psycopg2.errors.UndefinedTable: relation "users" does not exist',
    'psycopg.OperationalError: connection failed: FATAL:  database "shop" does not exist',
    "MySQLdb.ProgrammingError: (1146, \"Table 'shop.users' doesn't exist\")",
    "sqlalchemy.exc.NoSuchTableError: users",
    "ORA-00942: table or view does not exist",
]
OTHERS = [
    "NameError: name 'x' is not defined",
    "KeyError: 'SECRET_KEY'",
    "AttributeError: the attribute does not exist",
    "psycopg.OperationalError: connection refused",
]


@pytest.mark.parametrize("trace", MISSING)
def test_an_import_that_lacks_a_file_or_a_table_is_told_the_order(trace: str) -> None:
    hint = import_hint(trace)
    assert "imports the application before it runs the commands of commands.release" in hint
    assert "import_check: false" in hint


@pytest.mark.parametrize("trace", OTHERS)
def test_other_failures_are_told_nothing(trace: str) -> None:
    assert import_hint(trace) == ""


def test_a_lock_and_a_socket_have_their_own_remedies() -> None:
    assert import_hint("database is locked") == lock_hint("database is locked") != ""
    output = "OSError: [Errno 97] Address family not supported by protocol"
    assert "RestrictAddressFamilies: AF_PACKET" in family_hint(output)
    assert import_hint(output) == family_hint(output)
    assert family_hint("OSError: [Errno 98] Address already in use") == ""
