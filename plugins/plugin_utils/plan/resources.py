# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The workers, memory and times of each application. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import auto_workers, server_of

# Memory (bytes) that `workers: auto` assumes for each worker: a Flask application with an ORM takes 60 to 120 MiB.
WORKER_MEMORY = 128 * 1024**2


# Seconds that a stop may take after the time for running requests.
STOP_MARGIN = 5

# Without health.timeout: seconds for the start of a release, and for the end of its errors, such as 500. A warming
# application answers with errors for a few seconds; one with a fault does so forever, and should be refused soon.
START_TIMEOUT = 60
ERROR_TIMEOUT = 15


def worker_count(app: dict[str, Any], facts: dict[str, Any]) -> int:
    """The number of workers; ``auto`` depends on server, threads and cores, is limited by memory, and at least two.

    Only the cores that the application may use count. The memory is half of the host's memory, or the application's
    limit if that is lower. The other half is for the system and a second release.
    """
    if app["workers"] != "auto":
        return int(app["workers"])
    cores, memory = int(facts["cpus"]), int(facts["memory_bytes"]) // 2
    if app["limits"]["cpu"]:
        cores = min(cores, max(1, int(app["limits"]["cpu"].rstrip("%")) // 100))
    if app["limits"]["memory"]:
        memory = min(memory, memory_bytes(app["limits"]["memory"]))
    return max(2, min(auto_workers(app, cores), memory // WORKER_MEMORY))


def health_timeout(app: dict[str, Any]) -> int:
    """Seconds within which a release must become healthy."""
    given = app["health"]["timeout"]
    return START_TIMEOUT if given is None else int(given)


def error_timeout(app: dict[str, Any]) -> int:
    """Seconds after which a release is refused that answers with an error such as 500."""
    given = app["health"]["timeout"]
    return ERROR_TIMEOUT if given is None else int(given)


def memory_bytes(text: str) -> int:
    """Bytes of a size in systemd's notation."""
    unit = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}.get(text[-1])
    return int(text[:-1]) * unit if unit else int(text)


def stop_timeout(app: dict[str, Any]) -> int:
    """Seconds after which a process manager kills a process. By then, the app server has ended its last request."""
    return server_of(app).stop_seconds(app) + STOP_MARGIN


def resolved_process_manager(app: dict[str, Any], default: str, facts: dict[str, Any]) -> str:
    chosen = app["process_manager"] or default
    if chosen == "auto":
        chosen = "systemd" if facts["init"] == "systemd" else "supervisor"
    return chosen


def booting_workers(app: dict[str, Any], facts: dict[str, Any]) -> int:
    return server_of(app).booting_workers(app, worker_count(app, facts))
