# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The logs of the processes and jobs of an application, under either process manager."""

from __future__ import annotations

import glob
import os

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import BEFORE, LOGS
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import LINE_BYTES, read_journal


def parts(app: str, paths: list[str], suffixes: tuple[str, ...]) -> list[str]:
    """The services of an application, from the paths of their definitions. The web process is the first."""
    names = {os.path.basename(path) for path in paths}
    found = set()
    for name in names:
        for suffix in suffixes:
            name = name.removesuffix(suffix)
        if name == app or name.startswith(f"{app}."):
            found.add(name)
    return sorted(found, key=lambda name: (name != app, name))


def from_systemd(app: str, lines: int, run: Run, units: str = "/etc/systemd/system") -> dict[str, list[str]]:
    """The last lines of each service in the journal, with systemd's own messages about it."""
    paths = glob.glob(f"{units}/{app}@.service") + glob.glob(f"{units}/{app}.*.service")
    paths += glob.glob(f"{units}/{app}.*@.service")
    found = {}
    for service in parts(app, paths, (".service", "@")):
        words = ["-u", f"{service}.service", "-u", f"{service}@*.service"]
        rc, out, err = read_journal(run, [*words, "-o", "short-iso", "--no-hostname"], lines)
        found[service] = lines_of(out) if rc == 0 else [f"(the journal can't be read: {err.strip()})"]
    return found


def from_supervisor(app: str, lines: int, base: str = "/etc/supervisor", folder: str = LOGS) -> dict[str, list[str]]:
    """The last lines of each program. Older instances come first."""
    paths = glob.glob(f"{base}/templates/{app}@.conf") + glob.glob(f"{base}/templates/{app}.*@.conf")
    paths += glob.glob(f"{base}/scheduled/{app}.*")
    found = {}
    for service in parts(app, paths, (".conf", "@")):
        logs = glob.glob(f"{folder}/{service}{BEFORE}")
        # The name of an instance continues with the year of its release. Names of other services do not.
        logs += sorted(glob.glob(f"{folder}/{service}-[0-9]*.log"))
        for path in (f"{folder}/{service}.log.1", f"{folder}/{service}.log"):
            logs += [path] if os.path.exists(path) else []
        text = "".join(tail(path, lines * LINE_BYTES) for path in logs)
        found[service] = lines_of(text)[-lines:]
    return found
