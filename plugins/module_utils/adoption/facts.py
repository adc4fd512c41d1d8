# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The manual deployments on a host, as far as a run may meet them. Changes nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.adoption.handmade_processes import handmade_processes
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import foreign

# The most servers that are reported.
MOST = 100


def handmade(root: str, conf_dir: str = "/etc/nginx") -> dict[str, Any]:
    """The servers of nginx that are not this collection's, and the app servers."""
    entry = None
    with suppress(OSError), open(f"{conf_dir}/nginx.conf", encoding="utf-8", errors="replace") as stream:
        entry = stream.read()
    files = foreign.sources(conf_dir, entry)
    found = foreign.servers(files, takeover=entry is not None and not foreign.is_own(entry))
    return {
        "servers": [
            {
                "title": one.title,
                "path": one.source.path,
                "keys": sorted([port, name] for port, name in one.keys),
                "targets": foreign.targets(one.block),
            }
            # The default site of Debian is no work of people.
            for one in found
            if not one.source.path.endswith("/sites-enabled/default") or foreign.targets(one.block)
        ][:MOST],
        "processes": [one.summary() for one in handmade_processes(root)],
    }
