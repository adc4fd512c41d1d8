# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The account and the folders of an application: its own, passable for nginx, closed to other accounts."""

from __future__ import annotations

import grp
import os
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.building.shared import NGINX_GROUP, serve_shared
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import (
    Busy,
    has_lock_holder,
    lock,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import unfinished
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    ReleaseError,
    account,
    build_account,
    existing_account,
    remove_tree,
)


def check_account(layout: Layout) -> None:
    """Refuse a name that the host uses for another account or group."""
    found = account(layout.name)
    if found is not None and found.pw_dir != layout.home:
        raise ReleaseError(
            layout.name,
            f"the host already has an account '{layout.name}' with the home {found.pw_dir}, which is not this "
            "collection's. Choose another name.",
        )
    if found is None and group_exists(layout.name):
        raise ReleaseError(layout.name, f"the host already has a group '{layout.name}'. Choose another name.")
    builder = account(build_account(layout.name))
    if builder is not None and builder.pw_dir != layout.build:
        raise ReleaseError(
            layout.name,
            f"the host already has an account '{builder.pw_name}' with the home {builder.pw_dir}, but the builds of "
            "this application need the name. Remove that account, or choose another name for the application.",
        )


def group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def nginx_group_id(name: str, nginx_group: str, check_mode: bool) -> int | None:
    """The ID of the group that nginx runs as; None where a real run would create the group first."""
    try:
        return grp.getgrnam(nginx_group).gr_gid
    except KeyError:
        if check_mode:
            return None
        raise ReleaseError(
            name,
            f"the host has no group '{nginx_group}', which nginx needs to read static files. Set webapp_nginx_group "
            "to the group that nginx runs as.",
        ) from None


def check_file_system(layout: Layout) -> None:
    """Refuse a file system on which an application's folders can't be kept from other accounts."""
    for path in (layout.home, layout.shared):
        if not acl.is_supported(path):
            raise ReleaseError(
                layout.name,
                f"the file system of {path} has no POSIX ACLs. They let nginx into that folder and keep the other "
                "accounts out. Turn them on (ZFS: zfs set acltype=posixacl DATASET; ext4: mount without noacl), or put "
                "the folder on ext4, XFS or Btrfs.",
            )


def provide_builder(layout: Layout, run: Run, check_mode: bool) -> bool:
    """Create or correct the build account; return whether it differed.

    Its group is the application's, so that builds can read the environment of a release, and what is shared.
    """
    name, group = build_account(layout.name), existing_account(layout.name).pw_gid
    found = account(name)
    if found is not None and found.pw_gid == group:
        return False
    if check_mode:
        return True
    if found is None:
        # Imported only here, because the host compiles all imports, and few runs create accounts.
        from ansible_collections.pyweb.stack.plugins.module_utils.building import accounts

        accounts.create(name, layout, run, home=layout.build, group=layout.name)
    else:
        status, _output, error = run(["usermod", "--gid", layout.name, name])
        if status != 0:
            raise ReleaseError(layout.name, f"the group of the account {name} could not be set: {error.strip()}")
    return True


def prepare(layout: Layout, run: Run, jobs: bool, nginx_group: str = NGINX_GROUP, check_mode: bool = False) -> bool:
    """Create or correct the account and the folders of an application; return whether something differed."""
    check_file_system(layout)
    nginx = nginx_group_id(layout.name, nginx_group, check_mode)
    if check_mode and (account(layout.name) is None or not os.path.isdir(layout.root)):
        return True
    changed = False
    os.makedirs(layout.root, mode=0o755, exist_ok=True)
    if account(layout.name) is None:
        # Imported only here, because the host compiles all imports, and few runs create accounts.
        from ansible_collections.pyweb.stack.plugins.module_utils.building import accounts

        accounts.create(layout.name, layout, run)
        changed = True
    changed = provide_builder(layout, run, check_mode) or changed
    owner = existing_account(layout.name)
    root = os.stat(layout.root)
    if (root.st_uid, root.st_gid) != (0, 0):
        changed = True
        if not check_mode:
            os.chown(layout.root, 0, 0)
    uid, gid = owner.pw_uid, owner.pw_gid
    builder = account(build_account(layout.name))
    if builder is None:
        # Check mode has not created it.
        return True
    for path, owning, group, mode, passing in (
        (layout.home, 0, gid, 0o750, nginx),
        (layout.releases, 0, gid, 0o750, nginx),
        (layout.venvs, 0, gid, 0o750, None),
        (layout.shared, uid, gid, 0o750, nginx),
        (layout.cache, uid, gid, 0o700, None),
        (layout.build, builder.pw_uid, gid, 0o700, None),
        *([(layout.jobs, uid, gid, 0o750, None)] if jobs else []),
    ):
        changed = acl.ensure_folder(path, owning, group, mode, passing, check_mode) or changed
    return changed


def open_shared(layout: Layout, served: list[str], nginx_group: str, owner: str, check_mode: bool) -> bool:
    """Let nginx read the shared folders that it serves; return whether it could not."""
    if not serve_shared(layout, served, nginx_group, check_mode=True):
        return False
    if not check_mode:
        with lock(layout, owner):
            serve_shared(layout, served, nginx_group)
    return True


def remove_unfinished(layout: Layout, owner: str) -> bool:
    """Remove what an interrupted run has left; return whether there was anything.

    While another run holds the lock, these files are being made, not left over.
    """
    left = unfinished(layout)
    if not left and not has_lock_holder(layout):
        return False
    with suppress(Busy), lock(layout, owner, patience=0):
        for path in {*left} & {*unfinished(layout)}:
            remove_tree(path)
    return bool(left)
