#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Memory of the app servers on this host. Prints one JSON object, by the name of the service without its instance.

Each value has: workers (processes below the first one), worker (RSS of one worker, the median) and all (PSS of all
processes of the service, which counts shared pages once), both in MiB. Runs as root, and needs nothing but Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics

SERVICE = re.compile(r"/([a-z0-9-]+)(?:@[^/]*)?\.service$", re.MULTILINE)


def text_of(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()


def memory(pid: str) -> dict[str, float]:
    """RSS and PSS of a process in MiB."""
    found = re.findall(r"^(Rss|Pss): +(\d+) kB", text_of(f"/proc/{pid}/smaps_rollup"), re.MULTILINE)
    return {name: int(size) / 1024 for name, size in found}


def services() -> dict[str, dict[str, str]]:
    """The parent of every process, by service and process."""
    found: dict[str, dict[str, str]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            match = SERVICE.search(text_of(f"/proc/{pid}/cgroup"))
            if match:
                parent = text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()[1]
                found.setdefault(match[1], {})[pid] = parent
    return found


def main() -> None:
    told = {}
    for service, processes in services().items():
        sizes = {}
        for pid in processes:
            # A process may have ended.
            with contextlib.suppress(OSError):
                sizes[pid] = memory(pid)
        # Python's helpers for child processes, which granian has, are no workers.
        workers = [
            pid
            for pid, parent in processes.items()
            if parent in processes and pid in sizes and "multiprocessing.resource_tracker" not in command(pid)
        ]
        if workers:
            told[service] = {
                "workers": len(workers),
                "worker": round(statistics.median(sizes[pid]["Rss"] for pid in workers), 1),
                "all": round(sum(size["Pss"] for size in sizes.values()), 1),
            }
    print(json.dumps(told))


def command(pid: str) -> str:
    try:
        return text_of(f"/proc/{pid}/cmdline")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
