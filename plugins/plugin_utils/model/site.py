# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the site of an application."""

from __future__ import annotations

import functools
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_page, place
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.inheritance import parameters
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.rules import (
    check_cache,
    check_charset,
    check_domains,
    check_location,
    check_page_of_folder,
    check_shared,
    check_site_extra,
    check_size,
    check_tls_names,
    check_tls_source,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import location_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label

PACKAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
# The folder of the application root into which a build copies the static folders of packages.
PACKAGED = "pyweb-packages"


def check_site(checker: Checker, app: dict[str, Any], where: str) -> None:
    site, subdir = app["site"], (app["source"] or {}).get("subdir") or ""
    is_own_page = functools.partial(is_page, subdir=subdir)
    check_domains(checker, site, where)
    check_tls_source(checker, site["tls"], f"{where}.tls")
    check_tls_names(checker, site, f"{where}.tls")
    path = site["path"]
    if not location_path(path):
        checker.problem(
            f"{where}.path",
            f"'{path}' is not a URL path. Write a path that begins with '/' and has no spaces, such as '/shop'.",
        )
    elif path != "/":
        site["path"] = path.rstrip("/")
    check_shared(checker, site, where, is_own_page)
    check_cache(checker, site, where)
    check_size(checker, site["max_temp_file_size"], f"{where}.max_temp_file_size")
    check_site_extra(checker, site["extra"], f"{where}.extra")
    if app["server"] != "uwsgi" and parameters(site["extra"]):
        checker.problem(
            f"{where}.extra",
            f"uwsgi_param reaches only uWSGI, but server is {app['server']}. Use proxy_set_header, which reaches both.",
        )
    for index, location in enumerate(site["locations"]):
        here = f"{where}.locations {label(location, index)}"
        if not location_path(location["path"]):
            checker.problem(
                here, f"its path is '{location['path']}'. Begin it with '/', as in '/api/', or set '/' for all paths."
            )
        check_location(checker, location, here, is_own_page)
    if [location["path"] for location in site["locations"]].count("/") > 1:
        checker.problem(f"{where}.locations", "the path '/' is listed twice. Keep one of them.")
    for item in site["static"]:
        check_static(checker, item, f"{where}.static", subdir)
        if item["url"] == "/":
            check_root_folder(checker, app, item, where)


def check_static(checker: Checker, item: dict[str, Any], where: str, subdir: str = "") -> None:
    """A folder that nginx serves itself."""
    url, path = item["url"], item["path"]
    if not location_path(url) or not url.endswith("/"):
        checker.problem(where, f"url '{url}' is not valid. Begin and end it with '/', such as '/static/'.")
    if not is_page(path, "" if item["package"] else subdir):
        checker.problem(
            where,
            f"path '{path}' is not a folder inside {place(subdir)}, or contains '$', which nginx reads as a "
            "variable. Set a relative path, such as 'static'.",
        )
    elif item["package"] is not None:
        if not PACKAGE.fullmatch(item["package"]):
            checker.problem(
                f"{where} '{url}'.package",
                f"'{item['package']}' is not the name of a package as Python imports it. Write one such as shop.",
            )
        item["path"] = f"{PACKAGED}/{item['package']}/{path.strip('/')}"
    check_page_of_folder(checker, item["fallback"], f"{where} '{url}'.fallback")
    check_charset(checker, item["charset"], f"{where} '{url}'.charset")
    if item["internal"] and item["fallback"]:
        checker.problem(f"{where} '{url}'.fallback", "an internal folder has no pages for visitors. Remove it.")


def check_root_folder(checker: Checker, app: dict[str, Any], item: dict[str, Any], where: str) -> None:
    """A folder that takes every path which is not the application's."""
    here, locations = f"{where}.static '/'", app["site"]["locations"]
    path = (app["health"]["path"] or "").partition("?")[0]
    missing = []
    if not item["fallback"]:
        missing.append("Name the page for paths without a file, such as fallback: index.html.")
    if not locations or any(location["path"] == "/" for location in locations):
        missing.append("List the application's paths under site.locations, such as [{path: /api/}].")
    if not path.strip("/") or not location_path(path):
        missing.append("Set health.path to a path that the application answers, such as /api/healthz.")
    if item["internal"]:
        checker.problem(here, "an internal folder can't take all paths. Give it a url such as '/protected/'.")
    elif missing:
        checker.problem(here, f"the folder takes all paths that are not the application's. {' '.join(missing)}")
