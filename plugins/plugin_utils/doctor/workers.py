# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Workers and processes that die again and again, although the site answers. Pure."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status import row
from ansible_collections.pyweb.stack.plugins.module_utils.status.row import RESTARTS
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding, last_words
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import Verdict, does_not_apply, failed
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# Characters of the reason that are shown.
MOST_REASON = 300


def unstable(view: View) -> str:
    """How often workers of the live release have died recently, or its process was restarted; empty if rarely."""
    return row.unstable(view.found, view.host)


def reason(view: View) -> str:
    """The reason of the last death, from the log."""
    found = view.found["deaths"] or {}
    told = one_line(str(found.get("reason") or ""))[:MOST_REASON]
    return "; ".join(filter(None, (told, last_words(view.found)))) or "its log shows no reason"


def workers(view: View) -> Finding | None:
    """The workers of the live release."""
    found = view.found["deaths"]
    if not view.running or not found or found["recent"] < RESTARTS:
        return None
    return Finding(
        "workers",
        f"{unstable(view)}; each time, the requests that it served got no answer",
        reason(view),
        "fix the cause and deploy: ansible-playbook site.yml; its whole log: ansible-playbook logs.yml -e "
        f"app={view.name}",
    )


def its_workers_stay_alive(view: View) -> Verdict:
    """Neither its workers nor its process end again and again."""
    seen = unstable(view)
    if seen:
        return failed(f"{seen}: {reason(view)}")
    if view.process["state"] != "running":
        return does_not_apply("its process does not run")
    if view.found["deaths"] is None:
        return does_not_apply("its process was not restarted again and again, but its release does not record workers")
    return Verdict(1)
