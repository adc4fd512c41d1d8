# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The links that send requests to a release, and their switch from one release to another."""

from __future__ import annotations

import os

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import atomic_symlink
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import UWSGI_SETTINGS, Layout


def read_links(layout: Layout) -> dict[str, str | None]:
    """The targets of the links, in the order in which ``restore_links`` has to put them back."""
    uwsgi = (layout.current_uwsgi, layout.current_uwsgi_socket)
    paths = (layout.current_socket, *uwsgi, layout.current, layout.previous)
    return {path: os.readlink(path) if os.path.islink(path) else None for path in paths}


def switch_links(layout: Layout, release: str) -> None:
    """Send requests to a release. After each step, nginx finds a release that answers.

    Every release speaks HTTP. One of uWSGI also speaks uWSGI's protocol, and nginx prefers that while
    ``current.uwsgi`` exists. A request that has chosen it may arrive later, so the link to its socket stays until the
    old release has ended.
    """
    current = os.path.join("releases", release)
    if layout.speaks_uwsgi(release):
        atomic_symlink(layout.uwsgi_socket(release), layout.current_uwsgi_socket)
        # It leads to a file, because nginx does not find a socket when it checks whether a path exists.
        atomic_symlink(os.path.join(current, UWSGI_SETTINGS), layout.current_uwsgi)
        atomic_symlink(layout.socket(release), layout.current_socket)
    else:
        atomic_symlink(layout.socket(release), layout.current_socket)
        remove_link(layout.current_uwsgi)
    atomic_symlink(current, layout.current)


def restore_links(links: dict[str, str | None]) -> None:
    """Send requests back to the previous release, which still runs."""
    for path, target in links.items():
        if target is None:
            remove_link(path)
        else:
            atomic_symlink(target, path)


def remove_link(path: str) -> None:
    """Remove a link or a socket. In a folder of the application, there may be a folder in its place."""
    trees.remove(path)
