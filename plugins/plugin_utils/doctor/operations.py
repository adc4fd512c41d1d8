# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inputs of modules and roles in the playbooks for operators. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates
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
            "port": front_port(app),
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


def removal(webapps: Any, name: str, confirm: str, purge: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """Inputs of roles that remove one application: the applications that stay (for nginx), and the one that goes."""
    apps = applications(webapps)
    names = [app["name"] for app in apps]
    if name not in names:
        raise ModelError(unknown_app(name, names))
    data = "all its data too, for good" if boolean(purge) else "not its data in shared/"
    question = (
        f"'{name}' would be removed: its processes, its releases and its site, {data}. To confirm, add: "
        f"-e app={name} -e confirm={name}{' -e purge=true' if boolean(purge) else ''}"
    )
    gone = [{**app, "state": "absent", "purge": boolean(purge)} for app in apps if app["name"] == name]
    return {
        "question": "" if confirm == name else question,
        "stay": [app for app in apps if app["name"] != name],
        "gone": gone,
        "activations": activations(gone, [{"name": name, "activate": True, "candidate": ""}], facts),
    }


def removal_report(results: list[dict[str, Any]], name: str, root: str = "/srv/webapps") -> list[str]:
    """The result of the removal of an application on one host, as lines of text. In check mode it is unknown."""
    result = next((one for one in results if one["name"] == name), {})
    lines = [f"{name} is removed. Remove it from webapps, or the next run of site.yml deploys it again."]
    if result.get("account") == "kept":
        lines.append(
            f"Its data stay in {root}/{name}/shared, and its account stays, locked, because it owns them. "
            "-e purge=true removes both."
        )
    elif result.get("account") == "removed":
        lines.append("Its data and its account are removed. No account that this collection creates gets its user ID.")
    lines += [f"It had left: {found}" for found in result.get("found", [])]
    return [one_line(line) for line in lines]


def boolean(value: Any) -> bool:
    """A boolean as it comes from a command line."""
    return str(value).lower() in ("true", "yes", "on", "1")
