# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the surroundings of builds and of commands, by running one. Changes nothing."""

from __future__ import annotations

import os
import secrets
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_by_hand
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, build_account
from ansible_collections.pyweb.stack.plugins.module_utils.release.sandbox import SYSTEMD, unit_of

PROBE = ["/bin/cat", "/proc/self/status", "/proc/self/cgroup"]


def look_at_worlds(layout: Layout) -> dict[str, Any]:
    """The folder of the build account, and what the kernel says about a command. Empty without a release, or root."""
    if os.geteuid() != 0 or layout.current_release() is None:
        return {}
    builder = {**mode_of(layout.build), "wanted": build_account(layout.name)}
    return {"build": builder, "systemd": os.path.isdir(SYSTEMD), **look_at_command(layout)}


def look_at_command(layout: Layout) -> dict[str, Any]:
    unit = unit_of(layout, f"inspect-{secrets.token_hex(4)}")
    try:
        answer = run_by_hand(layout, PROBE, unit, 20_000)
    except (HostError, OSError) as error:
        return {"problem": str(error)}
    if answer.returncode != 0:
        return {"problem": answer.stderr.strip() or f"a command ends with {answer.returncode}"}
    fields = dict(line.split(":\t", 1) for line in lines_of(answer.stdout) if ":\t" in line)
    return {
        "problem": "",
        "no_new_privs": fields.get("NoNewPrivs", ""),
        "capabilities": fields.get("CapBnd", "").strip("0"),
        "in_unit": f"/{unit}" in answer.stdout,
    }
