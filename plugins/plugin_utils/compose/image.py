# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The image of an application: Python and the dependencies, without any code of the application. Pure."""

from __future__ import annotations

import hashlib
import posixpath
import shlex
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import kind
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.dependencies import Dependencies
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Tree, text
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import ACCOUNT, Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import server_of

FILE = """\
# Managed by pyweb.stack: the dependencies of {name}, without its code. Changes made here are replaced.
FROM {base} AS build
{packages}RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir {uv}
RUN python3 -m venv --without-pip {venv}
ENV VIRTUAL_ENV={venv} UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 UV_LINK_MODE=copy UV_NO_CACHE=1
COPY lists /build
WORKDIR {folder}
{installs}
FROM {base}
{packages}COPY --from=build {venv} {venv}
RUN mkdir -p {release} {shared} {cache} {runtime} \\
    && chown {account}:{account} {shared} {cache} {runtime} \\
    && echo '{name}:x:{account}:{account}::{cache}:/bin/sh' >> /etc/passwd \\
    && echo '{name}:x:{account}:' >> /etc/group
USER {account}:{account}
WORKDIR {release}
"""
APT = (
    "RUN apt-get update && apt-get install -y --no-install-recommends {packages} \\\n"
    "    && rm -rf /var/lib/apt/lists/*\n"
)
BUILD = "/build"


def image(order: Order, found: Dependencies) -> Tree:
    """The context of the build."""
    servers = server_of(order.app).requirements(order.app, order.servers.get(order.app["server"], order.app["server"]))
    files = {
        "Containerfile": text(containerfile(order, found)),
        "lists/pyweb-server.txt": text("".join(f"{one}\n" for one in servers)),
        **{f"lists/source/{path}": text(written) for path, written in found.files.items()},
    }
    if order.app["python"]["packages"]:
        files["lists/pyweb-packages.txt"] = text("".join(f"{one}\n" for one in order.app["python"]["packages"]))
    return {f"image/{path}": entry for path, entry in files.items()}


def containerfile(order: Order, found: Dependencies) -> str:
    packages = APT.format(packages=" ".join(map(shlex.quote, order.packages))) if order.packages else ""
    return FILE.format(
        name=order.name,
        base=order.base,
        packages=packages,
        uv=shlex.quote(f"uv=={order.uv}"),
        venv=order.venv,
        folder=posixpath.normpath(f"{BUILD}/source/{order.subdir}"),
        installs="".join(f"RUN {command}\n" for command in commands(order.app, found)),
        release=order.release,
        shared=order.shared,
        cache=order.cache,
        runtime=order.runtime,
        account=ACCOUNT,
    )


def commands(app: dict[str, Any], found: Dependencies) -> list[str]:
    """The commands that install the dependencies, and the app server beside them."""
    python = app["python"]
    pip = ["/opt/uv/bin/uv", "pip", "install", *indexes(python)]
    lists, alone, groups = [], [], [part for one in python["groups"] or [] for part in ("--group", one)]
    extras = [part for one in python["extras"] or [] for part in ("--extra", one)]
    for name in found.lists:
        if kind(name) == "lock":
            omitted = [] if "dev" in (python["groups"] or []) else ["--no-dev"]
            export = ["export", "--quiet", "--frozen", "--no-emit-local", "--no-header", *omitted, *groups, *extras]
            alone.append(shlex.join(["/opt/uv/bin/uv", *export, "--output-file", f"{BUILD}/pyweb-lock.txt"]))
            alone.append(shlex.join([*pip, "--no-deps", "-r", f"{BUILD}/pyweb-lock.txt"]))
        elif kind(name) == "pylock":
            alone.append(shlex.join([*pip, "-r", name]))
        elif found.complete.get(name):
            alone.append(shlex.join([*pip, *found.complete[name], "-r", name]))
        else:
            lists += ["-r", name, *(extras if kind(name) == "project" else [])]
            lists += groups if kind(name) == "project" else []
    if python["packages"]:
        lists += ["-r", f"{BUILD}/pyweb-packages.txt"]
    together = [shlex.join([*pip, *lists])] if lists else []
    return [*alone, *together, shlex.join([*pip, "-r", f"{BUILD}/pyweb-server.txt"])]


def indexes(python: dict[str, Any]) -> list[str]:
    """The options of uv for package indexes."""
    found = [part for one in python["extra_index_urls"] or [] for part in ("--index", one)]
    if python["index_url"]:
        # It is asked first, as on a host.
        found = ["--default-index", python["index_url"], *found]
    strategy = python["index_strategy"]
    return [*found, *(["--index-strategy", strategy] if strategy and strategy != "first-index" else [])]


def tag(order: Order, files: Tree) -> str:
    """The name of the image. It changes with the dependencies, so that the next start builds a new one."""
    total = hashlib.sha256()
    for path, entry in sorted(files.items()):
        total.update(path.encode() + b"\0" + hashlib.sha256(entry.content).digest())
    return f"pyweb-{order.name}:{total.hexdigest()[:12]}"
