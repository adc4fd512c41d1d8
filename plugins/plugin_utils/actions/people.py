# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The user who runs Ansible."""

from __future__ import annotations

import getpass
import socket


def deployer() -> str:
    """The account and the machine that a log of deployments names."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        account = "unknown"
    return f"{account}@{socket.gethostname()}"
