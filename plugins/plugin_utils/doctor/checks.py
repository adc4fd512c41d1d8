# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The promises of a deployed site, each with a check. Pure. The playbook verify and the pytest checks share them.

A check returns a Verdict, which is ok only if the check has looked at something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import (
    promises_front,
    promises_isolation,
    promises_running,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.balancers import balancers_send_it_requests
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import (
    FAILED,
    NOT_APPLICABLE,
    OK,
    Verdict,
    does_not_apply,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.workers import its_workers_stay_alive

CHECKS: tuple[Callable[[View], Verdict], ...] = (
    promises_running.the_release_runs_and_is_good,
    promises_running.no_other_release_runs,
    promises_running.it_comes_back_after_a_boot,
    promises_running.nginx_runs_what_is_configured,
    promises_running.it_is_started_again_when_it_ends,
    its_workers_stay_alive,
    promises_running.nginx_is_started_again_when_it_ends,
    promises_running.it_listens_on_loopback_only,
    promises_front.every_domain_is_healthy,
    promises_front.every_redirect_leads_to_the_first_domain,
    promises_front.http_leads_to_https,
    promises_front.its_certificate_is_valid,
    promises_front.its_headers_are_set,
    promises_front.nginx_hides_its_version,
    promises_front.static_files_come_from_nginx,
    promises_isolation.secrets_are_for_the_application_alone,
    promises_isolation.no_other_account_can_read_its_files,
    promises_isolation.no_other_account_can_reach_its_processes,
    promises_isolation.its_command_lines_hold_no_secret,
    promises_isolation.it_sees_no_processes_of_others,
    promises_isolation.it_can_not_change_its_own_code,
    promises_isolation.its_environment_is_as_installed,
    promises_isolation.what_its_builds_trust_is_closed_to_it,
    promises_isolation.its_commands_are_sandboxed,
    promises_isolation.only_nginx_reaches_its_socket,
    promises_isolation.its_sockets_belong_to_root,
    promises_isolation.its_units_are_hardened,
    promises_running.its_background_processes_run,
    promises_running.its_jobs_are_scheduled,
)
# The words of the table, by state.
WORDS = {FAILED: "FAILED", NOT_APPLICABLE: "n/a", OK: "ok"}


def checks(view: View) -> list[dict[str, Any]]:
    more = [balancers_send_it_requests] if view.balancers else []
    return [as_dict(check.__name__.replace("_", " "), verdict(check, view)) for check in (*CHECKS, *more)]


def verdict(check: Callable[[View], Verdict], view: View) -> Verdict:
    """The verdict of a check. Without a live release, only the first check has something to look at."""
    if not view.found["release"] and check is not CHECKS[0]:
        return does_not_apply("no release is live")
    return check(view)


def as_dict(name: str, given: Verdict) -> dict[str, Any]:
    note = "" if given.problem else given.reason
    return {"check": name, "state": given.state, "problem": given.problem, "note": note}


def check_table(host: str, apps: list[dict[str, Any]]) -> list[str]:
    """The checks of every application as lines of text, the failed ones first."""
    lines = []
    for app in apps:
        by_state = {state: [one for one in app["checks"] if one["state"] == state] for state in WORDS}
        applicable = len(by_state[FAILED]) + len(by_state[OK])
        lines.append(f"{app['name']} on {host}: {len(by_state[OK])} of {applicable} checks passed")
        for state, found in by_state.items():
            for one in found:
                lines.append(f"  {WORDS[state]:<6} {one['check']}{one_line(explanation(one))}")
    return lines


def explanation(one: dict[str, Any]) -> str:
    text = one["problem"] or one["note"]
    if one["state"] == OK and text:
        return f" (not looked at: {text})"
    return f": {text}" if text else ""
