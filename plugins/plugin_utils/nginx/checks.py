# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inputs of the role nginx: held against its argument specification, and against what that cannot say."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import APPLICATIONS, OWN_SITES
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import values
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import unbalanced
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import (
    check_tls,
    check_tls_settings,
    check_tls_together,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label, role_options

# Keys that mean nothing to a location of the other kind.
LOCATION_KINDS = {
    "upstream": (
        "instead",
        "read_timeout",
        "connect_timeout",
        "websocket",
        "buffering",
        "request_buffering",
        "max_temp_file_size",
        "cache",
        "intercept_errors",
        "rate_limit",
        "connection_limit",
        "maintenance",
    ),
    "alias": ("immutable", "precompressed", "fallback", "internal"),
}


def checked(sites: Any, settings: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """The sites that are to be served and the settings they share, converted and filled, and every problem in them.

    ``settings`` are the other inputs of the role, without their prefix; those that are left out take their default.
    """
    checker = Checker()
    options = dict(role_options("nginx"))
    item_options = options.pop("nginx_sites")["options"]
    settings = checked_settings(checker, settings, options)
    present = []
    if not isinstance(sites, list):
        checker.list(sites, {"elements": "dict"}, "nginx_sites")
        sites = []
    for index, item in enumerate(sites):
        where = f"nginx_sites {label(item, index)}"
        before = len(checker.problems)
        site = checker.mapping(item, item_options, where)
        if len(checker.problems) == before:
            check_name(checker, site, where)
            if site["state"] == "present":
                check_site(checker, site, where)
                present.append(site)
    check_names(checker, sites)
    if not checker.problems:
        check_together(checker, present)
    return present, settings, checker.problems


def checked_with_applications(
    sites: Any, settings: dict[str, Any], applications: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """As ``checked``, for sites beside those of applications; each site that is to be served names its owner."""
    if not isinstance(sites, list):
        return checked(sites, settings)
    taken = {site["name"] for site in applications}
    clashes = [
        f"nginx_sites '{item['name']}': the application '{item['name']}' in webapps has a site of this name. Give this "
        "one another name."
        for item in sites
        if isinstance(item, dict) and item.get("name") in taken
    ]
    if clashes:
        return [], settings, clashes
    present, filled, problems = checked([*applications, *sites], settings)
    owned = [{**site, "owner": APPLICATIONS if site["name"] in taken else OWN_SITES} for site in present]
    return owned, filled, problems


def checked_settings(checker: Checker, settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    filled = checker.filled({f"nginx_{key}": value for key, value in settings.items()}, options, "")
    found = {key.removeprefix("nginx_"): value for key, value in filled.items()}
    processes = found.get("worker_processes") or ""
    if processes != "auto" and (not processes.isdecimal() or int(processes) < 1):
        checker.problem("nginx_worker_processes", f"'{processes}' is no number. Use auto, or a number of at least 1.")
    check_range(checker, found["worker_connections"], "nginx_worker_connections", 1, 1_000_000)
    check_extra(checker, found["extra"], "nginx_extra", "http block")
    check_range(checker, found["status_port"], "nginx_status_port", 0, 65535)
    check_networks(checker, found["trusted_proxies"], "nginx_trusted_proxies")
    if not values.HEADER.fullmatch(found["real_ip_header"] or ""):
        checker.problem(
            "nginx_real_ip_header", f"'{found['real_ip_header']}' is no header's name, such as X-Forwarded-For."
        )
    check_tls_settings(checker, found)
    return found


def check_range(checker: Checker, value: float | None, where: str, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        number = "whole number" if isinstance(value, int) else "number"
        checker.problem(where, f"{value} is out of range. Use a {number} from {low} to {high}.")


def check_extra(checker: Checker, text: str | None, where: str, place: str) -> None:
    if trouble := unbalanced(text or ""):
        checker.problem(where, f"it can't be printed into the {place}: {trouble}. Write whole directives.")


def check_size(checker: Checker, text: str | None, where: str) -> None:
    if text is not None and not values.SIZE.fullmatch(text):
        checker.problem(where, f"'{text}' is no size. Use a number of bytes, or one with k, m or g: 16m; 0: no limit.")


def check_file(checker: Checker, text: str | None, where: str, what: str) -> None:
    if text is not None and not values.folder(text):
        checker.problem(where, f"'{text}' is no {what}. Use an absolute path without '..' and '$'.")


def check_networks(checker: Checker, networks: list[str] | None, where: str, words: tuple[str, ...] = ()) -> None:
    for network in networks or []:
        remedy = None if network in words else values.network_remedy(network)
        if remedy:
            checker.problem(where, f"'{network}' is no address or network. {remedy}")


def check_text(checker: Checker, text: str, where: str) -> None:
    if not values.TEXT.fullmatch(text):
        checker.problem(where, f"nginx takes '$' for a variable, and a line break ends the line: {text!r} has one.")


def check_shared(checker: Checker, item: dict[str, Any], where: str, page: Any = values.folder) -> None:
    """What a site and its locations may say alike; ``page`` tells whether a text names a page."""
    if item.get("max_body_size") is not None:
        check_size(checker, item["max_body_size"], f"{where}.max_body_size")
    for key in ("allow", "deny"):
        check_networks(checker, item[key], f"{where}.{key}", ("all",))
    check_limits(checker, item, where)
    check_users(checker, item["basic_auth"], f"{where}.basic_auth")
    for name, value in (item["headers"] or {}).items():
        if not isinstance(name, str) or not values.HEADER.fullmatch(name):
            checker.problem(f"{where}.headers", f"'{name}' is no header's name. Use letters, digits and '-'.")
        elif not isinstance(value, (str, int)) or isinstance(value, bool):
            checker.problem(f"{where}.headers.{name}", "a header's value is a text; put it between quotes.")
        else:
            check_text(checker, str(value), f"{where}.headers.{name}")
    for number, own in enumerate(item["error_pages"] or [], start=1):
        here = f"{where}.error_pages no. {number}"
        for status in own["status"]:
            check_range(checker, status, f"{here}.status", 400, 599)
        if not own["status"]:
            checker.problem(f"{here}.status", "it names no status. Give one or more, such as [502, 503, 504].")
        check_page(checker, own["page"], f"{here}.page", page)
    check_maintenance(checker, item["maintenance"], f"{where}.maintenance", page)


def check_page(checker: Checker, text: str | None, where: str, page: Any) -> None:
    if text is not None and not page(text):
        example = "/srv/pages/sorry.html" if page is values.folder else "errors/sorry.html"
        checker.problem(where, f"'{text}' is no file that nginx can be told. Write it as {example}, without '$'.")


def check_limits(checker: Checker, item: dict[str, Any], where: str) -> None:
    if limit := item["rate_limit"]:
        if not values.RATE.fullmatch(limit["rate"] or ""):
            checker.problem(f"{where}.rate_limit.rate", f"'{limit['rate']}' is no rate. Write it as 10r/s or 30r/m.")
        check_range(checker, limit["burst"], f"{where}.rate_limit.burst", 0, 100_000)
    check_range(checker, item["connection_limit"], f"{where}.connection_limit", 1, 65535)


def check_users(checker: Checker, auth: dict[str, Any] | None, where: str) -> None:
    """No message shows a hash, or what somebody took for one."""
    if not auth:
        return
    check_text(checker, auth["realm"], f"{where}.realm")
    for name, hashed in (auth["users"] or {}).items():
        if not values.USER.fullmatch(str(name)):
            checker.problem(f"{where}.users", f"'{str(name).split(':')[0]}' can't be a user's name: no ':', no '#'.")
        elif not isinstance(hashed, str) or not values.PASSWORD_HASH.fullmatch(hashed):
            checker.problem(
                f"{where}.users.{name}",
                "this is no password hash that nginx knows. Write what 'openssl passwd -6' prints for the password.",
            )


def check_maintenance(checker: Checker, maintenance: dict[str, Any] | None, where: str, page: Any) -> None:
    if not maintenance:
        return
    check_page(checker, maintenance["page"], f"{where}.page", page)
    check_range(checker, maintenance["retry_after"], f"{where}.retry_after", 1, 31_536_000)
    check_networks(checker, maintenance["allow"], f"{where}.allow")
    for path in maintenance["open_paths"]:
        if not values.location_path(path):
            checker.problem(f"{where}.open_paths", f"'{path}' is no path of a URL, such as /healthz.")


def check_name(checker: Checker, site: dict[str, Any], where: str) -> None:
    if not values.NAME.fullmatch(site["name"]):
        checker.problem(
            f"{where}.name",
            f"'{site['name']}' can't name files. Use up to 63 letters a-z, digits and dashes, with a letter or digit at"
            " both ends.",
        )


def check_names(checker: Checker, sites: list[Any]) -> None:
    names = [str(site["name"]) for site in sites if isinstance(site, dict) and site.get("name")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        checker.problem("nginx_sites", f"there are {names.count(name)} sites named '{name}'. Give each its own name.")


def check_site(checker: Checker, site: dict[str, Any], where: str) -> None:
    """What a specification cannot say about one site."""
    check_domains(checker, site, where)
    check_range(checker, site["port"], f"{where}.port", 1, 65535)
    check_shared(checker, site, where)
    for key in ("access_log", "error_log"):
        if site[key] != "off":
            check_file(checker, site[key], f"{where}.{key}", "path of a log")
    if site["error_log"] == "off":
        checker.problem(f"{where}.error_log", "nginx takes 'off' for a file's name. Use /dev/null, or leave it out.")
    check_extra(checker, site["extra"], f"{where}.extra", "server block")
    check_upstreams(checker, site["upstreams"], f"{where}.upstreams")
    check_locations(checker, site, where)
    check_tls(checker, site, where)


def check_domains(checker: Checker, site: dict[str, Any], where: str) -> None:
    before = len(checker.problems)
    for key in ("domains", "redirects"):
        for name in site[key]:
            if remedy := values.domain_remedy(name):
                checker.problem(f"{where}.{key}", f"'{name}' is no host name. {remedy}")
    if len(checker.problems) > before:
        return
    for key in ("domains", "redirects"):
        site[key] = [name.lower() for name in site[key]]
    if site["redirects"] and not site["domains"]:
        checker.problem(
            f"{where}.redirects",
            f"'{site['redirects'][0]}' leads to the first of the site's domains, but it has none. Add one.",
        )
    elif site["redirects"] and site["domains"][0].startswith("*."):
        checker.problem(
            f"{where}.redirects",
            f"they lead to the first domain, but '{site['domains'][0]}' is a pattern. Put a name first.",
        )


def check_upstreams(checker: Checker, groups: list[dict[str, Any]], where: str) -> None:
    names = [group["name"] for group in groups]
    for group in groups:
        here = f"{where} '{group['name']}'"
        if not values.UPSTREAM_NAME.fullmatch(group["name"]):
            checker.problem(here, "it can't be a name. Use letters, digits, '-' and '_', beginning with a letter.")
        if names.count(group["name"]) > 1:
            checker.problem(here, "the site has two upstreams of this name. Give each its own.")
        if not group["servers"]:
            checker.problem(f"{here}.servers", "it has no servers. Name one or more by their address.")
        if group["keepalive"] and group["protocol"] == "uwsgi":
            checker.problem(f"{here}.keepalive", "the uwsgi protocol has no keep-alive. Remove it.")
        check_range(checker, group["keepalive"], f"{here}.keepalive", 0, 10_000)
        check_range(checker, group["keepalive_timeout"], f"{here}.keepalive_timeout", 0.1, 3600)
        for index, server in enumerate(group["servers"]):
            check_server(checker, server, group, f"{here}.servers no. {index + 1}")


def check_server(checker: Checker, server: dict[str, Any], group: dict[str, Any], where: str) -> None:
    if not values.server(server["address"]):
        checker.problem(
            where, f"'{server['address']}' is no address. Use unix:/run/app.sock, 127.0.0.1:5000 or app1:5000."
        )
    for key, low, high in (("weight", 1, 1000), ("max_fails", 0, 1000), ("fail_timeout", 1, 86400)):
        check_range(checker, server[key], f"{where}.{key}", low, high)
    if server["backup"] and group["balance"] == "ip_hash":
        checker.problem(f"{where}.backup", "ip_hash knows no backup. Choose another balance, or remove it.")


def check_locations(checker: Checker, site: dict[str, Any], where: str) -> None:
    seen: list[str] = []
    for index, location in enumerate(site["locations"]):
        here = f"{where}.locations {label(location, index)}"
        path = location["path"]
        if not values.location_path(path):
            checker.problem(
                here,
                f"its path is '{path}'. Start with a slash, as in /static/, and use letters, digits and ._~!@+,=:- "
                "between slashes.",
            )
            continue
        check_target(checker, location, [group["name"] for group in site["upstreams"]], here)
        check_location(checker, location, here)
        if path.rstrip("/") in seen:
            checker.problem(here, "the site has this path twice. Keep one of them.")
        seen.append(path.rstrip("/"))


def check_location(checker: Checker, location: dict[str, Any], where: str) -> None:
    """What a location of either kind says, but for where it leads."""
    check_shared(checker, location, where)
    check_extra(checker, location["extra"], f"{where}.extra", "location block")
    for key in ("read_timeout", "connect_timeout"):
        check_range(checker, location[key], f"{where}.{key}", 1, 86400)
    check_size(checker, location["max_temp_file_size"], f"{where}.max_temp_file_size")
    for place in location["fallback"] or []:
        check_file(checker, place, f"{where}.fallback", "folder")
    check_cache(checker, location, where)


def check_cache(checker: Checker, location: dict[str, Any], where: str) -> None:
    cache = location["cache"]
    if not cache:
        return
    check_range(checker, cache["valid"], f"{where}.cache.valid", 1, 31_536_000)
    check_size(checker, cache["max_size"], f"{where}.cache.max_size")
    for name in cache["bypass_cookies"]:
        if not values.COOKIE.fullmatch(name):
            checker.problem(
                f"{where}.cache.bypass_cookies", f"'{name}' is no cookie that nginx can ask for: letters, digits, '_'."
            )
    if location["websocket"]:
        checker.problem(f"{where}.cache", "what is upgraded to WebSocket can't be cached. Give it a path of its own.")
    if location["buffering"] is False:
        checker.problem(
            f"{where}.cache", "nginx can only cache what it buffers. Remove buffering: false, or the cache."
        )


def check_target(checker: Checker, location: dict[str, Any], groups: list[str], where: str) -> None:
    """A location leads to an application or to a folder; the keys of the other kind mean nothing then."""
    upstream, alias = location["upstream"], location["alias"]
    if (upstream is None) == (alias is None):
        found = "neither upstream nor alias" if upstream is None else "both upstream and alias"
        checker.problem(
            where, f"it has {found}. Give exactly one: where requests go, or the folder that holds the files."
        )
        return
    kind, other = ("upstream", "alias") if alias is None else ("alias", "upstream")
    for key in LOCATION_KINDS[other]:
        if location[key] is not None:
            checker.problem(where, f"{key} has no meaning beside {kind}. Remove it.")
    instead = location["instead"] or {}
    check_file(checker, instead.get("exists"), f"{where}.instead.exists", "file")
    for address in (upstream, instead.get("upstream")):
        if address is None or address in groups or values.upstream(address) is not None:
            continue
        named = f" Or name one of its upstreams: {', '.join(groups)}." if groups else ""
        checker.problem(
            where,
            f"upstream is '{address}'. Use unix:/run/app.sock or http://127.0.0.1:5000 (for the uwsgi protocol "
            f"uwsgi:unix:/run/app.sock or uwsgi://127.0.0.1:3031), without a path: the request's is passed on.{named}",
        )
    check_file(checker, alias, f"{where}.alias", "folder")


def check_together(checker: Checker, sites: list[dict[str, Any]]) -> None:
    """Two sites that want one name, or to be the default, on one port: nginx would only warn, and drop the second."""
    defaults: dict[int, str] = {}
    names: dict[tuple[int, str], str] = {}
    for site in sites:
        where, port = f"nginx_sites '{site['name']}'", site["port"]
        if not site["domains"]:
            if port in defaults:
                checker.problem(
                    where,
                    f"it has no domains, so it is the default site of port {port}, but so is '{defaults[port]}'. Give "
                    "one of them domains, or another port.",
                )
            defaults.setdefault(port, site["name"])
        for name in [*site["domains"], *site["redirects"]]:
            owner = names.get((port, name))
            if owner:
                taker = "itself, in domains or redirects" if owner == site["name"] else f"'{owner}'"
                checker.problem(
                    where,
                    f"'{name}' on port {port} is already taken by {taker}. A name leads to one site: remove it here or "
                    "there, or use another port.",
                )
            names.setdefault((port, name), site["name"])
    check_tls_together(checker, sites)
