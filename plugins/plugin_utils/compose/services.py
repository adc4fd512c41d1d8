# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The services of compose.yaml. Pure."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import (
    ACCOUNT,
    FRONT,
    FRONT_ACCOUNT,
    TREE,
    Order,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.programs import PATIENCE, prepares
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.variables import FILE, plain_variables
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import (
    health_timeout,
    memory_bytes,
    stop_timeout,
)

HEAD = """\
# Managed by pyweb.stack: the application {name} with nginx, for docker compose or podman-compose. Changes made here are
# replaced. Put your own settings into compose.override.yaml.
"""
JOBS = "# {job}: docker compose run --rm app {release}/bin/{job}\n"
# The folder's own volume. It exists only for an application with shared folders.
VOLUME = "shared"
CONFINED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}


def compose_file(order: Order, image: str, served: list[str]) -> str:
    """The text of compose.yaml. ``served`` are the folders of the application that nginx reads."""
    jobs = "".join(JOBS.format(job=job["name"], release=order.release) for job in order.app["jobs"])
    if jobs:
        jobs = f"# No schedule runs here. To run a job:\n{jobs}"
    written = yaml.safe_dump(literal(document(order, image, served)), sort_keys=False, width=120)
    return f"{HEAD.format(name=order.name)}{jobs}{written}"


def document(order: Order, image: str, served: list[str]) -> dict[str, Any]:
    app, services = order.app, {}
    if prepares(app):
        services["release"] = {
            **container(order, image),
            "command": [f"{order.release}/compose/first", f"{order.release}/compose/prepare"],
        }
    services["app"] = {
        **container(order, image),
        "command": [f"{order.release}/bin/web"],
        "stop_grace_period": f"{stop_timeout(app)}s",
        "healthcheck": {
            "test": ["CMD", f"{order.release}/compose/health"],
            "interval": "10s",
            "timeout": f"{PATIENCE + 5}s",
            "retries": 3,
            "start_period": f"{health_timeout(app)}s",
        },
        **lasting(order, None),
    }
    for service, number, process in background.copies(app):
        services[f"process-{service.partition('.')[2]}"] = {
            **container(order, image),
            "command": [f"{order.release}/compose/first", f"{order.release}/bin/{process['name']}", str(number)],
            "stop_signal": f"SIG{process['stop_signal']}",
            "stop_grace_period": f"{process['stop_timeout']}s",
            **lasting(order, process),
        }
    services["nginx"] = nginx(order, served)
    first = next(iter(services))
    services[first] = {"build": {"context": "./image", "dockerfile": "Containerfile"}, **services[first]}
    return {"services": services, **({"volumes": {VOLUME: {}}} if app["shared"] else {})}


def container(order: Order, image: str) -> dict[str, Any]:
    """A container that runs a program of the application."""
    return {
        "image": image,
        # No registry has it.
        "pull_policy": "never",
        "user": f"{ACCOUNT}:{ACCOUNT}",
        "working_dir": order.application,
        "environment": plain_variables(order),
        "env_file": [FILE],
        "volumes": [
            f"./current:{order.release}:ro,z",
            *([f"{VOLUME}:{order.shared}"] if order.app["shared"] else []),
        ],
        "tmpfs": [f"{path}:mode=1777" for path in ("/tmp", order.cache, order.runtime)],  # noqa: S108
        **CONFINED,
    }


def lasting(order: Order, item: dict[str, Any] | None) -> dict[str, Any]:
    """The settings of processes that do not end: the start, and the limits."""
    found: dict[str, Any] = {"restart": "unless-stopped"}
    if prepares(order.app):
        found["depends_on"] = {"release": {"condition": "service_completed_successfully"}}
    limits = background.limits(order.app, item)
    if "memory" in limits:
        found["mem_limit"] = memory_bytes(limits["memory"])
    if "cpu" in limits:
        found["cpus"] = int(limits["cpu"].rstrip("%")) / 100
    if "tasks" in limits:
        found["pids_limit"] = int(limits["tasks"])
    return found


def nginx(order: Order, served: list[str]) -> dict[str, Any]:
    """The container of nginx. It gets its configuration, and only the folders that it serves."""
    mounts = [f"./nginx:{TREE}:ro,z"]
    for folder in served:
        if folder.startswith(f"{order.release}/"):
            mounts.append(f"./current{folder.removeprefix(order.release)}:{folder}:ro,z")
    if any(folder.startswith(f"{order.shared}/") for folder in served):
        mounts.append(f"{VOLUME}:{order.shared}:ro")
    return {
        "image": order.front,
        "entrypoint": ["/bin/sh", f"{TREE}/start"],
        "user": f"{FRONT_ACCOUNT}:{ACCOUNT}",
        "ports": [f"127.0.0.1:{order.port}:{FRONT}"],
        "volumes": mounts,
        "tmpfs": ["/tmp:mode=1777"],  # noqa: S108  # in the container
        "stop_signal": "SIGQUIT",
        "restart": "unless-stopped",
        "depends_on": {"app": {"condition": "service_started"}},
        **CONFINED,
    }


def literal(value: Any) -> Any:
    """The same data in plain types. compose replaces ``$NAME``, and reads two signs as one."""
    if isinstance(value, dict):
        return {str(key): literal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [literal(item) for item in value]
    return str(value).replace("$", "$$") if isinstance(value, str) else value
