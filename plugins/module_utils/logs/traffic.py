# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Count the requests of applications in the access logs of nginx, in a window of time, with bounded memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import open_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.logs.access import Access, access_of, mount_of
from ansible_collections.pyweb.stack.plugins.module_utils.logs.buckets import bucket_of, quantile, slices_of

# Workers of nginx write their lines up to a second later (`flush=1s`), each worker by itself.
DISORDER = 5.0
# How much of a log and its rotated file is read. One million requests have 250 bytes each.
MOST_BYTES = 256 * 1024**2
# Files of earlier rotations, which are not read.
OLDER = (".1.gz", ".2", ".2.gz")
# The steps in which the begin of the window is looked for, and the piece that is in memory at a time.
FIRST_STEP = 256 * 1024
PIECE = 1024**2
# nginx accepts headers of 32 KiB, and writes up to four characters for a byte.
LONGEST_LINE = 256 * 1024


@dataclass
class Slice:
    """The requests that began in a part of the window."""

    requests: int = 0
    errors: int = 0
    buckets: Counter[int] = field(default_factory=Counter)


@dataclass
class Window:
    """A span of time, in seconds since 1970 by the clock of this host. ``parts`` is the number of its slices."""

    begin: float
    end: float
    parts: int = 0

    @property
    def slices(self) -> int:
        return self.parts or slices_of(round(self.end - self.begin))

    def slice_of(self, moment: float) -> int | None:
        """The slice of a moment; None outside of the window."""
        if not self.begin <= moment < self.end:
            return None
        return min(self.slices - 1, int((moment - self.begin) / (self.end - self.begin) * self.slices))


@dataclass
class Counted:
    """The requests that one application got in the window."""

    slices: list[Slice]

    def add(self, request: Access, number: int) -> None:
        one = self.slices[number]
        one.requests += 1
        one.errors += request.failed
        if request.seconds is not None:
            one.buckets[bucket_of(request.seconds)] += 1


@dataclass
class Reading:
    """The result of reading a log: lines of another format, whether older lines were left out, the problem if any."""

    unread: int = 0
    cut: bool = False
    problem: str = ""


def count(apps: list[dict[str, Any]], window: Window, most: int = MOST_BYTES) -> list[dict[str, Any]]:
    """The traffic of each application, in the order of the applications."""
    counted = {app["name"]: Counted([Slice() for _ in range(window.slices)]) for app in apps}
    readings: dict[str, Reading] = {}
    for path in sorted({path for app in apps for path in app["logs"]}):
        of_log = [app for app in apps if path in app["logs"]]
        readings[path] = count_log(path, of_log, counted, window, most)
    return [told(app, counted[app["name"]], [readings[path] for path in app["logs"]]) for app in apps]


def count_log(path: str, apps: list[dict[str, Any]], counted: dict[str, Counted], window: Window, most: int) -> Reading:
    """Count the requests of one log, which can be that of several applications."""
    reading = Reading()
    by_mount = {app["mount"]: app for app in apps}
    mounts = sorted({mount for app in apps for mount in app["mounts"]} | by_mount.keys())
    for line in lines_since(path, window.begin, most, reading):
        request = access_of(line)
        if request is None:
            reading.unread += 1
            continue
        number = window.slice_of(request.begin) if request.reached else None
        app = by_mount.get(mount_of(request.path, mounts)) if number is not None else None
        # Checks of a balancer, and of a deployment, are no visits.
        if app and number is not None and (not app["health"] or request.path != app["health"]):
            counted[app["name"]].add(request, number)
    return reading


def lines_since(path: str, begin: float, most: int, reading: Reading) -> Iterator[str]:
    """The lines from a time on, of a log and of the file that it had before its last rotation. The oldest are first."""
    opened: list[tuple[BinaryIO, int]] = []
    known: set[tuple[int, int]] = set()
    with ExitStack() as stack:
        # The log is opened first: a rotation between the two gives the same file twice, and not one too few.
        for name in (path, f"{path}.1"):
            try:
                stream: BinaryIO = stack.enter_context(open(open_untrusted(name), "rb"))
            except OSError as error:
                if name == path:
                    reading.problem = f"{path} can't be read: {error.strerror or error}"
                continue
            status = os.fstat(stream.fileno())
            if (status.st_dev, status.st_ino) in known:
                continue
            known.add((status.st_dev, status.st_ino))
            start, reaches = start_of(stream, status.st_size, begin, most)
            opened.append((stream, start))
            most -= status.st_size - start
            reading.cut = not reaches and (start > 0 or most <= 0)
            if reaches or reading.cut:
                break
        else:
            reading.cut = any(is_within(f"{path}{end}", begin) for end in OLDER)
        for stream, start in reversed(opened):
            yield from lines_from(stream, start)


def is_within(path: str, begin: float) -> bool:
    """Whether a file has been written to since a time."""
    try:
        return os.lstat(path).st_mtime > begin
    except OSError:
        return False


def start_of(stream: BinaryIO, size: int, begin: float, most: int) -> tuple[int, bool]:
    """Where to begin to read a log of this size, and whether the line there is older than the wanted ones."""
    step = FIRST_STEP
    while True:
        start = max(0, size - min(step, most))
        stream.seek(start)
        piece = stream.read(2 * LONGEST_LINE)
        lines = piece.split(b"\n")[(1 if start else 0) : -1]
        first = next((found for line in lines if (found := access_of(line.decode(errors="replace")))), None)
        if first and first.end < begin - DISORDER:
            return start, True
        if start == 0 or step >= most:
            return start, False
        step *= 4


def lines_from(stream: BinaryIO, start: int) -> Iterator[str]:
    """The whole lines from an offset on. A line that is too long is left out."""
    stream.seek(start)
    rest, skips = b"", start > 0
    while piece := stream.read(PIECE):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if not skips and len(line) <= LONGEST_LINE:
                yield line.decode(errors="replace")
            skips = False
        if len(rest) > LONGEST_LINE:
            rest, skips = b"", True


def told(app: dict[str, Any], counted: Counted, readings: list[Reading]) -> dict[str, Any]:
    """The traffic of an application as data."""
    whole: Counter[int] = Counter()
    for one in counted.slices:
        whole.update(one.buckets)
    problems = [reading.problem for reading in readings if reading.problem]
    if not app["logs"]:
        problems = ["the site has no access log (access_log)"]
    return {
        "name": app["name"],
        "requests": sum(one.requests for one in counted.slices),
        "errors": sum(one.errors for one in counted.slices),
        **{f"p{share}": quantile(whole, share / 100) for share in (50, 95, 99)},
        "slices": [
            {
                "requests": one.requests,
                "errors": one.errors,
                "buckets": [[bucket, one.buckets[bucket]] for bucket in sorted(one.buckets)],
            }
            for one in counted.slices
        ],
        "unread": sum(reading.unread for reading in readings),
        "cut": any(reading.cut for reading in readings),
        "problems": problems,
    }
