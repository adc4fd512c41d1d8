# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The network of a build: its time limits, and the programs that uv runs for requirements in repositories."""

from __future__ import annotations

import re

# Seconds that a server may stay silent, and how many times uv asks again.
SILENCE = 30
RETRIES = 2

# The words of uv and of build backends on a host without git.
NO_GIT = re.compile(r"git executable not found|no such file or directory: '?git'?\b", re.I)

# Remedies for failures of the network: a pattern that matches uv's output in lower case, and what to try.
REMEDIES = (
    (
        r"unsupported url prefix `?(hg|svn|bzr)\b",
        "uv installs requirements from git repositories only, not from Mercurial, Subversion or Bazaar. Publish a "
        "wheel on your index, move the code to git, or copy it into the source and name its folder.",
    ),
    (
        r"git sources cannot be editable",
        "uv installs no repository as editable. Write 'NAME @ git+ADDRESS' instead of '-e git+ADDRESS#egg=NAME'.",
    ),
    (
        r"operation too slow|operation timed out|connection timed out|timed out after|timeout was reached",
        "A server of a requirement does not answer: check that the host reaches the address below, or name a mirror as "
        "python.index_url.",
    ),
)


def network_environment() -> dict[str, str]:
    """The variables by which uv, and git under uv, end if a server does not answer."""
    limits = {"UV_HTTP_TIMEOUT": str(SILENCE), "UV_HTTP_RETRIES": str(RETRIES)}
    return {**limits, **program_environment()}


def program_environment() -> dict[str, str]:
    """The variables of all programs of a build. By them, git ends if a server does not answer."""
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={SILENCE}"]
    ssh += ["-o", f"ServerAliveInterval={SILENCE // 2}", "-o", "ServerAliveCountMax=2"]
    return {
        # Bytes per second, and the seconds that a connection may be slower.
        "GIT_HTTP_LOW_SPEED_LIMIT": "1",
        "GIT_HTTP_LOW_SPEED_TIME": str(SILENCE),
        # A question for a password would wait forever.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": " ".join(ssh),
        # Without Rust on the host, maturin would download a compiler without a hash.
        "MATURIN_NO_INSTALL_RUST": "1",
    }


def lacks_git(output: str) -> bool:
    """Whether a build failed because git is not on the host."""
    return bool(NO_GIT.search(output))
