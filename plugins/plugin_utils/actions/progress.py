# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Say what a long module call does, while it runs. Ansible itself prints nothing until it has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.utils.display import Display

# Seconds until the first line, and the most between two others. Short calls print nothing.
FIRST = 3.0
MOST = 30.0
# The work of a call of webapp_activate, by its stage.
STAGES = {
    "commands": "running the release commands of {}",
    "switch": "starting new processes of {} and waiting until they are healthy",
    "confirm": "watching the new release of {}",
    "commit": "stopping the old release of {}",
    "revert": "going back to the old release of {}",
}
# The first stage, by the kind of switch: a rollback and a restart build nothing.
KINDS = {
    "rollback": "going back to an earlier release of {} and waiting until it is healthy",
    "restart": "starting new processes of {} and waiting until they are healthy",
    "absent": "stopping and removing {}",
}
# The work of modules that only wait, by their input ``state``.
WAITING = {
    "idle": "waiting until no request is open",
    "drained": "waiting until the balancers send no requests to the host",
    "up": "waiting until the balancers send requests to the host",
}
# The work of other modules that may take long.
OTHERS = {
    "apt": "installing Debian packages",
    "uv": "installing uv and interpreters",
    "webapp_survey": "looking at the applications",
    "webapp_inspect": "looking at the applications",
}
# Applications that a line names.
MOST_NAMED = 5

display = Display()


def doing(module: str, arguments: Mapping[str, Any]) -> str:
    """The work of a module call, as a part of a sentence. Empty for calls that are short."""
    short = module.rpartition(".")[2]
    if short == "apply":
        roles = [part["role"] for part in arguments.get("parts", [])]
        return f"applying the parts {', '.join(roles)}" + (" and building releases" if "webapp" in roles else "")
    if short == "webapp_activate":
        return activation(arguments.get("apps", []), arguments.get("stage") or "switch")
    if short == "webapp_run":
        return f"running the command of {arguments.get('app')}"
    if short in ("webapp_drain", "balancer_wait"):
        return WAITING.get(str(arguments.get("state")), "")
    return OTHERS.get(short, "")


def activation(apps: list[Mapping[str, Any]], stage: str) -> str:
    """The work of a call of webapp_activate. Its applications have the same kind of switch, but some may be removed."""
    kinds = {"absent" if app.get("state") == "absent" else app.get("switch") for app in apps}
    text = KINDS.get(str(*kinds), "") if stage == "switch" and len(kinds) == 1 else ""
    names = named([app["name"] for app in apps])
    return (text or STAGES.get(stage, "")).format(names) if names else ""


def named(names: list[str]) -> str:
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


@contextmanager
def progress(host: str, what: str) -> Iterator[None]:
    """While the block runs, print a line now and then. They go to the standard error, because results do not."""
    if not what:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=tell, args=(host, what, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tell(host: str, what: str, ended: threading.Event) -> None:
    began, pause = time.monotonic(), FIRST
    while not ended.wait(pause):
        seconds = time.monotonic() - began
        display.display(f"{host}: {what} ({seconds:.0f} s)", stderr=True)
        pause = min(MOST, max(FIRST, seconds))
