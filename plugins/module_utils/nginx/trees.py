# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Trees of configuration: each is a whole configuration in a folder, and a link points to the live one."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import secrets as random_names
import shutil
import stat
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from hashlib import sha256

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    File,
    atomic_symlink,
    own_file,
    sweep,
    write,
)

# The log of a tree that nginx keeps open. It shows which tree a running nginx has loaded.
LOADED = "loaded"
# The folder of files in a tree that only root and nginx may read.
SECRETS = "secrets/"
# Group of the workers, which read the secrets of a tree.
WORKERS = "www-data"
# The mode of the folder of all trees. The workers pass through it, and no other account.
CLOSED = 0o710


def tree_name(files: dict[str, str], moment: float) -> str:
    """The name of a tree: time (seconds since 1970) and a short fingerprint of its files."""
    digest = sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{files[path]}\0".encode())
    whole = time.strftime("%Y%m%dT%H%M%S", time.gmtime(moment))
    return f"{whole}.{int(moment % 1 * 1_000_000):06d}Z-{digest.hexdigest()[:8]}"


@dataclass
class Trees:
    """The folder of trees, and the link to the live one."""

    conf_dir: str

    @property
    def home(self) -> str:
        return f"{self.conf_dir}/pyweb"

    @property
    def current(self) -> str:
        return f"{self.home}/current"

    @property
    def all(self) -> str:
        return f"{self.home}/trees"

    @property
    def lock_path(self) -> str:
        return f"{self.home}/.lock"

    def folder(self, name: str) -> str:
        return f"{self.all}/{name}"

    def live(self) -> str | None:
        """The name of the live tree; None where there is none."""
        try:
            name = os.path.basename(os.readlink(self.current))
        except OSError:
            return None
        return name if os.path.isdir(self.folder(name)) else None

    def previous(self) -> str | None:
        """The tree before the live one, so that a person can go back to it."""
        try:
            names = sorted(os.listdir(self.all))
        except FileNotFoundError:
            return None
        live = self.live()
        earlier = [name for name in names if live and name < live]
        return earlier[-1] if earlier else None

    def content(self, name: str, secrets: AbstractSet[str] = frozenset()) -> dict[str, str]:
        """The files of a tree, without nginx's own log and dpkg's copies.

        A file that other accounts may write to, or may read though it is secret, is left out. So it is written again.
        """
        folder, found = self.folder(name), {}
        if not (is_private(self.home) and is_private(self.all)):
            return {}
        for parent, _folders, files in os.walk(folder):
            if not is_private(parent):
                return {}
            for file in files:
                path = os.path.join(parent, file)
                relative = os.path.relpath(path, folder)
                if relative == LOADED or ".dpkg-" in file:
                    continue
                if not is_private(path, 0o027 if relative in secrets or relative.startswith(SECRETS) else 0o022):
                    continue
                with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                    found[relative] = stream.read()
        return found

    def are_open(self) -> bool:
        """Whether other accounts than root and the workers can read the trees, as those of earlier versions."""
        try:
            status = os.stat(self.all)
        except FileNotFoundError:
            return False
        return stat.S_IMODE(status.st_mode) != CLOSED or group_of_workers() not in (-1, status.st_gid)

    def paths(self, name: str) -> list[str]:
        """The paths of all files of a tree, also of those that other accounts may write to."""
        folder = self.folder(name)
        return [
            os.path.relpath(os.path.join(parent, file), folder)
            for parent, _folders, files in os.walk(folder)
            for file in files
        ]

    def stage(self, name: str, files: dict[str, str], secrets: Iterable[str] = ()) -> None:
        """Write a whole tree beside the live one; ``secrets`` are paths that only root and nginx may read."""
        make_folder(self.all)
        os.chown(self.home, os.geteuid(), -1)
        os.chmod(self.home, 0o755)  # noqa: S103  # everyone may read the certificate of the host's authority
        os.chmod(self.all, CLOSED)
        os.chown(self.all, os.geteuid(), group_of_workers())
        for relative, content in sorted(files.items()):
            path = os.path.join(self.folder(name), relative)
            make_folder(os.path.dirname(path))
            # Sites may hold secrets in the operator's own directives. The workers read secret files and pages alone.
            file = own_file(path, content, 0o600 if relative.endswith(".conf") else 0o644)
            write(File(path, content, 0o640, file.owner, WORKERS) if relative in secrets else file)

    def point_to(self, name: str | None) -> None:
        """Make a tree the live one; None removes the link."""
        if os.path.isdir(self.current) and not os.path.islink(self.current):
            # A copy of the configuration that followed links made a folder of it. As a tree, it is removed like one.
            os.rename(self.current, self.folder(f"0-{random_names.token_hex(4)}"))
        if name:
            atomic_symlink(f"trees/{name}", self.current)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.current)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def prune(self, keep: Iterable[str | None]) -> None:
        """Remove all other trees. Each change makes one, and an interrupted run leaves one."""
        kept = set(keep)
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.all):
                if name not in kept:
                    self.remove(name)

    def sweep(self) -> None:
        """Remove the unfinished files of runs that were killed."""
        own = glob.escape(self.conf_dir)
        for path in glob.glob(f"{own}/.nginx.conf.*.test"):
            os.unlink(path)
        sweep(path for name in ("nginx.conf.*", ".nginx.conf.*", "pyweb/*") for path in glob.glob(f"{own}/{name}.new"))


def is_private(path: str, forbidden: int = 0o022) -> bool:
    """Whether a path is our own, not a link, and has none of the forbidden rights; by default, of others to write."""
    status = os.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    return not link and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & forbidden


def group_of_workers() -> int:
    """The ID of the group; -1 where this process can't give files to it."""
    return grp.getgrnam(WORKERS).gr_gid if os.geteuid() == 0 else -1


def make_folder(path: str) -> None:
    if not os.path.isdir(path):
        make_folder(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)  # noqa: S103  # whatever the umask: the workers reopen a log in here
