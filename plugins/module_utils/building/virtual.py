# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Virtual environments: created and filled as the build account, then taken by root."""

from __future__ import annotations

import os

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import cache_of, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import StillOpen, take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import existing_account, remove_tree


def pip_install(python: str, how: str) -> list[str]:
    return ["pip", "install", "--quiet", "--python", python, "--link-mode", how, "--compile-bytecode"]


def create_environment(build: Build, path: str, interpreter: str) -> str:
    """Create an empty environment that the build account can fill; return the path of its interpreter."""
    owner = existing_account(build.name, build.builder)
    os.makedirs(path, mode=0o700)
    os.chown(path, owner.pw_uid, owner.pw_gid)
    venv = ["venv", "--quiet", "--allow-existing", "--no-project", "--python", interpreter, path]
    run_uv(build, venv, "create the virtual environment")
    return os.path.join(path, "bin", "python")


def take_environment(build: Build, path: str) -> None:
    """Give an environment to root; refuse one that a process can still change, by a file that it has opened before."""
    builder = existing_account(build.name, build.builder)
    try:
        take_for_root(path, linked_by=builder.pw_uid)
    except StillOpen as error:
        # The cache may be changed too.
        remove_tree(cache_of(build))
        raise build.error(
            f"the new environment can still be changed: of {error.filename}, {error.why}. A package of the "
            "requirements has handed it over. Find out which one, and end that process. Then run again."
        ) from error
    os.chmod(path, 0o755)  # noqa: S103  # its parent is closed to other accounts
