# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The logs of the processes and jobs of an application, under either process manager."""

from __future__ import annotations

import datetime
import glob
import json
import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.logs import levels
from ansible_collections.pyweb.stack.plugins.module_utils.logs.records import Line, read_text
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import BEFORE, LOGS
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import LINE_BYTES, read_journal

# Fields of the journal, and the bytes that journalctl adds to each entry.
FIELDS = "MESSAGE,PRIORITY,_PID,SYSLOG_IDENTIFIER"
ENTRY_BYTES = 700


@dataclass
class Log:
    """The end of one log. ``cut`` says that older lines were not read, ``problem`` why there is none."""

    name: str
    lines: list[Line]
    cut: bool = False
    problem: str = ""


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


def from_systemd(
    app: str, lines: int, run: Run, span: tuple[float | None, float | None], units: str = "/etc/systemd/system"
) -> list[Log]:
    """The last lines of each service in the journal, with systemd's own messages about it. ``span``: from and until."""
    paths = glob.glob(f"{units}/{app}@.service") + glob.glob(f"{units}/{app}.*.service")
    paths += glob.glob(f"{units}/{app}.*@.service")
    begin, end = span
    bounds = [f"--since=@{begin:.6f}"] if begin is not None else []
    bounds += [f"--until=@{end:.6f}"] if end is not None else []
    found = []
    for service in parts(app, paths, (".service", "@")):
        words = ["-u", f"{service}.service", "-u", f"{service}@*.service", *bounds]
        words += ["-o", "json", "--all", f"--output-fields={FIELDS}"]
        rc, out, err = read_journal(run, words, lines, LINE_BYTES + ENTRY_BYTES)
        entries = entries_of(out)
        problem = "" if rc == 0 else f"the journal can't be read: {err.strip()}"
        found.append(
            Log(f"{service} (systemd)", [line for one in entries for line in one], len(entries) >= lines, problem)
        )
    return found


def entries_of(output: str) -> list[list[Line]]:
    """The entries that journalctl prints as JSON, each with its lines. The first one may be cut off."""
    found = []
    for text in lines_of(output) if output else []:
        try:
            entry = json.loads(text)
            found.append(entry_lines(entry))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def entry_lines(entry: dict[str, Any]) -> list[Line]:
    """The lines of one entry. A message that is no text is a list of its bytes."""
    message = entry.get("MESSAGE") or ""
    text = bytes(message).decode(errors="replace") if isinstance(message, list) else str(message)
    time = int(entry["__REALTIME_TIMESTAMP"]) / 1_000_000
    process = str(entry.get("_PID") or "")
    moment = datetime.datetime.fromtimestamp(time).astimezone()
    writer = f"{entry.get('SYSLOG_IDENTIFIER') or 'unknown'}[{process}]"
    level = levels.of_priority(str(entry.get("PRIORITY") or ""))
    return [Line(one, f"{moment:%Y-%m-%dT%H:%M:%S%z} {writer}: {one}", time, level, process) for one in lines_of(text)]


def from_supervisor(app: str, size: int, base: str = "/etc/supervisor", folder: str = LOGS) -> list[Log]:
    """The last lines of each program. Older instances come first. ``size`` is in bytes, for each file."""
    paths = glob.glob(f"{base}/templates/{app}@.conf") + glob.glob(f"{base}/templates/{app}.*@.conf")
    paths += glob.glob(f"{base}/scheduled/{app}.*")
    found = []
    for service in parts(app, paths, (".conf", "@")):
        logs = glob.glob(f"{folder}/{service}{BEFORE}")
        # The name of an instance continues with the year of its release. Names of other services do not.
        logs += sorted(glob.glob(f"{folder}/{service}-[0-9]*.log"))
        for path in (f"{folder}/{service}.log.1", f"{folder}/{service}.log"):
            logs += [path] if os.path.exists(path) else []
        found.append(from_files(f"{service} (supervisor)", logs, size))
    return found


def from_files(name: str, paths: list[str], size: int) -> Log:
    """The ends of text files, one after the other, as one log."""
    texts = [tail(path, size) for path in paths]
    lines = [line for text in texts for line in (lines_of(text) if text else [])]
    cut = any(size_of(path) > size for path in paths)
    return Log(name, read_text(lines), cut)


def size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
