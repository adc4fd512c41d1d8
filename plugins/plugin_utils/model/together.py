# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules between applications: what two of them may not share."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker


def check_together(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """Report names and places that two applications share."""
    names: dict[str, int] = {}
    for index, app in enumerate(apps):
        if app["name"] in names:
            checker.problem(
                f"webapps no. {index + 1}",
                f"the name '{app['name']}' is already that of no. {names[app['name']] + 1}. Give each application its "
                "own name.",
            )
        names.setdefault(app["name"], index)
    places: dict[tuple[int, str, str], str] = {}
    redirects: dict[tuple[int, str], str] = {}
    targets: dict[tuple[int, str], str] = {}
    present = [app for app in apps if app["state"] == "present"]
    share_tls(checker, present)
    check_tls_ports(checker, present)
    for app in present:
        site = app["site"]
        for domain in site["domains"] or [""]:
            place = (site["port"], domain, site["path"])
            if place in places:
                checker.problem(f"webapps '{app['name']}'.site", taken(place, places[place]))
            places.setdefault(place, app["name"])
            prefix = "" if site["path"] == "/" else site["path"]
            inner = [("static", item["url"]) for item in site["static"]]
            inner += [("locations", item["path"]) for item in site["locations"]]
            for key, path in inner:
                below = (site["port"], domain, f"{prefix}{path}".rstrip("/"))
                if below in places:
                    checker.problem(f"webapps '{app['name']}'.site.{key}", taken(below, places[below]))
                places.setdefault(below, app["name"])
        for domain in site["redirects"]:
            target = targets.setdefault((site["port"], domain), site["domains"][0])
            if target != site["domains"][0]:
                checker.problem(
                    f"webapps '{app['name']}'.site.redirects",
                    f"'{domain}' can't redirect to {site['domains'][0]}, because '{redirects[(site['port'], domain)]}' "
                    f"redirects it to {target}. Take it out of one of the two.",
                )
            redirects.setdefault((site["port"], domain), app["name"])
    for (port, domain), name in redirects.items():
        served = [
            other for (its_port, its_domain, _path), other in places.items() if (its_port, its_domain) == (port, domain)
        ]
        if served:
            checker.problem(
                f"webapps '{name}'.site.redirects",
                f"'{domain}' can't redirect, because '{served[0]}' serves it on port {port}. Take it out of one of "
                "the two.",
            )


def share_tls(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """Applications that share a domain share its certificate: a port has TLS for all of them or for none."""
    found: dict[tuple[int, str], tuple[str, dict[str, Any]]] = {}
    for app in apps:
        for domain in app["site"]["domains"] or [""]:
            place = (app["site"]["port"], domain)
            if has_tls(app["site"]):
                name, tls = found.setdefault(place, (app["name"], app["site"]["tls"]))
                if tls != app["site"]["tls"]:
                    checker.problem(
                        f"webapps '{app['name']}'.site.tls",
                        f"{domain or 'the default site'} is also where '{name}' is served, with another tls. Use "
                        "the same in both, or leave it out of one.",
                    )
    for app in apps:
        places = [(app["site"]["port"], domain) for domain in app["site"]["domains"] or [""]]
        if not has_tls(app["site"]) and (shared := [found[place] for place in places if place in found]):
            app["site"]["tls"] = shared[0][1]


def check_tls_ports(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """A port has TLS for all its sites or for none, and a name has one certificate there."""
    plain = {app["site"]["port"]: app["name"] for app in apps}
    names: dict[tuple[int, str], dict[str, Any]] = {}
    for app in (app for app in apps if has_tls(app["site"])):
        where, port = f"webapps '{app['name']}'.site.tls.port", app["site"]["tls"]["port"]
        if port in plain:
            checker.problem(
                where, f"port {port} is where '{plain[port]}' is served without TLS. Use another for one of them."
            )
        for domain in app["site"]["domains"] or [""]:
            owner = names.setdefault((port, domain), app)
            if owner["site"]["port"] != app["site"]["port"]:
                checker.problem(
                    where,
                    f"{domain or 'the default site'} is where '{owner['name']}' is served over TLS, from another "
                    "site.port. Give both the same site.port, or other ports for TLS.",
                )


def taken(place: tuple[int, str, str], name: str) -> str:
    port, domain, path = place
    if domain:
        return (
            f"http://{domain}{':' + str(port) if port != 80 else ''}{path} is already where '{name}' is served. "
            "Give it another domain, another path or another port."
        )
    return (
        f"port {port}, path '{path}' is already where '{name}' is the default site, because neither names a domain. "
        "Name its domains, or give it another path or another port."
    )
