# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of a release that lead out of it. nginx must not follow them to files that the application does not own.

nginx follows a link only if link and target have the same owner. Root owns the files of a release, and many others. So
a link out of the release belongs to the application's account.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import walk


def give_outward_links(path: str, release: Iterable[str], uid: int, gid: int) -> list[str]:
    """Give each link below ``path`` that leads out of all folders of ``release`` to an account; return these links.

    Only root may write in these folders: then no link changes afterwards.
    """
    inside = [os.path.realpath(folder) for folder in release]
    given = []
    for link, name, folder in links_below(path):
        target = os.path.realpath(link)
        if not any(target == place or target.startswith(f"{place}/") for place in inside):
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
            given.append(link)
    return given


def copy_owners_of_links(source: str, copy: str) -> None:
    """Give the links of a copied folder the owners of the original ones."""
    for link, name, folder in links_below(copy):
        original = os.lstat(os.path.join(source, os.path.relpath(link, copy)))
        os.chown(name, original.st_uid, original.st_gid, dir_fd=folder, follow_symlinks=False)


def links_below(path: str) -> Iterator[tuple[str, str, int]]:
    """Each link below a folder: its path, its name, and the descriptor of the folder that it is in."""
    for visit in walk(path):
        for name, status in visit.files.items():
            if not visit.leaving and stat.S_ISLNK(status.st_mode):
                yield os.path.join(path, visit.below(name)), name, visit.descriptor
