# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find what other accounts can read of an application. Changes nothing."""

from __future__ import annotations

import json
import os
import stat

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.forks import in_child
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.sockets import strangers
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

# Maximum number of files to check per account and folder.
EXPOSURE_ENTRIES = 20_000


def look_at_exposure(layout: Layout) -> dict[str, str]:
    """The first path of an application that another account can read, and that account. Empty if there is none.

    The search switches to each account in turn. It needs root.
    """
    if os.geteuid() != 0:
        return {}
    folders = [path for path in (layout.home, layout.runtime, layout.sockets) if os.path.isdir(path)]
    accounts = [
        (entry.pw_name, entry.pw_uid, os.getgrouplist(entry.pw_name, entry.pw_gid))
        for entry in strangers(layout.name, layout.root)
    ]

    def search() -> bytes:
        try:
            return json.dumps(first_exposed(folders, accounts)).encode()
        except OSError as error:
            return json.dumps(failed(error.strerror or str(error))).encode()

    def failed(reason: str) -> dict[str, str]:
        return {"path": f"{layout.home} ({reason})", "account": "nobody"}

    exposed: dict[str, str] = json.loads(in_child(search) or json.dumps(failed("the search failed")))
    return exposed


def first_exposed(folders: list[str], accounts: list[tuple[str, int, list[int]]]) -> dict[str, str]:
    for name, uid, groups in accounts:
        os.setgroups(groups)
        # access() checks the real account. The effective one stays root, which can list everything.
        os.setresgid(groups[0], 0, 0)
        os.setresuid(uid, 0, 0)
        for folder in folders:
            path = readable_below(folder)
            if path:
                return {"path": path, "account": name}
    return {}


def readable_below(folder: str) -> str:
    """The first path that the real account of this process can list, read or connect to; empty if there is none."""
    if os.access(folder, os.R_OK) or not os.access(folder, os.X_OK):
        return folder if os.access(folder, os.R_OK) else ""
    try:
        for visit in trees.walk(folder, trees.Budget(entries=EXPOSURE_ENTRIES)):
            here = visit.descriptor
            if visit.leaving:
                continue
            readable = [name for name in sorted(visit.folders) if os.access(name, os.R_OK, dir_fd=here)]
            # A folder that is closed to the account closes all in it. Beyond the deepest, no application has files.
            is_deep = visit.path.count("/") >= trees.DEEPEST - 2
            visit.folders[:] = [name for name in visit.folders if os.access(name, os.X_OK, dir_fd=here) and not is_deep]
            for name, status in sorted(visit.files.items()):
                wanted = os.W_OK if stat.S_ISSOCK(status.st_mode) else os.R_OK
                if not stat.S_ISLNK(status.st_mode) and os.access(name, wanted, dir_fd=here):
                    readable.append(name)
            if readable:
                return os.path.join(folder, visit.below(readable[0]))
    except trees.TreeError:
        # As far as the search goes, nothing is exposed.
        return ""
    return ""
