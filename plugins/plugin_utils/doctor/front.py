# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of the chain between the network and a site: its names, its port, nginx and its configuration. Pure."""

from __future__ import annotations

import ipaddress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.starts import START, by_hand
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

DEPLOY = "ansible-playbook site.yml"
STOP_NGINX = "nginx -s quit"
# How nginx ended, as systemd has it.
ENDS = {"signal": " It was killed.", "oom-kill": " It was killed because memory ran out."}


def name(view: View) -> Finding | None:
    """The names of the site, as the controller resolves them."""
    for visit in view.visits:
        address, resolved = visit["address"], visit["resolved"]
        entries = {one["address"] for one in view.balancers} or {address}
        if resolved == []:
            return Finding(
                "name",
                f"the name {visit['domain']} does not resolve on the controller",
                "it has no DNS record, or it is misspelt",
                f"make an A (or AAAA) record of {visit['domain']} that leads to this host ({address}), or correct "
                "site.domains",
            )
        if resolved and is_address(address) and not entries & {*resolved}:
            return Finding(
                "name",
                f"the name {visit['domain']} leads to {', '.join(resolved)}, but Ansible reaches this host at "
                f"{address}",
                "its DNS record leads elsewhere; this is fine if a load balancer or an address translation is there",
                f"if there is neither, change the record to {address}",
                works=True,
            )
    return None


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def port(view: View) -> Finding | None:
    """The way from the controller to the port."""
    # A balancer is a link of its own.
    own = [] if view.balancers else view.visits
    failed = [visit for visit in own if visit["answer"]["status"] is None]
    if not failed or view.found["front"]["status"] is None or not view.nginx_listeners:
        return None
    seen = f"{failed[0]['address']}:{view.port} does not answer the controller ({failed[0]['answer']['error']}), but "
    if all(ipaddress.ip_address(one["address"]).is_loopback for one in view.nginx_listeners):
        return Finding(
            "port",
            f"{seen}nginx listens on port {view.port} of the host itself only",
            "listen in nginx's configuration was changed to a loopback address",
            f"stop nginx ({by_hand(view, 'systemctl stop nginx', STOP_NGINX)} on the host) and restore the "
            "configuration: "
            f"{DEPLOY}; a reload alone can't open the port to other hosts",
        )
    return Finding(
        "port",
        f"{seen}it answers on the host itself",
        "a firewall on the host or in front of it blocks visitors",
        f"allow TCP port {view.port} (nft list ruleset, or iptables -S, and your provider's firewall)",
    )


def listener(view: View) -> Finding | None:
    """Whether nginx listens on the port."""
    nginx = view.host["nginx"]
    if nginx["running"] and (view.nginx_listeners or view.plain_until_certified):
        return None
    if not nginx["installed"]:
        return Finding("listener", "nginx is not installed", "its package was removed", DEPLOY)
    others = [one for one in view.listeners if one["program"] != "nginx"]
    if others:
        return other_listener(others[0])
    if nginx["complaint"]:
        return Finding(
            "listener",
            "nginx does not run, and its configuration is refused",
            nginx["complaint"],
            refusal_remedy(nginx["complaint"]),
        )
    if not nginx["running"]:
        return Finding(
            "listener",
            f"nothing listens on port {view.port}: nginx does not run.{ENDS.get(nginx.get('result', ''), '')}",
            "nginx was stopped, or was not started after a boot",
            f"start it: {DEPLOY} (or {by_hand(view, 'systemctl start nginx', START)} on the host)",
        )
    return Finding(
        "listener",
        f"nginx runs, but does not listen on port {view.port}",
        "it runs a configuration without this site",
        DEPLOY,
    )


def other_listener(other: dict[str, Any]) -> Finding:
    who = f"{other['program'] or 'another program'} (process {other['pid']}, account {other['account']})"
    return Finding(
        "listener",
        f"port {other['port']} is held by {who}, not by nginx",
        "another program was started on the port while nginx was down, and keeps nginx out",
        f"stop that program (kill {other['pid']}, or its service), then: {DEPLOY}",
    )


def nginx_configuration(view: View) -> Finding | None:
    """Whether nginx runs the configuration on the disk, and would load it again."""
    nginx = view.host["nginx"]
    if not nginx["running"]:
        return None
    if nginx["complaint"]:
        return Finding(
            "nginx configuration",
            "nginx still runs what it loaded before, but refuses the configuration on the disk: it will not come back "
            "from a restart or a boot",
            nginx["complaint"],
            refusal_remedy(nginx["complaint"]),
            works=True,
        )
    if nginx["live"] and nginx["loaded"] != nginx["live"]:
        return Finding(
            "nginx configuration",
            "nginx does not run the configuration that is on the disk",
            "it was not reloaded after the last change, or was started with another one",
            DEPLOY,
            works=True,
        )
    return None


def logs(view: View) -> Finding | None:
    """Whether nginx writes to its logs. After a rotation without a signal, it writes on into the old file."""
    found = view.host["nginx"].get("logs_elsewhere") or []
    if not found:
        return None
    one = found[0]
    return Finding(
        "logs of nginx",
        f"nginx writes to {one_line(one['written'])} instead of {one_line(one['log'])}",
        "the log was rotated, and no signal reached nginx; a rule of its own in /etc/logrotate.d, or a program, moved "
        "it",
        "let nginx open its logs again: nginx -s reopen on the host. The rule of Debian sends a signal after "
        f"{DEPLOY}; let "
        "another rule send it too: kill -USR1 $(cat /run/nginx.pid)",
        works=True,
    )


def refusal_remedy(complaint: str) -> str:
    """The remedy for a configuration that nginx refuses."""
    if "cannot load certificate" in complaint:
        return f"put the certificate back, or have a new one made: {DEPLOY}"
    return f"remove that line where it was added (a file beside this collection's: remove it), then: {DEPLOY}"


def site(view: View) -> Finding | None:
    """Whether nginx has a site for the name."""
    answer = view.found["front"]
    if not view.nginx_listeners:
        return None
    closed = answer["status"] is None and "no answer within" not in answer["error"]
    if view.found["configured"] and not closed:
        return None
    domains = view.app["site"]["domains"]
    requests = f"the name {domains[0]}" if domains else "requests without a known name"
    return Finding(
        "site",
        "nginx closes the connection without an answer" if closed else f"another site answers for {requests}",
        f"nginx has no site for {requests}: its file was removed, or the site was never configured",
        DEPLOY,
    )


def maintenance(view: View) -> Finding | None:
    if not view.found["maintenance"]:
        return None
    return Finding(
        "maintenance",
        "visitors get the maintenance page (503); only the health URL and the allowed addresses are served",
        "the application was closed for maintenance",
        f"open it again: ansible-playbook maintenance.yml -e maintenance=off -e app={view.name}",
        works=True,
    )
