# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The file by which a web host is drained: while it exists, health checks of balancers get 404."""

from __future__ import annotations

import datetime
import glob
import json
import os

from ansible_collections.pyweb.stack.plugins.module_utils.balancing.paths import DRAINED, HEALTH_URL
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import own_file, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted

MOST_BYTES = 4096
# The live configuration of nginx.
LIVE = "/etc/nginx/pyweb/current"
# datetime.UTC needs Python 3.11.
UTC = datetime.timezone(datetime.timedelta(0))


def drained(path: str = DRAINED) -> dict[str, str] | None:
    """Since when the host is drained, and by whom; None if it is not. A file that was made by hand has no name."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    since = datetime.datetime.fromtimestamp(status.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        entry = json.loads(read_untrusted(path, MOST_BYTES))
        return {"since": str(entry["since"]), "by": str(entry["by"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {"since": since, "by": ""}


def drain(by: str, path: str = DRAINED, check_mode: bool = False) -> bool:
    """Write the file; return whether the host was not drained before."""
    if os.path.lexists(path):
        return False
    if not check_mode:
        # The workers of nginx look for the file, so other accounts must be able to pass the folder.
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        now = datetime.datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        write(own_file(path, json.dumps({"since": now, "by": by}) + "\n"))
    return True


def undrain(path: str = DRAINED, check_mode: bool = False) -> bool:
    """Remove the file; return whether it was there."""
    if not os.path.lexists(path):
        return False
    if not check_mode:
        os.unlink(path)
    return True


def answers_checks(live: str = LIVE) -> bool:
    """Whether nginx answers health checks of balancers on this host."""
    for path in [f"{live}/catch_all.conf", *glob.glob(f"{glob.escape(live)}/sites/*.conf")]:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                if HEALTH_URL in stream.read():
                    return True
        except OSError:
            continue
    return False
