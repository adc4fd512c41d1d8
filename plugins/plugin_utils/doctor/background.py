# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of the chain in the background: processes and jobs. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.row import RESTARTS
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import (
    Finding,
    last_line,
    last_words,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# Seconds after which a background process that was started again counts as stable.
STEADY = 30.0
DEAD = ("failed", "stopped", "absent")


def background_processes(view: View) -> Finding | None:
    """The background processes of the live release."""
    if view.found["process_manager"] == "supervisor" and view.host["supervisor"] != "running":
        return None
    broken = [one for one in view.found["processes"] if one["state"] in DEAD or is_looping(one)]
    weak = [one for one in view.found["processes"] if one["restarts"] >= RESTARTS]
    if not broken and not weak:
        return None
    one = (broken or weak)[0]
    others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    end = f"{last_words(one) or last_line(one) or 'its log shows no reason'}"
    read = f"its whole log: ansible-playbook logs.yml -e app={view.name}"
    if not broken:
        return Finding(
            "background processes",
            f"{one['service']} runs, but had to be started again {one['restarts']} times",
            end,
            f"fix the cause and deploy: ansible-playbook site.yml; {read}",
            works=True,
        )
    if is_looping(one):
        seen = f"it ends and is started again, {one['restarts']} times so far (a crash loop)"
    elif one["state"] == "failed":
        seen = "it has ended, and its process manager has given up on it"
    else:
        return Finding(
            "background processes",
            f"{one['service']}{others} does not run: it is stopped",
            "it was stopped by hand, or was not started after a boot",
            f"start it: ansible-playbook restart.yml -e app={view.name}",
        )
    return Finding(
        "background processes",
        f"{one['service']}{others} does not run: {seen}",
        end,
        f"fix that and deploy: ansible-playbook site.yml; or, if its cause is gone: ansible-playbook restart.yml -e "
        f"app={view.name}; {read}",
    )


def is_looping(one: dict[str, Any]) -> bool:
    """Whether a background process runs only between one crash and the next."""
    again = one["restarts"] >= 2 and one["state"] == "running" and one["up"] < STEADY
    return bool(again or (one["restarts"] >= 1 and one["state"] == "starting"))


def jobs(view: View) -> Finding | None:
    """The result of the last run of each job, and whether another will start."""
    read = f"ansible-playbook logs.yml -e app={view.name}"
    for job in view.found["jobs"]:
        if not job["scheduled"]:
            return Finding(
                "jobs",
                f"nothing starts the job {job['name']}: "
                + ("its timer is not active" if view.host["init"] == "systemd" else "cron does not run"),
                "it was stopped by hand, or was not started after a boot",
                "ansible-playbook site.yml",
                works=True,
            )
    for job in view.found["jobs"]:
        if job["state"] not in ("failed", "timed out"):
            continue
        late = job["state"] == "timed out"
        came = f"took longer than {job['timeout']} seconds" if late else f"ended with status {job['status']}"
        return Finding(
            "jobs",
            f"the last run of the job {job['name']}, at {job['started']}, {came}",
            last_words(job) or last_line(job) or "its log shows no reason",
            f"{'let it do less, or raise its timeout' if late else 'fix that'}, and deploy: ansible-playbook "
            f"site.yml; its whole log: {read}",
            works=True,
        )
    return None
