# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The application model: ``webapps`` of the inventory, checked, with defaults filled."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import ScheduleError
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import parse as parse_schedule
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.rules import (
    check_cache,
    check_extra,
    check_shared,
    check_size,
    check_tls_names,
    check_tls_source,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.values import location_path
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn, uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind, label, role_options

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
MODULE = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
WSGI = re.compile(rf"(?P<module>{MODULE}):(?P<callable>[A-Za-z_][A-Za-z0-9_.]*)(?P<call>\(.*\))?\Z")
DOMAIN = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MEMORY = re.compile(r"\d+[KMGT]?\Z")
CPU = re.compile(r"\d+%\Z")
PREFIX = re.compile(r"/[A-Za-z0-9._~!&'()*+,=:@/-]*\Z")
PATH_CHARACTERS = re.compile(r"[^\x00-\x1f]+\Z")

# Names that would clash with an account or a folder of the system or of this collection.
RESERVED_NAMES = frozenset(
    [
        "root",
        "daemon",
        "bin",
        "sys",
        "sync",
        "games",
        "man",
        "lp",
        "mail",
        "news",
        "uucp",
        "proxy",
        "www-data",
        "backup",
        "list",
        "irc",
        "nobody",
        "adm",
        "tty",
        "disk",
        "sudo",
        "nginx",
        "supervisor",
        "supervisord",
        "systemd",
        "ssh",
        "sshd",
        "cron",
        "uv",
        # Groups of a fresh Debian: the account's own group could not be made.
        "staff",
        "shadow",
        "users",
        "utmp",
        "video",
        "audio",
        "src",
        "docker",
        # Template units of systemd itself: NAME@.service would take the place of theirs.
        "user",
        "user-runtime-dir",
        "getty",
        "autovt",
        "serial-getty",
        "console-getty",
        "container-getty",
        "modprobe",
        "dbus",
    ]
)

# Programs in bin/ of every release, beside those of its processes and jobs.
LAUNCHERS = frozenset({"run", "web", "job"})
# What a number of a process or job may be.
NUMBERS = {
    "processes": (("count", 0, 100), ("stop_timeout", 1, 86400), ("start_seconds", 1, 300)),
    "jobs": (("timeout", 1, 604800),),
}
DIRECTIVE = re.compile(r"[A-Z][A-Za-z0-9]*\Z")

# Bytes; the kernel passes no longer "NAME=value" to a program (MAX_ARG_STRLEN).
VARIABLE_BYTES = 128 * 1024 - 1
HEALTH_PATH = re.compile(r"/[!-~]*\Z")

# The kinds of source, and what each names.
SOURCES = {
    "git": "a repository",
    "path": "a folder on the controller",
    "archive": "a file on the controller or an address",
    "package": "a requirement from the package index",
}
# Keys of a source that belong to some kinds only.
SOURCE_OPTIONS = {"version": ("git",), "key": ("git",), "checksum": ("archive",), "subdir": ("git", "path", "archive")}


def normalised(webapps: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The applications with types converted and defaults filled, and every problem found in them."""
    checker = Checker()
    options = role_options("webapp")["webapps"]["options"]
    if not isinstance(webapps, list):
        checker.list(webapps, {"elements": "dict"}, "webapps")
        return [], checker.problems
    apps = []
    for index, item in enumerate(webapps):
        where = f"webapps {label(item, index)}"
        before = len(checker.problems)
        app = checker.mapping(item, options, where)
        if len(checker.problems) == before:
            check_app(checker, app, where)
        apps.append(app)
    if not checker.problems:
        check_together(checker, apps)
    return apps, checker.problems


def check_app(checker: Checker, app: dict[str, Any], where: str) -> None:
    """What a specification cannot say about one application."""
    name = app["name"]
    if not NAME.match(name):
        checker.problem(
            f"{where}.name",
            f"'{name}' can't be the name of an account and its folders. Use lower-case letters, digits and '-', "
            "beginning "
            f"with a letter, 31 characters at most, such as '{suggest_name(name)}'.",
        )
    elif name in RESERVED_NAMES or name.startswith("systemd-"):
        checker.problem(
            f"{where}.name", f"'{name}' is an account or service of the system. Choose another, such as '{name}-app'."
        )
    if app["state"] == "absent":
        return
    check_source(checker, app, where)
    check_wsgi(checker, app, where)
    check_numbers(checker, app, where)
    check_health(checker, app, where)
    check_server(checker, app, where)
    check_env(checker, app, where)
    check_paths(checker, app, where)
    check_background(checker, app, where)
    check_site(checker, app["site"], f"{where}.site")


def suggest_name(name: str) -> str:
    """A valid name that resembles an invalid one."""
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    letters = re.sub(r"^[^a-z]+", "", letters)[:31]
    return letters or "shop"


def check_source(checker: Checker, app: dict[str, Any], where: str) -> None:
    source = app["source"] or {}
    given = [key for key in SOURCES if source.get(key)]
    if not given:
        listed = ", ".join(f"{key} ({meaning})" for key, meaning in SOURCES.items())
        checker.problem(f"{where}.source", f"there is no source. Give one of: {listed}.")
    elif len(given) > 1:
        checker.problem(
            f"{where}.source",
            f"{' and '.join(given)} are given together, but an application has one source. Keep one of them.",
        )
    subdir = source.get("subdir") or ""
    if subdir and (subdir.startswith("/") or ".." in subdir.split("/")):
        checker.problem(
            f"{where}.source.subdir", f"'{subdir}' leaves the source. Give a path inside it, such as 'backend'."
        )
    for key, kinds in SOURCE_OPTIONS.items():
        if source.get(key) and len(given) == 1 and given[0] not in kinds:
            checker.problem(
                f"{where}.source.{key}",
                f"'{source[key]}' has no meaning for {given[0]}; it belongs to {', '.join(kinds)}. Remove it.",
            )
    for key in ("git", "version"):
        if (source.get(key) or "").startswith("-") or re.search(r"[\x00-\x20]", source.get(key) or ""):
            checker.problem(
                f"{where}.source.{key}", f"'{source[key]}' can't be right: it has spaces or begins with '-'."
            )
    if source.get("package") and re.search(r"[\s;]*[\n\r]|^\s*-", source["package"]):
        checker.problem(
            f"{where}.source.package", f"'{source['package']}' is not a requirement. Write it as 'shop==1.4.2'."
        )


def check_wsgi(checker: Checker, app: dict[str, Any], where: str) -> None:
    wsgi = app["wsgi"]
    if not wsgi:
        checker.problem(
            where, "the key 'wsgi' is missing: the callable to serve, as 'module:callable', such as 'app:app'."
        )
    elif not WSGI.match(wsgi):
        remedy = (
            "Write it as 'module:callable', such as 'shop.wsgi:app', or as a factory call, such as 'shop:create_app()'."
        )
        if wsgi.endswith(".py") or "/" in wsgi:
            module = re.sub(r"\.py\Z", "", wsgi.split(":")[0]).strip("./").replace("/", ".").removesuffix(".__init__")
            remedy = f"It names a module, not a file: write '{module or 'app'}:app'."
        elif ":" not in wsgi:
            remedy = f"The callable is missing: write '{wsgi}:app' if it is called app."
        checker.problem(f"{where}.wsgi", f"'{wsgi}' is not a callable's name. {remedy}")


def check_numbers(checker: Checker, app: dict[str, Any], where: str) -> None:
    workers = app["workers"]
    if isinstance(workers, str) and workers.isdecimal():
        app["workers"] = workers = int(workers)
    if workers != "auto" and (isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 1000):
        checker.problem(
            f"{where}.workers", f"'{workers}' is not a number of processes. Give a whole number from 1, or auto."
        )
    for key, value, low, high in (
        ("threads", app["threads"], 1, 1000),
        ("timeout", app["timeout"], 1, 86400),
        ("health.timeout", app["health"]["timeout"], 1, 3600),
        ("site.port", app["site"]["port"], 1, 65535),
        ("site.keepalive", app["site"]["keepalive"], 0, 1000),
    ):
        if value is not None and not low <= value <= high:
            checker.problem(f"{where}.{key}", f"{value} is out of range. Give a whole number from {low} to {high}.")
    for status in app["health"]["status"]:
        if not 100 <= status <= 599:
            checker.problem(f"{where}.health.status", f"{status} is not an HTTP status. Give numbers such as 200.")
    check_limits(checker, app["limits"], f"{where}.limits")


def check_limits(checker: Checker, limits: dict[str, Any], where: str) -> None:
    memory, cpu, tasks = limits["memory"], limits["cpu"], limits["tasks"]
    if memory is not None and not MEMORY.match(memory):
        checker.problem(f"{where}.memory", f"'{memory}' is not a size. Write it as 512M or 2G.")
    if cpu is not None and not CPU.match(cpu):
        checker.problem(
            f"{where}.cpu", f"'{cpu}' is not a share of processor time. Write it as 150% for one and a half cores."
        )
    if tasks is not None and tasks < 1:
        checker.problem(f"{where}.tasks", f"{tasks} is no number of processes and threads. Give a whole number from 1.")


def check_health(checker: Checker, app: dict[str, Any], where: str) -> None:
    path = app["health"]["path"]
    if path is not None and not HEALTH_PATH.match(path):
        checker.problem(
            f"{where}.health.path",
            f"'{path}' is not the path of a URL. It begins with '/' and has no spaces, such as '/healthz'.",
        )


def check_server(checker: Checker, app: dict[str, Any], where: str) -> None:
    """The settings of the application servers, of the one that is not used as well: it may be soon."""
    app["gunicorn"] = gunicorn.checked(checker, app["gunicorn"], f"{where}.gunicorn")
    app["uwsgi"] = uwsgi.checked(checker, app["uwsgi"], f"{where}.uwsgi")


def check_env(checker: Checker, app: dict[str, Any], where: str) -> None:
    for key, value in app["env"].items():
        if not isinstance(key, str) or not VARIABLE.match(key):
            # What looks like a name may be a whole "NAME=secret".
            shown = str(key).split("=")[0]
            checker.problem(
                f"{where}.env",
                f"'{shown}{'=…' if shown != str(key) else ''}' can't be the name of an environment variable. Use "
                "letters, "
                "digits and '_', and write each as NAME: value.",
            )
        elif isinstance(value, bool):
            checker.problem(
                f"{where}.env.{key}",
                "a boolean has no one spelling in an environment. Write what the application expects, as "
                f'"{str(value).lower()}" or "1".',
            )
        elif value is None:
            checker.problem(f"{where}.env.{key}", 'it has no value. Write "" for an empty one, or remove it.')
        elif isinstance(value, (dict, list)):
            checker.problem(
                f"{where}.env.{key}",
                f"this is {kind(value)}, but the value of an environment variable is a text. Put it between quotes.",
            )
        elif "\0" in str(value):
            checker.problem(f"{where}.env.{key}", "a zero byte can't be in an environment variable. Remove it.")
        elif len(f"{key}={value}".encode(errors="surrogatepass")) > VARIABLE_BYTES:
            checker.problem(
                f"{where}.env.{key}",
                f"no program can be given a variable of more than {VARIABLE_BYTES} bytes. Put it into a file, and its "
                "path here.",
            )
    if not app["python"]["interpreter"].strip() or re.search(r"\s", app["python"]["interpreter"]):
        checker.problem(
            f"{where}.python.interpreter",
            f"'{app['python']['interpreter']}' is not a program. Give a name or a path, such as python3.",
        )


def check_paths(checker: Checker, app: dict[str, Any], where: str) -> None:
    for index, folder in enumerate(app["shared"]):
        if not inside(folder):
            checker.problem(
                f"{where}.shared",
                f"'{folder}' is not a folder inside the application root. Give a relative path, such as 'instance'.",
            )
        app["shared"][index] = posixpath.normpath(folder)
    for outer, inner in nested(app["shared"]):
        checker.problem(
            f"{where}.shared",
            f"'{inner}' is {'named twice' if inner == outer else f'part of {outer!r}, which is shared as a whole'}. "
            "Remove it.",
        )
    for package in app["python"]["packages"]:
        if not package.strip() or package.lstrip().startswith("-") or "\n" in package:
            checker.problem(
                f"{where}.python.packages",
                f"'{package}' is not a requirement. Write it as 'redis>=5'; options belong into a requirements file.",
            )
    for file in app["python"]["requirements"] or []:
        if not inside(file):
            checker.problem(
                f"{where}.python.requirements",
                f"'{file}' is not a file inside the application root. Give a relative path.",
            )
    for stage in ("build", "release"):
        for command in app["commands"][stage]:
            if not command.strip() or "\n" in command or "\0" in command:
                checker.problem(
                    f"{where}.commands.{stage}", "a command is one line of text, such as 'flask db upgrade'."
                )


def check_background(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Background processes and jobs; they share their names, which become services and launchers."""
    taken: set[str] = set()
    for key in ("processes", "jobs"):
        for index, item in enumerate(app[key]):
            place = f"{where}.{key} {label(item, index)}"
            name = item["name"]
            if not NAME.match(name):
                checker.problem(
                    f"{place}.name",
                    f"'{name}' can't be the name of a service. Use lower-case letters, digits and '-', beginning with "
                    f"a letter, 31 characters at most, such as '{suggest_name(name)}'.",
                )
            elif name in LAUNCHERS:
                checker.problem(f"{place}.name", f"'{name}' is a program of every release. Choose another name.")
            elif name in taken:
                checker.problem(
                    f"{place}.name",
                    f"the name '{name}' is already that of another process or job. Choose another name.",
                )
            taken.add(name)
            if not item["command"].strip() or "\n" in item["command"] or "\0" in item["command"]:
                checker.problem(f"{place}.command", "a command is one line of text, such as 'celery -A shop worker'.")
            check_limits(checker, item["limits"], f"{place}.limits")
            for number, low, high in NUMBERS[key]:
                if not low <= item[number] <= high:
                    checker.problem(
                        f"{place}.{number}",
                        f"{item[number]} is out of range. Give a whole number from {low} to {high}.",
                    )
            if key == "jobs":
                try:
                    parse_schedule(item["schedule"])
                except ScheduleError as error:
                    checker.problem(f"{place}.schedule", f"'{item['schedule']}' {error}")
    for directive, value in app["systemd"].items():
        if not DIRECTIVE.match(str(directive)) or isinstance(value, dict):
            checker.problem(
                f"{where}.systemd",
                f"'{directive}' is not a directive of [Service] with its value. Write it as 'ProtectHome: read-only'.",
            )


def nested(folders: list[str]) -> list[tuple[str, str]]:
    """Every folder that is the same as, or part of, one that is named before or after it: (outer, inner)."""
    found = []
    for place, inner in enumerate(folders):
        for other, outer in enumerate(folders):
            if inner.startswith(outer + "/") or (inner == outer and other < place):
                found.append((outer, inner))
    return found


def inside(path: str) -> bool:
    """Whether a relative path stays inside its folder."""
    parts = path.split("/")
    return (
        bool(path)
        and bool(PATH_CHARACTERS.match(path))
        and not path.startswith(("/", "~"))
        and ".." not in parts
        and path.strip("./") != ""
    )


def check_site(checker: Checker, site: dict[str, Any], where: str) -> None:
    for key in ("domains", "redirects"):
        for index, domain in enumerate(site[key]):
            lowered = domain.lower().rstrip(".")
            site[key][index] = lowered
            problem = domain_problem(lowered)
            if problem:
                checker.problem(f"{where}.{key}", f"'{domain}' {problem}")
    if site["redirects"] and not site["domains"]:
        checker.problem(f"{where}.redirects", "there is no domain to redirect to. Name the main one under domains.")
    elif site["redirects"] and site["domains"][0].startswith("*."):
        checker.problem(
            f"{where}.redirects",
            f"the first domain, '{site['domains'][0]}', stands for many, so nothing can redirect to it. Name another "
            "first.",
        )
    check_tls_source(checker, site["tls"], f"{where}.tls")
    check_tls_names(checker, site, f"{where}.tls")
    path = site["path"]
    if not PREFIX.match(path) or "//" in path or ".." in path.split("/"):
        checker.problem(f"{where}.path", f"'{path}' is not a URL prefix. It begins with '/', such as '/shop'.")
    elif path != "/":
        site["path"] = path.rstrip("/")
    check_shared(checker, site, where, is_page=inside)
    check_cache(checker, site, where)
    check_size(checker, site["max_temp_file_size"], f"{where}.max_temp_file_size")
    check_extra(checker, site["extra"], f"{where}.extra", "server block")
    for index, location in enumerate(site["locations"]):
        check_location(checker, location, f"{where}.locations {label(location, index)}")
    for item in site["static"]:
        if not PREFIX.match(item["url"]) or not item["url"].endswith("/") or item["url"] == "/":
            checker.problem(f"{where}.static", f"url '{item['url']}' must begin and end with '/', such as '/static/'.")
        if not inside(item["path"]) or "$" in item["path"]:
            checker.problem(
                f"{where}.static",
                f"path '{item['path']}' is not a folder inside the application root that nginx can be told of "
                "(it takes '$' for a variable), such as 'static'.",
            )


def check_location(checker: Checker, location: dict[str, Any], where: str) -> None:
    """A path of the application for which something else holds."""
    if not location_path(location["path"]) or location["path"] == "/":
        checker.problem(
            where, f"its path is '{location['path']}'. Begin with '/' and name what lies below it, such as '/api/'."
        )
    check_shared(checker, {**location, "maintenance": None}, where, is_page=inside)
    check_cache(checker, location, where)
    check_size(checker, location["max_temp_file_size"], f"{where}.max_temp_file_size")
    check_extra(checker, location["extra"], f"{where}.extra", "location block")
    if location["read_timeout"] is not None and not 1 <= location["read_timeout"] <= 86400:
        checker.problem(f"{where}.read_timeout", f"{location['read_timeout']} is out of range: 1 to 86400 seconds.")


def domain_problem(domain: str) -> str | None:
    """What is wrong with a host name, in words that continue a sentence."""
    if "://" in domain or "/" in domain:
        return "is a URL. Give the host name alone, such as shop.example.com."
    if re.search(r":\d+\Z", domain):
        return "has a port. Give the host name alone, and the port as port."
    try:
        ipaddress.ip_address(domain.strip("[]"))
    except ValueError:
        pass
    else:
        return None
    if len(domain) > 253 or not DOMAIN.match(domain):
        return "is not a host name. Use letters, digits, '-' and dots, such as shop.example.com."
    return None


def check_together(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """What two applications may not share."""
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
    """Applications that share a domain share its certificate: one port speaks TLS or not, whoever answers behind it."""
    found: dict[tuple[int, str], tuple[str, dict[str, Any]]] = {}
    for app in apps:
        for domain in app["site"]["domains"] or [""]:
            place = (app["site"]["port"], domain)
            if has_tls(app["site"]):
                name, tls = found.setdefault(place, (app["name"], app["site"]["tls"]))
                if tls != app["site"]["tls"]:
                    checker.problem(
                        f"webapps '{app['name']}'.site.tls",
                        f"{domain or 'the default site'} is also where '{name}' is served, whose tls is another. Say "
                        "the same in both, or leave it out of one.",
                    )
    for app in apps:
        places = [(app["site"]["port"], domain) for domain in app["site"]["domains"] or [""]]
        if not has_tls(app["site"]) and (shared := [found[place] for place in places if place in found]):
            app["site"]["tls"] = shared[0][1]


def check_tls_ports(checker: Checker, apps: list[dict[str, Any]]) -> None:
    """A port speaks TLS or it does not, and a name has one certificate there."""
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
