# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the site of an application."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_page
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.rules import (
    check_cache,
    check_domains,
    check_extra,
    check_location,
    check_shared,
    check_size,
    check_tls_names,
    check_tls_source,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import location_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label


def check_site(checker: Checker, site: dict[str, Any], where: str) -> None:
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
    check_shared(checker, site, where, is_page)
    check_cache(checker, site, where)
    check_size(checker, site["max_temp_file_size"], f"{where}.max_temp_file_size")
    check_extra(checker, site["extra"], f"{where}.extra", "server block")
    for index, location in enumerate(site["locations"]):
        here = f"{where}.locations {label(location, index)}"
        if not location_path(location["path"]) or location["path"] == "/":
            checker.problem(here, f"its path is '{location['path']}'. Set a path below '/', such as '/api/'.")
        check_location(checker, location, here, is_page)
    for item in site["static"]:
        check_static(checker, item, f"{where}.static")


def check_static(checker: Checker, item: dict[str, Any], where: str) -> None:
    """A folder that nginx serves itself."""
    url, path = item["url"], item["path"]
    if not location_path(url) or not url.endswith("/") or url == "/":
        checker.problem(where, f"url '{url}' is not valid. Begin and end it with '/', such as '/static/'.")
    if not is_page(path):
        checker.problem(
            where,
            f"path '{path}' is not a folder inside the application root, or contains '$', which nginx reads as a "
            "variable. Set a relative path, such as 'static'.",
        )
