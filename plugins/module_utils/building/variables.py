# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The environment variables of a release: the same in every program of the run world, and in that of builds."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.image import given_image
from ansible_collections.pyweb.stack.plugins.module_utils.building.network import network_environment
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import secret_digest, slow_digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import SYSTEM_PATH
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import existing_account
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import text_of as requirements_text

# The variables by which a program reaches the network, as the run of the playbook has them on the host.
PROXIES = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
)

# Lists of folders. Those of the inventory come after our own, so that none of them hides the environment.
PATHS = ("PATH", "PYTHONPATH")

# uv reads its options from variables such as UV_INDEX. They would install from elsewhere than the inventory says.
# Those for logins, for the tools of builds, and for the network do not. uv-dynamic-versioning is another program.
HARMLESS = (
    r"INDEX_\w+_(USERNAME|PASSWORD)|BUILD_CONSTRAINT|HTTP_(TIMEOUT|RETRIES)|CONCURRENT_\w+|DYNAMIC_VERSIONING_\w+"
)
OPTIONS_OF_UV = re.compile(rf"UV_(?!({HARMLESS})\Z)")
# It names a file of the source with versions of the tools of builds.
BUILD_CONSTRAINT = "UV_BUILD_CONSTRAINT"
# They describe the finished environment, which uv is about to make.
FINISHED = ("PYTHONPATH", "VIRTUAL_ENV")

# Variables of an image that a shell may not set, or reads itself.
NOT_OF_IMAGES = ("UID", "EUID", "PPID", "GROUPS", "SHELLOPTS", "BASHOPTS", "IFS", "ENV", "BASH_ENV", "PWD", "OLDPWD")

# A variable in a requirements file, as uv replaces it.
REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)\}")


def variables(build: Build) -> dict[str, str]:
    """The environment of every program of the release; the user's own variables win, except in lists of folders."""
    venv = os.path.join(build.release, "venv")
    folders = [os.path.join(build.release, "entry"), build.root]
    if os.path.isdir(os.path.join(build.root, "src")):
        folders.append(os.path.join(build.root, "src"))
    given = given_image(build)
    found = {
        **{name: value for name, value in (given.get("env") or {}).items() if name not in NOT_OF_IMAGES},
        # The same in web processes, background processes, jobs and commands, whatever starts them.
        "HOME": build.layout.cache,
        "USER": build.name,
        "LOGNAME": build.name,
        "SHELL": existing_account(build.name).pw_shell,
        # An image may have an environment of its own.
        **({} if given else {"VIRTUAL_ENV": venv}),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Printed lines are in the log at once. Without it, Python collects 8 KB.
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        **({"FLASK_APP": build.spec["wsgi"]} if build.spec["wsgi"] else {}),
        "WEBAPP_NAME": build.name,
        "WEBAPP_RELEASE": build.identity,
        "WEBAPP_ROOT": build.root,
        "WEBAPP_SOCKET": build.layout.inherited_sockets(build.identity)[0],
        **build.spec["environment"],
        **own_variables(build),
    }
    found["PATH"] = joined(os.path.join(venv, "bin"), found.get("PATH", ""), given.get("path") or "", SYSTEM_PATH)
    found["PYTHONPATH"] = joined(*folders, found.get("PYTHONPATH", ""))
    return found


def joined(*lists: str) -> str:
    """Lists of folders as one. An empty entry would be the current folder."""
    return ":".join(dict.fromkeys(folder for one in lists for folder in one.split(":") if folder))


def own_variables(build: Build) -> dict[str, str]:
    """The variables of the inventory. One that names a path of the release gets the path of this release."""
    return {key: text_of(value, build.root) for key, value in build.spec["env"].items()}


def text_of(value: Any, root: str) -> str:
    """The text of a variable. A mapping names a path below the application root, with text before and after it."""
    if not isinstance(value, dict):
        return str(value)
    path = os.path.normpath(os.path.join(root, value["release"]))
    return f"{value.get('before') or ''}{path}{value.get('after') or ''}"


def check_paths(build: Build) -> None:
    """Raise ReleaseError for a variable whose path the finished release does not have. Nothing can create it later."""
    for key, value in build.spec["env"].items():
        if isinstance(value, dict) and not os.path.exists(os.path.join(build.root, value["release"])):
            raise build.error(
                f"env.{key} names '{value['release']}', which the application root of the release does not have. "
                "Correct the path, or let a build command or the key files create it."
            )


def write_variables(build: Build, path: str, variables: dict[str, str]) -> None:
    """Write variables as a file for a shell, which only the accounts of the application can read."""
    lines = [f"{key}={shlex.quote(value)}\n" for key, value in variables.items()]
    write(File(path, "".join(lines), mode=0o640, group=existing_account(build.name).pw_name))


def proxies() -> dict[str, str]:
    """The way to the network that this run has. Programs of a build get it, unless the inventory names another."""
    return {name: os.environ[name] for name in PROXIES if name in os.environ}


def account_of_builds(build: Build) -> dict[str, str]:
    """The variables in which the two worlds differ: they describe the account."""
    return {"HOME": build.layout.build, "USER": build.builder, "LOGNAME": build.builder}


def variables_of_uv(build: Build, own: dict[str, str]) -> dict[str, str]:
    """The environment of uv and of the packages that it builds: that of build commands, before it is finished.

    The variables ``own``, which hold the indexes and certificates of the inventory, are not replaced. The
    inventory may name other proxies and time limits.
    """
    found = {**variables(build), **account_of_builds(build)}
    kept = {*FINISHED, *own} - {*PROXIES, *network_environment()}
    return {key: value for key, value in found.items() if key not in kept and not OPTIONS_OF_UV.match(key)}


@contextmanager
def with_variables_of_uv(build: Build, command: list[str], own: dict[str, str]) -> Iterator[list[str]]:
    """The command line that runs uv with these variables, for a process that has its ``own`` ones.

    A shell of the build account reads them, as for build commands: root must not run with variables such as
    LD_LIBRARY_PATH, and everyone can read a command line.
    """
    path = os.path.join(build.release, "env.build")
    write_variables(build, path, variables_of_uv(build, own))
    try:
        yield ["/bin/sh", "-c", 'set -a; . "$1"; set +a; shift; exec "$@"', "sh", path, *command]
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def inputs_of_environment(
    build: Build, texts: list[str], reads_source: bool, across_hosts: bool = False
) -> dict[str, str]:
    """The variables of the inventory that the packages of an environment may depend on, without their values.

    Requirements files name some. A library of the source, which is built, may read any of them. ``across_hosts``, equal
    values are the same on all hosts.
    """
    names = {name for text in texts for name in REFERENCE.findall(text)}
    env = build.spec["env"]
    used = {key: value for key, value in env.items() if reads_source or key in names or key == BUILD_CONSTRAINT}
    if BUILD_CONSTRAINT in used:
        files = own_variables(build)[BUILD_CONSTRAINT].split()
        used["."] = [requirements_text(build.root, name, build.source) for name in files]
    if not used:
        return {}
    return {"variables": slow_digest(build.name, used) if across_hosts else secret_digest(build.layout, used)}
