# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Why a site does not work: the chain from visitor to application, checked from outside in. Pure.

Each link is a function that returns a finding, or None. A link does not report the consequence of a problem further in:
where no process runs, its socket is silent, and only the process is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import (
    answers,
    front,
    host,
    leases,
    process,
    symptoms,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.background import background_processes, jobs
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.balancers import balancer
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.certificates import certificate
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.workers import workers

LINKS: dict[str, Callable[[View], Finding | None]] = {
    "name": front.name,
    "balancer": balancer,
    "port": front.port,
    "listener": front.listener,
    "nginx configuration": front.nginx_configuration,
    "logs of nginx": front.logs,
    "site": front.site,
    "certificate": certificate,
    "maintenance": front.maintenance,
    "drain": host.drained,
    "upstream link": process.upstream_link,
    "socket": process.socket,
    "process": process.process,
    "provisional switch": leases.overdue_switch,
    "workers": workers,
    "answer on the socket": answers.direct_answer,
    "answer through nginx": answers.answer_through_nginx,
    "headers": symptoms.headers,
    "write access": symptoms.write_access,
    "permissions": symptoms.refused,
    "groups": symptoms.groups,
    "requests": symptoms.requests,
    "scheme and host": answers.scheme_and_host,
    "static paths": answers.static_paths,
    "background processes": background_processes,
    "jobs": jobs,
    "environment": process.environment,
    "disk": host.disk,
    "memory": host.memory,
    "clock": host.clock,
    "status page": host.status_page,
    "next boot": host.next_boot,
}

# Visitors do not notice a failure in the background. The others concern some of their requests.
PARTLY = ("workers", "headers", "write access", "permissions", "requests", "background processes")


def diagnose(view: View) -> dict[str, Any]:
    """The failing parts, the outermost first, and those that will fail next."""
    found = [finding for link in LINKS.values() for finding in (link(view),) if finding]
    if not view.found["release"]:
        found = [deployment(view)]
    return {
        "links": [name for name in LINKS if name != "balancer" or view.balancers],
        "broken": [asdict(finding) for finding in found if not finding.works],
        "warnings": [asdict(finding) for finding in found if finding.works],
    }


def deployment(view: View) -> Finding:
    """An application without a live release."""
    if not view.found["deployed"]:
        return Finding(
            "deployment",
            f"there is no application '{view.name}' on this host",
            "it was never deployed here, or was removed",
            "deploy it: ansible-playbook site.yml",
        )
    return Finding(
        "deployment",
        "no release of it has ever become live",
        "its first deployment failed, or was interrupted",
        "deploy again and read the messages: ansible-playbook site.yml; releases.yml lists the earlier attempts",
    )


def report(host: str, app: str, diagnosis: dict[str, Any]) -> list[str]:
    """A diagnosis as lines of text."""
    broken, warnings = diagnosis["broken"], diagnosis["warnings"]
    if not diagnosis["links"]:
        lines = [f"{app} on {host} was NOT CHECKED:"]
    elif not broken:
        checked = f".\n  Checked: {', '.join(diagnosis['links'])}."
        lines = lines_of(f"{app} on {host} works{', but:' if warnings else checked}")
    else:
        partly = broken[0]["link"] in PARTLY
        what = "answers its visitors, but a part of it DOES NOT WORK" if partly else "DOES NOT WORK"
        lines = [f"{app} on {host} {what}. The first failing part: {broken[0]['link']}"]
    for number, finding in enumerate([*broken, *warnings]):
        if number or not broken:
            lines.append(f"  also broken: {finding['link']}" if number < len(broken) else f"  watch: {finding['link']}")
        lines += [f"    {key}:".ljust(12) + one_line(finding[key]) for key in ("seen", "cause", "fix")]
    return lines
