# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The command of an image that does not use its socket: found by the ports on which it listens, and explained."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import OWN_COMMAND, Layout

MOST = 64 * 1024
# Characters of the command in messages.
SHOWN = 200
# Seconds that a command may listen on a port without an answer on its socket.
PATIENCE = 10


def command_of(layout: Layout, release: str) -> str:
    """The command of the image of a release; empty for a release with an app server."""
    with suppress(OSError):
        text = read_untrusted(os.path.join(layout.release(release), OWN_COMMAND), MOST).decode(errors="replace")
        return one_line(text.strip())[:SHOWN]
    return ""


def ports_of(layout: Layout) -> list[int]:
    """The ports on which processes of the application listen."""
    try:
        account = pwd.getpwnam(layout.name).pw_uid
    except KeyError:
        return []
    return sorted({one.port for one in listeners() if one.uid == account})


def listens_elsewhere(layout: Layout, release: str, seconds: float) -> str:
    """Why it is useless to wait for the command of an image; empty where it may still answer."""
    if seconds < PATIENCE or not command_of(layout, release) or not ports_of(layout):
        return ""
    return f"it listens on the port {', '.join(map(str, ports_of(layout)))} instead"


def own_command_hint(layout: Layout, release: str) -> str:
    """The remedy for an image whose command does not answer."""
    command = command_of(layout, release)
    if not command:
        return ""
    return (
        f"The command of the image is: {command}\nIt must accept connections from the socket that it inherits as "
        "descriptor 3 (LISTEN_FDS=1), and on no port. gunicorn does so by itself. For uvicorn, write --fd 3 in place "
        "of --host and --port. Or set server: gunicorn and wsgi.\n"
    )
