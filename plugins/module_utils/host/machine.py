# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Facts about this machine: its distribution, packages, processors, memory and disks. Changes nothing."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

# Control groups, as a container sees its own.
GROUPS = "/sys/fs/cgroup"


# The second one counts where the first one is missing: os-release(5).
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
# The packages whose versions decide whether a run can work.
VERSIONED = ("nginx", "systemd")


def distribution(paths: tuple[str, ...] = OS_RELEASE) -> dict[str, str]:
    found = {}
    path = next((one for one in paths if os.path.exists(one)), os.devnull)
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            key, separator, value = line.strip().partition("=")
            if separator:
                found[key] = value.strip("\"'")
    return {
        "id": found.get("ID", ""),
        "name": found.get("NAME", ""),
        "version": found.get("VERSION_ID", ""),
        "codename": found.get("VERSION_CODENAME", ""),
    }


def platform(status: str = "/var/lib/dpkg/status") -> dict[str, Any]:
    """The features of this machine that a run needs: apt, this Python, the processor, some packages."""
    return {
        "apt": os.path.exists("/usr/bin/apt-get") and os.path.exists(status),
        "python": ".".join(map(str, sys.version_info[:2])),
        "machine": os.uname().machine,
        "versions": package_versions(VERSIONED, status),
    }


def package_versions(names: tuple[str, ...], path: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = re.findall(
        rf"^Package: ({'|'.join(map(re.escape, names))})\nStatus: \S+ \S+ installed\n(?:.+\n)*?Version: (\S+)$",
        package_list(path),
        re.MULTILINE,
    )
    return {str(name): str(version) for name, version in found}


def package_list(path: str) -> str:
    """dpkg's own list. Reading it is ten times faster than running dpkg."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def installed_packages(wanted: list[str], path: str = "/var/lib/dpkg/status") -> list[str]:
    """Those packages that are installed."""
    text = package_list(path)
    names = "|".join(re.escape(name) for name in wanted)
    if not names:
        return []
    found = set(re.findall(rf"^Package: ({names})\nStatus: \S+ \S+ installed$", text, re.MULTILINE))
    return sorted(found)


def available_memory() -> dict[str, int]:
    """Bytes of memory in total, and available for new processes."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream}
    return {"total": found["MemTotal"], "available": found.get("MemAvailable", found["MemFree"])}


def memory_bytes(groups: str = GROUPS) -> int:
    """The memory that processes may use: the machine's, or a container's limit if that is lower."""
    total = available_memory()["total"]
    for names in (["memory.max"], ["memory/memory.limit_in_bytes"]):
        total = min([total, *limits(groups, names)])
    return total


def cpus(groups: str = GROUPS) -> int:
    """The processors that processes may use: those of the affinity mask, or a container's quota if that is lower."""
    count = len(os.sched_getaffinity(0))
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        limit = limits(groups, names)
        if len(limit) == 2:
            count = min(count, max(1, limit[0] // limit[1]))
    return count


def limits(groups: str, names: list[str]) -> list[int]:
    """The figures in files of control groups, of the first or second version; none where there is no limit."""
    try:
        words = " ".join(Path(groups, name).read_text(encoding="ascii") for name in names).split()
    except OSError:
        return []
    # "max" in the second version, "-1" in the first.
    return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def disk(path: str) -> dict[str, Any]:
    """The disk of a folder, or of the folder around it that exists: space for other accounts than root, and files."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return {
        "path": path,
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "files": found.f_files,
        "files_free": found.f_favail,
    }
