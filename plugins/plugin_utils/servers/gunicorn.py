# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Settings of gunicorn: their rules, the needs of each worker class, and the files of a service."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.callables import is_read_by_gunicorn
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.gunicorn_settings import SETTINGS, VERSION
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.translations import (
    AUTO,
    GUNICORN_NAMES,
    GUNICORN_SENTENCES,
    Translator,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind, nearest, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts

DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+\Z")

# Hooks that the settings file of the role defines, and how gunicorn checks the function that a setting names. The file
# calls that function, too.
HOOKS = {
    "post_request": "validate_post_request",
    "post_worker_init": "validate_callable(1)",
    "worker_exit": "validate_callable(2)",
    "child_exit": "validate_callable(2)",
}

# Bytes of the file with notes about workers, and the lines that are kept of a longer one.
MOST_NOTES, KEPT_LINES = 256 * 1024, 2000

# Settings of gunicorn that this collection sets itself, and what to use instead.
OWN = {
    "bind": "a release listens on its own socket, which nginx finds; leave it out.",
    "wsgi_app": "name the callable as wsgi.",
    "workers": f"give it as workers, outside of gunicorn. {AUTO}",
    "threads": "give it as threads, outside of gunicorn.",
    "timeout": "give it as timeout, outside of gunicorn.",
    "raw_env": "give variables as env, outside of gunicorn.",
    "chdir": "the application runs in its own source; source.subdir names a folder in it.",
    "root_path": "give the prefix as site.path.",
    "config": "the settings given here become the file; leave it out.",
    "check_config": "every release is checked before it can go live; leave it out.",
    "print_config": "it would end instead of serving; leave it out.",
    "protocol": "nginx speaks HTTP to it; leave it out.",
    "proxy_protocol": "nginx passes the visitor's address in headers; leave it out.",
    "certfile": "nginx ends TLS in front of it; leave it out.",
    "keyfile": "nginx ends TLS in front of it; leave it out.",
    "paste": "name the callable as wsgi.",
    "reload": "the code of a release never changes; leave it out.",
    "reuse_port": "the workers share one unix socket; leave it out.",
    "daemon": "the process manager keeps gunicorn in the foreground; leave it out.",
    "user": "the application's own account runs it; leave it out.",
    "group": "the application's own account runs it; leave it out.",
}

# The worker classes by gunicorn's own names, and what each needs besides gunicorn. The versions are those of gunicorn's
# own extras.
GEVENT = ("gevent>=24.10.1", "packaging")
WORKER_CLASSES: dict[str, tuple[str, ...]] = {
    "sync": (),
    "gthread": (),
    "gevent": GEVENT,
    "gevent_wsgi": GEVENT,
    "gevent_pywsgi": GEVENT,
    "tornado": ("tornado>=6.5.7",),
    "asgi": (),
}
# Worker classes of other packages, by their module.
WORKER_MODULES: dict[str, tuple[str, ...]] = {
    "uvicorn_worker": ("uvicorn-worker",),
    "uvicorn.workers": ("uvicorn",),
    "gunicorn.workers.ggevent": GEVENT,
    "gunicorn.workers.gtornado": ("tornado>=6.5.7",),
}
# Settings with the lowest and highest numbers that gunicorn accepts, where that is not from 0 on.
RANGES = {"http2_max_concurrent_streams": (1, 2**31 - 1), "http2_max_frame_size": (16_384, 16_777_215)}
ADDRESSES = ("forwarded_allow_ips", "proxy_allow_ips", "uwsgi_allow_ips")
HTTP_PROTOCOLS = ("h1", "h2")
GONE = {
    "uvicorn": "Write 'uvicorn_worker.UvicornWorker', or use gunicorn's own: 'asgi'.",
    "eventlet": "gunicorn 26 dropped it. Use 'gevent' or 'gthread'.",
    "gaiohttp": "gunicorn 20 dropped it. Use 'asgi'.",
}
ASGI_MODULES = ("uvicorn_worker", "uvicorn.workers", "gunicorn.workers.gasgi")

# The first gunicorn whose ASGI worker announces that it closes a connection. With older ones a request may be lost when
# a release is stopped.
ASGI_GUNICORN = "gunicorn>=26.2.2"


def checked(
    checker: Checker, settings: dict[str, Any], where: str, own: dict[str, str] | None = None
) -> dict[str, Any]:
    """The settings with their types converted; every problem goes to the checker. ``own`` can't be set here."""
    own = OWN if own is None else own
    result = {}
    for key, value in settings.items():
        if key in own:
            checker.problem(f"{where}.{key}", f"it can't be set here: {own[key]}")
        elif key not in SETTINGS:
            hint = translator(own).remedy(key)
            checker.problem(where, f"'{key}' is not the name of a setting of gunicorn {VERSION}.{hint}")
        else:
            # None leaves the setting to gunicorn.
            result[key] = value if value is None else setting(checker, key, value, f"{where}.{key}")
    name = result.get("worker_class")
    if isinstance(name, str) and not DOTTED.match(name) and name not in WORKER_CLASSES:
        hint = worker_class_hint(name) or nearest(name, list(WORKER_CLASSES)).strip()
        listed = f"It has: {', '.join(WORKER_CLASSES)}; others by their dotted name."
        checker.problem(
            f"{where}.worker_class", f"'{name}' is not a worker class of gunicorn {VERSION}. {hint or listed}"
        )
    return result


def translator(own: Mapping[str, str]) -> Translator:
    """The meanings of names in tutorials and old versions. ``own`` are the settings that can't be set there."""
    return Translator(
        "gunicorn", "_", frozenset(SETTINGS), own, GUNICORN_NAMES, GUNICORN_SENTENCES, "max_requests: 1000"
    )


def worker_class_hint(name: str) -> str:
    """The words to use instead of a worker class that gunicorn has dropped, or whose spelling is old."""
    short = name.rpartition("#")[2].lower() if name.startswith("egg:") else name.lower()
    if short in GONE:
        return GONE[short]
    return f"Write it as '{short}'." if short != name and short in WORKER_CLASSES else ""


def setting(checker: Checker, key: str, value: Any, where: str) -> Any:
    """One value, by the type that gunicorn wants."""
    wanted, choices = SETTINGS[key]
    if wanted == "hook":
        if not isinstance(value, str) or not DOTTED.match(value):
            checker.problem(
                where, f"this is {kind(value)}, but a hook is the dotted name of a function, such as 'shop.hooks.run'."
            )
        return value
    before = len(checker.problems)
    spec: dict[str, Any] = {"type": wanted, "elements": "str"}
    if wanted == "int" and isinstance(value, str) and re.fullmatch(r"0o?[0-7]+", value):
        # File modes, which gunicorn reads as octal.
        value = int(value.removeprefix("0").removeprefix("o") or "0", 8)
    value = checker.value(value, spec, where)
    if len(checker.problems) == before:
        if choices:
            checker.choice(value.lower(), {"choices": list(choices)}, where)
        check_format(checker, key, value, where)
    return value


def check_format(checker: Checker, key: str, value: Any, where: str) -> None:
    """Report values of the right type that gunicorn itself would refuse when it starts."""
    low, high = RANGES.get(key, (0, None))
    if SETTINGS[key][0] == "int" and (value < low or (high is not None and value > high)):
        limits = f"{low} to {high}" if high else f"{low} on"
        checker.problem(where, f"{value} is out of range. Give a whole number from {limits}.")
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    if key == "http_protocols":
        for part in parts:
            checker.choice(part.lower(), {"choices": list(HTTP_PROTOCOLS)}, where)
    if key in ADDRESSES:
        for part in filter(None, parts):
            if part != "*" and not is_network(part):
                checker.problem(where, f"'{part}' is not an address or network. Give some such as 10.0.0.0/8, or *.")


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def worker_class(settings: dict[str, Any], threads: int) -> str:
    """The name of the worker class. The default depends on whether there are threads."""
    return settings.get("worker_class") or ("gthread" if threads > 1 else "sync")


def serves_asgi(settings: dict[str, Any]) -> bool:
    """Whether the worker class calls an application by ASGI."""
    name = settings.get("worker_class") or ""
    return name == "asgi" or name.startswith(tuple(f"{module}." for module in ASGI_MODULES))


def requirements(gunicorn: str, settings: dict[str, Any], websocket: bool = False) -> list[str]:
    """The packages to install: gunicorn itself, and those that its settings need."""
    name = settings.get("worker_class") or ""
    needed = list(WORKER_CLASSES.get(name, ()))
    for module, packages in WORKER_MODULES.items():
        if name.startswith(f"{module}."):
            # uvicorn supports WebSocket only with another package.
            needed += [*packages, *(["websockets"] if websocket and module.startswith("uvicorn") else [])]
    if settings.get("asgi_loop") == "uvloop":
        needed.append("uvloop>=0.19.0")
    if settings.get("http_parser") == "fast":
        needed.append("gunicorn_h1c>=0.6.14")
    if "h2" in (settings.get("http_protocols") or ""):
        needed.append("h2>=4.4.1")
    return [f"{gunicorn},{ASGI_GUNICORN.removeprefix('gunicorn')}" if name == "asgi" else gunicorn, *needed]


def every_requirement() -> set[str]:
    """Every requirement that this collection itself can have for gunicorn and its settings."""
    classes = [*WORKER_CLASSES, *(f"{module}.Worker" for module in WORKER_MODULES)]
    other: dict[str, Any] = {"asgi_loop": "uvloop", "http_parser": "fast", "http_protocols": "h2"}
    found = {one for name in classes for one in requirements("gunicorn", {**other, "worker_class": name}, True)}
    return {one.replace("gunicorn,>", "gunicorn>") for one in found}


def protocol(app: dict[str, Any]) -> str:
    """The interface between gunicorn and an application: wsgi or asgi."""
    return "asgi" if serves_asgi(app["gunicorn"]) else "wsgi"


def entry(app: dict[str, Any]) -> dict[str, Any]:
    """The tasks of our entry module.

    WSGI workers apply a prefix themselves. gunicorn's own ASGI worker reads no body that the application leaves.
    """
    return {"prefix": protocol(app) == "asgi", "drain": app["gunicorn"].get("worker_class") == "asgi"}


def item(app: dict[str, Any], callable_name: str, workers: int, place: Any) -> dict[str, Any]:
    """The item of ``gunicorn_services`` for a release of an application."""
    return {
        "name": app["name"],
        "wsgi_app": callable_name,
        "workers": workers,
        "threads": app["threads"],
        "timeout": app["timeout"],
        "settings": app["gunicorn"],
        "directory": place.directory,
        "bind": INHERITED,
        "ready_file": place.ready_file,
        "program": [f"{place.directory}/bin/run", "gunicorn"],
    }


def requirements_of(app: dict[str, Any], requirement: str) -> list[str]:
    """The packages to install for an application."""
    return requirements(requirement, app["gunicorn"], app["site"]["websocket"])


def keeps_connections(app: dict[str, Any]) -> bool:
    """Whether nginx may keep connections without losing a request.

    gthread workers support it, and a stopping worker still answers requests on them. Workers with `max_requests` don't:
    in older versions, a restarting worker closes idle connections at once. sync workers announce that they close each
    connection, so nginx keeps none. Thus a change of ``threads`` does not reload nginx.
    """
    own, name = app["gunicorn"], worker_class(app["gunicorn"], app["threads"])
    return name == "sync" or (name == "gthread" and own.get("keepalive") != 0 and not own.get("max_requests"))


def stop_seconds(settings: dict[str, Any], timeout: int) -> int:
    """Seconds that requests under way get at a stop."""
    graceful = settings.get("graceful_timeout")
    return timeout if graceful is None else graceful


def trusted(bind: str) -> dict[str, Any]:
    """The peers that may state scheme and address of a visitor. Set here, because an environment variable could differ.

    Every peer on a unix socket is trusted, because the folder's mode admits only the web server. On a port only this
    machine is trusted. Only the header that nginx sets states the scheme; a second, different one would cause a 400.
    """
    return {
        "forwarded_allow_ips": "*" if bind.startswith(("unix:", "fd://")) else "127.0.0.1,::1",
        "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"},
        "forwarder_headers": "",
    }


# As address: the first socket that the process manager passes.
INHERITED = "fd://3"


def limits(bind: str) -> dict[str, int]:
    """The limits of a request, which must not be below those of nginx: lines of 16k, and 64k of headers.

    Only nginx reaches a unix socket. gunicorn has no limit of a line between 8190 bytes and none.
    """
    if not bind.startswith("unix:") and bind != INHERITED:
        return {}
    return {"limit_request_line": 0, "limit_request_field_size": 32768, "limit_request_fields": 1000}


def connections(bind: str, name: str, threads: int) -> dict[str, int]:
    """The connections that a worker with threads accepts: one more than it serves, which it may keep open.

    By default it accepts any number. Then some requests wait for a worker whose threads are all busy, while others are
    idle. Waiting connections stay in the queue of the socket, from which each worker takes the next.
    """
    is_behind_nginx = bind.startswith("unix:") or bind == INHERITED
    return {"worker_connections": threads + 1} if is_behind_nginx and name == "gthread" else {}


DEFAULTS = {
    # The heartbeat file of a worker; on a disk it can block a healthy worker (gunicorn's FAQ).
    "worker_tmp_dir": "/dev/shm",  # noqa: S108  # a file without a name
    # nginx has the access log; errors go to the process manager's.
    "accesslog": None,
    "errorlog": "-",
    # An additional socket for control commands, which is not needed (gunicorn 25.1 and later).
    "control_socket_disable": True,
}


def complete(service: dict[str, Any]) -> dict[str, Any]:
    """All settings of an item of ``gunicorn_services``, with what they imply; None leaves one to gunicorn."""
    own = service.get("settings", {})
    timeout = service.get("timeout", 30)
    name = worker_class(own, service.get("threads", 1))
    settings = {
        "wsgi_app": service["wsgi_app"],
        # gunicorn takes the sockets that LISTEN_FDS counts in place of an address. Without both, it must not listen.
        "bind": [] if service["bind"] == INHERITED else service["bind"],
        "proc_name": service["name"],
        "chdir": service.get("chdir"),
        "workers": service.get("workers", 1),
        # gunicorn treats sync with threads as gthread; the other classes have no threads.
        "threads": service.get("threads", 1) if name == "gthread" else 1,
        "worker_class": name,
        "timeout": timeout,
        "graceful_timeout": timeout,
        **trusted(service["bind"]),
        **limits(service["bind"]),
        **connections(service["bind"], name, service.get("threads", 1)),
        **DEFAULTS,
    }
    if own.get("max_requests"):
        # Otherwise all workers, which share the load evenly, would be replaced at the same time.
        settings["max_requests_jitter"] = own["max_requests"] // 10
    if "control_socket" in own:
        del settings["control_socket_disable"]
    return {**settings, **own}


def files_of(services: list[dict[str, Any]], quote: Any) -> list[dict[str, Any]]:
    """The files of every item of ``gunicorn_services``, for the lookup templates."""
    files: list[dict[str, Any]] = []
    for service in services:
        directory = service["directory"].rstrip("/")
        # gunicorn's own ASGI worker does this itself, and has no environ.
        drain = not serves_asgi(service.get("settings", {}))
        name = worker_class(service.get("settings", {}), service.get("threads", 1))
        given = {
            key: repr_python(value)
            for key, value in complete(service).items()
            if value is not None or key == "accesslog"
        }
        hooks = {
            key: [key, given.pop(key), check]
            for key, check in HOOKS.items()
            if key in given and (drain or key != "post_request")
        }
        command = " ".join(quote(word) for word in [*service["program"], "--config", f"{directory}/gunicorn.conf.py"])
        start = {"command": command, "inherits": service["bind"] == INHERITED}
        files += [
            {
                "path": f"{directory}/gunicorn.conf.py",
                "template": "gunicorn.conf.py.j2",
                "vars": {
                    "settings": list(given.items()),
                    "own_hooks": hooks,
                    "ready_file": ready_file(service),
                    "most_notes": MOST_NOTES,
                    "kept_lines": KEPT_LINES,
                    "drain": drain,
                    # A class of another package may be, or inherit from, the worker of uvicorn.
                    "uvicorn": bool(DOTTED.match(name)),
                },
            },
            {"path": f"{directory}/bin/web", "mode": "0755", "template": "web.j2", "vars": start},
        ]
    return files


def wrong_services(services: list[dict[str, Any]]) -> list[str]:
    """Problems of the items of ``gunicorn_services``."""
    checker = Checker()
    inputs = ("wsgi_app", "bind", "workers", "threads", "timeout", "chdir")
    for service in services:
        if service["bind"].startswith("fd://") and service["bind"] != INHERITED:
            checker.problem(
                f"gunicorn_services '{service['name']}'.bind",
                f"'{service['bind']}' is not the first socket that a process manager passes. Write {INHERITED}.",
            )
        own = {key: f"give it as {key}, outside of settings." for key in inputs}
        if not is_read_by_gunicorn(str(service["wsgi_app"])):
            checker.problem(
                f"gunicorn_services '{service['name']}'.wsgi_app",
                f"gunicorn can't load '{service['wsgi_app']}'. Name an object of the module or a call with plain "
                "values, such as 'shop:app' or 'shop:create_app()'. Assign anything else to a name in the module.",
            )
        checked(checker, service.get("settings", {}), f"gunicorn_services '{service['name']}'.settings", own)
    check_texts(checker, services, role_options("gunicorn")["gunicorn_services"], "gunicorn_services")
    return checker.problems


def ready_file(service: dict[str, Any]) -> str:
    """The file in which workers report that they are ready, by default beside a unix socket; empty for a port."""
    bind = service["bind"]
    path = service.get("ready_file") or (f"{bind.removeprefix('unix:')}.ready" if bind.startswith("unix:") else "")
    return repr_python(path) if path else ""


def repr_python(value: Any) -> str:
    """A value as a Python literal. It may be a subclass of its type, such as Ansible's."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    for number in (int, float):
        if isinstance(value, number):
            return repr(number(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{repr_python(key)}: {repr_python(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(repr_python(item) for item in value) + "]"
    return repr(str(value))
