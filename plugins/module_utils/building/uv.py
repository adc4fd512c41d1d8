# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run uv for a build."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building import network
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.explanations import explained, shortened
from ansible_collections.pyweb.stack.plugins.module_utils.building.variables import proxies, with_variables_of_uv
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import walk
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import MissingPackages, existing_account

# Seconds. Long enough to compile a large package; what takes longer is stuck.
UV_TIMEOUT = 1800

# How uv brings files from its cache into an environment.
HARDLINK, COPY = "hardlink", "copy"
# The words of uv if it can't link a file after it has linked another of the same package.
UNLINKED = re.compile(r"failed to hard[- ]?link", re.I)


def run_uv(
    build: Build,
    arguments: list[str],
    doing: str,
    cwd: str = "",
    in_source: bool = False,
    indexes: list[str] | None = None,
) -> None:
    """Run uv as the build account; ``doing`` completes "could not".

    With ``in_source``, uv also reads [tool.uv] of the source, as on the machine of its author. ``indexes`` are asked
    after those of the inventory.
    """
    environment = environment_of_uv(build)
    if in_source:
        del environment["UV_NO_CONFIG"]
    if indexes:
        environment["UV_INDEX"] = " ".join([environment.get("UV_INDEX", ""), *indexes]).strip()
    try:
        with with_variables_of_uv(build, [build.uv, *arguments], environment) as command:
            answer = build.build_with(command, cwd or build.root, environment, UV_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise build.error(
            f"could not {doing} within {UV_TIMEOUT} seconds. Check that the host reaches the package index."
        ) from None
    if answer.returncode != 0:
        if network.lacks_git(answer.stderr) and build.spec.get("container"):
            raise build.error(f"could not {doing}: it needs git. Add git to container.packages.")
        if network.lacks_git(answer.stderr):
            raise MissingPackages(
                build.name, f"could not {doing}: it needs git, which is not on the host. Run apt install git.", ["git"]
            )
        output = without_credentials(answer.stderr, build.spec["python"])
        raise build.error(
            f"could not {doing}. {explained(output, build.spec['source'].get('left_out') or [])}uv ended with status "
            f"{answer.returncode}. Its output:\n{shortened(output)}"
        )


def cache_of(build: Build) -> str:
    return os.path.join(build.layout.build, "uv")


def link_mode(build: Build) -> str:
    """HARDLINK if all files of uv's cache belong to the build account, else COPY.

    Root takes the files of an environment under all their names, and the kernel lets an account link its own files
    alone. uv fails if it can link some files of a package and not all of them.
    """
    builder = existing_account(build.name, build.builder).pw_uid
    try:
        for visit in walk(cache_of(build)):
            if any(status.st_uid != builder for status in visit.files.values()):
                return COPY
    except FileNotFoundError:
        return HARDLINK
    except OSError:
        return COPY
    return HARDLINK


def environment_of_uv(build: Build) -> dict[str, str]:
    python = build.spec["python"]
    environment = {
        # No settings of the build account: a package could have put them there.
        "XDG_CONFIG_HOME": "/nonexistent",
        "UV_CACHE_DIR": cache_of(build),
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",  # the same, for uv before 0.10
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        # Some files of the cache are root's, and uv can't link these. An installation chooses for itself.
        "UV_LINK_MODE": COPY,
    }
    environment |= {**network.network_environment(), **environment_of_indexes(python)}
    if python.get("ca_bundle"):
        environment["SSL_CERT_FILE"] = python["ca_bundle"]
        if not os.path.isfile(python["ca_bundle"]):
            raise build.error(
                f"python.ca_bundle '{python['ca_bundle']}' is not a file on the host. Put it there, or leave it "
                "out to use the host's certificate store."
            )
    return {**environment, **proxies()}


def environment_of_indexes(python: dict[str, Any]) -> dict[str, str]:
    """The package indexes for uv, which asks UV_INDEX in its order, then those of requirements files, then the default.

    A package comes from the first index that has it, in any version. So the named index is asked before the extra ones:
    none of these can replace its packages. It is also the default, in place of the public index. Without a named index,
    the extra ones are asked before the public one.
    """
    environment = {"UV_INDEX_STRATEGY": python.get("index_strategy") or "first-index"}
    indexes = indexes_of(python)
    if indexes:
        environment["UV_INDEX"] = " ".join(indexes)
    if python.get("index_url"):
        environment["UV_DEFAULT_INDEX"] = python["index_url"]
    return environment


def indexes_of(python: dict[str, Any]) -> list[str]:
    """The package indexes that the inventory names."""
    return [index for index in (python.get("index_url"), *(python.get("extra_index_urls") or [])) if index]


def without_credentials(text: str, python: dict[str, Any]) -> str:
    """The text without the credentials of the indexes that the inventory names."""
    for url in indexes_of(python):
        credentials = re.match(r"[a-z+]+://([^/@]+)@", url)
        if credentials:
            text = text.replace(credentials.group(1), "***")
    return text
