# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find the files of an application that the account of this process can reach. Changes nothing."""

from __future__ import annotations

import os
import stat

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees

# Maximum number of files to check per account and folder.
EXPOSURE_ENTRIES = 20_000


def readable_below(folder: str, unread: list[str]) -> str:
    """The first path that the real account of this process can list, read or connect to; empty if there is none.

    A folder that is too large for a complete search is added to ``unread``.
    """
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
    except trees.TreeError as error:
        unread.append(f"the search in {folder} was not completed, because {error.why}")
    return ""
