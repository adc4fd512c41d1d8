# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folders of an application: its own account and nginx can open them, no other account can."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import folders
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError

APP, NGINX, OTHER = 54321, 54322, 54323
GATE = acl.entries_for(0o750, NGINX, 1)


def test_what_is_encoded_can_be_decoded() -> None:
    assert acl.decode(acl.encode(GATE)) == GATE


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
        ([(acl.USER, 2, OTHER), (acl.MASK, 5, acl.NOBODY)], [APP], 2, False),  # the mask removes the permission
        ([(acl.USER, 0, OTHER), (acl.MASK, 5, acl.NOBODY)], [APP], 4, False),  # a user's own entry takes precedence
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
