# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The problems of a host on which the account of Ansible can't become root."""

from __future__ import annotations

import re

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable

PROMPT = (
    "sudo of {host} asks for a password in a form that Ansible does not recognise, as sudo-rs of Ubuntu 25.10 and "
    "newer does. Set ansible_become_exe: sudo.ws for the host, or allow its account sudo without a password."
)


def become_problem(said: str, host: str) -> str:
    """The problem of a host whose sudo or su refuses, in whatever language; empty if it does not."""
    line = printable(said.strip().partition("\n")[0])[:200]
    if not line.startswith(("sudo: ", "su: ")):
        return ""
    if re.search(r"\btty\b", line, re.IGNORECASE):
        return (
            f"sudo of {host} asks for a terminal (requiretty), and pipelining has none. Set ansible_pipelining: false "
            "for the host, or remove requiretty from its sudo settings."
        )
    return (
        f"the account can't become root on {host}: '{line}'. If it needs a password, let Ansible ask you for it "
        "(--ask-become-pass). If you gave one, correct it."
    )


def sudo_problem(account: str, host: str) -> str:
    return (
        f"the account '{account}' may not become root on {host} without a password. Let sudo ask you for it "
        f"(--ask-become-pass), or allow it there: echo '{account} ALL=(ALL) NOPASSWD: ALL' | sudo tee "
        f"/etc/sudoers.d/{account}; an account that may not use sudo at all can't deploy."
    )
