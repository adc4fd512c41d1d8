# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs with a schedule: their scripts and crontabs, and cron itself as a program of supervisor."""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, differs, read
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK, is_ours
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import Paths

CRON = "pyweb-cron"
# A second cron would fail because the first holds the lock. This one waits for the lock instead.
CRON_PROGRAM = f"""\
; {MARK} (role supervisor). Runs the programs that have a schedule.

[program:{CRON}]
command=/bin/sh -c 'flock /run/crond.pid true; exec /usr/sbin/cron -f'
directory=/
user=root
autostart=true
autorestart=true
startsecs=1
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=/var/log/supervisor/{CRON}.log
"""

# The beginning of each crontab.
TABLE = f"# {MARK} (role supervisor).\n"

# A line of cron's PAM session. "required" makes cron refuse every job if it can't set its audit identity. That is so in
# containers, where root may not change the identity that a login, as over SSH, has given to supervisord.
LOGINUID = re.compile(r"(?m)^(session\s+)required(\s+pam_loginuid\.so)")


def cron_program(programs: list[dict[str, Any]], paths: Paths) -> list[dict[str, Any]]:
    """cron as a program of the list: present while any program has a schedule, absent after that."""
    scripts = {path for path in glob.glob(paths.script("*")) if is_ours(path)}
    for program in programs:
        if program["kind"] == "program":
            scripts.discard(paths.script(program["name"]))
        if program.get("schedule"):
            scripts.add(paths.script(program["name"]))
    if scripts:
        state = {"state": "present", "content": CRON_PROGRAM, "started": True}
    elif os.path.exists(paths.program(CRON)):
        state = {"state": "absent"}
    else:
        return []
    return [{"name": CRON, "kind": "program", "stop_timeout": 20.0, **state}]


def plan_pam(path: str) -> list[File]:
    """cron's PAM file with an optional audit identity, if the file exists and requires one."""
    text = (read(path) or b"").decode()
    return [File(path, LOGINUID.sub(r"\1optional\2", text))] if LOGINUID.search(text) else []


def is_table(path: str) -> bool:
    """Whether a file is a crontab of this role. Another role has crontabs in the same folder."""
    return (read(path) or b"").startswith(TABLE.encode())


def foreign_table(program: dict[str, Any], paths: Paths) -> str:
    """The path of a program's crontab if another file has that path; else empty."""
    path = paths.table(program["name"])
    is_wanted = program["state"] == "present" and program.get("schedule")
    return path if is_wanted and os.path.lexists(path) and not is_table(path) else ""


def plan_schedule(program: dict[str, Any], paths: Paths) -> list[File]:
    """The script and the crontab of a program that cron runs; their removal for any other program."""
    name = program["name"]
    script, table = paths.script(name), paths.table(name)
    if program["state"] == "absent" or not program.get("schedule"):
        files = [File(table, None)] * is_table(table) + [File(script, None)] * is_ours(script)
    else:
        line = f"{TABLE}{program['schedule']} root {script}\n"
        files = [File(script, program["content"], mode=0o700), File(table, line)]
    return [file for file in files if differs(file)]
