# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Keep the logs of nginx closed to other accounts: addresses of pages can contain tokens.

nginx creates a log that every account can read. Debian closes it only when it rotates logs for the first time.
"""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import is_own, open_untrusted

# As Debian's logrotate creates them.
GROUP = "adm"
MODE = 0o640
# A path with special characters is written in quotes.
LOG = re.compile(r'^\s*(?:access|error)_log\s+(?:"(/[^"$\\]+)"|(/[^\s;"$\\]+))', re.MULTILINE)


def logs_of(texts: Iterable[str], home: str) -> list[str]:
    """The paths of the logs in configuration files, except those in the folder of the configuration itself."""
    found = (match[1] or match[2] for text in texts for match in LOG.finditer(text))
    return sorted({path for path in found if not path.startswith(f"{home}/")})


def open_logs(paths: Iterable[str]) -> list[str]:
    """The logs that every account can read. Others than regular files, such as /dev/null, don't count."""
    found = []
    for path in paths:
        with suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o007:
                found.append(path)
    return found


def provide_logs(paths: list[str]) -> None:
    """Close the logs that every account can read, and create the missing ones."""
    for path in open_logs(paths):
        close_log(path)
    create_logs(paths)


def close_log(path: str) -> None:
    """Take the permissions of other accounts from a log."""
    with suppress(OSError):
        descriptor = open_untrusted(path)
        try:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o770)
        finally:
            os.close(descriptor)


def create_logs(paths: Iterable[str]) -> None:
    """Create the logs that are missing, before nginx does it, in folders that only root can write."""
    for path in paths:
        with suppress(OSError):
            if not is_own(os.stat(os.path.dirname(path))):
                continue
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, MODE)
            try:
                with suppress(KeyError, PermissionError):
                    os.fchown(descriptor, -1, grp.getgrnam(GROUP).gr_gid)
                os.fchmod(descriptor, MODE)
            finally:
                os.close(descriptor)
