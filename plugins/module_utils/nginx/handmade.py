# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Servers that people wrote, beside the sites of this collection: they stay until a site serves the same.

A site of an application without a live release waits as long as such a server has one of its names on the same port.
So the server answers until the release does. Then both change places in one reload. A file that is replaced is moved to
the folder ``before-pyweb``, and never deleted.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import stat
from collections.abc import Collection
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    File,
    atomic_symlink,
    own_file,
    sweep,
    write,
)
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import foreign, keeping, owners
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.changes import diff

BEFORE = "before-pyweb"


class Handmade:
    """Looks at these servers, and replaces them."""

    def __init__(self, conf_dir: str) -> None:
        self.conf_dir = conf_dir
        self.takeover = False
        self.sources: list[foreign.Source] = []
        self.servers: list[foreign.Server] = []
        # The sites that wait, and their applications.
        self.waiting_sites: set[str] = set()
        self.waiting: list[str] = []

    def look(self, entry: str | None, default_site: str, files: dict[str, str]) -> None:
        """Read the files. ``default_site`` is the file of the distribution's default site if the run disables it.

        ``files`` are those of the tree, before lines are chosen for this host.
        """
        self.takeover = entry is not None and not foreign.is_own(entry)
        self.sources = foreign.sources(self.conf_dir, entry)
        self.servers = foreign.servers(self.sources, default_site, self.takeover)
        waiting = {name: apps for name, text in owners.sites(files).items() if (apps := self.awaited(name, text))}
        self.waiting_sites = set(waiting)
        self.waiting = sorted({app for apps in waiting.values() for app in apps})

    @property
    def keys(self) -> set[foreign.Key]:
        return {key for server in self.servers for key in server.keys}

    def paths(self) -> list[str]:
        """The paths that a look depends on."""
        return [source.path for source in self.sources]

    # decide

    def adjusted(self, files: dict[str, str]) -> dict[str, str]:
        """The files of a tree without the sites that wait, and without our default servers where others stay so."""
        if not self.servers:
            return files
        left = {path: text for path, text in files.items() if owners.site_of(path) not in self.waiting_sites}
        if owners.CATCH_ALL in left:
            taken = taken_by(left)
            ports = {port for one in self.servers for port in one.default_ports if (port, "") not in taken}
            left[owners.CATCH_ALL] = without_ports(left[owners.CATCH_ALL], ports)
        return left

    def awaited(self, name: str, text: str) -> list[str]:
        """The applications of a site that must have live releases first; empty if the site does not wait."""
        if not self.keys & owners.names(text):
            return []
        apps = owners.applications({f"sites/{name}.conf": text})
        missing = [folder for folder in apps.values() if not os.path.lexists(f"{folder}/current.sock")]
        return sorted(apps) if missing else []

    def edits(self, files: dict[str, str]) -> dict[str, str | None]:
        """The new texts of the files of other people, beside a tree with these files. None removes a file."""
        if not self.sources:
            return {}
        kept = f"{self.conf_dir}/{foreign.KEPT}"
        found = keeping.new_texts(self.sources, self.servers, taken_by(files), self.takeover, kept)
        return {path: text for path, text in found.items() if text != text_at(path)}

    # act

    def replace(self, edits: dict[str, str | None], undo: contextlib.ExitStack) -> None:
        """Write the new texts; the old files move to the folder of replaced files."""
        # nginx would load what a killed run has left in sites-enabled.
        for folder in {os.path.dirname(path) for path in edits}:
            sweep(glob.glob(f"{glob.escape(folder)}/*"))
        for path, text in sorted(edits.items()):
            # The servers of nginx.conf may have secrets, like those of any file.
            like = path if os.path.exists(path) else f"{self.conf_dir}/nginx.conf"
            mode = stat.S_IMODE(os.stat(like).st_mode) if os.path.exists(like) else 0o644
            if os.path.lexists(path):
                self.keep(path, undo)
            elif text is not None:
                undo.callback(write, File(path, None))
            if text is not None:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(os.path.dirname(path), 0o755)
            # The file changes in one step: a killed run leaves the old text or the new one.
            data = None if text is None else text.encode(errors="surrogateescape")
            write(own_file(path, data, mode))

    def keep(self, path: str, undo: contextlib.ExitStack) -> None:
        """Keep the old file in the folder of replaced files, and at its place until it is replaced there."""
        folder = os.path.join(self.conf_dir, BEFORE)
        relative = os.path.relpath(path, self.conf_dir)
        if relative.startswith(".."):
            relative = path.lstrip("/").replace("/", ".")
        target = free_path(os.path.join(folder, relative))
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        if os.path.islink(path):
            # A link with a relative target would lead nowhere from there. The file that it leads to stays.
            os.symlink(os.path.realpath(path), target)
            undo.callback(os.unlink, target)
            undo.callback(atomic_symlink, os.readlink(path), path)
        else:
            try:
                os.link(path, target)
            except OSError:
                # It is on another file system.
                shutil.copy2(path, target)
            undo.callback(put_back, target, path)

    # report

    def warnings(self, edits: dict[str, str | None], files: dict[str, str]) -> list[str]:
        """A warning for each server that nginx no longer serves as before."""
        taken = taken_by(files)
        found = []
        for server in self.servers:
            lost = sorted({name or "all other hosts" for _port, name in server.keys & taken})
            if lost and (server.source.path in edits or server.source.is_entry):
                old = f"{self.conf_dir}/nginx.conf.before-pyweb" if server.source.is_entry else self.kept_at(server)
                found.append(
                    f"nginx now serves {', '.join(lost)} from the inventory, and no longer from "
                    f"{server.source.path}. The old text is in {old}."
                )
        named = " ".join(found)
        return found + [
            f"{path} is rewritten, because its servers relied on the nginx.conf that is replaced: on settings of it, "
            f"or on being the default server of a port. The old text is in {self.conf_dir}/{BEFORE}/"
            f"{os.path.relpath(path, self.conf_dir)}."
            for path in sorted(edits)
            if f"from {path}." not in named and os.path.lexists(path)
        ]

    def kept_at(self, server: foreign.Server) -> str:
        return f"{self.conf_dir}/{BEFORE}/{os.path.relpath(server.source.path, self.conf_dir)}"

    def diffs(self, edits: dict[str, str | None]) -> list[dict[str, Any]]:
        return [diff(path, text_at(path) or "", text or "") for path, text in sorted(edits.items())]


def put_back(kept: str, path: str) -> None:
    try:
        os.replace(kept, path)
    except OSError:
        shutil.copy2(kept, path)
    # Two names of one file stay as they are in a rename.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(kept)


def taken_by(files: dict[str, str]) -> set[foreign.Key]:
    """The ports and names that the sites of a tree serve."""
    return {key for text in owners.sites(files).values() for key in owners.names(text)}


def without_ports(text: str, ports: Collection[int]) -> str:
    """The servers for unknown hosts without those of some ports."""
    return owners.SERVER.sub(lambda match: "" if owners.ports(match[0]) & {*ports} else match[0], text)


def free_path(path: str) -> str:
    """The path, or the next one with a number if it is taken."""
    found, number = path, 1
    while os.path.lexists(found):
        found, number = f"{path}.{number}", number + 1
    return found


def text_at(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return None
