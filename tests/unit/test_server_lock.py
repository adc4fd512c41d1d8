# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lock of app servers is complete, and it never fights the packages of an application."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.host import uv, uv_lock
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.server_lock import (
    LockProblem,
    locked_lines,
    locked_packages,
    only_wheels,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.versions import fits
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import locked_requirements
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import (
    granian,
    granian_settings,
    gunicorn,
    gunicorn_settings,
    uwsgi_options,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.locks import lock_of, name_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.server_lock import HASHES, SOURCES, VERSIONS
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

from unit.test_mapping import app

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHONS = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14"]
SERVERS: dict[str, str] = role_options("webapp")["webapp_server_requirements"]["default"]
# Upstream does not have these. They can't be installed, with or without a lock.
MISSING = {
    **{python: {"gunicorn-h1c"} for python in PYTHONS},
    "3.9": {"gunicorn-h1c", "h2", "granian", "rloop", "uvloop"},
}
SHA256 = re.compile(r"sha256:[0-9a-f]{64}")

# The lock


@pytest.mark.parametrize("python", PYTHONS)
def test_every_server_and_every_extra_is_locked(python: str) -> None:
    for requirement in sorted({*gunicorn.every_requirement(), *granian.every_requirement(), *SERVERS.values()}):
        if name_of(requirement) not in MISSING[python] and requirement != gunicorn.ASGI_GUNICORN:
            assert locked_packages(lock_of([requirement]), python, [requirement], {}, [])


@pytest.mark.parametrize("python", PYTHONS[1:])
def test_the_asgi_worker_is_locked_where_gunicorn_has_one(python: str) -> None:
    (requirement,) = gunicorn.requirements(SERVERS["gunicorn"], {"worker_class": "asgi"})
    assert "gunicorn" in locked_packages(lock_of([requirement]), python, [requirement], {}, [])


def test_every_locked_version_has_hashes_and_what_it_needs() -> None:
    assert list(VERSIONS) == list(SOURCES) == PYTHONS
    for python, packages in VERSIONS.items():
        for name, (version, needs) in packages.items():
            assert HASHES[f"{name}=={version}"]
            for need in needs:
                assert name_of(need) in packages, f"Python {python}: {name} needs {need}"
                assert locked_packages(lock_of([name]), python, [name], {}, []), need
    assert all(SHA256.fullmatch(one) for found in HASHES.values() for one in found)


def test_wheels_are_missing_only_where_upstream_has_none() -> None:
    assert {python: names for python, names in SOURCES.items() if names} == {"3.9": ("gevent",), "3.10": ("gevent",)}


def test_the_locked_servers_are_those_whose_settings_are_checked() -> None:
    newest = VERSIONS[PYTHONS[-1]]
    assert newest["gunicorn"][0] == gunicorn_settings.VERSION
    assert newest["granian"][0] == granian_settings.VERSION
    assert newest["pyuwsgi"][0].startswith(uwsgi_options.VERSION)


@pytest.mark.parametrize(
    "name", ["plugins/plugin_utils/servers/server_lock.py", "plugins/module_utils/host/uv_lock.py"]
)
def test_a_lock_has_no_address(name: str) -> None:
    assert "://" not in (CHECKOUT / name).read_text()


def test_uv_is_locked_in_its_default_version() -> None:
    defaults = yaml.safe_load((CHECKOUT / "roles/python/defaults/main.yml").read_text())
    assert defaults["python_uv_version"] == uv_lock.VERSION
    assert all(SHA256.fullmatch(one) for one in uv_lock.HASHES)


def test_uv_is_installed_by_its_hash_unless_another_version_is_chosen(tmp_path: Path) -> None:
    arguments, remedy = uv.requirement(uv_lock.VERSION, str(tmp_path))
    assert arguments == ["--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(tmp_path / "uv.txt")]
    assert f"--hash={uv_lock.HASHES[0]}" in (tmp_path / "uv.txt").read_text()
    assert "python_uv_index_url" in remedy
    assert uv.requirement("0.12.0", str(tmp_path))[0] == ["uv==0.12.0"]


# The user's choices


def test_a_chosen_requirement_is_not_locked() -> None:
    apps = [
        app(gunicorn={"worker_class": "gevent"}),
        app("blog", server="uwsgi", site={"port": 81}),
        app("wiki", server="granian", site={"port": 82}),
    ]
    assert locked_requirements(apps, SERVERS) == {*SERVERS.values(), "gevent>=24.10.1", "packaging"}
    chosen = {**SERVERS, "gunicorn": "gunicorn==23.0.0"}
    assert locked_requirements(apps, chosen) == {SERVERS["uwsgi"], SERVERS["granian"], "gevent>=24.10.1", "packaging"}


def test_a_lock_holds_only_what_is_needed() -> None:
    lock = lock_of([SERVERS["gunicorn"]])
    assert {name for packages in lock["versions"].values() for name in packages} <= {"gunicorn", "packaging"}
    assert len(lock["hashes"]) <= 4
    assert lock_of([]) == {}


def test_a_user_may_let_packages_be_built() -> None:
    packages = {"pyuwsgi": "1.0"}
    assert only_wheels(lock_of(["pyuwsgi"]), "3.11", packages) == ["--only-binary", "pyuwsgi"]
    assert only_wheels(lock_of(["pyuwsgi"], only_wheels=False), "3.11", packages) == []


# The application's own packages

LOCK: dict[str, Any] = {
    "requirements": ["server>=1.0"],
    "versions": {"3.11": {"server": ["2.0", ["helper>=3.0,<5", "other"]], "helper": ["4.0", []], "other": ["1.0", []]}},
    "hashes": {"server==2.0": ["sha256:a"], "helper==4.0": ["sha256:b", "sha256:c"], "other==1.0": ["sha256:d"]},
    "sources": {"3.11": ["other"]},
}


def test_only_what_the_application_lacks_is_installed() -> None:
    assert locked_packages(LOCK, "3.11", ["server>=1.0"], {}, []) == {"server": "2.0", "helper": "4.0", "other": "1.0"}
    found = locked_packages(LOCK, "3.11", ["server>=1.0"], {"helper": "3.5", "flask": "3.0"}, ["helper<4", "other<2"])
    assert found == {"server": "2.0", "other": "1.0"}
    assert locked_lines(LOCK, found) == "other==1.0 --hash=sha256:d\nserver==2.0 --hash=sha256:a\n"
    assert only_wheels(LOCK, "3.11", found) == ["--only-binary", "server"]


@pytest.mark.parametrize(
    ("python", "installed", "limits", "words"),
    [
        ("3.15", {}, [], "the lock has no server for Python 3.15"),
        ("", {}, [], "the lock has no server"),
        ("3.11", {"helper": "2.9"}, [], "server 2.0 needs helper>=3.0,<5, but helper 2.9 is there"),
        ("3.11", {"helper": "5.0rc1"}, [], "but helper 5.0rc1 is there"),
        ("3.11", {"helper": "unknown"}, [], "but helper unknown is there"),
        ("3.11", {}, ["Server<2"], "a constraint of the application is Server<2"),
        ("3.11", {}, ["other @ https://example.com/other.whl"], "a constraint of the application is other @"),
        ("3.11", {}, ["helper==4.0.1; python_version > '3'"], "a constraint of the application is helper==4.0.1"),
    ],
)
def test_the_lock_gives_way_to_the_application(
    python: str, installed: dict[str, str], limits: list[str], words: str
) -> None:
    with pytest.raises(LockProblem, match=re.escape(words)):
        locked_packages(LOCK, python, ["server>=1.0"], installed, limits)


@pytest.mark.parametrize(
    ("version", "clauses", "wanted"),
    [
        ("27.0.1", ">=22.0", True),
        ("27.0.1", ">=22.0,>=26.2.2", True),
        ("23.0.0", ">=22.0,>=26.2.2", False),
        ("2.0.30.post1", ">=2.0.28", True),
        ("2.0.30.post1", ">2.0.30", False),
        ("2.0.31", ">2.0.30", True),
        ("5.0rc1", "<5", False),
        ("5.0rc1", "<5.0rc2", True),
        ("4.9", "<5", True),
        ("2.0.30.post1", "==2.0.30", False),
        ("1.0", "==1.0.0", True),
        ("1.4.2", "==1.4.*", True),
        ("1.40", "!=1.4.*", True),
        ("1.4.2", "~=1.4", True),
        ("2.0", "~=1.4", False),
        ("1.0rc1", ">=1.0", False),
        ("1.0rc1", ">=1.0b9", True),
        ("1.0.dev3", "<1.0a1", True),
        ("1.0+local", "==1.0", True),
        ("1!1.0", ">2024.1", True),
        ("1.0", "", True),
        ("1.0", "(>=0.9)", True),
        ("1.0", ">=newest", False),
        ("1.0", "@ file", False),
    ],
)
def test_versions_are_compared_as_indexes_do(version: str, clauses: str, wanted: bool) -> None:
    assert fits(version, clauses) is wanted
