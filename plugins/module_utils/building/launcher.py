# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of a release that its processes start from: environment variables, launcher, entry, server settings."""

from __future__ import annotations

import os
import shlex

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.building.variables import variables, write_variables
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import INHERITS_SOCKETS, RELEASE


def write_launcher(build: Build) -> None:
    """Write ``env``, ``bin/run``, the entry module where one is needed, and the files of the app server."""
    marker = "# The process manager passes the sockets to the processes of this release, by descriptors from 3 on.\n"
    write(File(os.path.join(build.release, INHERITS_SOCKETS), marker))
    env = os.path.join(build.release, "env")
    write_variables(build, env, variables(build))
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
