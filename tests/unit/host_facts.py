# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The facts of a host without problems, as the preflight returns them."""

from __future__ import annotations

from typing import Any

GOOD: dict[str, Any] = {
    "distribution": {"id": "debian", "name": "Debian GNU/Linux", "version": "12", "codename": "bookworm"},
    "platform": {"apt": True, "python": "3.11", "machine": "x86_64", "versions": {"systemd": "252.39-1~deb12u1"}},
    "init": "systemd",
    "cpus": 2,
    "memory_bytes": 2**31,
    "packages": [],
    "uv": "",
    "supervisor": False,
    "timezone": "Etc/UTC",
    "timers": False,
    "root": True,
    "listeners": [],
    "stamps": {},
    "resolutions": {},
    "revisions": {},
    "releases": {},
    "maintenance": {},
    "clashes": {},
    "interpreters": {"python3": {"path": "/usr/bin/python3", "version": "3.11"}},
    "pythons": ["python3.11"],
    "provided_pythons": [],
    "disks": [],
    "time": 0.0,
    "certificate_problems": [],
    "orphans": {},
    "handmade": {},
    "drained": {},
    "deployed_certificates": [],
    "status_site": False,
}
