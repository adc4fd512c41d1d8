# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folders in which uv works for one build: they belong to the build account, and are removed at the end."""

from __future__ import annotations

import os
import secrets
import shutil
from types import TracebackType

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import give_to
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import existing_account, remove_tree
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import content
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import with_absolute_indexes


class Workspace:
    """A folder of root with files that only the build account reads, and with folders that it fills."""

    def __init__(self, build: Build) -> None:
        self.build = build
        # The next run removes a folder with this ending, if this run is killed.
        self.path = build.layout.path(f".{secrets.token_hex(8)}.new")
        self.copied = False
        self.count = 0

    def __enter__(self) -> Workspace:
        os.mkdir(self.path, 0o755)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove_tree(self.path)

    @property
    def copy(self) -> str:
        """The place of the copy of the source."""
        return os.path.join(self.path, "source")

    @property
    def source(self) -> str:
        """A copy of the source that the build account can write. The source itself belongs to root.

        Build backends write into the folder that they build: setuptools writes NAME.egg-info.
        """
        if not self.copied:
            shutil.copytree(self.build.source, self.copy, symlinks=True)
            self.correct_locks()
            self.give(self.copy)
            self.copied = True
        return self.copy

    def correct_locks(self) -> None:
        """Give the locks in the copy absolute addresses of indexes. The copy still belongs to root."""
        folder = os.path.realpath(os.path.join(self.copy, os.path.relpath(self.build.root, self.build.source)))
        while f"{folder}/".startswith(f"{os.path.realpath(self.copy)}/"):
            lock = os.path.join(folder, "uv.lock")
            text = content(lock)
            if not os.path.islink(lock) and with_absolute_indexes(text, folder) != text:
                write(File(lock, with_absolute_indexes(text, folder)))
            folder = os.path.dirname(folder)

    @property
    def root(self) -> str:
        """The application root in the copy of the source."""
        return self.inside(self.build.root)

    def inside(self, path: str) -> str:
        """The place that a file or folder of the source has in its copy."""
        return os.path.normpath(os.path.join(self.source, os.path.relpath(path, self.build.source)))

    def give(self, path: str) -> None:
        owner = existing_account(self.build.name, self.build.builder)
        os.chmod(path, 0o700)
        give_to(path, owner.pw_uid, owner.pw_gid)

    def file(self, name: str, text: str) -> str:
        """The path of a new file for uv. Only the build account reads it: an address in it may hold a password."""
        self.count += 1
        folder = os.path.join(self.path, str(self.count))
        os.mkdir(folder, 0o755)
        path = os.path.join(folder, name)
        write(File(path, text, mode=0o400, owner=self.build.builder))
        return path

    def output(self, name: str, text: str = "") -> str:
        """The path of a file that uv writes. With ``text``, it exists already."""
        self.count += 1
        folder = os.path.join(self.path, str(self.count))
        os.mkdir(folder, 0o700)
        path = os.path.join(folder, name)
        if text:
            write(File(path, text, mode=0o600))
        self.give(folder)
        return path
