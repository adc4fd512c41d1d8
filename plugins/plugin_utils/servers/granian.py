# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Options of granian: their rules, and the files of a service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.granian_settings import SETTINGS, VERSION
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.gunicorn import repr_python
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.translations import (
    GRANIAN_NAMES,
    GRANIAN_SENTENCES,
    Translator,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind, role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.texts import check_texts

# As address: the first socket that the process manager passes.
INHERITED = "fd://3"

# Options that this collection sets itself, and what to use instead.
SOCKET = "a release listens on its own socket, which nginx finds; leave it out."
TLS = "nginx ends TLS in front of it; leave it out."
CODE = "the code of a release never changes; leave it out."
FOLDERS = "nginx sends static files: give them as site.static."
NGINX = "nginx speaks HTTP/1.1 to it; leave it out."
OWN = {
    **dict.fromkeys(("host", "port", "uds", "uds_permissions"), SOCKET),
    **dict.fromkeys((name for name in SETTINGS if name.startswith("ssl_")), TLS),
    **dict.fromkeys((name for name in SETTINGS if name.startswith("reload")), CODE),
    **dict.fromkeys((name for name in SETTINGS if name.startswith("static_path_")), FOLDERS),
    **dict.fromkeys((name for name in SETTINGS if name == "http" or name.startswith("http2_")), NGINX),
    "blocking_threads": "give it as threads, outside of granian.",
    "env_files": "give variables as env, outside of granian.",
    "factory": "write the call in wsgi, such as shop:create_app().",
    "pid_file": "the process manager watches granian; leave it out.",
    "process_name": "it needs a further package; leave it out.",
    "respawn_failed_workers": "a worker that ends is always replaced; leave it out.",
    "url_path_prefix": "give the prefix as site.path.",
    "workers": "give it as workers, outside of granian.",
    "workers_kill_timeout": "open requests get the time that timeout sets; leave it out.",
    "working_dir": "the application runs in its own source; source.subdir names a folder in it.",
}
# Values that granian knows, and this collection does not support.
REFUSED = {
    ("interface", "rsgi"): "Use 'asgi' or 'wsgi': health checks and proxy_fix need one of these interfaces.",
    ("loop", "winloop"): "It is for Windows. Use 'uvloop', 'rloop' or 'asyncio'.",
}
# Bytes after which the notes of workers are shortened, and the lines that are kept then.
MOST_NOTES, KEPT_NOTES = 256 * 1024, 2000
# The packages that event loops need. The versions are those of granian's own extras.
LOOPS = {"rloop": "rloop>=0.2", "uvloop": "uvloop>=0.22"}
DURATION = re.compile(r"(?=[0-9])(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z")
UNITS = (86400, 3600, 60, 1)

# The arguments of granian's server class whose names differ from its options.
ARGUMENTS = {
    "access_log": "log_access",
    "access_log_fmt": "log_access_format",
    "log": "log_enabled",
    "metrics": "metrics_enabled",
    "ws": "websockets",
}
# The same for its settings of HTTP/1.1.
HTTP1 = {
    "http1_buffer_size": "max_buffer_size",
    "http1_header_read_timeout": "header_read_timeout",
    "http1_keep_alive": "keep_alive",
    "http1_pipeline_flush": "pipeline_flush",
}


def checked(checker: Checker, options: dict[str, Any], where: str, own: dict[str, str] | None = None) -> dict[str, Any]:
    """The options with their types converted; every problem goes to the checker. ``own`` can't be set here."""
    own = OWN if own is None else own
    result = {}
    for key, value in options.items():
        if key in own:
            checker.problem(f"{where}.{key}", f"it can't be set here: {own[key]}")
        elif key not in SETTINGS:
            hint = translator(own).remedy(re.sub(r"^-*no[-_]", "", str(key).lower()))
            checker.problem(where, f"'{key}' is not the name of an option of granian {VERSION}.{hint}")
        else:
            # None leaves the option to granian.
            result[key] = value if value is None else option(checker, key, value, f"{where}.{key}")
    return result


def translator(own: Mapping[str, str]) -> Translator:
    """The meanings of names in tutorials. ``own`` are the options that can't be set there."""
    names, sentences = GRANIAN_NAMES, GRANIAN_SENTENCES
    return Translator("granian", "_", frozenset(SETTINGS), own, names, sentences, "workers_lifetime: 6h")


def option(checker: Checker, key: str, value: Any, where: str) -> Any:
    """One value, by the type that granian wants."""
    wanted, choices, (low, high) = SETTINGS[key]
    if wanted == "duration":
        seconds = duration(value)
        if seconds is None:
            checker.problem(where, f"this is {kind(value)} ('{value}'). Give seconds, or a text such as 1h30m.")
            return value
        value, wanted = seconds, "int"
    before = len(checker.problems)
    value = checker.value(value, {"type": wanted, "elements": "str"}, where)
    if len(checker.problems) > before:
        return value
    if choices:
        checker.choice(value, {"choices": list(choices)}, where)
        if problem := REFUSED.get((key, value)):
            checker.problem(where, f"'{value}' is not supported here. {problem}")
    if (low is not None and value < low) or (high is not None and value > high):
        limits = f"{low} to {high}" if high else f"{low} on"
        checker.problem(where, f"{value} is out of range. Give a whole number from {limits}.")
    return value


def duration(value: Any) -> int | None:
    """Seconds of a number or of a text such as ``1h30m``; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if text.isdecimal():
        return int(text)
    parts = DURATION.match(text) if isinstance(value, str) else None
    return sum(int(part or 0) * unit for part, unit in zip(parts.groups(), UNITS, strict=True)) if parts else None


def interface(options: dict[str, Any]) -> str:
    """How granian calls the application."""
    return options.get("interface") or "wsgi"


def protocol(app: dict[str, Any]) -> str:
    """The interface between granian and an application: wsgi or asgi."""
    return "wsgi" if interface(app["granian"]) == "wsgi" else "asgi"


def entry(app: dict[str, Any]) -> dict[str, Any]:
    """The tasks of our entry module. On a unix socket, granian knows neither the visitor's address nor the scheme.

    It also closes a connection without reading the rest of a request body.
    """
    return {"prefix": True, "drain": protocol(app) == "asgi", "visitor": True}


def requirements_of(app: dict[str, Any], requirement: str) -> list[str]:
    """The packages to install for an application."""
    loop = app["granian"].get("loop")
    return [requirement, *([LOOPS[loop]] if loop in LOOPS else [])]


def every_requirement() -> set[str]:
    """Every requirement that this collection itself can have for the settings of granian."""
    return set(LOOPS.values())


def stop_seconds(app: dict[str, Any]) -> int:
    """Seconds that open requests get at a stop."""
    return int(app["timeout"])


def keeps_connections(app: dict[str, Any]) -> bool:
    """Whether nginx may keep connections without losing a request: a worker that is replaced closes idle ones."""
    own = app["granian"]
    replaced = own.get("workers_lifetime") or own.get("workers_max_rss")
    return own.get("http1_keep_alive") is not False and not replaced


def item(app: dict[str, Any], callable_name: str, workers: int, place: Any) -> dict[str, Any]:
    """The item of ``granian_services`` for a release of an application."""
    return {
        "name": app["name"],
        "target": callable_name,
        "workers": workers,
        "threads": app["threads"],
        "timeout": app["timeout"],
        "settings": app["granian"],
        "directory": place.directory,
        "bind": INHERITED,
        "ready_file": place.ready_file,
        "program": [f"{place.directory}/bin/run", "python"],
    }


DEFAULTS: dict[str, Any] = {
    "interface": "wsgi",
    # Waiting connections. granian's own default, which its workers share.
    "backlog": 1024,
    "respawn_failed_workers": True,
    # Seconds between the workers that are replaced on purpose.
    "respawn_interval": 1.0,
    "log_level": "info",
}


def complete(service: dict[str, Any]) -> dict[str, Any]:
    """All arguments of granian's server class for an item of ``granian_services``; None leaves one to granian."""
    own = service.get("settings", {})
    options = {
        **DEFAULTS,
        **({"backpressure": service.get("threads", 1)} if is_fair(service) else {}),
        "workers": service.get("workers", 1),
        # Requests of ASGI share the event loop; granian refuses further threads there.
        "blocking_threads": service.get("threads", 1) if interface(own) == "wsgi" else None,
        "workers_kill_timeout": min(1800, service.get("timeout", 30)),
        **own,
    }
    return {
        ARGUMENTS.get(name, name): value
        for name, value in options.items()
        if value is not None and name not in HTTP1 and name != "log_config"
    }


def is_fair(service: dict[str, Any]) -> bool:
    """Whether a worker accepts as many connections as it has threads, so that no request waits beside an idle worker.

    By default, one worker may accept all connections, because its event loop is never busy. The start file closes kept
    connections while others wait.
    """
    own = service.get("settings", {})
    is_behind_nginx = service["bind"].startswith("unix:") or service["bind"] == INHERITED
    return interface(own) == "wsgi" and is_behind_nginx and "backpressure" not in own


def files_of(services: list[dict[str, Any]], quote: Any) -> list[dict[str, Any]]:
    """The files of every item of ``granian_services``, for the lookup templates."""
    files: list[dict[str, Any]] = []
    for service in services:
        directory = service["directory"].rstrip("/")
        own = service.get("settings", {})
        command = " ".join(quote(word) for word in [*service["program"], f"{directory}/granian/start.py"])
        chdir = service.get("chdir")
        settings = {
            "target": service["target"],
            "bind": service["bind"],
            "options": complete(service),
            "fair": is_fair(service),
            "http1": {HTTP1[name]: value for name, value in own.items() if name in HTTP1 and value is not None},
            "log_config": own.get("log_config"),
            "ready_file": ready_file(service),
            "most_notes": MOST_NOTES,
            "kept_notes": KEPT_NOTES,
        }
        files += [
            {
                "path": f"{directory}/granian/start.py",
                "template": "start.py.j2",
                "vars": {"settings": [[name.upper(), repr_python(value)] for name, value in settings.items()]},
            },
            {
                "path": f"{directory}/bin/web",
                "mode": "0755",
                "template": "web.j2",
                "vars": {
                    "command": command,
                    "chdir": quote(chdir) if chdir else "",
                    "inherits": service["bind"] == INHERITED,
                },
            },
        ]
    return files


def ready_file(service: dict[str, Any]) -> str:
    """The file in which workers report that they are ready, by default beside a unix socket; empty for a port."""
    path = service["bind"].removeprefix("unix:")
    return service.get("ready_file") or (f"{path}.ready" if path != service["bind"] else "")


def wrong_services(services: list[dict[str, Any]]) -> list[str]:
    """Problems of the items of ``granian_services``."""
    checker = Checker()
    inputs = {"blocking_threads": "threads", "workers": "workers", "workers_kill_timeout": "timeout"}
    places = {"uds": "bind", "host": "bind", "port": "bind", "working_dir": "chdir", "factory": "target"}
    for service in services:
        own = {**OWN, **{key: f"give it as {name}, outside of settings." for key, name in {**inputs, **places}.items()}}
        where = f"granian_services '{service['name']}'"
        service["settings"] = checked(checker, service.get("settings", {}), f"{where}.settings", own)
        if service["bind"] != INHERITED and not re.fullmatch(
            r"unix:/.+|[^:/\s]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}", service["bind"]
        ):
            checker.problem(
                f"{where}.bind",
                f"'{service['bind']}' is not an address. Use unix:/run/shop/shop.sock or 127.0.0.1:8000.",
            )
    check_texts(checker, services, role_options("granian")["granian_services"], "granian_services")
    return checker.problems
