# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Files of the inventory in the application root of a release: settings with secrets, which no account can change."""

from __future__ import annotations

import errno
import os
import secrets
import stat

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import FOLDER, open_below
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import existing_account
from ansible_collections.pyweb.stack.plugins.module_utils.release.secret_files import keep_paths

# Only root and the accounts of the application can read such a file.
MODE = 0o640


def write_given_files(build: Build, may_exist: bool = False) -> None:
    """Write the files. Raises ReleaseError for one that the source has, unless it may be replaced.

    No part of a path may be a link. ``may_exist`` is for the second time, after the build commands: these can read the
    files, but what they have written there is replaced.
    """
    files = build.spec.get("files") or []
    if not files:
        return
    inside = [part for part in os.path.relpath(build.root, build.source).split("/") if part != "."]
    group = existing_account(build.name).pw_gid
    source = os.open(build.source, FOLDER)
    try:
        for file in files:
            folder = folder_of(build, source, inside, file["path"])
            try:
                check_place(build, folder, file, may_exist)
                write_private(folder, os.path.basename(file["path"]), file["content"], group)
            finally:
                os.close(folder)
    finally:
        os.close(source)
    keep_paths(build.release, [os.path.join(build.root, file["path"]) for file in files])


def folder_of(build: Build, source: int, inside: list[str], path: str) -> int:
    """The descriptor of the folder of a file, which is created if it is missing."""
    try:
        return open_below(source, [*inside, *path.split("/")[:-1]], create=True)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise build.error(
                f"files names '{path}', but a part of this path is a link or a file in the release. Choose another "
                "path."
            ) from None
        raise


def check_place(build: Build, folder: int, file: dict[str, object], may_exist: bool) -> None:
    """Refuse to replace a file of the source that the inventory does not mean to replace."""
    name = os.path.basename(str(file["path"]))
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise build.error(f"files names '{file['path']}', which is a folder in the release. Choose another path.")
    if not (may_exist or file.get("replace")):
        raise build.error(
            f"files names '{file['path']}', which is a file of the source. Set replace: true to replace it, or choose "
            "another path."
        )


def write_private(folder: int, name: str, content: str, group: int) -> None:
    """Write a file of root into an open folder, under its name only when it is complete."""
    temporary = f".{secrets.token_hex(8)}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as stream:
        stream.write(content.encode())
        stream.flush()
        os.fchown(stream.fileno(), 0, group)
        os.fchmod(stream.fileno(), MODE)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
