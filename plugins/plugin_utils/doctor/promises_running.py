# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The promises that a deployed site runs: its processes, nginx, and what starts them again. Pure."""

from __future__ import annotations

import ipaddress

from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_of, lease_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.starts import start_problem, start_reason
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import (
    Verdict,
    does_not_apply,
    failed,
    judged,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

ELSEWHERE = "another tool configures nginx on this host"


def the_release_runs_and_is_good(view: View) -> Verdict:
    if not view.found["release"]:
        return failed("no release is live")
    if view.process["state"] != "running":
        return failed(f"the process of release {view.found['release']} is {view.process['state']}")
    if lease := lease_text(view.found.get("lease")):
        return failed(lease)
    if view.found["state"] != "good":
        return failed(f"the live release is marked {view.found['state']}")
    return Verdict(1)


def no_other_release_runs(view: View) -> Verdict:
    others = view.process.get("others")
    lease = lease_of(view.found.get("lease"))
    if others and not lease.get("overdue", True):
        return does_not_apply(f"the old release runs until the provisional switch is decided ({', '.join(others)})")
    if others is None:
        return failed(f"its process manager does not say: {view.process.get('error') or 'it gave no answer'}")
    return failed(f"also there: {', '.join(others)}") if others else Verdict(1)


def it_comes_back_after_a_boot(view: View) -> Verdict:
    """After a boot of the host. Without an init, after a restart of the container."""
    if not view.process["enabled"]:
        return failed("the instance of the live release is not enabled")
    if problem := start_problem(view):
        return failed(problem)
    if reason := start_reason(view):
        return does_not_apply(reason)
    return Verdict(1)


def nginx_runs_what_is_configured(view: View) -> Verdict:
    nginx = view.host["nginx"]
    if not nginx["running"]:
        return failed("nginx does not run")
    if nginx["complaint"]:
        return failed(f"nginx refuses what is on the disk: {nginx['complaint']}")
    if not nginx["live"]:
        return does_not_apply(ELSEWHERE)
    if nginx["loaded"] != nginx["live"]:
        return failed(f"nginx runs the tree {nginx['loaded']}, but {nginx['live']} is the live one")
    return Verdict(1) if view.found["configured"] else failed("nginx has no site of this application")


def it_is_started_again_when_it_ends(view: View) -> Verdict:
    """The web process and the background processes, also after a signal, which process managers count as success."""
    seen, bad = [], []
    if "autorestart" in view.process:
        seen.append("autorestart")
        if view.process["autorestart"] != "true":
            bad.append(f"supervisor has autorestart={view.process['autorestart'] or 'unexpected'} for it")
    if "Restart" in view.app["systemd"]:
        # A different value in the inventory is intended.
        return judged(seen, bad, nothing=f"the inventory sets Restart: {view.app['systemd']['Restart']}")
    units = {"its unit": view.process.get("unit")}
    units |= {one["service"]: one.get("unit") for one in view.found["processes"]}
    known = {name: unit["Restart"] for name, unit in units.items() if unit and "Restart" in unit}
    bad += [f"{name} has Restart={value}" for name, value in known.items() if value != "always"]
    return judged(
        [*seen, *known],
        bad,
        nothing="its process manager does not report its settings",
        remedy=f"Run site.yml, then restart.yml -e app={view.name}",
    )


def nginx_is_started_again_when_it_ends(view: View) -> Verdict:
    """Also after a signal: nginx ends with status 0 then."""
    restart, watch = view.host["nginx"].get("restart"), view.host.get("nginx_watch")
    if restart is not None:
        return Verdict(1) if restart == "always" else failed(f"the unit of nginx has Restart={restart}. Run site.yml")
    if watch is None:
        return does_not_apply("this host has no init, and no program of supervisor that watches nginx")
    if watch != "running":
        return failed(f"the program pyweb-nginx of supervisor, which starts nginx again, is {watch}. Run site.yml")
    return Verdict(1)


def it_listens_on_loopback_only(view: View) -> Verdict:
    """The application is reached through nginx alone."""
    if view.process["state"] != "running":
        return does_not_apply("its process does not run")
    public = [
        f"{one['program'] or 'a program'} on {one['address']}:{one['port']}"
        for one in view.host["listeners"]
        if one["account"] == view.name and not ipaddress.ip_address(one["address"]).is_loopback
    ]
    return failed(f"reachable past nginx: {', '.join(public)}") if public else Verdict(1)


def its_background_processes_run(view: View) -> Verdict:
    bad = [f"{one['service']} is {one['state']}" for one in view.found["processes"] if one["state"] != "running"]
    return judged(view.found["processes"], bad, nothing="the live release has no background process")


def its_jobs_are_scheduled(view: View) -> Verdict:
    bad = [f"nothing starts {one['name']}" for one in view.found["jobs"] if not one["scheduled"]]
    return judged(view.found["jobs"], bad, nothing="the inventory enables no job on this host")
