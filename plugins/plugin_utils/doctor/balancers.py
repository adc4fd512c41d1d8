# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The balancers in front of a host: the first link of the chain from a visitor to an application. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status.row import answer_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.verdicts import Verdict, judged
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

DEPLOY = "ansible-playbook site.yml"
NOT_ASKED = "it is outside of --limit, or this playbook did not ask it"


def answer_of(result: Any) -> dict[str, Any]:
    """The states on a balancer, from the result of the module balancer_state: a problem, or the servers by application.

    The result comes from a host, so only values of the right type are used.
    """
    if not isinstance(result, dict):
        return {"problem": NOT_ASKED, "asked": False, "apps": {}}
    if result.get("unreachable") or result.get("failed"):
        return {"problem": one_line(str(result.get("msg") or "it can't be reached"))[:300], "asked": True, "apps": {}}
    apps: dict[str, dict[str, dict[str, Any]]] = {}
    reported = result.get("apps")
    for app in reported if isinstance(reported, list) else []:
        servers = app.get("servers") if isinstance(app, dict) else None
        for server in servers if isinstance(servers, list) else []:
            if isinstance(server, dict):
                apps.setdefault(str(app.get("name")), {})[str(server.get("host"))] = server
    return {"problem": one_line(str(result.get("problem") or "")), "asked": True, "apps": apps}


def server_of(view: View, balancer: dict[str, Any]) -> dict[str, Any]:
    """How a balancer sees the application on this host; empty if it does not have it."""
    found: dict[str, Any] = balancer["apps"].get(view.name, {}).get(view.host["name"], {})
    return found


def balancer(view: View) -> Finding | None:
    """The way from a visitor through a balancer to this host."""
    findings = [found for one in view.balancers for found in (broken(view, one) or restricted(view, one),) if found]
    return min(findings, key=lambda found: found.works, default=None)


def broken(view: View, one: dict[str, Any]) -> Finding | None:
    name, answers = one["name"], [visit["answer"] for visit in view.visits if visit["address"] == one["address"]]
    if one["problem"] and one["asked"]:
        return Finding(
            "balancer",
            f"{name}: {one['problem']}",
            "HAProxy or the host does not run, or its configuration was removed",
            f"{DEPLOY}; on {name}: systemctl status haproxy nginx",
        )
    silent = [answer for answer in answers if answer["status"] is None]
    if silent:
        return Finding(
            "balancer",
            f"{name} does not answer the controller at {one['address']}: {answer_text(silent[0])}",
            "nginx does not run there, or a firewall blocks the port",
            f"{DEPLOY}; on {name}: systemctl status nginx",
        )
    unhealthy = [answer for answer in answers if not view.passes(answer) and answer["status"] not in (301, 308)]
    if unhealthy and view.front_works:
        return Finding(
            "balancer",
            f"visitors get {answer_text(unhealthy[0])} from {name}, but the application works on this host",
            "the balancer sends requests to no web host, to another one that is broken, or has an old configuration",
            f"see the other web hosts below, then: {DEPLOY}",
        )
    return None


def restricted(view: View, one: dict[str, Any]) -> Finding | None:
    """A balancer that sends this host no requests."""
    if not one["asked"]:
        return None
    server, name = server_of(view, one), one["name"]
    if not server:
        return Finding(
            "balancer",
            f"{name} does not have {view.name} on this host",
            "the host was added after the last run on that balancer",
            DEPLOY,
            works=True,
        )
    if server.get("state") == "draining":
        return Finding(
            "balancer",
            f"{name} sends this host no new requests: it is drained",
            "the host was drained, and not yet undrained",
            "if its work is done: ansible-playbook drain.yml -e drain=off --limit this host",
            works=True,
        )
    if server.get("state") == "up" or not view.front_works:
        return None
    check = one_line(str(server.get("check") or "its check fails"))[:200]
    return Finding(
        "balancer",
        f"{name} sends this host no requests: {check}; but the application works on the host itself",
        "a firewall is between them, or the host refuses the address from which the balancer connects",
        f"allow TCP port {view.port} from {name}, or set balancer_source_addresses of {name}, then: {DEPLOY}",
        works=True,
    )


def states(view: View) -> dict[str, str]:
    """The state of the application on this host, as each balancer sees it, in words."""
    found = {}
    for one in view.balancers:
        server = server_of(view, one)
        if one["problem"]:
            found[one["name"]] = f"unknown ({one['problem']})"
        elif not server:
            found[one["name"]] = "absent"
        else:
            sessions = server.get("sessions")
            count = f", {sessions} open" if isinstance(sessions, int) and sessions else ""
            found[one["name"]] = f"{one_line(str(server.get('state')))}{count}"
    return found


def balancers_send_it_requests(view: View) -> Verdict:
    """Every balancer has this host among its servers, and it is up or drained on purpose."""
    asked = [one for one in view.balancers if one["asked"]]
    bad = [
        f"{one['name']}: {one['problem'] or states(view)[one['name']]}"
        for one in asked
        if one["problem"] or server_of(view, one).get("state") not in ("up", "draining")
    ]
    return judged(asked, bad, nothing="there is no balancer, or this playbook did not ask one")
