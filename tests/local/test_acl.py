# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folders of an application, tried by processes of its own account, of nginx and of others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl

APP, NGINX, OTHER = 54321, 54322, 54323
GATE = acl.entries_for(0o750, NGINX, 1)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: folders are given to other accounts")


@pytest.fixture
def public(short_path: Path) -> Path:
    """A folder that other accounts can reach, as /srv is."""
    short_path.chmod(0o755)
    return short_path


def tried(path: Path, uid: int, gid: int, wanted: int) -> bool:
    """Whether the kernel lets an account do it."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([gid])
            os.setgid(gid)
            os.setuid(uid)
            os._exit(0 if os.access(path, wanted) else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_root
@pytest.mark.parametrize(
    ("uid", "gid", "allowed"),
    [(0, 0, {1, 4}), (APP, APP, {1, 4}), (NGINX, NGINX, {1}), (OTHER, OTHER, set()), (65534, 65534, set())],
)
def test_only_the_application_and_nginx_pass(public: Path, uid: int, gid: int, allowed: set[int]) -> None:
    path = public / "home"
    assert acl.ensure_folder(str(path), 0, APP, 0o750, NGINX) is True
    found = os.stat(path)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, APP, 0o750)
    assert {wanted for wanted in (1, 4) if tried(path, uid, gid, wanted)} == allowed
    assert {wanted for wanted in (1, 4) if acl.permits(str(path), uid, [gid], wanted)} == allowed


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o777, 0o2755])
@pytest.mark.parametrize("passing", [NGINX, None])
def test_a_folder_of_another_mode_is_told_then_healed_once(public: Path, mode: int, passing: int | None) -> None:
    path = public / "home"
    path.mkdir()
    path.chmod(mode)
    before = os.stat(path)
    assert acl.ensure_folder(str(path), 0, APP, 0o750, passing, check_mode=True) is True
    assert os.stat(path) == before
    assert [acl.ensure_folder(str(path), 0, APP, 0o750, passing) for _ in range(2)] == [True, False]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o750
    assert not tried(path, OTHER, OTHER, 1)
    path.chmod(0o755)
    assert [acl.ensure_folder(str(path), 0, APP, 0o750, passing) for _ in range(2)] == [True, False]


@needs_root
def test_whom_an_operator_lets_in_stays_in(public: Path) -> None:
    path = public / "home"
    acl.ensure_folder(str(path), 0, APP, 0o750, NGINX)
    os.setxattr(path, acl.ACCESS, acl.encode([*GATE, (acl.USER, 4, OTHER)]))
    assert acl.ensure_folder(str(path), 0, APP, 0o750, NGINX) is False
    assert tried(path, OTHER, OTHER, 4)
