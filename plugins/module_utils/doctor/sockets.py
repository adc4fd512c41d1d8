# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the socket of an application, as the accounts that may and may not use it. Changes nothing."""

from __future__ import annotations

import os
import pwd
import socket
import stat
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.strangers import strangers
from ansible_collections.pyweb.stack.plugins.module_utils.host.acl import permits
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.forks import in_child
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, accounts_of


def look_at_socket(layout: Layout, group: str) -> dict[str, Any]:
    """The link that nginx follows, its target, and whether nginx can open the target."""
    link = layout.current_socket
    target = os.readlink(link) if os.path.islink(link) else ""
    there = bool(target) and os.path.exists(target)
    folder = os.path.dirname(target) if target else ""
    release = layout.current_release() or ""
    live = [layout.socket(release), *([layout.uwsgi_socket(release)] if layout.speaks_uwsgi(release) else [])]
    found = {
        "link": target,
        "expected": layout.socket(release),
        "inherited": layout.inherits_sockets(release),
        "live": [socket_of(path) for path in live],
        "writer": writer(layout) if layout.inherits_sockets(release) else "",
        "there": there,
        "is_socket": there and stat.S_ISSOCK(os.stat(target).st_mode),
        "folder": mode_of(folder) if folder else {},
        "blocked": "",
        "nginx": "",
        "stranger": "",
    }
    if there:
        account, groups = web_account(group)
        found["blocked"] = blocked_at(layout.home, account, groups) or blocked_at(target, account, groups)
        found["nginx"] = connect_as(account, groups, link)
        found["stranger"] = connect_as(65534, [65534], target)
    return found


def socket_of(path: str) -> dict[str, Any]:
    """Owner, group and mode of a socket, or of another file at its path; empty if there is none."""
    found = mode_of(path)
    return {**found, "is_socket": stat.S_ISSOCK(os.lstat(path).st_mode)} if found else {}


def writer(layout: Layout) -> str:
    """An account that can change the folder of the sockets, of this application or another one; empty if none can."""
    if os.geteuid() != 0:
        return ""
    own = [
        (entry.pw_name, entry.pw_uid, os.getgrouplist(entry.pw_name, entry.pw_gid))
        for entry in reversed(accounts_of(layout.name))
    ]
    accounts = own + [(one.name, one.uid, one.groups) for one in strangers(layout.root)]

    def search() -> bytes:
        for name, uid, groups in accounts:
            os.setgroups(groups)
            # access() checks the real account. The effective one stays root, which can switch again.
            os.setresgid(groups[0], 0, 0)
            os.setresuid(uid, 0, 0)
            if os.access(layout.sockets, os.W_OK):
                return name.encode()
        return b""

    return in_child(search).decode()


def web_account(group: str) -> tuple[int, list[int]]:
    """The account of nginx's workers: on Debian it has the name of its group."""
    try:
        owner = pwd.getpwnam(group)
    except KeyError:
        return 65534, [65534]
    return owner.pw_uid, os.getgrouplist(group, owner.pw_gid)


def connect_as(uid: int, groups: list[int], path: str) -> str:
    """Try to connect as another account: ``ok``, or the error of the kernel. Empty without root privileges."""
    if os.geteuid() != 0:
        return ""

    def connect() -> bytes:
        try:
            os.setgroups(groups)
            os.setgid(groups[0])
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2)
                connection.connect(path)
        except OSError as error:
            return (error.strerror or str(error)).encode()
        return b"ok"

    return in_child(connect).decode() or "?"


def blocked_at(path: str, uid: int, groups: list[int]) -> str:
    """The first folder of a path that an account can't enter, or the file itself; empty if it can open the file."""
    parts = path.split("/")
    for end in range(2, len(parts) + 1):
        part = "/".join(parts[:end])
        try:
            found = os.stat(part)
        except OSError:
            return ""
        wanted = 1 if stat.S_ISDIR(found.st_mode) else 2 if stat.S_ISSOCK(found.st_mode) else 4
        if not permits(part, uid, groups, wanted):
            return part
    return ""
