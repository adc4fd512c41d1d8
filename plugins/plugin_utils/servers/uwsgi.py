# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Options of uWSGI: their rules, and the files of a service."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.uwsgi_options import OPTIONS, VERSION
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind, nearest, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts

# Options that this collection sets itself, and what to use instead.
SOCKET = "a release listens on its own sockets, which nginx finds; leave it out."
CALLABLE = "name the callable as wsgi."
ACCOUNT = "the application's own account runs it; leave it out."
FOREGROUND = "the process manager keeps uWSGI in the foreground; leave it out."
ENVIRONMENT = "the release has its own environment; leave it out."
OWN = {
    **dict.fromkeys(
        ("socket", "uwsgi-socket", "http-socket", "http", "https", "http11-socket", "fastcgi-socket"), SOCKET
    ),
    **dict.fromkeys(("chmod-socket", "chown-socket", "abstract-socket"), SOCKET),
    **dict.fromkeys(("module", "wsgi", "wsgi-file", "file", "callable", "mount", "manage-script-name"), CALLABLE),
    **dict.fromkeys(("uid", "gid"), ACCOUNT),
    **dict.fromkeys(("daemonize", "daemonize2", "master", "die-on-term"), FOREGROUND),
    **dict.fromkeys(("home", "virtualenv", "venv", "pyhome"), ENVIRONMENT),
    "processes": "give it as workers, outside of uwsgi.",
    "workers": "give it as workers, outside of uwsgi.",
    "threads": "give it as threads, outside of uwsgi.",
    "harakiri": "give it as timeout, outside of uwsgi.",
    "env": "give variables as env, outside of uwsgi.",
    "chdir": "the application runs in its own source; source.subdir names a folder in it.",
    "strict": "uWSGI always refuses an unknown option; leave it out.",
    "stats": "every release has a stats socket of its own; leave it out.",
}

# Options whose numbers this collection uses, too.
NUMBERS = ("cheaper", "cheaper-initial")

# Options that may occur several times. The given values are added to those of this collection.
ADDED = ("hook-master-start", "hook-accepting")

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
            likely = str(key).strip("-").lower().replace("_", "-")
            hint = f" Did you mean '{likely}'?" if likely in OPTIONS else nearest(likely, sorted(OPTIONS))
            checker.problem(
                where, f"'{key}' is not the name of an option of uWSGI {VERSION}.{hint or ' Leave it out.'}"
            )
        elif key in NUMBERS and value is not None and not re.fullmatch(r"[0-9]+", str(value)):
            checker.problem(f"{where}.{key}", f"this is {kind(value)} ('{value}'), but it must be a whole number.")
        else:
            for item in value if isinstance(value, list) else [value]:
                if not isinstance(item, (str, int, float, bool, type(None))):
                    checker.problem(
                        f"{where}.{key}", f"this is {kind(item)}, but an ini file has texts and numbers only."
                    )
                elif re.search(r"[\x00-\x1f\x7f]", str(item)):
                    checker.problem(f"{where}.{key}", "the value of an option is one line. Take the line breaks out.")
    return options


def cheaper_problem(options: dict[str, Any], workers: int) -> str | None:
    """The problem of uWSGI's cheaper mode with this number of workers, if any."""
    if int(options.get("cheaper") or 0) < workers:
        return None
    return (
        f"cheaper: {options['cheaper']} must be lower than the number of workers, which is {workers}. Lower it, or "
        "raise workers."
    )


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
        "http_socket": place.socket,
        "socket": place.uwsgi_socket,
        "stats": place.socket.removesuffix(".sock") + ".stats.sock",
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
        "chmod-socket": "666",
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
        # One line for every worker that is ready. A deployment counts them.
        report = f'echo "ready $PPID" >> {doubled(shlex.quote(ready))}'
        hooks.append(["hook-accepting", f"exec:{report}"])
    if service.get("http_socket"):
        # uWSGI closes a connection after each answer, but announces it only with this header. While an application
        # moves between gunicorn and uWSGI, nginx speaks HTTP here and keeps connections. It would lose a request.
        hooks.append(["add-header", "Connection: close"])
    given = {key: value for key, value in own.items() if key not in ADDED}
    more = {key: value for key, value in own.items() if key in ADDED}
    ours = {key: doubled(value) for key, value in options.items() if key not in given}
    return [*lines(ours), *hooks, *lines(given), *lines(more)]


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
    """The file in which workers report that they are ready: beside a unix socket. None for a port."""
    path = service.get("http_socket") or service.get("socket") or ""
    return f"{path}.ready" if path.startswith("/") else ""


def files_of(services: list[dict[str, Any]], quote: Any) -> list[dict[str, Any]]:
    """The files of every item of ``uwsgi_services``, for the lookup templates."""
    files: list[dict[str, Any]] = []
    for service in services:
        directory = service["directory"].rstrip("/")
        command = " ".join(quote(word) for word in [*service["program"], "--ini", f"{directory}/uwsgi.ini"])
        files += [
            {"path": f"{directory}/uwsgi.ini", "template": "uwsgi.ini.j2", "vars": {"options": complete(service)}},
            {"path": f"{directory}/bin/web", "mode": "0755", "template": "web.j2", "vars": {"command": command}},
        ]
    return files


def wrong_services(services: list[dict[str, Any]]) -> list[str]:
    """Problems of the items of ``uwsgi_services``."""
    checker = Checker()
    for service in services:
        inputs = ("module", "socket", "http-socket", "stats", "workers", "threads", "harakiri", "chdir")
        own = dict.fromkeys(inputs, "it is an input of its own, outside of settings.")
        checked(checker, service.get("settings", {}), f"uwsgi_services '{service['name']}'.settings", own)
        if not service.get("socket") and not service.get("http_socket"):
            checker.problem(f"uwsgi_services '{service['name']}'", "it has no socket. Give socket or http_socket.")
    check_texts(checker, services, role_options("uwsgi")["uwsgi_services"], "uwsgi_services")
    return checker.problems
