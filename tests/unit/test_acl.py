# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folders of an application: for its own account and nginx, and for nobody else."""

from __future__ import annotations

import grp
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.release import folders
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError

APP, NGINX, OTHER = 54321, 54322, 54323
GATE = acl.entries_for(0o750, NGINX, 1)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: folders are given to other accounts")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other accounts can reach, as /srv is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


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


def test_what_is_encoded_can_be_decoded() -> None:
    assert acl.decode(acl.encode(GATE)) == GATE


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


def test_a_folder_that_is_missing_is_told_and_not_made(tmp_path: Path) -> None:
    assert acl.ensure_folder(str(tmp_path / "home"), 0, APP, 0o750, NGINX, check_mode=True) is True
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("entries", "groups", "wanted", "allowed"),
    [
        (GATE, [NGINX], 1, True),
        (GATE, [NGINX], 4, False),
        (GATE, [APP], 4, True),
        (GATE, [OTHER], 1, False),
        ([(acl.USER, 4, OTHER), (acl.MASK, 5, acl.NOBODY)], [APP], 4, True),
        ([(acl.USER, 2, OTHER), (acl.MASK, 5, acl.NOBODY)], [APP], 2, False),  # the mask takes it
        ([(acl.USER, 0, OTHER), (acl.MASK, 5, acl.NOBODY)], [APP], 4, False),  # an entry of one's own is the last word
    ],
)
def test_entries_decide_as_the_kernel_does(entries: list, groups: list[int], wanted: int, allowed: bool) -> None:
    assert acl.may(0o750, 0, APP, OTHER, groups, wanted, entries) is allowed


def test_a_file_system_without_lists_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_arguments: object, **_options: object) -> bytes:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "getxattr", unsupported)
    with pytest.raises(ReleaseError, match=r"the file system of .*/apps/shop has no POSIX ACLs.*acltype=posixacl"):
        folders.prepare(Layout("shop", str(tmp_path / "apps")), lambda _command: pytest.fail("ran"), False)
    assert list(tmp_path.iterdir()) == []


def test_a_group_that_the_host_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"the host has no group 'nosuchgroup'.*webapp_nginx_group"):
        folders.nginx_group_id("shop", "nosuchgroup", check_mode=False)
    assert folders.nginx_group_id("shop", grp.getgrgid(0).gr_name, check_mode=True) == 0
