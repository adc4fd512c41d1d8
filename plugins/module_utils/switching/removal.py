# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remove an application from its host."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.images import units
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError, process_manager
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import prune_images
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, remove_tree
from ansible_collections.pyweb.stack.plugins.module_utils.switching.leftovers import (
    lock_accounts,
    own_accounts,
    remove_accounts,
    remove_leftovers,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import end_together


def remove(spec: dict[str, Any], layout: Layout, run: Run, owner: str) -> dict[str, Any]:
    """Remove an application: its processes, its releases, and what its accounts have left elsewhere on the host.

    With purge, or without data, its accounts go too.
    """
    result: dict[str, Any] = {"name": spec["name"], "root": layout.root, "release": "", "replaced": ""}
    result |= {"found": [], "account": ""}
    if not os.path.isdir(layout.home):
        if not (spec["purge"] and own_accounts(layout)):
            return {**result, "removed": False}
        # The folder was removed by hand. The lock is in it.
        os.mkdir(layout.home, 0o750)
    with lock(layout, owner):
        for name in spec["process_managers"]:
            with suppress(ProcessManagerError):
                manager = process_manager(name, run)
                instances = manager.family(spec["name"])
                end_together([(manager, *instance) for instance in instances], layout, spec["stop_timeout"])
                manager.undefine([spec["name"], *manager.parts(spec["name"])])
        has_data = os.path.isdir(layout.shared) and os.listdir(layout.shared)
        keeps = [os.path.basename(layout.shared)] if has_data and not spec["purge"] else []
        # Jobs start programs of the live release, and nothing else. From here on, they can't.
        remove_tree(layout.current)
        for path in runtime_folders(layout):
            remove_tree(path)
        units.forget(layout.name)
        result["found"] = remove_leftovers(layout, run)
        for entry in os.listdir(layout.home):
            if entry not in (*keeps, ".lock"):
                remove_tree(layout.path(entry))
        prune_images(layout)
        settle_accounts(layout, run, result, bool(keeps))
        # The lock goes last, so that the next run that takes it finds the rest gone.
        os.unlink(layout.path(".lock"))
        if not keeps:
            # Another run may already deploy it again; then the folder is not empty.
            with suppress(OSError):
                os.rmdir(layout.home)
    return {**result, "removed": True}


def runtime_folders(layout: Layout) -> list[str]:
    """The folders of an application below /run: they have its name, or begin with it and a dot."""
    try:
        names = os.listdir(layout.runtime_root)
    except FileNotFoundError:
        return []
    return [os.path.join(layout.runtime_root, name) for name in names if name.partition(".")[0] == layout.name]


def warnings_of(results: list[dict[str, Any]]) -> list[str]:
    """The leftovers of removed applications outside their folders, as warnings."""
    return [
        f"webapps '{result['name']}': it is removed, and had left on the host: {found}"
        for result in results
        for found in result.get("found", [])
    ]


def settle_accounts(layout: Layout, run: Run, result: dict[str, Any], keeps_data: bool) -> None:
    """Lock the accounts that stay because they own data, or remove them. A failure is one of the application."""
    try:
        if keeps_data:
            # An account for builds owns no data.
            remove_accounts(layout, run, [one for one in own_accounts(layout) if one.pw_dir != layout.home])
            opened = lock_accounts(layout, run)
            result["found"] += [f"the account '{name}' could log in, and is locked now" for name in opened]
            result["account"] = "kept" if own_accounts(layout) else ""
        elif accounts := own_accounts(layout):
            remove_accounts(layout, run, accounts)
            result["account"] = "removed"
    except HostError as error:
        raise ReleaseError(layout.name, str(error)) from error
