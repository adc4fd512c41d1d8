# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lease of an application: the record of a provisional switch, which its run commits or reverts.

While a lease is valid, it is the lock of the application for all other runs. It is written before the links change and
removed after everything else. So an interruption at any moment leaves what the guard or the next run needs to decide.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import Process
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError

LEASE = ".lease.json"
# A switch under way, a finished one, and the two ways to end it. The decision to commit is never taken back.
SWITCHING, PROVISIONAL, COMMITTING, REVERTING = "switching", "provisional", "committing", "reverting"
# A lease that is longer than this many times its own length shows that the clock was set back.
MOST_LENGTHS = 2
# Bytes of the log of deployments in which the entry of the present run is.
LOG_BYTES = 64 * 1024


@dataclass
class Lease:
    """A provisional switch: by which run, from which release to which, and everything that a revert needs."""

    run: str
    owner: str
    action: str
    release: str
    before: str
    # Seconds for which each renewal extends the lease, and its end, in seconds since 1970.
    seconds: int
    expires: float
    state: str = SWITCHING
    # The links and the entries of the hold before the switch.
    links: dict[str, str | None] = field(default_factory=dict)
    hold: list[dict[str, Any]] = field(default_factory=list)
    # When the switch began, when the release was first healthy, and when the links changed: seconds since 1970.
    began: float = 0.0
    healthy: float = 0.0
    switched: float = 0.0
    boot_seconds: float = 0.0
    # For each background process: how often it had been restarted when it was started.
    restarts: dict[str, int] = field(default_factory=dict)
    # The settings of the application that the end of the lease needs.
    settings: dict[str, Any] = field(default_factory=dict)
    # Why the switch is reverted, and whether the release failed itself.
    reason: str = ""
    failed: bool = False
    guard: dict[str, Any] = field(default_factory=dict)

    @property
    def is_valid(self) -> bool:
        """Whether only the run of this lease may decide. A decision that was begun is completed by any run."""
        left = self.expires - time.time()
        return self.state in (SWITCHING, PROVISIONAL) and 0 < left <= MOST_LENGTHS * self.seconds

    @property
    def until(self) -> str:
        """The end, as text in UTC."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.expires))

    @property
    def since(self) -> str:
        """When the switch began, as the log of deployments writes it."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began))

    @property
    def is_guarded(self) -> bool:
        """Whether the process still runs that decides when the lease has expired."""
        with suppress(KeyError, TypeError, ValueError):
            return Process(int(self.guard["pid"]), str(self.guard["start"])).runs
        return False

    def renew(self) -> None:
        self.expires = time.time() + self.seconds


def read_lease(layout: Layout) -> Lease | None:
    """The lease of an application; None if there is none. Raises ReleaseError for a file that is not readable."""
    path = layout.path(LEASE)
    try:
        with open(path, encoding="utf-8") as stream:
            data = json.load(stream)
        lease = Lease(**{key: data[key] for key in Lease.__dataclass_fields__ if key in data})
        if not (lease.run and lease.release and lease.expires > 0 and dict(lease.links)):
            raise ValueError
        return lease
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError):
        raise ReleaseError(
            layout.name,
            f"{path} is damaged, so it is unknown which run has switched provisionally, and from which release. The "
            f"release {layout.current_release() or 'none'} serves. Remove this file to keep that release, then run "
            "again.",
        ) from None


def write_lease(layout: Layout, lease: Lease) -> None:
    write(File(layout.path(LEASE), json.dumps(asdict(lease), indent=2) + "\n", mode=0o600))


def end_lease(layout: Layout) -> None:
    write(File(layout.path(LEASE), None))


def has_lease(layout: Layout) -> bool:
    return os.path.lexists(layout.path(LEASE))


def refusal(lease: Lease) -> str:
    """Why another run must wait."""
    return (
        f"another deployment is under way: {lease.owner} has switched from {lease.before or 'no release'} to "
        f"{lease.release} provisionally (run {lease.run}), and may commit or revert that until {lease.until} UTC. Wait "
        "until then, or until that run has ended, then run again. After a killed run, its user can run again at once "
        "on the same controller"
    )


def refuse_second_switch(layout: Layout) -> None:
    """Raise ReleaseError if the run that holds the lease switches again. The lock refuses other runs."""
    lease = read_lease(layout)
    if lease is not None:
        raise ReleaseError(
            layout.name, f"this run has switched to {lease.release} provisionally. Commit or revert that switch first."
        )


def lease_in_effect(layout: Layout) -> dict[str, Any] | None:
    """The lease, for a report; None if there is none. A damaged file is one, with its problem."""
    try:
        lease = read_lease(layout)
    except ReleaseError as error:
        return {"problem": error.text}
    except OSError:
        return None
    if lease is None:
        return None
    return {
        "run": lease.run,
        "by": lease.owner,
        "release": lease.release,
        "before": lease.before,
        "state": lease.state,
        "until": lease.until,
        "overdue": not lease.is_valid,
        "guarded": lease.is_guarded,
    }


def entry_of(layout: Layout, run: str) -> dict[str, Any] | None:
    """The last entry of a run in the log of deployments; None if there is none."""
    found = None
    for line in lines_of(tail(layout.history, LOG_BYTES)):
        with suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("run") == run:
                found = entry
    return found
