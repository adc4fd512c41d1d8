# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inputs of modules and roles in the playbooks for operators. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates, has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import log_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import front_port, health_question
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import (
    ModelError,
    applications,
    present,
    unknown_app,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import locations, nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import activations


def inspections(apps: list[dict[str, Any]], webapps: Any, root: str = "/srv/webapps") -> list[dict[str, Any]]:
    """Input of the module webapp_inspect: the requests for each of these applications, and its parts.

    It needs all ``webapps`` of the host, because several applications can share a site.
    """
    sites = checked(nginx_sites(webapps, root), {})[0]
    return [
        {
            "name": app["name"],
            "question": health_question(app),
            "logs": logs([site for site in sites if serves(site, app)], app, present(webapps)),
            "port": front_port(app),
            # Behind a balancer, nginx of the host has no TLS, but the application is requested as if over https.
            "front_scheme": "https" if has_tls(app["site"]) else "http",
            "static": [
                {"url": location["path"], "folder": location["alias"]}
                for location in locations(app, root)
                if "alias" in location and not location.get("internal")
            ],
            "certificates": [
                # Never the key.
                {**one, "certificate": "", "key": ""}
                for one in certificates([site for site in sites if serves(site, app)])
            ],
            "jobs": [{"name": job["name"], "timeout": job["timeout"]} for job in app["jobs"] if job["enabled"]],
        }
        for app in apps
    ]


def logs(sites: list[dict[str, Any]], app: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
    """The logs of the sites that serve an application, and the paths of all applications of these sites."""
    files = [log_files(site) for site in sites]
    mounts = [other["site"]["path"] for other in others if any(serves(site, other) for site in sites)]
    return {
        "access": sorted({access for access, _error in files if access.startswith("/")}),
        "error": sorted({error for _access, error in files if error.startswith("/")}),
        "mount": app["site"]["path"],
        "mounts": sorted({*mounts, app["site"]["path"]}),
    }


def serves(site: dict[str, Any], app: dict[str, Any]) -> bool:
    """Whether an application is part of a site of nginx."""
    domains = app["site"]["domains"]
    return site["port"] == app["site"]["port"] and (
        bool({*site["domains"]} & {*domains}) if domains else not site["domains"]
    )


def site_logs(name: str, webapps: Any, root: str = "/srv/webapps") -> dict[str, list[str]]:
    """The logs that nginx writes about the sites of one application."""
    app = next(app for app in present(webapps) if app["name"] == name)
    sites = [site for site in checked(nginx_sites(webapps, root), {})[0] if serves(site, app)]
    return {
        f"{kind}_logs": [f"/var/log/nginx/{site['name']}.{kind}.log" for site in sites] for kind in ("access", "error")
    }


MAINTENANCE = "maintenance.json"


def maintenance_switch(webapps: Any, options: dict[str, Any], facts: dict[str, Any], root: str) -> dict[str, Any]:
    """The files that open or close one application, or all, and all switches afterwards."""
    apps = present(webapps)
    names = [app["name"] for app in apps]
    name, state = str(options["app"] or ""), str(options["state"]).lower()
    question = ""
    if name and name not in names:
        question = unknown_app(name, names)
    elif state not in ("on", "off", "true", "false"):
        question = f"maintenance is '{options['state']}'. Use -e maintenance=on or -e maintenance=off."
    elif not str(options["retry_after"]).isdecimal():
        question = f"retry_after is '{options['retry_after']}'. Give whole seconds, such as -e retry_after=600."
    if question:
        return {"question": question, "files": [], "switches": facts["maintenance"]}
    switch = {
        "enabled": state in ("on", "true"),
        "retry_after": int(options["retry_after"]),
        "allow": [address for address in re.split(r"[\s,]+", str(options["allow"])) if address],
    }
    if options["page"]:
        switch["page"] = options["page"]
    chosen = [one for one in names if name in ("", one)]
    switches = {**facts["maintenance"], **dict.fromkeys(chosen, switch)}
    text = json.dumps(switch, indent=2) + "\n"
    return {
        "question": "\n".join(checked(nginx_sites(apps, root, switches), {})[2]),
        "files": [{"path": f"{root}/{one}/{MAINTENANCE}", "content": text} for one in chosen],
        "switches": switches,
    }


# Stands for all applications of a host.
ALL = "all"


def removal(
    webapps: Any,
    name: str,
    confirm: str,
    purge: Any,
    facts: dict[str, Any],
    host: str = "",
    elsewhere: Collection[str] = (),
) -> dict[str, Any]:
    """Inputs of roles that remove applications: those that stay (for nginx), and those that go.

    The application may be one that only the ``host`` knows. ``all`` means those of the inventory and those that only
    the host knows, except those of another inventory. ``elsewhere`` are those that only some host of the run knows:
    here, there may be nothing to remove.
    """
    apps = applications(webapps)
    names = [app["name"] for app in apps]
    found = {one["name"]: one for one in facts.get("orphans", {}).get("apps", [])}
    every = name == ALL and name not in names
    chosen = [*names, *found_on_host(found, boolean(purge))] if every else [name]
    if not every and name not in names and name not in found:
        if name not in elsewhere:
            raise ModelError(unknown_app(name, [*names, *found]))
        chosen = []
    gone = [{**app, "state": "absent", "purge": boolean(purge)} for app in apps if app["name"] in chosen]
    unknown = [one for one in chosen if one not in names]
    gone += [{**app, "purge": boolean(purge)} for app in applications([absent(one) for one in unknown])]
    due = [{"name": one, "activate": True, "candidate": ""} for one in chosen]
    return {
        "question": "" if not chosen or confirm == (host if every else name) else question(name, chosen, purge, host),
        "names": chosen,
        "stay": [app for app in apps if app["name"] not in chosen],
        "gone": gone,
        "activations": [
            {**spec, "root": found[spec["name"]]["root"]} if spec["name"] in unknown else spec
            for spec in activations(gone, due, facts)
        ],
    }


def absent(name: str) -> dict[str, Any]:
    return {"name": name, "state": "absent"}


def found_on_host(found: dict[str, dict[str, Any]], purge: bool) -> list[str]:
    """The applications that only the host knows. Data of removed ones count only if they are to be removed too."""
    return [name for name, one in found.items() if not one["foreign"] and (purge or not one["only_data"])]


def question(name: str, chosen: list[str], purge: Any, host: str) -> str:
    every = name == ALL and chosen != [ALL]
    what = f"all applications of {host} ({', '.join(chosen)})" if every else f"'{name}'"
    data = "all its data too, for good" if boolean(purge) else "not its data in shared/"
    each = " of each" if every else ""
    limit = f" --limit {host}" if every else ""
    return (
        f"{what} would be removed:{each} its processes, its releases and its site, {data}. "
        f"To confirm, add: -e app={name} -e confirm={host if every else name}"
        f"{' -e purge=true' if boolean(purge) else ''}{limit}"
    )


def removal_report(
    results: list[dict[str, Any]], name: str, root: str = "/srv/webapps", removed: Any = None, known: Any = None
) -> list[str]:
    """The result of a removal on one host, as lines of text. In check mode it is unknown.

    ``removed`` are the names of the applications that were removed, and ``known`` those of the inventory.
    """
    chosen = [name] if removed is None else list(removed)
    if not chosen:
        return [one_line(f"{name} is not on this host, so there was nothing to remove.")]
    return [line for one in chosen for line in report_of_one(results, one, root, known is None or one in known)]


def report_of_one(results: list[dict[str, Any]], name: str, root: str, is_listed: bool) -> list[str]:
    result = next((one for one in results if one["name"] == name), {})
    root = result.get("root") or root
    again = " Remove it from webapps, or the next run of site.yml deploys it again." if is_listed else ""
    lines = [f"{name} is removed.{again}"]
    if result.get("account") == "kept":
        lines.append(
            f"Its data stay in {root}/{name}/shared, and its account stays, locked, because it owns them. "
            "-e purge=true removes both."
        )
    elif result.get("account") == "removed":
        lines.append(
            "No data of it are left, so its account is removed too. "
            "No account that this collection creates gets its user ID."
        )
    lines += [f"It had left: {found}" for found in result.get("found", [])]
    return [one_line(line) for line in lines]


def boolean(value: Any) -> bool:
    """A boolean as it comes from a command line."""
    return str(value).lower() in ("true", "yes", "on", "1")
