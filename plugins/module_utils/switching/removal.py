# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remove an application from its host."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError, process_manager
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, account, remove_tree
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import end_together


def remove(spec: dict[str, Any], layout: Layout, run: Run, owner: str) -> dict[str, Any]:
    """Remove an application: its processes, its releases, and with purge its data and its account."""
    result = {"name": spec["name"], "release": "", "replaced": ""}
    if not os.path.isdir(layout.home):
        return {**result, "removed": False}
    with lock(layout, owner):
        for name in spec["process_managers"]:
            with suppress(ProcessManagerError):
                manager = process_manager(name, run)
                instances = manager.family(spec["name"])
                end_together([(manager, *instance) for instance in instances], layout, spec["stop_timeout"])
                manager.undefine([spec["name"], *manager.parts(spec["name"])])
        has_data = os.path.isdir(layout.shared) and os.listdir(layout.shared)
        keeps = [os.path.basename(layout.shared)] if has_data and not spec["purge"] else []
        for entry in os.listdir(layout.home):
            if entry not in (*keeps, ".lock"):
                remove_tree(layout.path(entry))
        remove_tree(layout.runtime)
        remove_tree(layout.sockets)
        if not keeps and account(spec["name"]) is not None:
            run(["userdel", spec["name"]])
        # The lock goes last, so that the next run that takes it finds the rest gone.
        os.unlink(layout.path(".lock"))
        if not keeps:
            # Another run may already deploy it again; then the folder is not empty.
            with suppress(OSError):
                os.rmdir(layout.home)
    return {**result, "removed": True}
