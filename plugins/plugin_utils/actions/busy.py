# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A host whose system is still at work: a run waits for the end of its first boot, and names the other user of apt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line

# Seconds that a run waits for cloud-init, and between two looks at the host.
MOST = 300.0
PAUSE = 5.0
# Seconds that the installation of packages waits for another program that uses apt.
APT_TIMEOUT = 300

display = Display()


def platform_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The features that a host has reported; empty if its answer has another form, which is checked later."""
    found: Any = answer
    for key in ("ansible_facts", "pyweb", "platform"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def after_first_boot(
    look: Callable[[], dict[str, Any]],
    host: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """The answer of a look at the host, repeated until cloud-init has ended there, or the time is over."""
    begun, told = clock(), False
    while True:
        answer = look()
        if platform_of(answer).get("first_boot") is not True:
            return answer
        if clock() - begun >= MOST:
            display.warning(
                f"{host}: cloud-init has not ended after {MOST:.0f} seconds. The run continues, and cloud-init may "
                "change the same things. Look at `cloud-init status --long` on the host."
            )
            return answer
        if not told:
            display.display(f"{host}: waiting for the end of cloud-init, up to {MOST:.0f} s", stderr=True)
            told = True
        sleep(PAUSE)


def tell_of_apt(host: str, facts: Mapping[str, Any], wanted: list[str]) -> None:
    """Name the program that uses apt now, if packages are to be installed."""
    holder = facts["platform"].get("apt_holder")
    if not isinstance(holder, Mapping) or not holder or set(wanted) <= set(map(str, facts["packages"])):
        return
    program = one_line(str(holder.get("program") or "another program"))[:80]
    display.display(
        f"{host}: apt is in use by {program} (process {one_line(str(holder.get('pid')))[:20]}). The installation of "
        f"packages waits for it, up to {APT_TIMEOUT} s",
        stderr=True,
    )
