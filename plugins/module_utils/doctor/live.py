# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Small looks at an application: its live release and its answer through nginx. Changes nothing."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest, read_manifest

# Seconds to wait for an answer. A health check does not accept a slower one.
PATIENCE = 5.0
# Bytes from the end of the log of deployments.
LOG_BYTES = 64 * 1024


def live_manifest(layout: Layout) -> Manifest | None:
    live = layout.current_release()
    return read_manifest(layout, live) if live else None


def ask_front(spec: dict[str, Any]) -> Answer:
    return ask(Question(port=spec["port"], **through_nginx(spec)), PATIENCE)


def in_maintenance(layout: Layout) -> bool:
    with contextlib.suppress(OSError, ValueError), open(layout.path("maintenance.json"), encoding="utf-8") as stream:
        return bool(json.load(stream)["enabled"])
    return False


def last_switch(layout: Layout, live: str) -> dict[str, Any]:
    """The entry of the last switch to the live release in the log of deployments; empty if there is none."""
    found: dict[str, Any] = {}
    for line in lines_of(tail(layout.history, LOG_BYTES)):
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("release") == live and entry.get("result") == "live":
                found = entry
    return found


def through_nginx(spec: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request to nginx of this host. Behind a balancer, it has no TLS."""
    scheme = {"scheme": spec["front_scheme"]} if "front_scheme" in spec else {}
    return {**spec["question"], **scheme}
