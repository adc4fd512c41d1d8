# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inputs of the role nginx: held against its argument specification, and against what that cannot say."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx import values
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import unbalanced
from ansible_collections.pyweb.stack.plugins.plugin_utils.spec import Checker, label, role_options

UPSTREAM_ONLY = ("read_timeout", "websocket", "buffering")
ALIAS_ONLY = ("immutable",)

# Locations that differ in what they do have some keys that mean nothing to the other kind.
LOCATION_KINDS = {"upstream": UPSTREAM_ONLY, "alias": ALIAS_ONLY}


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


def checked_settings(checker: Checker, settings: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    filled = checker.filled({f"nginx_{key}": value for key, value in settings.items()}, options, "")
    found = {key.removeprefix("nginx_"): value for key, value in filled.items()}
    processes = found.get("worker_processes") or ""
    if processes != "auto" and (not processes.isdecimal() or int(processes) < 1):
        checker.problem("nginx_worker_processes", f"'{processes}' is no number. Use auto, or a number of at least 1.")
    check_range(checker, found["worker_connections"], "nginx_worker_connections", 1, 1_000_000)
    check_extra(checker, found["extra"], "nginx_extra", "http block")
    return found


def check_range(checker: Checker, value: int | None, where: str, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        checker.problem(where, f"{value} is out of range. Use a whole number from {low} to {high}.")


def check_extra(checker: Checker, text: str | None, where: str, place: str) -> None:
    if trouble := unbalanced(text or ""):
        checker.problem(where, f"it can't be printed into the {place}: {trouble}.")


def check_size(checker: Checker, text: str | None, where: str) -> None:
    if text is not None and not values.SIZE.fullmatch(text):
        checker.problem(where, f"'{text}' is no size. Use a number of bytes, or one with k, m or g: 16m; 0: no limit.")


def check_file(checker: Checker, text: str | None, where: str, what: str) -> None:
    if text is not None and not values.folder(text):
        checker.problem(where, f"'{text}' is no {what}. Use an absolute path without '..' and '$'.")


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
    check_size(checker, site["max_body_size"], f"{where}.max_body_size")
    for key in ("access_log", "error_log"):
        if site[key] != "off":
            check_file(checker, site[key], f"{where}.{key}", "path of a log")
    if site["error_log"] == "off":
        checker.problem(f"{where}.error_log", "nginx takes 'off' for a file's name. Use /dev/null, or leave it out.")
    check_extra(checker, site["extra"], f"{where}.extra", "server block")
    check_locations(checker, site, where)


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
        check_target(checker, location, here)
        check_range(checker, location["read_timeout"], f"{here}.read_timeout", 1, 86400)
        if path.rstrip("/") in seen:
            checker.problem(here, "the site has this path twice. Keep one of them.")
        seen.append(path.rstrip("/"))


def check_target(checker: Checker, location: dict[str, Any], where: str) -> None:
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
    if upstream is not None and values.upstream(upstream) is None:
        checker.problem(
            where,
            f"upstream is '{upstream}'. Use unix:/run/app.sock or http://127.0.0.1:5000 (for the uwsgi protocol "
            "uwsgi:unix:/run/app.sock or uwsgi://127.0.0.1:3031), without a path: the request's is passed on.",
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
