# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The shared folders of an application: they outlive its releases, and nginx reads those that it serves."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import stat
import sys

from ansible_collections.pyweb.stack.plugins.module_utils.building import grant_read
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.source_text import source_text
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import FOLDER, open_below
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import (
    COMMAND_TIMEOUT,
    SYSTEM_PATH,
    run_as_account,
    tail,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, remove_tree

# The group that nginx runs as, unless webapp_nginx_group names another.
NGINX_GROUP = "www-data"

# Creates a shared folder from that of the source, completely or not at all.
SEED = """set -e
rm -rf -- "$2.seed"
mkdir -p -- "$2.seed"
test -z "$1" || cp -RP --preserve=mode,timestamps -- "$1/." "$2.seed"
chmod -R o-rwx -- "$2.seed"
mv -T -- "$2.seed" "$2"
"""

# Replaces a link by one of the same target that belongs to the account.
RELINK = """set -e
rm -f -- "$1.link"
ln -s -- "$(readlink -- "$1")" "$1.link"
mv -T -- "$1.link" "$1"
"""


def link_shared(build: Build) -> None:
    """Replace each shared folder of the source by a link into shared/, which gets the source's content at first.

    The folder that it is in is opened part by part, and no part may be a link: root removes and creates what is there.
    """
    for folder in build.spec["shared"]:
        target = os.path.join(build.layout.shared, folder)
        link = os.path.join(build.root, folder)
        parent = folder_of_shared(build, folder)
        try:
            if os.path.isfile(link):
                raise build.error(f"shared names {file_not_folder(folder)}")
            if not os.path.isdir(target):
                seed(build, folder, link, target)
            remove_tree(os.path.basename(link), parent)
            os.symlink(target, os.path.basename(link), dir_fd=parent)
        finally:
            os.close(parent)
    serve_shared(build.layout, build.spec.get("served") or [], build.spec.get("nginx_group") or NGINX_GROUP)


def file_not_folder(path: str) -> str:
    """Why a file can't be shared, and what to do instead."""
    parent, name = os.path.split(path)
    move = (
        f"Name its folder, shared: [{parent}]."
        if parent
        else (f"Move it into a folder, such as instance/{name}, and name that: shared: [instance].")
    )
    return f"'{path}', which is a file in the source, but shared takes folders. {move}"


def folder_of_shared(build: Build, folder: str) -> int:
    """The descriptor of the folder that a shared one is in, which is created if it is missing."""
    inside = [part for part in os.path.relpath(build.root, build.source).split("/") if part != "."]
    parts = folder.split("/")[:-1]
    source = os.open(build.source, FOLDER)
    try:
        return open_below(source, [*inside, *parts], create=True)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        places = (os.path.join(build.root, *parts[:end]) for end in range(1, len(parts) + 1))
        link = next((place for place in places if os.path.islink(place)), "")
        if not link:
            raise build.error(
                f"shared names '{folder}', which is inside of a file of the source. Correct the path."
            ) from None
        raise build.error(
            f"shared names '{folder}', but '{os.path.relpath(link, build.root)}' is a link, to '{os.readlink(link)}'. "
            "Name the folder that it leads to, so that no part of the path is a link."
        ) from None
    finally:
        os.close(source)


def seed(build: Build, folder: str, source: str, target: str) -> None:
    """Create a shared folder. The application's account does it: shared/ is its own, and a link could lead root out."""
    content = source if os.path.isdir(source) and not os.path.islink(source) else ""
    answer = build.run(["/bin/sh", "-c", SEED, "sh", content, target], build.layout.home, {}, COMMAND_TIMEOUT)
    if answer.returncode != 0:
        raise build.error(
            f"the shared folder '{folder}' could not be created as {target}: {tail(answer.stderr, 3)}. "
            "Rename or remove whatever else has that name."
        )


def serve_shared(layout: Layout, served: list[str], nginx_group: str, check_mode: bool = False) -> bool:
    """Let nginx read those folders below shared/ that it serves, and what comes into them later.

    Return whether anything differed. The modes of a folder that is a link to somewhere else, or on a file system
    without access control lists, are left to its operator.
    """
    changed = False
    for relative in served:
        changed = own_links(layout, relative, check_mode) or changed
        folder = os.path.join(layout.shared, relative)
        first = os.path.join(layout.shared, relative.split("/")[0])
        real = os.path.join(os.path.realpath(layout.shared), relative)
        if not os.path.isdir(first) or os.path.realpath(folder) != real or is_served(layout, folder, nginx_group):
            continue
        if not acl.is_supported(folder):
            continue
        changed = True
        if not check_mode:
            grant_nginx(layout, folder, nginx_group)
    return changed


def own_links(layout: Layout, relative: str, check_mode: bool = False) -> bool:
    """Let the account own the links of root to folders of the account, such as a link to another disk.

    nginx follows a link only if link and target have the same owner. The account creates the link again, because root
    must not change what the account can replace. Return whether there was one.
    """
    changed, path = False, layout.shared
    for part in relative.split("/"):
        path = os.path.join(path, part)
        try:
            link, target = os.lstat(path), os.stat(path)
            owner = pwd.getpwnam(layout.name).pw_uid
        except (OSError, KeyError):
            return changed
        if not stat.S_ISLNK(link.st_mode) or link.st_uid != 0 or target.st_uid != owner:
            continue
        changed = True
        if check_mode:
            continue
        answer = run_as_account(layout, ["/bin/sh", "-c", RELINK, "sh", path], layout.home, {}, COMMAND_TIMEOUT)
        if answer.returncode != 0:
            raise ReleaseError(
                layout.name,
                f"the link {path} belongs to root, so nginx does not follow it: {tail(answer.stderr, 1)}. Give it to "
                f"the owner of its target: chown -h {layout.name} {path}",
            )
    return changed


def grant_nginx(layout: Layout, folder: str, nginx_group: str) -> None:
    group = str(grp.getgrnam(nginx_group).gr_gid)
    python = shutil.which("python3", path=SYSTEM_PATH) or sys.executable
    command = [python, "-I", "-c", source_text(grant_read), layout.shared, folder, group]
    answer = run_as_account(layout, command, layout.home, {}, COMMAND_TIMEOUT)
    if answer.returncode != 0:
        raise ReleaseError(
            layout.name,
            f"granting nginx read access to {folder}, which it serves, failed: {tail(answer.stderr, 1)}. "
            f"Make the account {layout.name} the owner of that path.",
        )


def is_served(layout: Layout, folder: str, nginx_group: str) -> bool:
    """Whether nginx may reach a folder below shared/, and read what is in it and what will come into it."""
    try:
        group = grp.getgrnam(nginx_group).gr_gid
        parts = os.path.relpath(folder, layout.shared).split("/")
        parents = [os.path.join(layout.shared, *parts[:end]) for end in range(1, len(parts))]
        inherited = [
            rights for tag, rights, number in acl.entries_of(folder, acl.DEFAULT) if (tag, number) == (acl.GROUP, group)
        ]
        return inherited == [5] and all(
            acl.permits(path, acl.NOBODY, [group], right)
            for path, right in [*((path, 1) for path in parents), (folder, 1), (folder, 4)]
        )
    except (OSError, KeyError):
        return False
