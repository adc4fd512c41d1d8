# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The notes of an app server about the start and the end of its workers. Pure, except for the process table.

A line is an event, a process ID and, since version 0.2, the time. The events are ``ready``, ``left`` (an orderly end),
``gone`` (the master has noticed the end; uWSGI does not note it) and ``aborted`` (instead of gone, if the master has
ended a worker that did not respond in time).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

# Seconds for which a death counts as recent.
RECENT = 3600


def events(notes: str) -> Iterator[tuple[str, str, int]]:
    """The events of the notes: what, process ID, and time (0 if an older release has noted it)."""
    for line in lines_of(notes):
        words = line.split()
        if 2 <= len(words) <= 3 and all(word.isdecimal() for word in words[1:]):
            yield words[0], words[1], int(words[2][:12]) if len(words) == 3 else 0


def is_timed(notes: str) -> bool:
    """Whether the release notes times, and every orderly end."""
    return any(time for event, _pid, time in events(notes) if event == "ready")


def deaths(notes: str, uwsgi: bool) -> list[int]:
    """The times at which workers have ended without leaving.

    uWSGI does not note an end. So the time at which such a worker was ready counts. In a crash loop, it is shortly
    before.
    """
    ready: dict[str, int] = {}
    left: set[str] = set()
    found = []
    for event, pid, time in events(notes):
        if event == "ready":
            if uwsgi and pid in ready:  # the number was used again
                found.append(ready[pid])
            ready[pid] = time
            left.discard(pid)
        elif event == "left":
            left.add(pid)
            ready.pop(pid, None)
        elif event == "aborted" or (event == "gone" and pid not in left):
            found.append(time)
    if uwsgi:
        found += [time for pid, time in ready.items() if not os.path.exists(f"/proc/{pid}")]
    return sorted(found)


def summary(notes: str, uwsgi: bool, now: float, since: float = 0) -> dict[str, Any] | None:
    """How many workers have died, how many of them recently, and the times of the first and the last of those.

    ``since`` is the start of the master: the workers of an earlier one have ended with it. The result is None where a
    release does not note times, because its orderly ends could look like deaths.
    """
    if not is_timed(notes):
        return None
    times = [time for time in deaths(notes, uwsgi) if time >= since - 1]
    recent = [time for time in times if now - RECENT <= time <= now + 60]
    return {"count": len(times), "recent": len(recent), "since": min(recent, default=0), "last": max(recent, default=0)}
