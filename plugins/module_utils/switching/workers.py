# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The notes of an app server about its workers: which are ready, and which have crashed."""

from __future__ import annotations

import os

from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.release.worker_notes import deaths, events, is_timed

# Bytes of the notes. A line has some thirty, and a worker writes three. The servers keep them below a quarter of this.
MOST_NOTES = 1024**2


def read_notes(layout: Layout, release: str) -> str:
    """The notes of a release's app server about its workers; empty if it writes none."""
    try:
        return read_untrusted(layout.notes(release), MOST_NOTES).decode(errors="replace")
    except OSError:
        return ""


def workers_with(notes: str, event: str) -> set[str]:
    """The process IDs of the workers with an event in the notes: ``ready``, ``left`` or ``gone``."""
    return {pid for found, pid, _time in events(notes) if found == event}


def crashes(layout: Layout, release: str, most_workers: int) -> int:
    """How many workers of a release have crashed."""
    notes = read_notes(layout, release)
    if layout.speaks_uwsgi(release):
        return uwsgi_crashes(notes, most_workers)
    return worker_crashes(notes)


def worker_crashes(notes: str) -> int:
    """How many workers are gone without leaving. A worker leaves on a signal, or after its maximum of requests."""
    return len((workers_with(notes, "gone") | workers_with(notes, "aborted")) - workers_with(notes, "left"))


def uwsgi_crashes(notes: str, most: int) -> int:
    """How many workers of uWSGI have crashed.

    A release of an older version notes only ready ones. There, in uWSGI's cheaper mode, a worker may end for lack of
    work. Then there are no more than ``most`` ready ones in all.
    """
    if is_timed(notes):
        return len(deaths(notes, uwsgi=True))
    ready = workers_with(notes, "ready")
    ended = [pid for pid in ready if not os.path.exists(f"/proc/{pid}")]
    return min(len(ended), max(0, len(ready) - most))
