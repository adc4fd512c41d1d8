# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Options of uWSGI: their rules, and the files of a service."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.callables import is_read_by_uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.translations import (
    AUTO_THREADED,
    UWSGI_NAMES,
    UWSGI_SENTENCES,
    Translator,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.uwsgi_options import OPTIONS, VERSION
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts

# As address: a socket that the process manager passes, by its descriptor.
INHERITED = re.compile(r"fd://([34])")

# Options that this collection sets itself, and what to use instead.
SOCKET = (
    "a release listens on its own sockets, which nginx finds; leave it out. For programs of this host, add a port: "
    "socket: 127.0.0.1:8001 for the uwsgi protocol, http-socket: 127.0.0.1:8002 for HTTP."
)
CALLABLE = "name the callable as wsgi."
ACCOUNT = "the application's own account runs it; leave it out."
FOREGROUND = "the process manager keeps uWSGI in the foreground; leave it out."
ENVIRONMENT = "the release has its own environment; leave it out."
WORKERS = f"give it as workers, outside of uwsgi. {AUTO_THREADED}"
OWN = {
    **dict.fromkeys(("http", "https", "http11-socket", "fastcgi-socket", "fastcgi-nph-socket", "scgi-socket"), SOCKET),
    **dict.fromkeys(("scgi-nph-socket", "puwsgi-socket", "raw-socket", "shared-socket"), SOCKET),
    **dict.fromkeys(("undeferred-shared-socket", "map-socket", "zerg", "zerg-server", "zerg-pool", "zergpool"), SOCKET),
    **dict.fromkeys(("chmod-socket", "chown-socket", "abstract-socket"), SOCKET),
    **dict.fromkeys(("module", "wsgi", "wsgi-file", "file", "callable", "mount", "manage-script-name"), CALLABLE),
    **dict.fromkeys(("paste", "ini-paste", "ini-paste-logged", "pecan", "web3", "wsgi-lite"), CALLABLE),
    **dict.fromkeys(("uid", "gid", "immediate-uid", "immediate-gid"), ACCOUNT),
    **dict.fromkeys(("daemonize", "daemonize2", "master", "die-on-term"), FOREGROUND),
    **dict.fromkeys(("home", "virtualenv", "venv", "pyhome"), ENVIRONMENT),
    "emperor": "a release runs one application; name each as an application of webapps.",
    "processes": WORKERS,
    "workers": WORKERS,
    "threads": "give it as threads, outside of uwsgi.",
    "harakiri": "give it as timeout, outside of uwsgi.",
    "env": "give variables as env, outside of uwsgi.",
    "chdir": "the application runs in its own source; source.subdir names a folder in it.",
    "strict": "uWSGI always refuses an unknown option; leave it out.",
    "stats-server": "write it as stats.",
    "uwsgi-socket": "write it as socket.",
}

# Options whose addresses are added to those of the collection: ports of this machine, for its own programs.
ADDRESSES = ("socket", "http-socket", "stats")
ADDRESS = re.compile(r"(?:127(?:\.[0-9]{1,3}){3}|localhost|\[::1\]):([0-9]{1,5})")
# Options for which uWSGI runs no functions of Python's atexit when a worker ends.
ASYNC = ("async", "gevent", "asyncio", "greenlet", "tornado", "ugreen", "skip-atexit", "skip-atexit-teardown")
PLUGINS = ("plugin", "plugins", "need-plugin", "need-plugins")

# Options whose numbers this collection uses, too.
NUMBERS = ("cheaper", "cheaper-initial")

# Options that may occur several times. The given values are added to those of this collection.
ADDED = ("hook-master-start", "hook-accepting", "socket", "http-socket")

# Bytes of the file with notes about workers, and what is kept of a longer one.
MOST_NOTES, KEPT_NOTES = 256 * 1024, 64 * 1024

DEFAULTS: dict[str, Any] = {
    # If the application can't be loaded, uWSGI ends instead of answering with errors.
    "need-app": True,
    # Each worker loads the application itself, so that a fork shares no connections or threads.
    "lazy-apps": True,
    "single-interpreter": True,
    # Workers end with a killed master. Otherwise they would keep the sockets open.
    "no-orphans": True,
    "vacuum": True,
    # Waiting connections. With uWSGI's default of 100, a burst on a unix socket causes 502s at once.
    "listen": 1024,
    # Bytes of a request's headers. With uWSGI's default of 4096, large cookies cause a 502. nginx passes on 32k.
    "buffer-size": 65535,
    # uWSGI's default of 64 is enough for about 120 variables, which include those of nginx. More cause a 502.
    "max-vars": 1024,
    # nginx has the access log.
    "disable-logging": True,
}


def checked(checker: Checker, options: dict[str, Any], where: str, own: dict[str, str] | None = None) -> dict[str, Any]:
    """The options; every problem goes to the checker. ``own`` can't be set here."""
    own = OWN if own is None else own
    for key, value in options.items():
        if key in own:
            checker.problem(f"{where}.{key}", f"it can't be set here: {own[key]}")
        elif key not in OPTIONS:
            hint = translator(own).remedy(key)
            checker.problem(where, f"'{key}' is not the name of an option of uWSGI {VERSION}.{hint}")
        elif key in NUMBERS and value is not None and not re.fullmatch(r"[0-9]+", str(value)):
            checker.problem(f"{where}.{key}", f"this is {kind(value)} ('{value}'), but it must be a whole number.")
        elif key in PLUGINS and re.search(r"python", str(value)):
            checker.problem(f"{where}.{key}", f"Python is a part of the installed uWSGI ('{value}'); leave it out.")
        else:
            if key in ADDRESSES:
                check_addresses(checker, value, f"{where}.{key}")
            for item in value if isinstance(value, list) else [value]:
                if not isinstance(item, (str, int, float, bool, type(None))):
                    checker.problem(
                        f"{where}.{key}", f"this is {kind(item)}, but an ini file has texts and numbers only."
                    )
                elif re.search(r"[\x00-\x1f\x7f]", str(item)):
                    checker.problem(f"{where}.{key}", "the value of an option is one line. Take the line breaks out.")
    return options


def translator(own: Mapping[str, str]) -> Translator:
    """The meanings of names in tutorials. ``own`` are the options that can't be set there."""
    return Translator("uwsgi", "-", OPTIONS, own, UWSGI_NAMES, UWSGI_SENTENCES, "max-requests: 1000", refusal)


def refusal(name: str, value: str) -> str:
    """Why a text's value of an option is refused here; empty if it is not."""
    checker = Checker()
    if name in ADDRESSES:
        check_addresses(checker, value, name)
    return checker.problems[0].partition(": ")[2] if checker.problems else ""


def check_addresses(checker: Checker, value: Any, where: str) -> None:
    """Report addresses that others than programs of this machine could reach, or that a release can't open."""
    for item in value if isinstance(value, list) else [value]:
        match = ADDRESS.fullmatch(str(item))
        if item is not None and not match:
            port = re.sub(r".*:", "", str(item))
            address = f"127.0.0.1:{port if port.isdecimal() else 8001}"
            checker.problem(
                where,
                f"'{item}' is not a port of this machine alone. Releases have their own unix sockets, and other "
                f"machines use the site. Write {address}, or leave it out.",
            )
        elif match and not 1024 <= int(match[1]) <= 65535:
            checker.problem(
                where, f"the account of an application can't open port {match[1]}. Use one from 1024 to 65535."
            )


def ports(options: dict[str, Any]) -> dict[str, int]:
    """The ports that the options add, by option and address."""
    found = {}
    for key in ADDRESSES:
        value = options.get(key)
        for item in value if isinstance(value, list) else [value]:
            if match := ADDRESS.fullmatch(str(item)):
                found[f"{key}: {item}"] = int(match[1])
    return found


def cheaper_problem(options: dict[str, Any], workers: int) -> str | None:
    """The problem of uWSGI's cheaper mode with this number of workers, if any."""
    if int(options.get("cheaper") or 0) < workers:
        return None
    return (
        f"cheaper: {options['cheaper']} must be lower than the number of workers, which is {workers}. Lower it, or "
        "raise workers."
    )


def has_cheap_threads(app: dict[str, Any]) -> bool:
    """Whether few workers with many threads are better: each request wakes an idle thread of every worker.

    ``cheaper`` adapts the number of workers itself, below the highest. Asynchronous workers do without threads.
    """
    own = app["uwsgi"] if isinstance(app["uwsgi"], dict) else {}
    return not any(own.get(key) for key in ("cheaper", *ASYNC))


def booting_workers(options: dict[str, Any], workers: int) -> int:
    """The number of workers at the start. In uWSGI's cheaper mode the others start under load."""
    fewer = options.get("cheaper-initial") or options.get("cheaper")
    return min(workers, int(fewer)) if fewer else workers


def problems_with(app: dict[str, Any], workers: int) -> Iterator[str]:
    """Problems of an application's options with this number of workers."""
    if problem := cheaper_problem(app["uwsgi"], workers):
        yield f".uwsgi.{problem}"


def entry(app: dict[str, Any]) -> dict[str, Any]:
    """The tasks of our entry module. uWSGI closes a connection without reading the rest of a request body.

    It supports neither a factory with arguments nor attributes, so it always gets the module.
    """
    return {"prefix": True, "drain": True}


def item(app: dict[str, Any], callable_name: str, workers: int, place: Any) -> dict[str, Any]:
    """The item of ``uwsgi_services`` for a release of an application.

    nginx uses ``socket`` with the uwsgi protocol. ``http_socket`` speaks HTTP, for the health check and while nginx
    still has the HTTP configuration of another server.
    """
    return {
        "name": app["name"],
        "module": callable_name,
        "workers": workers,
        "threads": app["threads"],
        "timeout": app["timeout"],
        "settings": app["uwsgi"],
        "directory": place.directory,
        "http_socket": "fd://3",
        "socket": "fd://4",
        "ready_file": place.ready_file,
        "stats": place.stats_socket,
        "program": [f"{place.directory}/bin/run", "uwsgi"],
    }


def complete(service: dict[str, Any]) -> list[list[str]]:
    """All lines of the ini file of an item of ``uwsgi_services``: pairs of option and value."""
    own = service.get("settings", {})
    threads, timeout = service.get("threads", 1), service.get("timeout", 30)
    options: dict[str, Any] = {
        "strict": True,
        "chdir": service.get("chdir"),
        "module": service["module"],
        "master": True,
        "workers": service.get("workers", 1),
        # Without it the application's own threads stop as soon as a request is answered.
        **({"threads": threads} if threads > 1 else {"enable-threads": True}),
        "socket": service.get("socket"),
        "http-socket": service.get("http_socket"),
        "chmod-socket": None if inherited(service) else "666",
        "stats": service.get("stats"),
        "harakiri": timeout,
        "die-on-term": True,
        **DEFAULTS,
    }
    if re.fullmatch(r"0*[1-9][0-9]*", str(own.get("max-requests"))):
        # Otherwise all workers, which share the load evenly, would be replaced at the same time.
        options["max-requests-delta"] = int(own["max-requests"]) // 10
    # By default SIGTERM ends a master and all its workers at once, even during a request. So let it wait for them. The
    # process manager limits the time.
    hooks = [["hook-master-start", "unix_signal:15 gracefully_kill_them_all"]]
    if ready := ready_file(service):
        # One line for every worker that is ready. A deployment counts them. uWSGI itself replaces "$(...)".
        # Without a time where the module pyweb_entry can't note an orderly end.
        time = "" if any(own.get(key) for key in ASYNC) else " `date +%s`"
        report = f'f={shlex.quote(ready)}; echo "ready $PPID{time}" >> "$f"'
        shorten = f'[ `wc -c < "$f"` -lt {MOST_NOTES} ] || {{ k=`tail -c {KEPT_NOTES} "$f"`; echo "$k" > "$f"; }}'
        hooks.append(["hook-accepting", f"exec:{doubled(report)}; {shorten}"])
        # The module pyweb_entry finds the file there.
        hooks.append(["set-placeholder", f"pyweb-notes={doubled(ready)}"])
    if service.get("http_socket"):
        # uWSGI closes a connection after each answer, but announces it only with this header. While an application
        # moves between gunicorn and uWSGI, nginx speaks HTTP here and keeps connections. It would lose a request.
        hooks.append(["add-header", "Connection: close"])
    if ports(own):
        # During a switch, the old and the new release listen on the same port.
        options["reuse-port"] = True
    given = {key: value for key, value in own.items() if key not in ADDED}
    addresses = {key: value for key, value in own.items() if key in ADDED and key in ADDRESSES}
    more = {key: value for key, value in own.items() if key in ADDED and key not in ADDRESSES}
    ours = {key: doubled(value) for key, value in options.items() if key not in given}
    return [*lines(addresses), *lines(ours), *hooks, *lines(given), *lines(more)]


def doubled(value: Any) -> Any:
    """A value with every % doubled, so that uWSGI does not read placeholders in it."""
    return value.replace("%", "%%") if isinstance(value, str) else value


def lines(options: dict[str, Any]) -> list[list[str]]:
    """One pair for every value; None leaves an option out."""
    pairs = []
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                pairs.append([key, str(item).lower() if isinstance(item, bool) else str(item)])
    return pairs


def ready_file(service: dict[str, Any]) -> str:
    """The file in which workers report that they are ready, by default beside a unix socket; empty for a port."""
    path = service.get("http_socket") or service.get("socket") or ""
    return service.get("ready_file") or (f"{path}.ready" if path.startswith("/") else "")


def inherited(service: dict[str, Any]) -> int:
    """The number of sockets that the process manager passes, by the highest descriptor that the service names."""
    found = [INHERITED.fullmatch(service.get(key) or "") for key in ("socket", "http_socket")]
    return max((int(match[1]) - 2 for match in found if match), default=0)


def files_of(services: list[dict[str, Any]], quote: Any) -> list[dict[str, Any]]:
    """The files of every item of ``uwsgi_services``, for the lookup templates."""
    files: list[dict[str, Any]] = []
    for service in services:
        directory = service["directory"].rstrip("/")
        command = " ".join(quote(word) for word in [*service["program"], "--ini", f"{directory}/uwsgi.ini"])
        start = {"command": command, "inherits": inherited(service)}
        files += [
            {"path": f"{directory}/uwsgi.ini", "template": "uwsgi.ini.j2", "vars": {"options": complete(service)}},
            {"path": f"{directory}/bin/web", "mode": "0755", "template": "web.j2", "vars": start},
        ]
    return files


def wrong_services(services: list[dict[str, Any]]) -> list[str]:
    """Problems of the items of ``uwsgi_services``."""
    checker = Checker()
    for service in services:
        settings = service.get("settings", {})
        inputs = ("module", "socket", "http-socket", "stats", "workers", "threads", "harakiri", "chdir")
        own = {
            key: "it is an input of its own, outside of settings."
            for key in inputs
            if not ports({key: settings.get(key)})
        }
        checked(checker, settings, f"uwsgi_services '{service['name']}'.settings", own)
        if not is_read_by_uwsgi(str(service["module"])):
            checker.problem(
                f"uwsgi_services '{service['name']}'.module",
                f"uWSGI can't load '{service['module']}'. Name an object of the module or a call without arguments, "
                "such as 'shop:app' or 'shop:create_app()'. Assign anything else to a name in the module.",
            )
        for key in ("socket", "http_socket"):
            address = service.get(key) or ""
            if address.startswith("fd://") and not INHERITED.fullmatch(address):
                checker.problem(
                    f"uwsgi_services '{service['name']}'.{key}",
                    f"'{address}' is no socket that a process manager passes. Write fd://3 or fd://4.",
                )
        if not service.get("socket") and not service.get("http_socket"):
            checker.problem(f"uwsgi_services '{service['name']}'", "it has no socket. Give socket or http_socket.")
    check_texts(checker, services, role_options("uwsgi")["uwsgi_services"], "uwsgi_services")
    return checker.problems
