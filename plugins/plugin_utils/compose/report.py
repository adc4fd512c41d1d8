# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The report of a run about the folder. Pure."""

from __future__ import annotations

import shlex
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import WORKERS, Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.services import VOLUME

# The files at the top of the folder, and those below, by the first part of their path.
KINDS = {"image": "the image", "nginx": "nginx", "current": "the code and the programs"}


def notes(order: Order, to: Path, changed: list[str], *, writes: bool) -> list[str]:
    """The changes, the next commands, and what differs from a host."""
    parts: dict[str, int] = {}
    for path in changed:
        part = path.partition("/")[0]
        parts[KINDS.get(part, part)] = parts.get(KINDS.get(part, part), 0) + 1
    listed = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in parts.items())
    done = f"{'Wrote' if writes else 'Would write'} {to}: {listed}." if changed else f"{to} is up to date."
    place = shlex.quote(str(to))
    path = order.app["site"]["path"].rstrip("/") + "/"
    found = [
        done,
        f"To start it: cd {place} && docker compose up -d, or podman-compose up -d. Then open http://localhost:{order.port}{path}",
    ]
    if changed and writes:
        found.append("If it runs already, restart it: docker compose up -d, then docker compose restart.")
    if order.app["env"]:
        found.append(
            "The containers get env of the inventory, with the addresses of its databases. To use others, set them in "
            "compose.override.yaml before the start."
        )
    if order.app["site"]["tls"]["mode"] != "none":
        found.append("The containers serve http only, without site.tls.")
    if order.app["workers"] == "auto":
        found.append(f"workers: auto means {WORKERS} here.")
    if order.app["jobs"]:
        found.append("No schedule runs the jobs. compose.yaml has a command for each.")
    if order.app["shared"]:
        found.append(
            f"docker compose down keeps the data of the shared folders, in the volume {VOLUME}. With -v, it removes it."
        )
    return found
