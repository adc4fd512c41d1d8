# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of nginx outside the trees: nginx.conf, the default site, the drop-in for systemd, the rotation of logs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    File,
    apply_files,
    atomic_symlink,
    own_file,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.rotation import with_signal
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import Trees, is_private

ENTRY = """\
# Managed by the nginx role of pyweb.stack. All configuration is in pyweb/current;
# what stood here before is in nginx.conf.before-pyweb.
include {home}/{tree}/nginx.conf;
"""
UNITS = "/etc/systemd/system"
DROP_IN = f"{UNITS}/nginx.service.d/pyweb.conf"


class SystemFiles:
    """Looks at these files, and changes them."""

    def __init__(self, trees: Trees, drop_in: str | None, run: Run, pid_file: str = "/run/nginx.pid") -> None:
        self.conf_dir = trees.conf_dir
        self.trees = trees
        self.drop_in = drop_in
        self.run = run
        self.pid_file = pid_file
        self.wanted_entry = ENTRY.format(home=trees.home, tree="current")

    # nginx.conf

    @property
    def entry_path(self) -> str:
        return f"{self.conf_dir}/nginx.conf"

    def entry(self) -> str | None:
        return text_of(self.entry_path)

    def entry_is_exposed(self) -> bool:
        """Whether others may write to nginx.conf. A link is an administrator's decision, and stays."""
        path = self.entry_path
        return os.path.exists(path) and not os.path.islink(path) and not is_private(path)

    def write_entry(self, content: str | None) -> None:
        apply_files([own_file(self.entry_path, content)])

    @property
    def backup_path(self) -> str:
        return f"{self.entry_path}.before-pyweb"

    def back_up_entry(self, content: str | None) -> None:
        """Keep the nginx.conf that was there before the role's first run. It may hold passwords."""
        if content is not None and not os.path.lexists(self.backup_path):
            apply_files([own_file(self.backup_path, content, 0o600)])

    def close_backup(self) -> None:
        """Make the backup of an earlier version, which every account could read, readable to root only."""
        if os.path.isfile(self.backup_path) and not os.path.islink(self.backup_path):
            os.chmod(self.backup_path, 0o600)

    @contextlib.contextmanager
    def test_entry(self, tree: str) -> Any:
        """An nginx.conf for a tree that is not live, under another name.

        It is beside the real one, because nginx resolves relative paths from the folder of its main file.
        """
        path = f"{self.conf_dir}/.nginx.conf.{secrets.token_hex(4)}.test"
        try:
            apply_files([own_file(path, ENTRY.format(home=self.trees.home, tree=f"trees/{tree}"))])
            yield path
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    # the default site

    @property
    def default_site(self) -> str:
        return f"{self.conf_dir}/sites-enabled/default"

    @property
    def available_default_site(self) -> str:
        return f"{self.conf_dir}/sites-available/default"

    def default_site_is_stock(self) -> bool:
        """Whether the distribution's default site is enabled and unchanged. An edited one stays."""
        available = self.available_default_site
        if not os.path.islink(self.default_site):
            return False
        if os.path.realpath(self.default_site) != os.path.realpath(available):
            return False
        output = self.run(["dpkg-query", "--show", "--showformat=${Conffiles}", "nginx-common"])[1]
        shipped = {line.split()[0]: line.split()[1] for line in lines_of(output) if len(line.split()) > 1}
        data = text_of(available)
        if data is None:
            return False
        return hashlib.md5(data.encode(), usedforsecurity=False).hexdigest() == shipped.get(available)

    def disable_default_site(self, undo: contextlib.ExitStack) -> None:
        undo.callback(atomic_symlink, os.readlink(self.default_site), self.default_site)
        os.unlink(self.default_site)

    # the drop-in

    def drop_in_diffs(self) -> list[dict[str, Any]]:
        return apply_files(self._drop_in_files(), check_mode=True)[1]

    def install_drop_in(self) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(DROP_IN), 0o755)
        apply_files(self._drop_in_files())

    def _drop_in_files(self) -> list[File]:
        return [] if self.drop_in is None else [File(DROP_IN, self.drop_in)]

    # the rotation of logs

    @property
    def rotation_path(self) -> str:
        return "/etc/logrotate.d/nginx" if self.conf_dir == "/etc/nginx" else f"{self.conf_dir}/logrotate"

    def rotation_diffs(self) -> list[dict[str, Any]]:
        return apply_files(self._rotation_files(), check_mode=True)[1]

    def install_rotation(self) -> None:
        apply_files(self._rotation_files())

    def _rotation_files(self) -> list[File]:
        text = text_of(self.rotation_path)
        wanted = None if text is None else with_signal(text, self.pid_file)
        return [] if wanted in (None, text) else [own_file(self.rotation_path, wanted)]

    # all

    def unowned(self) -> list[str]:
        """The files that nginx loads beside the tree."""
        found = []
        for folder, suffix in (("conf.d", ".conf"), ("sites-enabled", "")):
            with contextlib.suppress(FileNotFoundError):
                found += [
                    f"{self.conf_dir}/{folder}/{name}"
                    for name in sorted(os.listdir(f"{self.conf_dir}/{folder}"))
                    if name.endswith(suffix) and not name.startswith(".")
                ]
        return found

    def paths(self) -> list[str]:
        """All paths that a look depends on."""
        folders = ("", "nginx.conf", "conf.d", "sites-enabled", "modules-enabled")
        units = (f"{UNITS}/nginx.service", f"{UNITS}/multi-user.target.wants/nginx.service")
        return [
            *(f"{self.conf_dir}/{name}" for name in folders),
            *(self.default_site, self.available_default_site),
            *(*units, os.path.dirname(DROP_IN), DROP_IN, self.rotation_path),
        ]


def text_of(path: str) -> str | None:
    """The text of a file, with bytes that are not UTF-8 preserved; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
