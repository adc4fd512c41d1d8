# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of the chain between nginx and the application: the link to the live release, its socket, its process. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.status.row import RESTARTS
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding, last_words
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.host import full_disk
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.refusals import refusal
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.starts import START, by_hand
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# Exit statuses with which systemd reports that it could not start the program (systemd.exec(5)).
START_FAILURES = {
    "200": "its folder is missing",
    "203": "its program can't be run",
    "209": "its output can't be opened",
    "216": "its group is missing",
    "217": "its account is missing",
    "226": "its sandbox can't be made: a folder that it names is missing",
}
CRASH_LOOP = "it ends and is started again, {restarts} times so far (a crash loop)"
# The states of a process, in words.
STATES = {
    "starting": CRASH_LOOP,
    "running": CRASH_LOOP,
    "failed": "it has ended, and its process manager has given up on it",
    "stopped": "it is stopped",
    "stopping": "it is being stopped",
    "absent": "it is stopped, and would not come back after a boot",
}


def restart(view: View) -> str:
    return f"ansible-playbook restart.yml -e app={view.name}"


def upstream_link(view: View) -> Finding | None:
    """current.sock, which nginx follows to the live release."""
    found = view.found["socket"]
    if found["link"] == found["expected"]:
        return None
    if not found["link"]:
        return Finding(
            "upstream link",
            f"/{view.name}/current.sock, the link that nginx follows to the live release, is missing",
            "it was removed by hand",
            f"start new processes, which make it again: {restart(view)}",
        )
    leads = f"current.sock leads to {found['link']}, but the live release listens on {found['expected']}"
    return Finding(
        "upstream link",
        f"{leads}, and {'nothing is there' if not found['there'] else 'something answers there'}",
        "it was changed by hand, or a switch was interrupted",
        f"start new processes, which correct it: {restart(view)}",
        works=view.front_works,
    )


def socket(view: View) -> Finding | None:
    """The socket that the link leads to, and whether nginx may open it."""
    found = view.found["socket"]
    if not view.running or not found["link"] or found["link"] != found["expected"]:
        return None
    if not found["there"]:
        return Finding(
            "socket",
            f"the application runs, but its socket {found['link']} is gone",
            "the file was removed (does a program clean up /run?); the process does not notice",
            f"start new processes: {restart(view)}",
        )
    if found["blocked"]:
        return blocked_socket(view, found)
    if found["nginx"] and found["nginx"] != "ok" and "again" not in found["nginx"] and "timed" not in found["nginx"]:
        return Finding(
            "socket",
            f"nothing listens on {found['link']} ({found['nginx'].lower()})",
            "the process that made the socket has ended, and the one that runs listens elsewhere",
            f"start new processes: {restart(view)}",
        )
    return None


def blocked_socket(view: View, found: dict[str, Any]) -> Finding:
    folder, seen = found["folder"], f"nginx may not pass {found['blocked']}"
    if found["blocked"] == folder.get("path"):
        now = f"{folder['owner']}:{folder['group']} {folder['mode']}"
        wanted = "root:root 0711" if found["inherited"] else f"{view.name}:www-data 0710"
        seen = f"nginx may not pass the folder {found['blocked']} ({now}, but it should be {wanted})"
    return Finding(
        "socket",
        seen,
        "its owner, group or mode was changed",
        f"start new processes; each start corrects the folder: {restart(view)}"
        if found["link"].startswith(found["blocked"])
        else "deploy; each run corrects the folder: ansible-playbook site.yml",
    )


def process(view: View) -> Finding | None:
    """The process of the live release."""
    now = view.process
    if not view.found["account"]:
        return Finding(
            "process", f"the account '{view.name}' is missing", "it was removed by hand", "ansible-playbook site.yml"
        )
    if view.found["process_manager"] == "supervisor" and view.host["supervisor"] != "running":
        return Finding(
            "process",
            "supervisor, which keeps the application alive, does not run",
            "it was stopped or killed, or was not started after a boot",
            f"start it: ansible-playbook site.yml (or {by_hand(view, 'systemctl start supervisor', START)} on the "
            "host)",
            works=view.front_works,
        )
    if now.get("stopped"):
        return Finding(
            "process",
            f"its processes are suspended (master {now['pid']}): they exist, but do nothing",
            "they got SIGSTOP, or a debugger holds them",
            f"let them continue: kill -CONT {now['pid']} and its children; or {restart(view)}",
        )
    if now["state"] == "running" and now["restarts"] < RESTARTS and not view.crashing:
        return None
    if now["state"] == "running" and view.direct_works:
        return Finding(
            "process",
            f"it runs, but had to be started again {now['restarts']} times",
            last_words(view.found) or "its log shows no reason",
            "read its log, fix the cause, and deploy: ansible-playbook site.yml",
            works=True,
        )
    state = STATES[now["state"]].format(restarts=now["restarts"])
    cause, fix = why_ended(view)
    return Finding("process", f"the process of release {view.found['release']} does not run: {state}", cause, fix)


def why_ended(view: View) -> tuple[str, str]:
    """The likely reason that a process does not run, and the remedy."""
    now, unit = view.process, view.process.get("unit", {})
    if found := missing_resource(view):
        return found
    # The log of a process that was stopped on purpose does not show why it ended.
    on_purpose = now["state"] in ("stopped", "absent") and unit.get("Result", "success") == "success"
    if not on_purpose and (told := refusal(view)):
        return f"{last_words(view.found) or told[0]}: {told[1]}", told[2]
    if not on_purpose and (words := last_words(view.found)):
        return words, f"fix that and deploy: ansible-playbook site.yml; {rollback(view)}"
    if unit.get("ExecMainStatus") in START_FAILURES and now["state"] != "absent":
        return f"systemd could not start it: {START_FAILURES[unit['ExecMainStatus']]}", "ansible-playbook site.yml"
    if unit.get("Result") == "signal":
        return f"it was killed by signal {unit.get('ExecMainStatus')}", f"start it: {restart(view)}"
    if now.get("said"):
        return f"supervisor says: {now['said']}", "fix that, then: ansible-playbook site.yml"
    if view.found.get("interrupted") and view.app["switch"] == "stop_first":
        return (
            "a deployment has stopped it, and was interrupted before another release served (switch: stop_first)",
            "deploy again: ansible-playbook site.yml",
        )
    return "it was stopped by hand", f"start it: {restart(view)}"


def rollback(view: View) -> str:
    return f"or go back to the previous release: ansible-playbook rollback.yml -e app={view.name}"


def environment(view: View) -> Finding | None:
    """An environment that has changed since it was installed. The processes may still run in it."""
    fault = view.found["environment"]["fault"]
    if not fault:
        return None
    return Finding(
        "environment",
        fault,
        "Python was upgraded, or packages were installed or removed by hand",
        "run site.yml: it builds a release with a new environment",
        works=view.front_works,
    )


def missing_resource(view: View) -> tuple[str, str] | None:
    """Something that the process needs and does not have: disk space, an interpreter, memory, a permission."""
    unit, full = view.process.get("unit", {}), full_disk(view)
    if full or "No space left on device" in view.found["log"] + view.found["traceback"]:
        where = full["path"] if full else "a disk"
        return f"{where} is full", f"make room (du -xh {where} | sort -h | tail), then: {restart(view)}"
    python = view.found["files"].get("python", {"there": True})
    if not python["there"]:
        return (
            f"its virtual environment is gone or broken: {python['path']} leads to no interpreter",
            f"was Python upgraded, or {python['venvs']} cleaned? Run site.yml: it builds a new environment",
        )
    if unit.get("Result") == "oom-kill":
        return (
            f"it used more memory than it may (limits.memory: {unit.get('MemoryMax', 'the host')}) and was killed",
            f"raise limits.memory, or lower workers, and run site.yml; {rollback(view)}",
        )
    if "Permission denied" in view.found["log"]:
        line = next(line for line in reversed(lines_of(view.found["log"])) if "Permission denied" in line)
        return (
            f"its account may not read a file that it needs: {line.strip()}",
            f"restore owner and mode of that file (env is root:{view.name} 0640), then: {restart(view)}",
        )
    return None
