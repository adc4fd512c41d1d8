# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The pure parts of a build: paths, owners and messages."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import grant_read, import_check, import_probe
from ansible_collections.pyweb.stack.plugins.module_utils.building.explanations import explained
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import without_credentials
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import masked
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import give_to
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import tail

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an application has an account of its own")


@pytest.mark.attack("11", "An application puts a link where root changes the owner of files")
@needs_root
def test_owners_are_never_changed_behind_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "file-link").symlink_to(outside / "file")
    give_to(str(tree), 12345, 12345)
    assert (tree / "a/file").stat().st_uid == 12345
    assert (tree / "link").lstat().st_uid == 12345
    assert {path.stat().st_uid for path in (outside, outside / "file")} == {0}
    (tmp_path / "top").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        give_to(str(tmp_path / "top"), 12345, 12345)
    assert outside.stat().st_uid == 0


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Because foo was not found in the package registry", "'foo' can't be installed. The index has no such name"),
        ("invalid peer certificate: UnknownIssuer", "python.ca_bundle"),
        ("dns error: failed to lookup address", "python.index_url"),
        ("No space left on device", "disk is full"),
        ("Failed to build `thing==5`", "install what its build needs ([build-essential, python3-dev])"),
        ("x Failed to build `psycopg2==2.9`", "([build-essential, python3-dev, libpq-dev])"),
        ("Failed to build `mysqlclient @ file:///x`", "python3-dev, default-libmysqlclient-dev, pkg-config])"),
        ("the requested Python version (3.11) does not satisfy Python>=3.13", "needs another Python"),
        ("something else", ""),
    ],
)
def test_hints_of_uv(said: str, words: str) -> None:
    assert words in explained(said)
    assert bool(explained(said)) is bool(words)


def test_credentials_of_an_index_are_hidden() -> None:
    python = {"index_url": "https://me:tok-3n@index.example/simple", "extra_index_urls": ["https://t0ken@b.example/"]}
    text = without_credentials("error for https://me:tok-3n@index.example/x and https://t0ken@b.example/y", python)
    assert text == "error for https://***@index.example/x and https://***@b.example/y"


@pytest.mark.parametrize(
    ("env", "text", "wanted"),
    [
        ({"PASSWORD": "abcd"}, "is abcd.", "is ***."),
        ({"DEBUG": "abcd"}, "is abcd.", "is abcd."),
        ({"DEBUG": "abcdefghijkl"}, "is abcdefghijkl.", "is ***."),
        ({"URL": "redis://:s3cr@h"}, "auth s3cr failed", "auth *** failed"),
        ({"KEY": "line-one\nline-two"}, "at line-two", "at ***"),
        ({"A_KEY": "abcd", "B_KEY": "abcdef"}, "abcdef abcd", "*** ***"),
        ({"KEY": ""}, "text", "text"),
    ],
)
def test_masking(env: dict[str, str], text: str, wanted: str) -> None:
    assert masked(text, env) == wanted


def test_tail() -> None:
    assert tail("a\nb\nc\n\n", 2) == "b\nc"


@pytest.mark.parametrize(("program", "optional"), [(grant_read, set()), (import_probe, {"gunicorn", "werkzeug"})])
def test_programs_that_run_by_themselves_import_the_standard_library_alone(program: Any, optional: set[str]) -> None:
    """Another interpreter runs their source, in the environment of an application or in none."""
    nodes = list(ast.walk(ast.parse(inspect.getsource(program))))
    names = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names <= optional


def test_every_problem_that_the_import_check_may_find_has_a_message() -> None:
    problems = {*re.findall(r'problem="(\w+)"', inspect.getsource(import_probe))}
    assert problems == {*import_check.MESSAGES, *import_check.EXPLAINED}


@pytest.mark.parametrize(
    ("server", "problem", "words"),
    [
        ("gunicorn", "asgi", "gunicorn calls it by WSGI. Set gunicorn: {worker_class: asgi}."),
        ("granian", "asgi", "granian calls it by WSGI. Set granian: {interface: asgi}."),
        ("uwsgi", "asgi", "uwsgi calls it by WSGI. Choose a server that supports ASGI: server: gunicorn, with"),
        ("gunicorn", "wsgi", "gunicorn calls it by ASGI. Remove gunicorn.worker_class, or name"),
        ("granian", "wsgi", "granian calls it by ASGI. Remove granian.interface, or name"),
    ],
)
def test_the_wrong_interface_is_named_by_the_key_of_the_server(server: str, problem: str, words: str) -> None:
    assert words in str(import_check.import_problem("shop:application", {"problem": problem}, server))


@pytest.mark.parametrize(
    ("problem", "found", "words"),
    [
        ("not_callable", {"type": "int"}, "Name the application object, such as 'shop:app'"),
        ("asgi", {}, "gunicorn: {worker_class: asgi}"),
        ("settings", {"trace": ["Error: {workers}", "line 2"]}, "Error: {workers}\nline 2"),
        ("under_main", {"file": "run.py", "lines": ["line 3: main()"]}, "in it:\n    line 3: main()"),
    ],
)
def test_a_message_of_the_import_check_holds_what_was_found(problem: str, found: dict[str, Any], words: str) -> None:
    assert words in str(import_check.import_problem("shop:application", {"problem": problem, **found}))


@pytest.mark.parametrize(
    ("name", "value", "is_hidden"),
    [
        # Not secret: messages need them.
        ("DJANGO_SETTINGS_MODULE", "shop.settings.production", False),
        ("FLASK_CONFIG", "config.ProductionConfig", False),
        ("APP_ENV", "production", False),
        ("AUTHOR", "Alice Carpenter", True),
        ("AUTHOR", "Alice", False),
        ("MONKEY", "production", False),
        ("DATA_FILE", "/srv/webapps/shop/shared/data2.json", False),
        ("CONFIG", "settings/production.toml", False),
        ("DB_HOST", "database-one.example.com", False),
        ("DB_ADDRESS", "192.168.100.200:5432", False),
        ("SECRET_KEY_FILE", "/run/secrets/django_key", False),
        ("AUTH_BACKEND", "django.contrib.auth", False),
        ("TOKENIZERS_PARALLELISM", "false", False),
        ("APP_MODE", "debug", False),
        # Secret by the name.
        ("SECRET_KEY", "production", True),
        ("DB_PASSWORD", "hunter", True),
        ("dbPassword", "hunter", True),
        ("PGPASSWORD", "swordfish", True),
        ("DBPASS", "swordfish", True),
        ("OAUTH2", "swordfish", True),
        ("AUTH", "user:word", True),
        ("API_KEYS", "abcdefgh", True),
        ("SENTRY_DSN", "abcdefgh", True),
        ("ACCESS_TOKEN", "a.b.c.d", True),
        # Secret by the form of the value.
        ("STRIPE", "sk_live_51Habc987XYZ", True),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE", True),
        ("AWS", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", True),
        ("SOMETHING", "correcthorsebatterystaple", True),
        ("SOMETHING", "correct horse battery staple", True),
        ("JWT", "eyJhbGciOi.eyJzdWIiOiIx.SflKxwRJSMeKKF", True),
        ("UUID", "7f1ab9e6-91f1-4c92-8a5e-9f9d8a7d4c5b", True),
        ("MIXED", "qWeRtYuIoPaSdF", True),
        ("ADDRESS", "postgres://shop:hunter2@db/shop", True),
    ],
)
def test_only_values_that_may_be_secret_are_hidden(name: str, value: str, is_hidden: bool) -> None:
    assert (value not in masked(f"it says {value} here", {name: value})) is is_hidden
