# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Git repositories of a test."""

from __future__ import annotations

import subprocess
from pathlib import Path

SETTINGS = {
    "user.name": "Test",
    "user.email": "test@example.com",
    "init.defaultBranch": "main",
    "protocol.file.allow": "always",  # folders stand in for servers
}


def git(folder: Path, *arguments: str) -> str:
    """The output of git. The settings are for this command only."""
    settings = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()
