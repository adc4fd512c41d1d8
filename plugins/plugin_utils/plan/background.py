# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Background processes and jobs of an application: their services, and their programs inside the release. Pure.

A service is called ``APP.NAME``, its further copies ``APP.NAME.2`` and so on. No application's name has a dot, so the
name alone shows which application a service belongs to.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.clock_changes import further_times
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import parse

# Seconds that a process manager adds to the timeout of a job, so that `timeout` can end the job first.
JOB_MARGIN = 60

# The program that checks whether a job is due in its time zone (module_utils/processes/due.py).
DUE = "/usr/local/lib/pyweb/due.py"

# First words that are part of the shell, not programs.
SHELL_WORDS = re.compile(
    r"[.:!{]|alias|break|case|cd|continue|eval|exec|exit|export|for|if|read|readonly|return|set|shift|source|times|trap|"
    r"ulimit|umask|unalias|unset|until|wait|while"
)
QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

# Runs a job unless it is already running, limits its time and records its result. Timers and cron use it.
JOB = """\
#!/bin/sh
# Runs a job of this release: job NAME SECONDS. Its result is in {jobs}/NAME.json.
name=$1
umask 027
# The release may be older than the job.
[ -x {release}/bin/"$name" ] || exit 0
# A release that a job still uses is not removed.
exec 9<{release}/env
flock --shared 9
exec 8>{jobs}/"$name.lock"
if ! flock --nonblock 8; then
    echo "job $name: the run before has not ended, so this one is left out"
    exit 0
fi
started=$(date -u +%FT%TZ)
begun=$(date +%s)
tell() {{
    printf '{{"job": "%s", "release": "%s", "started": "%s", "state": "%s", "status": %s, "seconds": %s}}\\n' \\
        "$name" {identity} "$started" "$1" "$2" "$(($(date +%s) - begun))" >{jobs}/"$name.new" &&
        mv {jobs}/"$name.new" {jobs}/"$name.json"
}}
child= stopped=
trap 'stopped=yes; [ -z "$child" ] || kill -TERM "$child"' TERM INT
tell running null
timeout --kill-after=30 "$2" {release}/bin/"$name" 8>&- &
starting=$!
# A signal that reaches the child while it is still a copy of this shell would be lost.
while read -r what 2>/dev/null </proc/"$starting"/comm && [ "$what" != timeout ]; do
    sleep 0.01
done
child=$starting
[ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null
status=
# The signal to stop ends a wait before the child has ended.
while [ -z "$status" ] || kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
done
case $status in
    0) tell succeeded 0 ;;
    124) tell "timed out" 124; echo "job $name: ended after $2 seconds" ;;
    *) tell failed "$status" ;;
esac
exit "$status"
"""


def service(app: str, name: str, number: int = 1) -> str:
    """The service of one copy of a process, or of a job."""
    return f"{app}.{name}" if number == 1 else f"{app}.{name}.{number}"


def copies(app: dict[str, Any]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every copy of every background process: its service, its number, the process."""
    for process in app["processes"]:
        for number in range(1, process["count"] + 1):
            yield service(app["name"], process["name"], number), number, process


def services(app: dict[str, Any]) -> list[dict[str, Any]]:
    """The background processes of a release, as its manifest keeps them."""
    return [
        {"service": name, **{key: process[key] for key in ("stop_timeout", "start_seconds", "exclusive")}}
        for name, _number, process in copies(app)
    ]


def jobs_directory(app: dict[str, Any], root: str) -> str:
    return f"{root}/{app['name']}/jobs"


def one_program(command: str) -> str:
    """A command that replaces the shell, so that the stop signal reaches the program itself.

    Commands that only a shell can run (lists, pipes, its keywords and builtins) stay as they are.
    """
    bare = QUOTED.sub("x", command)
    words = bare.split()
    if not words or SHELL_WORDS.fullmatch(words[0]) or re.search(r"""[;&|()`'"]""", re.sub("[<>]&", "", bare)):
        return command
    return f"exec env {command}" if ASSIGNMENT.match(words[0]) else f"exec {command}"


def launchers(app: dict[str, Any], root: str) -> list[dict[str, str]]:
    """The programs of the processes and jobs, as files of a release that has no ID yet."""
    release = f"{root}/{app['name']}/releases/{RELEASE}"
    run = shlex.quote(f"{release}/bin/run")
    files = {}
    for process in app["processes"]:
        files[process["name"]] = (
            f"#!/bin/sh\n# A background process of this release; the argument is the number of the copy.\n"
            f'export WEBAPP_PROCESS={process["name"]} WEBAPP_PROCESS_NUMBER="${{1:-1}}"\n'
            f"exec {run} /bin/sh -c {shlex.quote(one_program(process['command']))}\n"
        )
    for job in app["jobs"]:
        files[job["name"]] = (
            f"#!/bin/sh\n# A job of this release.\nexport WEBAPP_JOB={job['name']}\n"
            f"exec {run} /bin/sh -c {shlex.quote(one_program(job['command']))}\n"
        )
    if app["jobs"]:
        files["job"] = JOB.format(
            release=shlex.quote(release), identity=RELEASE, jobs=shlex.quote(jobs_directory(app, root))
        )
    return [{"path": f"bin/{name}", "content": content, "mode": "0755"} for name, content in files.items()]


def limits(app: dict[str, Any], item: dict[str, Any] | None = None) -> dict[str, Any]:
    """The limits of the process or job, with the application's limits as defaults."""
    own = item["limits"] if item else {}
    found = {key: own.get(key) or value for key, value in app["limits"].items()}
    return {key: value for key, value in found.items() if value}


def optional(**given: Any) -> dict[str, Any]:
    """The values that are given and not empty. The defaults of the role apply to the rest."""
    return {key: value for key, value in given.items() if value}


def common(app: dict[str, Any], item: dict[str, Any] | None, root: str) -> dict[str, Any]:
    """The settings that every systemd service of an application has."""
    home = f"{root}/{app['name']}"
    return {
        "user": app["name"],
        "group": app["name"],
        "writable_paths": [f"{home}/shared", f"{home}/cache"],
        **optional(limits=limits(app, item), settings={"Service": app["systemd"]} if app["systemd"] else {}),
    }


def systemd_processes(app: dict[str, Any], root: str) -> list[dict[str, Any]]:
    """A template unit for every copy of every process."""
    return [
        {
            **common(app, process, root),
            "name": f"{name}@",
            "description": f"The background process {process['name']} of {app['name']}, release %i",
            "command": [f"{root}/{app['name']}/releases/%i/bin/{process['name']}", str(number)],
            "restart": "always",
            "stop_signal": process["stop_signal"],
            "stop_timeout": process["stop_timeout"],
        }
        for name, number, process in copies(app)
    ]


def timer_times(job: dict[str, Any], host_zone: str) -> list[str]:
    """The times of a timer, in the zone of the job or of the host, with those for clock changes."""
    schedule, zone = parse(job["schedule"]), job["timezone"]
    suffix = f" {zone}" if zone else ""
    return [*(f"{one}{suffix}" for one in schedule.on_calendar), *further_times(schedule, zone or host_zone, suffix)]


def cron_job(job: dict[str, Any], command: list[str]) -> dict[str, Any]:
    """The schedule and the command of a job that cron starts. cron knows the zone of the host alone."""
    schedule = parse(job["schedule"])
    if not job["timezone"]:
        return {"schedule": schedule.cron, "command": command}
    due = ["/usr/bin/python3", "-I", "-S", DUE, job["timezone"], *schedule.explicit, *command]
    return {"schedule": f"{schedule.minutes_in_any_zone} * * * *", "command": due}


def systemd_jobs(app: dict[str, Any], root: str, host_zone: str = "") -> list[dict[str, Any]]:
    """A service with a timer for every enabled job. It runs in the release that is live when it starts."""
    items = []
    current = f"{root}/{app['name']}/current/bin"
    for job in app["jobs"]:
        name = service(app["name"], job["name"])
        if not job["enabled"]:
            continue
        item = common(app, job, root)
        settings = dict(item.get("settings", {}))
        # A release that is older than the job has no such program.
        settings["Unit"] = {"ConditionPathExists": f"{current}/{job['name']}".replace("%", "%%")}
        items.append(
            {
                **item,
                "name": name,
                "description": f"The job {job['name']} of {app['name']}",
                "type": "oneshot",
                "command": [f"{current}/job", job["name"], str(job["timeout"])],
                "writable_paths": [*item["writable_paths"], jobs_directory(app, root)],
                "start_timeout": job["timeout"] + JOB_MARGIN,
                "settings": settings,
                "timer": {"on_calendar": timer_times(job, host_zone), "catch_up": job["catch_up"]},
            }
        )
    return items


def supervisor_processes(app: dict[str, Any], root: str) -> list[dict[str, Any]]:
    """A template program for every copy of every process."""
    return [
        {
            "name": f"{name}@",
            "command": [f"{root}/{app['name']}/releases/%i/bin/{process['name']}", str(number)],
            "user": app["name"],
            "directory": f"{root}/{app['name']}",
            "autorestart": "true",
            "stopsignal": process["stop_signal"],
            "stopwaitsecs": process["stop_timeout"],
        }
        for name, number, process in copies(app)
    ]


def supervisor_jobs(app: dict[str, Any], root: str) -> list[dict[str, Any]]:
    """A program with a schedule for every enabled job, if systemd is not the init."""
    current = f"{root}/{app['name']}/current/bin"
    return [
        {
            "name": service(app["name"], job["name"]),
            **cron_job(job, [f"{current}/job", job["name"], str(job["timeout"])]),
            "user": app["name"],
            "directory": f"{root}/{app['name']}",
        }
        for job in app["jobs"]
        if job["enabled"]
    ]
