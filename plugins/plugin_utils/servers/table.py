# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The app servers, as the model and the plan see them. Pure.

An application is a checked item of ``webapps``. Each server has a key for its own settings there, with its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import granian, gunicorn, image, uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.callables import is_read_by_gunicorn
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

Application = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a release of an application keeps the files of its server. Its sockets come from the process manager."""

    # The folder of the release.
    directory: str
    # The file in which workers report, and the socket of uWSGI's stats.
    ready_file: str
    stats_socket: str


@dataclass(frozen=True)
class Server:
    """An app server."""

    name: str
    # The module with its rules: ``checked`` for its settings, ``files_of`` and ``wrong_services`` for its role.
    rules: ModuleType
    # The interface between server and application: wsgi or asgi.
    protocol: Callable[[Application], str]
    # The tasks that the server leaves to our entry module.
    entry: Callable[[Application], dict[str, Any]]
    # The item of its role for a release: the callable, the number of workers, and the place.
    item: Callable[[Application, str, int, Place], dict[str, Any]]
    # The packages to install, by the requirement of the server itself.
    requirements: Callable[[Application, str], list[str]]
    # Seconds that open requests get at a stop.
    stop_seconds: Callable[[Application], int]
    # Whether nginx may keep connections to it without losing a request.
    keeps_connections: Callable[[Application], bool]
    # Whether ``timeout`` limits each request.
    limits_requests: Callable[[Application], bool] = lambda _app: False
    # Whether few workers with many threads serve more requests than many workers with few threads.
    has_cheap_threads: Callable[[Application], bool] = lambda _app: False
    # Whether it can load a callable, as ``wsgi`` names it. If not, our entry module does.
    reads: Callable[[str], bool] = lambda _callable: True
    # The workers that start at once, of all workers.
    booting_workers: Callable[[Application, int], int] = lambda _app, workers: workers
    # Problems of the settings with this number of workers: the place in the application, and the text.
    problems: Callable[[Application, int], Iterator[str]] = lambda _app, _workers: iter(())

    def check(self, checker: Checker, app: Application, where: str) -> None:
        """Check the server's settings; types are converted in place."""
        app[self.name] = self.rules.checked(checker, app[self.name], f"{where}.{self.name}")


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server(
            "gunicorn",
            gunicorn,
            protocol=gunicorn.protocol,
            entry=gunicorn.entry,
            item=gunicorn.item,
            requirements=gunicorn.requirements_of,
            stop_seconds=lambda app: gunicorn.stop_seconds(app["gunicorn"], app["timeout"]),
            keeps_connections=gunicorn.keeps_connections,
            limits_requests=lambda app: gunicorn.worker_class(app["gunicorn"], app["threads"]) == "sync",
            reads=is_read_by_gunicorn,
        ),
        Server(
            "uwsgi",
            uwsgi,
            protocol=lambda _app: "wsgi",
            entry=uwsgi.entry,
            item=uwsgi.item,
            requirements=lambda _app, requirement: [requirement],
            stop_seconds=lambda app: int(app["timeout"]),
            # nginx speaks the uwsgi protocol to it, which has no kept connections.
            keeps_connections=lambda _app: True,
            limits_requests=lambda _app: True,
            has_cheap_threads=uwsgi.has_cheap_threads,
            booting_workers=lambda app, workers: uwsgi.booting_workers(app["uwsgi"], workers),
            problems=uwsgi.problems_with,
        ),
        Server(
            "granian",
            granian,
            protocol=granian.protocol,
            entry=granian.entry,
            item=granian.item,
            requirements=granian.requirements_of,
            stop_seconds=granian.stop_seconds,
            keeps_connections=granian.keeps_connections,
            has_cheap_threads=lambda _app: True,
        ),
    )
}


# The command of an image. It has neither settings nor a role, so it is none of those.
IMAGE = Server(
    image.NAME,
    image,
    protocol=image.protocol,
    entry=image.entry,
    item=lambda _app, _callable, _workers, _place: {},
    requirements=image.requirements_of,
    stop_seconds=lambda app: int(app["timeout"]),
    # Nothing is known about it.
    keeps_connections=lambda _app: False,
)


def server_of(app: Application) -> Server:
    """The server that an application has chosen."""
    return IMAGE if app["server"] == IMAGE.name else SERVERS[app["server"]]


# Threads per worker by default, and from how many threads on a server with cheap threads gets fewer workers.
THREADS, MANY_THREADS = 4, 8


def default_threads(app: Application) -> int:
    """Threads per worker if the application names none. So all servers serve as many requests at a time."""
    return MANY_THREADS if server_of(app).has_cheap_threads(app) and app["workers"] == "auto" else THREADS


def auto_workers(app: Application, cores: int) -> int:
    """Workers for this number of cores: twice as many and one (gunicorn's recommendation), or one more than cores."""
    if server_of(app).has_cheap_threads(app) and app["threads"] >= MANY_THREADS:
        return cores + 1
    return 2 * cores + 1
