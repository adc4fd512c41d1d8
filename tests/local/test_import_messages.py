# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The messages about applications that can't be imported: the first error, the likely cause and the remedy."""

from __future__ import annotations

from typing import Any

import pytest
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import APP, Bench
from local.test_source_layout import LIBRARY

account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

PYDANTIC = """
    class ValidationError(ValueError): pass
    raise ValidationError("1 validation error for Settings\\nsecret_key\\n  Field required [type=missing]")
"""
HIDDEN = """
    try:
        open("/etc/shadow")
    except PermissionError:
        raise RuntimeError("can't start")
"""
CAUSED = """
    class SettingsError(Exception): pass
    try:
        open("settings.toml")
    except OSError as error:
        raise SettingsError("no settings") from error
"""
HANDLED = """
    import os
    try:
        import ujson
    except ImportError:
        os.environ["SECRET_KEY"]
"""
ENV_FILE = "'.env' was not deployed, because .gitignore names it."


@needs_root
@pytest.mark.parametrize(
    ("files", "left_out", "words"),
    [
        (
            "import os; os.environ['SECRET_KEY']",
            [],
            ["SECRET_KEY is not in the environment. Set it: env: {SECRET_KEY: …}"],
        ),
        ("import os; os.environ['SECRET_KEY']", [".env"], ["Set it: env: {SECRET_KEY: …}.", ENV_FILE]),
        ("settings = {}; settings['SECRET_KEY']", [".env"], ["If 'SECRET_KEY' comes from the environment", ENV_FILE]),
        ("{}['name']", [".env"], ["importing 'app' failed: KeyError: 'name'. The end of the traceback"]),
        ("raise ValueError('DATABASE_URL is not set')", [], ["env: {DATABASE_URL: …}"]),
        (PYDANTIC, [".env.production"], ["env: {SECRET_KEY: …}", "'.env.production' was not deployed"]),
        (
            HIDDEN,
            [],
            ["failed: PermissionError: [Errno 13] Permission denied: '/etc/shadow' (which led to RuntimeError"],
        ),
        (HIDDEN, [], ["The account", "may not use '/etc/shadow'", "This led to:"]),
        (CAUSED, [], ["failed: FileNotFoundError", "'settings.toml' (which led to app.SettingsError: no settings)"]),
        (
            CAUSED,
            ["settings.toml"],
            ["'settings.toml' was not deployed, because .gitignore names it", "source.include"],
        ),
        (CAUSED, [], ["The release has no 'settings.toml'. Add it to the source."]),
        (HANDLED, [], ["failed: KeyError: 'SECRET_KEY'", "SECRET_KEY is not in the environment"]),
        ("open('app.db', 'w')", [], ["may not write into its release. Add shared: [instance].", "instance/app.db"]),
        ("import os; os.mkdir('cache')", [], ["may not write into its release"]),
        ("import os; os.makedirs('var/log')", [], ["Add shared: [var]."]),
        ("import sqlite3; sqlite3.connect('app.db')", [], ["unable to open database file", "Add shared: [instance]"]),
        ("import pkg_resources", [], ["Add 'setuptools<81' to python.packages."]),
        ("import yaml", [], ["'yaml' is not among the dependencies: add PyYAML to the requirements."]),
        ("import local_settings", ["local_settings.py"], ["'local_settings.py' was not deployed", "source.include"]),
        (
            "from importlib.metadata import version; version('shop')",
            [],
            ["the package 'shop', which is not installed", "add '.'"],
        ),
        (
            {"app.py": "import core", "libs/core.py": ""},
            [],
            ["The source has 'libs/core', in a folder that Python does"],
        ),
        (
            {"app.py": "from collections import Mapping"},
            [],
            ["Python 3.10 and newer have 'Mapping' in collections.abc"],
        ),
        ("import collections; collections.Mapping", [], ["where 'collections' has no 'Mapping'", "too old"]),
        (
            "raise ImportError('libpq.so.5: cannot open shared object file')",
            [],
            ["'libpq.so.5'", "python_packages: [libpq5]"],
        ),
        ("raise OSError(\"cannot load library 'libgobject-2.0-0': x\")", [], ["python_packages: [libglib2.0-0]"]),
    ],
)
def test_a_failed_import_tells_its_first_error_and_the_remedy(
    bench: Bench, files: Any, left_out: list[str], words: list[str]
) -> None:
    written = files if isinstance(files, dict) else {"app.py": files}
    message = refused(bench, bench.spec({"requirements.txt": "", **written}), left_out)
    assert [word for word in words if word not in message] == [], message


def refused(bench: Bench, spec: dict[str, Any], left_out: list[str] | None = None, identity: str = builds.ID) -> str:
    spec["source"]["left_out"] = left_out or []
    with pytest.raises(builds.ReleaseError) as caught:
        bench.build_spec(spec, identity)
    return str(caught.value)


@needs_root
def test_a_source_that_lists_no_dependencies(bench: Bench) -> None:
    message = refused(bench, bench.spec({"app.py": "import flask"}))
    assert "have none of uv.lock, pylock.toml, requirements.txt, pyproject.toml and setup.py, and" in message


@needs_root
@pytest.mark.parametrize(
    ("files", "wsgi", "words"),
    [
        (
            {"app.py": "def create_app(): pass"},
            "app:create_app()",
            "'create_app()' returns nothing. Does it lack its last",
        ),
        (
            {"app.py": "app = None"},
            "app:app",
            "'app' is None when the module is imported. Create the application there",
        ),
        ({"app/app.py": APP}, "app:app", "but 'app' is a folder, which has no 'app'. Did you mean 'app.app:app'?"),
        ({"app/__init__.py": "", "app/main.py": APP}, "app:app", "Did you mean 'app.main:app'?"),
        ({"shop/wsgi.py": "def create_app(): 1"}, "shop:create_app()", "Did you mean 'shop.wsgi:create_app'?"),
    ],
)
def test_a_callable_that_is_elsewhere_or_nothing(bench: Bench, files: dict[str, str], wsgi: str, words: str) -> None:
    assert words in bench.refuse(files, wsgi=wsgi)


@needs_root
def test_a_module_that_gitignore_leaves_out(bench: Bench) -> None:
    spec = bench.spec({"other.py": ""})
    assert ".gitignore leaves out 'app.py'. Add it to source.include" in refused(bench, spec, ["app.py"])


@needs_root
def test_a_slow_import_names_its_limit(bench: Bench) -> None:
    message = bench.refuse({"app.py": "import time; time.sleep(30)"}, import_timeout=1)
    assert "did not end within 1 seconds (health.timeout)" in message
    assert "raise health.timeout" in message


@needs_root
def test_a_part_that_a_newer_version_of_a_package_lost(bench: Bench) -> None:
    files = {"app.py": "import core.contrib.fixers", "requirements.txt": "./libs/core\n", **LIBRARY}
    message = refused(bench, bench.spec(files))
    assert "core 1 is installed, but has no 'contrib" in message
    assert "Choose a version that has it, such as 'core<1'." in message
    files["app.py"] = "from core import old"
    other = builds.ID.replace("T", "T1", 1)[: len(builds.ID)]
    assert "core 1 is installed, but has no 'old' in 'core'." in refused(bench, bench.spec(files), identity=other)
