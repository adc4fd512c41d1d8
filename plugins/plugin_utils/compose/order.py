# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The choices for a folder, and the paths in its containers. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request, is_version, minor_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import PYTHONS

# The ports inside the network of the containers: HTTP and the uwsgi protocol of the application, and that of nginx.
# Accounts other than root can open them.
HTTP, UWSGI, FRONT = 8000, 8001, 8080
# The account of the application in its container. nginx has another account, and the same group, as on a host.
ACCOUNT, FRONT_ACCOUNT = 10001, 10002
# Workers for ``workers: auto``. A laptop serves one user.
WORKERS = 2
# Versions of Python for the base image, in the order in which they are tried.
VERSIONS = ("3.13", "3.14", "3.12", "3.11", "3.10", "3.9")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,254}")
NAMED = re.compile(r"python(3(?:\.\d{1,2})?)?")
# The suites that images of Python have in their names.
DEBIAN = ("bullseye", "bookworm", "trixie")
# The folder of nginx's configuration in its container.
TREE = "/etc/nginx/pyweb"


@dataclass(frozen=True)
class Order:
    """One application and the choices of the command line.

    ``settings`` are those of nginx, ``packages`` the Debian packages of the inventory, ``servers`` the requirements of
    the app servers, and ``uv`` is the version of uv.
    """

    app: dict[str, Any]
    root: str
    base: str
    front: str
    port: int
    settings: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    servers: dict[str, str] = field(default_factory=dict)
    uv: str = ""

    @property
    def name(self) -> str:
        return str(self.app["name"])

    # The paths in the containers. They are those of a host, so settings that contain such a path stay valid.

    @property
    def home(self) -> str:
        return f"{self.root}/{self.name}"

    @property
    def release(self) -> str:
        return f"{self.home}/current"

    @property
    def subdir(self) -> str:
        return str(self.app["source"]["subdir"]).strip("/")

    @property
    def application(self) -> str:
        """The application root."""
        return f"{self.release}/src/{self.subdir}".rstrip("/")

    @property
    def source(self) -> str:
        """The application root in the folder."""
        return f"current/src/{self.subdir}".rstrip("/")

    @property
    def venv(self) -> str:
        return f"{self.home}/venv"

    @property
    def shared(self) -> str:
        return f"{self.home}/shared"

    @property
    def cache(self) -> str:
        return f"{self.home}/cache"

    @property
    def runtime(self) -> str:
        return f"/run/webapps/{self.name}"


def base_image(interpreter: str | None, request: Request, suite: str = "") -> tuple[str, str]:
    """The base image for an application, and the problem if none can be chosen.

    ``suite`` is the base of its container on hosts, whose Python and packages it has.
    """
    if suite in PYTHONS:
        if request.is_met_by(f"{PYTHONS[suite]}.99"):
            return f"python:{PYTHONS[suite]}-slim{f'-{suite}' if suite in DEBIAN else ''}", ""
        return "", f"container.base: '{suite}' has Python {PYTHONS[suite]}, but {request}. Set a base that has it."
    if interpreter and is_version(interpreter):
        return f"python:{interpreter}-slim", ""
    named = NAMED.fullmatch(interpreter or "python3")
    if named is None:
        return "", (
            f"python.interpreter: '{interpreter}' is a program of the host. Choose an image that has this Python: "
            "-e base=python:3.13-slim."
        )
    if named[1] and "." in named[1]:
        return f"python:{named[1]}-slim", ""
    fitting = [version for version in VERSIONS if request.is_met_by(f"{version}.99")]
    if fitting:
        return f"python:{fitting[0]}-slim", ""
    if request.version:
        return f"python:{minor_of(request.version)}-slim", ""
    return "", f"{request}, which no known version of Python meets. Choose an image: -e base=python:3.13-slim."


def default_port(port: int) -> int:
    """The port of this machine that leads to the site. Accounts other than root can't open ports below 1024."""
    return port if port >= 1024 else port + 8000
