# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for one application that an argument specification can't express."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.adopts import check_adopts
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.background import check_background
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.container import check_container
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.files import check_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.names import check_name
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_inside, nested, place
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.site import check_site
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.source import check_source
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.switch import check_switch
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.values import check_command, check_limits, check_range
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variables import check_env
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import image
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.callables import WSGI, expression_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import IMAGE, SERVERS, default_threads
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.requirement import (
    NO_INDEX,
    is_index,
    is_own_project,
    is_requirement,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

# The interpreter of a host, where neither the inventory nor the source chooses another.
DEFAULT_INTERPRETER = "python3"
HEALTH_PATH = re.compile(r"/[!-~]*\Z")


def check_app(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Report the problems of one application, and normalise its values."""
    check_name(checker, app["name"], f"{where}.name")
    if app["threads"] is None:
        app["threads"] = default_threads(app)
    if app["state"] == "absent":
        return
    check_source(checker, app["source"] or {}, f"{where}.source")
    if app["server"] != IMAGE.name or app["wsgi"]:
        check_wsgi(checker, app["wsgi"], where)
    if app["server"] == IMAGE.name:
        for key, text in image.wrong_settings(app):
            checker.problem(f"{where}.{key}", text)
    check_workers(checker, app, where)
    check_numbers(checker, app, where)
    check_limits(checker, app["limits"], f"{where}.limits")
    check_health(checker, app["health"], f"{where}.health")
    check_servers(checker, app, where)
    check_env(checker, app["env"], f"{where}.env")
    check_python(checker, app["python"], f"{where}.python", (app["source"] or {}).get("subdir") or "")
    check_container(checker, app, where)
    check_shared_folders(checker, app, f"{where}.shared")
    check_files(checker, app, f"{where}.files")
    for stage, commands in app["commands"].items():
        for command in commands:
            check_command(checker, command, f"{where}.commands.{stage}", "flask db upgrade")
    check_background(checker, app, where)
    check_site(checker, app, f"{where}.site")
    check_switch(checker, app, where)
    check_adopts(checker, app["adopts"], f"{where}.adopts")


def check_wsgi(checker: Checker, wsgi: str | None, where: str) -> None:
    if not wsgi:
        checker.problem(
            where, "the key 'wsgi' is missing. Set the callable to serve as 'module:callable', such as 'app:app'."
        )
        return
    match = WSGI.match(wsgi)
    if not match:
        checker.problem(f"{where}.wsgi", f"'{wsgi}' is not a callable's name. {wsgi_remedy(wsgi)}")
    elif (problem := expression_problem(match["expression"])) == "arguments":
        checker.problem(
            f"{where}.wsgi",
            f"'{wsgi}': the arguments of a factory must be plain values, such as 'create_app(\"production\")'.",
        )
    elif problem:
        checker.problem(
            f"{where}.wsgi",
            f"'{wsgi}': the callable must be a name, its attributes, and calls with plain values, such as 'shop:app', "
            "'shop:dash.server' or 'shop:create_app()'. Assign anything else to a name in the module, and write that.",
        )


def wsgi_remedy(wsgi: str) -> str:
    if wsgi.endswith(".py") or "/" in wsgi:
        module = re.sub(r"\.py\Z", "", wsgi.split(":")[0]).strip("./").replace("/", ".").removesuffix(".__init__")
        return f"Write the module instead of the file: '{module or 'app'}:app'."
    if ":" not in wsgi:
        return f"The callable is missing. Write '{wsgi}:app' if it is called app."
    return "Write it as 'module:callable', such as 'shop.wsgi:app', or as a factory call, such as 'shop:create_app()'."


def check_workers(checker: Checker, app: dict[str, Any], where: str) -> None:
    workers = app["workers"]
    if isinstance(workers, str) and workers.isdecimal():
        app["workers"] = workers = int(workers)
    if workers != "auto" and (isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 1000):
        auto = " auto is twice the number of cores plus one with gunicorn." if "cpu_count" in str(workers) else ""
        checker.problem(
            f"{where}.workers",
            f"'{workers}' is not a number of processes. Set a whole number from 1 to 1000, or auto.{auto}",
        )


def check_numbers(checker: Checker, app: dict[str, Any], where: str) -> None:
    for key, value, low, high in (
        ("threads", app["threads"], 1, 1000),
        ("timeout", app["timeout"], 1, 86400),
        ("health.timeout", app["health"]["timeout"], 1, 3600),
        ("site.port", app["site"]["port"], 1, 65535),
        ("site.keepalive", app["site"]["keepalive"], 0, 1000),
    ):
        check_range(checker, value, f"{where}.{key}", low, high)


def check_health(checker: Checker, health: dict[str, Any], where: str) -> None:
    path = health["path"]
    if path is not None and not HEALTH_PATH.match(path):
        checker.problem(
            f"{where}.path",
            f"'{path}' is not a URL path. Write a path that begins with '/' and has no spaces, such as '/healthz'.",
        )
    for status in health["status"]:
        if not 100 <= status <= 599:
            checker.problem(
                f"{where}.status", f"{status} is not an HTTP status. Set numbers from 100 to 599, such as 200."
            )


def check_servers(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Check the settings of every app server, because the application may change to another one."""
    for server in SERVERS.values():
        server.check(checker, app, where)


def check_python(checker: Checker, python: dict[str, Any], where: str, subdir: str = "") -> None:
    interpreter = python["interpreter"] or DEFAULT_INTERPRETER
    if interpreter == "3.1":
        checker.problem(f"{where}.interpreter", "YAML reads 3.10 as the number 3.1. Put it between quotes: '3.10'.")
    if not interpreter.strip() or re.search(r"\s", interpreter):
        checker.problem(
            f"{where}.interpreter", f"'{interpreter}' is not a program. Set a name or a path, such as python3."
        )
    for package in python["packages"]:
        if not (is_requirement(package) or is_own_project(package)):
            checker.problem(
                f"{where}.packages",
                f"'{package}' is not a requirement. Write it as 'redis>=5'; options belong in a requirements file.",
            )
    for key in ("extras", "groups"):
        for name in python[key]:
            if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
                checker.problem(f"{where}.{key}", f"'{name}' is not a name. Name {key} as pyproject.toml does.")
    for key in ("index_url", "extra_index_urls"):
        urls = [python[key] or ""] if key == "index_url" else python[key]
        if any(url and not is_index(url) for url in urls):
            checker.problem(f"{where}.{key}", NO_INDEX)
    if python["ca_bundle"] and not python["ca_bundle"].startswith("/"):
        checker.problem(
            f"{where}.ca_bundle",
            f"'{python['ca_bundle']}' is not an absolute path on the host. Set one, such as "
            "/etc/ssl/certs/ca-certificates.crt.",
        )
    for file in python["requirements"] or []:
        if not is_inside(file, subdir):
            checker.problem(
                f"{where}.requirements",
                f"'{file}' is not a file inside {place(subdir)}. Set a relative path that stays inside.",
            )


def check_shared_folders(checker: Checker, app: dict[str, Any], where: str) -> None:
    for index, folder in enumerate(app["shared"]):
        if not is_inside(folder):
            checker.problem(
                where,
                f"'{folder}' is not a folder inside the application root. Set a relative path, such as 'instance'.",
            )
        app["shared"][index] = posixpath.normpath(folder)
    for outer, inner in nested(app["shared"]):
        checker.problem(
            where,
            f"'{inner}' is listed twice. Remove one of the entries."
            if inner == outer
            else f"'{inner}' is inside '{outer}', which is shared too. Remove '{inner}'.",
        )
