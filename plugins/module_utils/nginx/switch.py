# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The switch to another configuration: stage, test, swap, load. On any failure everything goes back."""

from __future__ import annotations

import contextlib
import os
import signal

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.certificates import Certificates
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.changes import Changes, State
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import explain
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.handmade import Handmade
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import Nginx
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.system_files import SystemFiles
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.tree_files import TreeFiles


class Switch:
    """Makes a tree the one that nginx runs."""

    def __init__(
        self,
        nginx: Nginx,
        system: SystemFiles,
        certificates: Certificates,
        tree_files: TreeFiles,
        handmade: Handmade,
    ) -> None:
        self.nginx = nginx
        self.handmade = handmade
        self.trees = nginx.trees
        self.system = system
        self.certificates = certificates
        self.tree_files = tree_files
        self.warnings: list[str] = []

    def run(self, name: str, files: dict[str, str], state: State, changes: Changes) -> None:
        """Switch to the tree of this name, with these files. Raises NginxError when everything is back."""
        # A live tree that nginx could not load is no way back. The tree that it runs is.
        is_there = state.loaded and os.path.isdir(self.trees.folder(state.loaded))
        back = state.loaded if is_there else state.live
        signalled = False
        with contextlib.ExitStack() as undo:
            undo.callback(lambda: self.serve_again(state, back, bool(changes.new_certificates)) if signalled else None)
            self.certificates.put_in_place(undo)
            if changes.tree:
                undo.callback(self.trees.remove, name)
                self.trees.stage(name, files, [path for path in files if self.tree_files.is_secret(path)])
            if changes.default_site:
                self.system.disable_default_site(undo)
            self.handmade.replace(changes.handmade, undo)
            self.test(name, files)
            if state.live != name or back != name:
                undo.callback(self.trees.point_to, back)
                self.trees.point_to(name)
            self.system.close_backup()
            if changes.entry:
                self.system.back_up_entry(state.entry)
                undo.callback(self.system.write_entry, state.entry)
                self.system.write_entry(self.system.wanted_entry)
            signalled = True
            self.load(name, files, state, is_start=changes.service == "start")
            undo.pop_all()

    def test(self, name: str, files: dict[str, str]) -> None:
        """Have nginx test the tree, and keep its warnings."""
        with self.system.test_entry(name) as entry:
            try:
                output = self.nginx.test(entry)
            except NginxError as error:
                raise NginxError(
                    f"nginx refuses the new configuration: {explain(str(error), self.trees.folder(name), files)}. "
                    "Nothing was changed, and nginx serves as before. Correct that line and run again."
                ) from error
        self.warnings += [
            f"nginx: {line.split('[warn]', 1)[1].strip()}" for line in lines_of(output) if "[warn]" in line
        ]

    def load(self, name: str, files: dict[str, str], state: State, is_start: bool) -> None:
        """Start or reload nginx, and check that it serves the certificates."""
        try:
            if is_start:
                self.nginx.start(name)
            else:
                self.nginx.reload(name)
            self.certificates.verify()
        except NginxError as error:
            complaint = str(error)
            previous = f" ({state.loaded})" if state.loaded else ""
            kept = f"The previous configuration{previous} is back and serving."
            raise NginxError(
                f"nginx could not {'start' if is_start else 'load the new configuration'}: "
                f"{explain(complaint, self.trees.folder(name), files)}.{self.nginx.port_holders(complaint)} "
                f"{kept if state.running else 'nginx did not run before either.'}"
            ) from error

    def serve_again(self, state: State, back: str | None, certificates: bool) -> None:
        """Have nginx run again what it ran before. A failure here must not hide the first one."""
        with contextlib.suppress(NginxError):
            master = self.nginx.master()
            if master is None and (state.running or back):
                self.nginx.start(back)
            elif master is not None and back and (certificates or self.nginx.loaded(master) != back):
                self.nginx.reload(back)
            elif master is not None and not back and self.nginx.loaded(master):
                os.kill(master, signal.SIGHUP)
