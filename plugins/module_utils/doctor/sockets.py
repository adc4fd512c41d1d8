# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the socket of an application, as the accounts that may and may not use it. Changes nothing."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.strangers import strangers
from ansible_collections.pyweb.stack.plugins.module_utils.host.acl import permits
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.forks import in_child
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, accounts_of


def look_at_sockets(layouts: list[Layout], group: str) -> dict[str, dict[str, Any]]:
    """For each application: the link that nginx follows, its target, and whether nginx can open the target.

    One child process for each account looks at the sockets of all applications.
    """
    found = {layout.name: look_at_socket(layout) for layout in layouts}
    links = {layout.name: layout.current_socket for layout in layouts if found[layout.name]["there"]}
    targets = {name: found[name]["link"] for name in links}
    account, groups = web_account(group)
    opened = connect_as(account, groups, [*links.values()])
    reached = connect_as(65534, [65534], [*targets.values()])
    changed = writers([layout for layout in layouts if found[layout.name]["inherited"]])
    for layout in layouts:
        one = found[layout.name]
        one["writer"] = changed.get(layout.name, "")
        if one["there"]:
            blocked = blocked_at(layout.home, account, groups) or blocked_at(one["link"], account, groups)
            one |= {"blocked": blocked, "nginx": opened[links[layout.name]], "stranger": reached[one["link"]]}
    return found


def look_at_socket(layout: Layout) -> dict[str, Any]:
    """The link that nginx follows and its target, as root sees them."""
    link = layout.current_socket
    target = os.readlink(link) if os.path.islink(link) else ""
    there = bool(target) and os.path.exists(target)
    folder = os.path.dirname(target) if target else ""
    release = layout.current_release() or ""
    live = [layout.socket(release), *([layout.uwsgi_socket(release)] if layout.speaks_uwsgi(release) else [])]
    return {
        "link": target,
        "expected": layout.socket(release),
        "inherited": layout.inherits_sockets(release),
        "live": [socket_of(path) for path in live],
        "writer": "",
        "there": there,
        "is_socket": there and stat.S_ISSOCK(os.stat(target).st_mode),
        "folder": mode_of(folder) if folder else {},
        "blocked": "",
        "nginx": "",
        "stranger": "",
    }


def socket_of(path: str) -> dict[str, Any]:
    """Owner, group and mode of a socket, or of another file at its path; empty if there is none."""
    found = mode_of(path)
    return {**found, "is_socket": stat.S_ISSOCK(os.lstat(path).st_mode)} if found else {}


def writers(layouts: list[Layout]) -> dict[str, str]:
    """For each application, an account that can change the folder of its sockets, of it or of another; else empty."""
    if os.geteuid() != 0 or not layouts:
        return {}
    own = [entry for layout in layouts for entry in reversed(accounts_of(layout.name))]
    accounts = [(one.pw_name, one.pw_uid, os.getgrouplist(one.pw_name, one.pw_gid)) for one in own]
    others = [(one.name, one.uid, one.groups) for one in strangers(layouts[0].root)]

    def search() -> bytes:
        found: dict[str, str] = {}
        for name, uid, groups in [*accounts, *others]:
            os.setgroups(groups)
            # access() checks the real account. The effective one stays root, which can switch again.
            os.setresgid(groups[0], 0, 0)
            os.setresuid(uid, 0, 0)
            for layout in layouts:
                if layout.name not in found and os.access(layout.sockets, os.W_OK):
                    found[layout.name] = name
        return json.dumps(found).encode()

    answer: dict[str, str] = json.loads(in_child(search) or b"{}")
    return answer


def web_account(group: str) -> tuple[int, list[int]]:
    """The account of nginx's workers: on Debian it has the name of its group."""
    try:
        owner = pwd.getpwnam(group)
    except KeyError:
        return 65534, [65534]
    return owner.pw_uid, os.getgrouplist(group, owner.pw_gid)


def connect_as(uid: int, groups: list[int], paths: list[str]) -> dict[str, str]:
    """Try to connect to sockets as another account: ``ok``, or the error of the kernel. Empty without root."""
    if os.geteuid() != 0 or not paths:
        return dict.fromkeys(paths, "")

    def connect() -> bytes:
        os.setgroups(groups)
        os.setgid(groups[0])
        os.setuid(uid)
        # In parallel, so that sockets that do not answer do not add up.
        with ThreadPoolExecutor(max_workers=32) as pool:
            return json.dumps(dict(zip(paths, pool.map(connected, paths)))).encode()

    answer = json.loads(in_child(connect) or b"{}")
    return {path: answer.get(path, "?") for path in paths}


def connected(path: str) -> str:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(path)
    except OSError as error:
        return error.strerror or str(error)
    return "ok"


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
