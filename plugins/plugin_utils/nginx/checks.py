# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the inputs of the role nginx against its argument specification, and against what that can't express. Pure.

Rules for the values of one site are in ``rules``, because ``webapps[].site`` follows the same.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import (
    APPLICATIONS,
    OWN_SITES,
    STATUS_PAGE,
    STATUS_SITE,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import values, words
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.rules import (
    DAY,
    check_domains,
    check_extra,
    check_file,
    check_location,
    check_networks,
    check_range,
    check_shared,
    check_site_extra,
    check_tls_names,
    check_tls_source,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import LETS_ENCRYPT, has_tls, location_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label, role_options

# Keys that have a meaning only for one kind of location.
LOCATION_KINDS = {
    "upstream": (
        "instead",
        "retry_after",
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
    "alias": ("immutable", "precompressed", "fallback", "page", "charset", "internal", "internal_for"),
}


def checked(sites: Any, settings: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """The sites to serve and the settings that they share, both converted and filled, and every problem found.

    ``settings`` are the other inputs of the role, without their prefix. Missing ones take their default.
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
    """As ``checked``, for the sites of applications and of ``nginx_sites`` together. Each site gets its ``owner``."""
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
    owners = {**dict.fromkeys(taken, APPLICATIONS), STATUS_SITE: STATUS_PAGE}
    owned = [{**site, "owner": owners.get(site["name"], OWN_SITES)} for site in present]
    return owned, filled, problems


def checked_settings(checker: Checker, settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    filled = checker.filled({f"nginx_{key}": value for key, value in settings.items()}, options, "")
    found = {key.removeprefix("nginx_"): value for key, value in filled.items()}
    processes = found.get("worker_processes") or ""
    if processes != "auto" and (not processes.isdecimal() or int(processes) < 1):
        checker.problem(
            "nginx_worker_processes", f"'{processes}' is not a number. Use auto, or a number of at least 1."
        )
    check_range(checker, found["worker_connections"], "nginx_worker_connections", 1, 1_000_000)
    check_range(checker, found["worker_shutdown_timeout"], "nginx_worker_shutdown_timeout", 1, DAY)
    check_extra(checker, found["extra"], "nginx_extra", "http block")
    check_range(checker, found["status_port"], "nginx_status_port", 0, 65535)
    check_networks(checker, found["trusted_proxies"], "nginx_trusted_proxies")
    found["balancers"] = found["balancers"] or []
    check_networks(checker, found["balancers"], "nginx_balancers")
    found["trusted_proxies"] = list(dict.fromkeys([*(found["trusted_proxies"] or []), *found["balancers"]]))
    if not values.HEADER.fullmatch(found["real_ip_header"] or ""):
        checker.problem(
            "nginx_real_ip_header",
            f"'{found['real_ip_header']}' is not a header's name. Use one such as X-Forwarded-For.",
        )
    check_tls_settings(checker, found)
    return found


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
    """Check what a specification can't express about one site."""
    check_domains(checker, site, where, underscores=True)
    check_range(checker, site["port"], f"{where}.port", 1, 65535)
    check_shared(checker, site, where)
    for key in ("access_log", "error_log"):
        if site[key] != "off":
            check_file(checker, site[key], f"{where}.{key}", "path of a log")
    if problem := words.problem("error_log", site["error_log"] or ""):
        checker.problem(f"{where}.error_log", problem)
    check_file(checker, site["links_root"], f"{where}.links_root", "folder")
    check_site_extra(checker, site["extra"], f"{where}.extra")
    check_health_checks(checker, site["health_checks"], f"{where}.health_checks")
    check_upstreams(checker, site["upstreams"], f"{where}.upstreams")
    check_locations(checker, site, where)
    check_tls(checker, site, where)


def check_health_checks(checker: Checker, checks: list[dict[str, Any]], where: str) -> None:
    """Check what balancers ask for: nginx has to write such a path itself."""
    for check in checks:
        path, _mark, query = check["path"].partition("?")
        if not values.location_path(path) or not values.QUERY.fullmatch(query):
            checker.problem(
                where,
                f"balancers can't ask for the health path '{check['path']}'. Use letters, digits and ._~!@+,=:- between"
                " slashes, and no '$' and no quotes after '?'.",
            )
        if not values.NAME.fullmatch(check["name"]):
            checker.problem(where, f"'{check['name']}' can't be part of a URL. Use a-z, 0-9 and -.")


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
    if not values.is_server(server["address"]):
        checker.problem(
            where, f"'{server['address']}' is not an address. Use unix:/run/app.sock, 127.0.0.1:5000 or app1:5000."
        )
    for key, low, high in (("weight", 1, 1000), ("max_fails", 0, 1000), ("fail_timeout", 1, 86400)):
        check_range(checker, server[key], f"{where}.{key}", low, high)
    if server["backup"] and group["balance"] == "ip_hash":
        checker.problem(f"{where}.backup", "ip_hash has no backup servers. Choose another balance, or remove it.")


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
        check_target(checker, location, {group["name"]: group["protocol"] for group in site["upstreams"]}, here)
        check_location(checker, location, here)
        check_sender(checker, location, site, here)
        if path.rstrip("/") in seen:
            checker.problem(here, "the site has this path twice. Keep one of them.")
        seen.append(path.rstrip("/"))


def check_sender(checker: Checker, location: dict[str, Any], site: dict[str, Any], where: str) -> None:
    """Check that an internal folder belongs to an upstream of its site."""
    name = location["internal_for"]
    known = [other["upstream"] for other in site["locations"] if other["upstream"] is not None]
    if name is not None and not location["internal"]:
        checker.problem(f"{where}.internal_for", "the folder is not internal. Add internal: true, or remove this.")
    elif name is not None and name not in known:
        checker.problem(
            f"{where}.internal_for",
            f"no location of the site has the upstream '{name}'. Use one of: {', '.join(known) or 'none'}.",
        )


def check_target(checker: Checker, location: dict[str, Any], groups: dict[str, str], where: str) -> None:
    """Check that a location leads either to an application or to a folder, and has no key of the other kind.

    ``groups`` holds the protocol of each named upstream of the site.
    """
    upstream, alias = location["upstream"], location["alias"]
    if (upstream is None) == (alias is None):
        found = "neither upstream nor alias" if upstream is None else "both upstream and alias"
        checker.problem(
            where,
            f"it has {found}. Give exactly one: the address of an application, or the folder that holds the files.",
        )
        return
    kind, other = ("upstream", "alias") if alias is None else ("alias", "upstream")
    for key in LOCATION_KINDS[other]:
        if location[key] is not None:
            checker.problem(where, f"{key} has no meaning beside {kind}. Remove it.")
    instead = location["instead"] or {}
    check_file(checker, instead.get("exists"), f"{where}.instead.exists", "file")
    protocols = []
    for address in (upstream, instead.get("upstream")):
        if address is None:
            continue
        known = values.upstream(address)
        if address in groups or known:
            protocols.append(groups.get(address) or (known.protocol if known else ""))
            continue
        named = f" Or name one of its upstreams: {', '.join(groups)}." if groups else ""
        checker.problem(
            where,
            f"upstream is '{address}'. Use unix:/run/app.sock or http://127.0.0.1:5000 (for the uwsgi protocol "
            f"uwsgi:unix:/run/app.sock or uwsgi://127.0.0.1:3031), without a path: the request's is passed on.{named}",
        )
    if len(protocols) == 2 and protocols[0] == protocols[1]:
        checker.problem(
            f"{where}.instead",
            f"both upstreams use the protocol {protocols[0]}. Use http for one of them, and uwsgi for the other.",
        )
    check_file(checker, alias, f"{where}.alias", "folder")


def check_together(checker: Checker, sites: list[dict[str, Any]]) -> None:
    """Check that no two sites have the same name, or are both the default, on one port.

    nginx itself would only warn, and ignore the second site.
    """
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
                    f"'{name}' on port {port} is already taken by {taker}. A name leads to one site. Remove one of the "
                    "two, or use another port.",
                )
            names.setdefault((port, name), site["name"])
    check_tls_together(checker, sites)


# --- TLS --------------------------------------------------------------------------------------------------------------


def check_tls(checker: Checker, site: dict[str, Any], where: str) -> None:
    """Check the TLS of a site whose domains and locations are right."""
    where = f"{where}.tls"
    check_tls_source(checker, site["tls"], where)
    check_tls_names(checker, site, where)
    for path in site["tls"]["plain_paths"]:
        if not values.location_path(path):
            checker.problem(f"{where}.plain_paths", f"'{path}' is not a path. Start with a slash, as in /healthz.")
        elif location_of(site, path) is None:
            checker.problem(f"{where}.plain_paths", f"no location with an upstream answers '{path}'. Remove it.")


def check_tls_settings(checker: Checker, settings: dict[str, Any]) -> None:
    """Check the TLS settings that all sites share."""
    directory = settings["acme_directory"]
    if directory is not None and not directory.startswith("https://"):
        checker.problem(
            "nginx_acme_directory", f"'{directory}' is not the address of an ACME directory. It begins with https://."
        )
    if settings["acme_staging"] and directory != LETS_ENCRYPT:
        checker.problem(
            "nginx_acme_staging",
            "only Let's Encrypt's staging directory is known. Set nginx_acme_directory to that of the other authority.",
        )
    if settings["acme_email"] and "@" not in settings["acme_email"]:
        checker.problem(
            "nginx_acme_email", f"'{settings['acme_email']}' is not an address. Write it as name@example.com."
        )
    if bool(settings["ca_certificate"]) != bool(settings["ca_key"]):
        checker.problem("nginx_ca_certificate", "it belongs with nginx_ca_key. Give both, or neither.")


def check_tls_together(checker: Checker, sites: list[dict[str, Any]]) -> None:
    """Check that each port is either with TLS or without, and that a name has one certificate on a port."""
    plain = {site["port"]: site["name"] for site in sites}
    names: dict[tuple[int, str], str] = {}
    for site in (site for site in sites if has_tls(site)):
        where, port = f"nginx_sites '{site['name']}'.tls.port", site["tls"]["port"]
        if port in plain:
            checker.problem(
                where, f"'{plain[port]}' is served without TLS on port {port}. Use another port for one of them."
            )
        for name in site["domains"] + site["redirects"] or [""]:
            owner = names.setdefault((port, name), site["name"])
            if owner != site["name"]:
                what = f"'{name}'" if name else "the default site"
                checker.problem(
                    where,
                    f"{what} on port {port} already belongs to '{owner}'. Use another port, or remove it from one of "
                    "them.",
                )
