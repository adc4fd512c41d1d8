# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules between applications: names, domains, paths and ports that two of them must not share."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker


def check_together(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """Report names and URLs that two applications share."""
    names: dict[str, int] = {}
    for index, app in enumerate(apps):
        if app["name"] in names:
            checker.problem(
                f"webapps no. {index + 1}",
                f"no. {names[app['name']] + 1} has the name '{app['name']}' already. Choose another name for one of "
                "them.",
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
                if path == "/":  # the application's own path
                    continue
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
                    f"redirects it to {target}. Remove it from one of them.",
                )
            redirects.setdefault((site["port"], domain), app["name"])
    for (port, domain), name in redirects.items():
        served = [
            other for (its_port, its_domain, _path), other in places.items() if (its_port, its_domain) == (port, domain)
        ]
        if served:
            checker.problem(
                f"webapps '{name}'.site.redirects",
                f"'{domain}' can't redirect, because '{served[0]}' serves it on port {port}. Remove it from one of "
                "them.",
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
                        f"'{name}' also serves {domain or 'the default site'}, with different tls settings. Use the "
                        "same tls settings in both, or remove them from one.",
                    )
    for app in apps:
        places = [(app["site"]["port"], domain) for domain in app["site"]["domains"] or [""]]
        if not has_tls(app["site"]) and (shared := [found[place] for place in places if place in found]):
            app["site"]["tls"] = shared[0][1]


def check_tls_ports(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """A port has TLS for all its sites or for none, and each domain has one certificate on it."""
    plain = {app["site"]["port"]: app["name"] for app in apps}
    names: dict[tuple[int, str], dict[str, Any]] = {}
    for app in (app for app in apps if has_tls(app["site"])):
        where, port = f"webapps '{app['name']}'.site.tls.port", app["site"]["tls"]["port"]
        if port in plain:
            checker.problem(
                where, f"'{plain[port]}' uses port {port} without TLS. Choose another port for one of them."
            )
        for domain in app["site"]["domains"] or [""]:
            owner = names.setdefault((port, domain), app)
            if owner["site"]["port"] != app["site"]["port"]:
                checker.problem(
                    where,
                    f"'{owner['name']}' also serves {domain or 'the default site'} with TLS on port {port}, but has "
                    "another site.port. Set the same site.port for both, or different ports for TLS.",
                )


def taken(place: tuple[int, str, str], name: str) -> str:
    port, domain, path = place
    if domain:
        return (
            f"'{name}' already serves http://{domain}{':' + str(port) if port != 80 else ''}{path}. Choose another "
            "domain, another path or another port."
        )
    return (
        f"'{name}' already serves path '{path}' on port {port}, and neither application sets a domain. "
        "Set its domains, or choose another path or another port."
    )
