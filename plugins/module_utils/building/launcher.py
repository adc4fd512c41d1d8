# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of a release that its processes start from: environment variables, launcher, entry, server settings."""

from __future__ import annotations

import os
import shlex

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import SYSTEM_PATH
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE, existing_account


def variables(build: Build) -> dict[str, str]:
    """The environment of every process of the release; the user's own variables win."""
    venv = os.path.join(build.release, "venv")
    folders = [os.path.join(build.release, "entry"), build.root]
    if os.path.isdir(os.path.join(build.root, "src")):
        folders.append(os.path.join(build.root, "src"))
    return {
        # The same in web processes, background processes, jobs and commands, whatever starts them.
        "HOME": build.layout.cache,
        "USER": build.name,
        "LOGNAME": build.name,
        "SHELL": existing_account(build.name).pw_shell,
        "PATH": f"{os.path.join(venv, 'bin')}:{SYSTEM_PATH}",
        "VIRTUAL_ENV": venv,
        "PYTHONPATH": ":".join(folders),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "FLASK_APP": build.spec["wsgi"],
        "WEBAPP_NAME": build.name,
        "WEBAPP_RELEASE": build.identity,
        "WEBAPP_SOCKET": build.layout.socket(build.identity),
        **build.spec["environment"],
        **{key: str(value) for key, value in build.spec["env"].items()},
    }


def write_launcher(build: Build) -> None:
    """Write ``env``, ``bin/run``, the entry module where one is needed, and the files of the app server."""
    group = existing_account(build.name).pw_name
    env = os.path.join(build.release, "env")
    lines = [f"{key}={shlex.quote(value)}\n" for key, value in variables(build).items()]
    write(File(env, "".join(lines), mode=0o640, group=group))
    run = (
        "#!/bin/sh\n"
        "# Runs a command in the environment of this release.\n"
        "set -a\n"
        f". {shlex.quote(env)}\n"
        "set +a\n"
        f"cd {shlex.quote(build.root)} || exit 1\n"
        'exec "$@"\n'
    )
    write(File(os.path.join(build.release, "bin", "run"), run, mode=0o755))
    if build.spec["entry"]:
        os.makedirs(os.path.join(build.release, "entry"), mode=0o755)
        text = entry_module(build.spec["wsgi"], **build.spec["entry"])
        write(File(os.path.join(build.release, "entry", "pyweb_entry.py"), text))
    for given in build.spec["server_files"]:
        path = os.path.join(build.release, given["path"])
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        text = given["content"].replace(RELEASE, build.identity)
        write(File(path, text, mode=int(given.get("mode", "0644"), 8)))
