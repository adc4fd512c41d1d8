# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that are on a host, but not in its inventory: what a run says about them, and when it refuses. Pure.

A run changes nothing of them. Another inventory may have deployed them, or they are left from an earlier state of this
one. Only remove.yml and ``state: absent`` remove them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.background import copies

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
ROOT = re.compile(r"(/[A-Za-z0-9._+-]+)+")
LISTS = ("units", "programs", "crontabs", "processes", "exclusive", "jobs")
# The roles that define services, and the lists of their services.
LISTS_OF_ROLES = {"systemd": "systemd_services", "supervisor": "supervisor_programs"}


def checked(found: Any, foreign: Collection[str] = ()) -> dict[str, Any]:
    """The answer of a host about its orphans, each value of its type, because the answer is untrusted.

    The applications in ``foreign`` belong to another inventory.
    """
    answer = found if isinstance(found, Mapping) else {}
    apps = [one for one in listed(answer.get("apps")) if isinstance(one, Mapping)]
    exclusive = answer.get("exclusive")
    return {
        "apps": [
            {
                "name": one["name"],
                "root": one["root"],
                "release": one_line(str(one.get("release") or "")),
                **{key: [one_line(str(item)) for item in listed(one.get(key))] for key in LISTS},
                "sites": [checked_site(site) for site in listed(one.get("sites")) if isinstance(site, Mapping)],
                "running": one["running"] if isinstance(one.get("running"), int) else 0,
                "only_data": one.get("only_data") is True,
                "foreign": one["name"] in foreign,
            }
            for one in apps
            if NAME.fullmatch(str(one.get("name"))) and ROOT.fullmatch(str(one.get("root")))
        ],
        "exclusive": dict(exclusive) if isinstance(exclusive, Mapping) else {},
        "services": [
            {"name": one_line(str(one.get("name"))), "role": one["role"]}
            for one in listed(answer.get("services"))
            if isinstance(one, Mapping) and one.get("role") in LISTS_OF_ROLES and one.get("name") not in foreign
        ],
    }


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def checked_site(site: Mapping[str, Any]) -> dict[str, Any]:
    names = [pair for pair in listed(site.get("names")) if isinstance(pair, list) and len(pair) == 2]
    return {
        "name": one_line(str(site.get("name"))),
        "names": [[port, one_line(str(domain))] for port, domain in names if isinstance(port, int)],
        "certificate": site.get("certificate") is True,
    }


def there(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The orphans of which more than their data is on the host, without those of another inventory."""
    return [one for one in found.get("apps", []) if not (one["only_data"] or one["foreign"])]


def unlisted_services(found: Mapping[str, Any], inventory: Mapping[str, Any]) -> list[dict[str, str]]:
    """The services of the roles alone that no list of the inventory has. ``inventory`` holds these lists."""
    names = {
        role: {one.get("name") for one in listed(inventory.get(key)) if isinstance(one, Mapping)}
        for role, key in LISTS_OF_ROLES.items()
    }
    return [one for one in found.get("services", []) if one["name"] not in names[one["role"]]]


def parts(orphan: Mapping[str, Any]) -> str:
    """The parts of an orphan that are on the host, for messages."""
    found = [f"release {orphan['release']}"] if orphan["release"] else ["no live release"]
    found.append(f"{orphan['running']} running processes")
    found += [
        f"background process {name}{' (exclusive)' if name in orphan['exclusive'] else ''}"
        for name in orphan["processes"]
    ]
    found += [f"job {name}" for name in orphan["jobs"]]
    found += [f"crontab {name}" for name in orphan["crontabs"]]
    for site in orphan["sites"]:
        domains = sorted({domain for _port, domain in site["names"] if domain})
        ports = sorted({str(port) for port, _domain in site["names"]})
        where = ", ".join(domains) or f"port {', '.join(ports)}"
        found.append(f"site {site['name']} ({where}){' with its certificate' if site['certificate'] else ''}")
    defined = [*orphan["units"], *orphan["programs"]]
    if not orphan["release"] and defined:
        found.append(f"definitions {', '.join(defined)}")
    return ", ".join(found)


def remedy(orphan: Mapping[str, Any], host: str) -> str:
    name = orphan["name"]
    return (
        f"To remove it: ansible-playbook remove.yml -i INVENTORY -e app={name} -e confirm={name} --limit {host}. "
        f"If you renamed it, add '{{name: {name}, state: absent}}' to webapps. If another inventory deploys it, list "
        "it in webapp_foreign_applications"
    )


def warnings(found: Mapping[str, Any], host: str) -> list[str]:
    """A warning for each orphan: what there is of it, what a run does with it, and what to do."""
    return [
        f"{host}: the application '{one['name']}' is on the host, but not in its inventory: {parts(one)}. This run "
        f"changes nothing of it. {state(one)}{remedy(one, host)}."
        for one in there(found)
    ]


def state(orphan: Mapping[str, Any]) -> str:
    """The state in which a run leaves an orphan, as a sentence; empty if nothing of it runs."""
    states = ["keeps running"] * bool(orphan["running"]) + ["is still served by nginx"] * bool(orphan["sites"])
    return f"It {' and '.join(states)}. " if states else ""


def conflicts(apps: Iterable[dict[str, Any]], sites: Iterable[dict[str, Any]], found: Mapping[str, Any]) -> list[str]:
    """The problems of a run beside orphans: it would take their domains, or run an exclusive process twice.

    ``apps`` are the present applications of the inventory, and ``sites`` all sites that nginx is to serve.
    """
    others, running = found.get("apps", []), found.get("exclusive", {})
    problems = [problem for orphan in others for site in sites for problem in site_conflicts(site, orphan)]
    for app in apps:
        own = listed(running.get(app["name"]))
        new = {process["name"]: name for name, _number, process in copies(app) if process["exclusive"]}
        problems += [
            f"webapps '{app['name']}': its exclusive process '{process}' would run beside {theirs} of "
            f"'{orphan['name']}', an application that is on the host, but not in its inventory. {ways(orphan['name'])} "
            "list it in webapp_foreign_applications."
            for orphan in there(found)
            for theirs in orphan["exclusive"]
            for process, service in new.items()
            if process == process_of(theirs) and service not in own
        ]
    return problems


def process_of(service: str) -> str:
    """The name of the process in the name of a service, APP.PROCESS or APP.PROCESS.NUMBER."""
    return service.split(".")[1] if "." in service else ""


def site_conflicts(site: dict[str, Any], orphan: Mapping[str, Any]) -> list[str]:
    """The domains, with their ports, that a site of this run and an orphan share."""
    wanted = claims(site)
    shared = sorted({(port, name) for theirs in orphan["sites"] for port, name in theirs["names"]} & wanted)
    kind = "nginx_sites" if site.get("owner") == "nginx_sites" else "site of webapps"
    problems = [
        f"{kind} '{site['name']}': {repr(domain) if domain else 'the default site'} on port {port} is served by "
        f"'{orphan['name']}', an application that is on the host, but not in its inventory. {ways(orphan['name'])} "
        "choose another domain or port."
        for port, domain in shared
    ]
    if not problems and any(theirs["name"] == site["name"] for theirs in orphan["sites"]):
        problems.append(
            f"{kind} '{site['name']}': nginx has another site of this name, which also leads to '{orphan['name']}', an "
            f"application that is on the host, but not in its inventory. {removal(orphan['name'])} To keep it, put it "
            "back into webapps."
        )
    return problems


def ways(name: str) -> str:
    return f"{removal(name)} If another inventory deploys it,"


def removal(name: str) -> str:
    return (
        f"To remove '{name}' in this run, for example because you renamed it, add '{{name: {name}, state: absent}}' to "
        "webapps."
    )


def claims(site: dict[str, Any]) -> set[tuple[int, str]]:
    """The ports and domains of a site of this run. The default site has an empty domain."""
    ports = [site["port"], *([site["tls"]["port"]] if has_tls(site) else [])]
    return {(port, name) for port in ports for name in ([*site["domains"], *site["redirects"]] or [""])}
