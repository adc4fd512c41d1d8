# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sites of the applications, as input of the role nginx. Pure."""

from __future__ import annotations

import posixpath
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import extra_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inheritance import timeouts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.locations import SILENCE
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import location_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import health_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.behind import behind_balancers, is_behind
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.connections import KEPT, keepalive, may_use_uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.paths import published, within
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import STOP_MARGIN

# Seconds after which a visitor may try again, where an application stops for a deployment.
RETRY_AFTER = 5


def nginx_sites(
    webapps: Any,
    root: str = "/srv/webapps",
    maintenance: dict[str, dict[str, Any]] | None = None,
    balancers: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Input of the role nginx: one site for every set of domains that the same applications serve.

    Applications that share a domain become locations of one site, and the longest prefix takes precedence.
    ``maintenance`` holds the maintenance settings of applications that were found on the host, ``balancers`` the
    arguments of ``behind_balancers``.
    """
    switches = maintenance or {}
    served_apps = behind_balancers(present(webapps), **(balancers or {"balancers": []}))
    apps = {app["name"]: switched(app, switches.get(app["name"])) for app in served_apps}
    served: dict[tuple[int, str], list[str]] = {}
    for app in apps.values():
        for domain in app["site"]["domains"] or [""]:
            served.setdefault((app["site"]["port"], domain), []).append(app["name"])
    groups: dict[tuple[int, tuple[str, ...], bool], list[str]] = {}
    for (port, domain), names in served.items():
        groups.setdefault((port, tuple(names), domain == ""), []).append(domain)
    sites = []
    names_taken: set[str] = set()
    for (port, together, default), domains in groups.items():
        names = list(together)
        members = [apps[name] for name in names]
        site = {
            "name": free_name(names[0], names_taken),
            "domains": [] if default else domains,
            # Applications that share their domains may all list the same redirect.
            "redirects": list(
                dict.fromkeys(
                    domain
                    for app in members
                    if not default and app["site"]["domains"][0] in domains
                    for domain in app["site"]["redirects"]
                )
            ),
            "port": port,
            "tls": {**members[0]["site"]["tls"], "plain_paths": plain_paths(members)},
            "max_body_size": max((app["site"]["max_body_size"] for app in members), key=size),
            **({"log_format": "json"} if any(app["site"]["log_format"] == "json" for app in members) else {}),
            # The settings of one application must not apply to others on the same domains.
            **(site_settings(members[0], (*SITE_KEYS, *ACCESS_KEYS), root) if len(members) == 1 else {}),
            **kept_upstreams(members, root),
            **health_checks(members),
            # The applications are trusted with nothing below this folder.
            "links_root": root,
            "locations": [location for app in members for location in accessible(app, root, alone=len(members) == 1)],
            "extra": extra(members),
        }
        sites.append(site)
    return sites


def health_checks(members: list[dict[str, Any]]) -> dict[str, Any]:
    """The health checks of balancers; empty without any."""
    behind = [app for app in members if is_behind(app["site"])]
    checks = [{"name": app["name"], "path": health_path(app["site"]["path"], app["health"]["path"])} for app in behind]
    return {"health_checks": checks} if checks else {}


def switched(app: dict[str, Any], switch: dict[str, Any] | None) -> dict[str, Any]:
    """The application with the maintenance settings of the host, which override the inventory."""
    if not switch:
        return app
    usual: dict[str, Any] = {"enabled": True, "page": None, "retry_after": 300, "allow": [], "open_paths": []}
    return {**app, "site": {**app["site"], "maintenance": {**usual, **(app["site"]["maintenance"] or {}), **switch}}}


def plain_paths(members: list[dict[str, Any]]) -> list[str]:
    """The health URLs of a site that a load balancer may request without TLS; never the home page."""
    if members[0]["site"]["tls"]["mode"] == "none":
        return []
    paths = [health_path(app["site"]["path"], app["health"]["path"]) for app in members if app["health"]["path"]]
    found = [path.partition("?")[0] for path in paths]
    found = [path for path in found if path.rstrip("/") not in ("", *mounts(members))]
    return list(dict.fromkeys([*members[0]["site"]["tls"]["plain_paths"], *found]))


def mounts(members: list[dict[str, Any]]) -> list[str]:
    return [app["site"]["path"].rstrip("/") for app in members]


def free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(candidate)
    return candidate


def size(text: str) -> int:
    """Bytes of a size in nginx's notation; 0, which means no limit, counts as the largest."""
    unit = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1].lower())
    number = int(text[:-1]) * unit if unit else int(text)
    return number or 1 << 62


# Rules that a location inherits from the location around it.
ACCESS_KEYS = ("basic_auth", "allow", "deny", "satisfy")


# Other settings that a site and its locations share. Folders have only the settings of the second list.
SITE_KEYS = (
    "header_preset",
    "headers",
    "error_pages",
    "intercept_errors",
    "rate_limit",
    "connection_limit",
    "gzip",
    "maintenance",
)


FOLDER_KEYS = tuple(
    key for key in SITE_KEYS if key not in ("intercept_errors", "rate_limit", "connection_limit", "maintenance")
)


PROXY_KEYS = ("buffering", "request_buffering", "max_temp_file_size", "cache")


def site_settings(app: dict[str, Any], keys: tuple[str, ...], root: str) -> dict[str, Any]:
    """These settings of an application's site, for the role nginx. Pages get absolute paths."""
    site = app["site"]
    found = {key: site[key] for key in keys if site[key] is not None}
    if "error_pages" in found:
        found["error_pages"] = pages(found["error_pages"], app, root)
    if "maintenance" in found:
        maintenance = {**found["maintenance"]}
        if maintenance["page"]:
            maintenance["page"] = published(app, root, maintenance["page"])
        path = app["health"]["path"]
        if path:
            open_path = health_path(site["path"], path).split("?")[0]
            maintenance["open_paths"] = [*maintenance["open_paths"], open_path]
        else:
            # The health check of a deployment requests the start page from the host itself.
            maintenance["allow"] = [*maintenance["allow"], "127.0.0.1", "::1"]
        found["maintenance"] = maintenance
    return found


def pages(items: list[dict[str, Any]], app: dict[str, Any], root: str) -> list[dict[str, Any]]:
    return [{**item, "page": published(app, root, item["page"])} for item in items]


def extra(members: list[dict[str, Any]]) -> str:
    """The extra directives of all applications of a site. With several, each keeps its own line numbers."""
    own = [(app["name"], app["site"]["extra"].strip("\n")) for app in members if app["site"]["extra"].strip()]
    if len(members) == 1:
        return "\n".join(text for _name, text in own)
    return "\n".join("\n".join(extra_lines(text, f"extra of {name}")) for name, text in own)


def accessible(app: dict[str, Any], root: str, alone: bool) -> list[dict[str, Any]]:
    """The locations of an application, with its access rules.

    Beside other applications, its site has no rules of its own: its outermost location has them, and those below
    inherit them. It inherits none itself, because its path may be below that of another application.
    """
    items = locations(app, root, alone)
    if alone:
        return items
    rules, path = site_settings(app, ACCESS_KEYS, root), app["site"]["path"].rstrip("/")
    return [
        {**rules, **item, "inherit_access": False}
        if item["path"].rstrip("/") == path or not item.get("inherit_access", True)
        else item
        for item in items
    ]


def upstream(app: dict[str, Any], root: str) -> str:
    """The socket of the live release, as the role nginx writes it."""
    return f"unix:{root}/{app['name']}/current.sock"


def kept_upstreams(members: list[dict[str, Any]], root: str) -> dict[str, Any]:
    """The upstreams of applications with keep-alive connections; empty if there are none."""
    kept = [
        {
            "name": app["name"],
            "servers": [{"address": upstream(app, root)}],
            "keepalive": keepalive(app),
            "keepalive_timeout": KEPT,
        }
        for app in members
        if keepalive(app)
    ]
    return {"upstreams": kept} if kept else {}


def locations(app: dict[str, Any], root: str, alone: bool = True) -> list[dict[str, Any]]:
    site = app["site"]
    prefix = "" if site["path"] == "/" else site["path"]
    whole: dict[str, Any] = next((item for item in site["locations"] if item["path"] == "/"), {})
    at_root = next((item for item in site["static"] if item["url"] == "/"), None)
    main = {
        "path": site["path"],
        "upstream": app["name"] if keepalive(app) else upstream(app, root),
        "read_timeout": read_timeout(app, site),
        "websocket": site["websocket"],
        **({"retry_after": RETRY_AFTER} if app["switch"] == "stop_first" else {}),
        **({"instead": uwsgi_upstream(app, root)} if may_use_uwsgi(app) else {}),
        **site_settings(app, PROXY_KEYS, root),
        **({} if alone else {"max_body_size": site["max_body_size"], **site_settings(app, SITE_KEYS, root)}),
    }
    items: list[dict[str, Any]] = []
    if not at_root:
        items.append({**main, **own_settings(whole, app, root), "path": site["path"]})
    elif health := uncovered_health_path(app):
        items.append({**main, "path": f"{prefix}{health}"})
    for item in site["locations"]:
        if item is not whole:
            items.append({**main, **own_settings(item, app, root), "path": f"{prefix}{item['path']}"})
    for item in with_shared_folders(site["static"], app["shared"]):
        places = [published(app, root, item["path"], release) + "/" for release in ("current", "previous")]
        items.append(
            {
                "path": f"{prefix}{item['url']}",
                **({} if item["inherit_access"] else {"inherit_access": False}),
                "alias": places[0],
                "immutable": item["immutable"],
                **({"fallback": places[1:]} if item["previous_release"] and places[0] != places[1] else {}),
                **({"precompressed": True} if item["precompressed"] else {}),
                **({"charset": item["charset"]} if item["charset"] != "off" else {}),
                **({"page": item["fallback"]} if item["fallback"] else {}),
                **({"internal": True, "internal_for": main["upstream"]} if item["internal"] else {}),
                **({} if alone else site_settings(app, FOLDER_KEYS, root)),
            }
        )
    return items


def own_settings(item: dict[str, Any], app: dict[str, Any], root: str) -> dict[str, Any]:
    """The settings that a path of an application has of its own."""
    own = {key: value for key, value in item.items() if value is not None and (key, value) != ("extra", "")}
    if "error_pages" in own:
        own["error_pages"] = pages(own["error_pages"], app, root)
    if own.keys() & {"websocket", "buffering"}:
        own = {"read_timeout": read_timeout(app, {**app["site"], **own}), **own}
    return own


def read_timeout(app: dict[str, Any], settings: dict[str, Any]) -> int | None:
    """Seconds that the application may be silent. None leaves it to the site's own directives."""
    if timeouts(app["site"]["extra"]):
        return None
    usual = int(app["timeout"]) + STOP_MARGIN
    return max(usual, SILENCE) if settings["websocket"] or settings["buffering"] is False else usual


def uncovered_health_path(app: dict[str, Any]) -> str:
    """The health path, if no location of the application contains it; empty otherwise."""
    path = (app["health"]["path"] or "").partition("?")[0].rstrip("/")
    covered = any(f"{path}/".startswith(item["path"].rstrip("/") + "/") for item in app["site"]["locations"])
    return "" if covered else path


def with_shared_folders(static: list[dict[str, Any]], shared: list[str]) -> list[dict[str, Any]]:
    """The static folders, and beside each those shared folders inside it, which nginx serves from their own place."""
    items = list(static)
    for item in static:
        path = posixpath.normpath(item["path"].strip("/") or ".")
        for folder in shared:
            inner = path == "." or (within(folder, path) and folder != path)
            url = f"{item['url']}{posixpath.relpath(folder, path)}/"
            if inner and location_path(url) and url not in [known["url"] for known in items]:
                items.append({**item, "url": url, "path": folder})
    return items


def uwsgi_upstream(app: dict[str, Any], root: str) -> dict[str, str]:
    """The socket that nginx uses while uWSGI serves the live release. During a change of server, it uses HTTP.

    Applications under gunicorn have it too, so a change of the server does not reload nginx.
    """
    layout = Layout(app["name"], root)
    return {"exists": layout.current_uwsgi, "upstream": f"uwsgi:unix:{layout.current_uwsgi_socket}"}
