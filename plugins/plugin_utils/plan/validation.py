# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check an inventory on the controller, before anything runs on a host. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import Applications, normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked_with_applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import unknown_app
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.behind import behind_balancers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts

# A path that nginx accepts without quotes.
ROOT = re.compile(r"(/[A-Za-z0-9._+-]+)+/?")
# Maximum bytes of a socket path. The kernel's sun_path holds 108, including the final zero byte.
SOCKET_BYTES = 107


class Inventory(NamedTuple):
    """The inventory of one host, checked: its applications, every problem, and what nginx serves."""

    apps: Applications
    problems: list[str]
    sites: list[dict[str, Any]]
    settings: dict[str, Any]


def checked_inventory(
    webapps: Any,
    root: str = "/srv/webapps",
    nginx_settings: Mapping[str, Any] | None = None,
    own_sites: Any = None,
    port: int | None = None,
) -> Inventory:
    """The applications, normalised, and every problem of the model and of the sites that nginx serves.

    ``nginx_settings`` are the inputs of the role nginx that all sites share, without their prefix. ``own_sites`` is
    the list nginx_sites of the inventory. ``port`` is the one on which balancers reach this host, if there are any. If
    there are problems, no applications are returned.
    """
    apps, problems = normalised(webapps)
    problems = problems or root_problems(apps, root)
    if problems:
        return Inventory(Applications(), problems, [], {})
    own_sites = [] if own_sites is None else own_sites
    given = dict(nginx_settings or {})
    apps = behind_balancers(apps, given.get("balancers") or [], port)
    sites, settings, problems = checked_sites(apps, root, given, own_sites)
    return Inventory(Applications() if problems else Applications(apps), problems, sites, settings)


def checked_sites(
    apps: list[dict[str, Any]],
    root: str,
    settings: dict[str, Any],
    own_sites: Any,
    maintenance: dict[str, dict[str, Any]] | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """All sites that nginx is to serve and the settings that they share, both checked, and every problem.

    ``maintenance`` holds the maintenance settings of applications.
    """
    sites, filled, problems = checked_with_applications(own_sites, settings, nginx_sites(apps, root, maintenance))
    if not problems:
        checker = Checker()
        check_texts(checker, own_sites, role_options("nginx")["nginx_sites"], "nginx_sites")
        problems = checker.problems
    return sites, filled, problems


def root_problems(apps: list[dict[str, Any]], root: str) -> list[str]:
    """The problems of a webapp_root in which nginx can't open the sockets."""
    if not ROOT.fullmatch(root):
        return [
            f"webapp_root: '{root}' can't be the folder of the applications. Set an absolute path of letters, digits "
            "and '._+-', such as /srv/webapps."
        ]
    problems = []
    for app in apps:
        path = f"{root}/{app['name']}/current.sock"
        if app["state"] == "present" and len(path) > SOCKET_BYTES:
            problems.append(
                f"webapps '{app['name']}': the path of its socket, {path}, has {len(path)} characters, but the kernel "
                f"allows {SOCKET_BYTES}. Use a shorter name or a shorter webapp_root."
            )
    return problems


def app_problems(names: list[str], name: str, *, required: bool) -> list[str]:
    """The problem of a missing or unknown application name."""
    return [] if name in names or not (name or required) else [unknown_app(name, names)]


def keep_problems(keep: Any) -> list[str]:
    """The problem of a webapp_keep_releases that allows no rollback."""
    if re.fullmatch(r"\s*[0-9]+\s*", str(keep)) and int(keep) >= 2:
        return []
    return [
        f"webapp_keep_releases is '{keep}'. Set a whole number of at least 2: the live release and one to roll back to."
    ]
