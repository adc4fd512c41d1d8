# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Build one release in a folder of its own. Nothing here touches the live release."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.environment import provide_environment
from ansible_collections.pyweb.stack.plugins.module_utils.building.given_files import write_given_files
from ansible_collections.pyweb.stack.plugins.module_utils.building.image import provide_image
from ansible_collections.pyweb.stack.plugins.module_utils.building.import_check import check_import
from ansible_collections.pyweb.stack.plugins.module_utils.building.launcher import write_launcher
from ansible_collections.pyweb.stack.plugins.module_utils.building.network import program_environment
from ansible_collections.pyweb.stack.plugins.module_utils.building.shared import link_shared
from ansible_collections.pyweb.stack.plugins.module_utils.building.source import is_real_folder, unpack
from ansible_collections.pyweb.stack.plugins.module_utils.building.static_folders import check_static_folders
from ansible_collections.pyweb.stack.plugins.module_utils.building.variables import (
    account_of_builds,
    check_paths,
    proxies,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import give_outward_links
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import give_to, take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import COMMAND_TIMEOUT, tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILDING,
    BUILT,
    Manifest,
    MissingPackages,
    NoImage,
    ReleaseError,
    existing_account,
    manifests,
    remove_tree,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import Unresolved
from ansible_collections.pyweb.stack.plugins.module_utils.release.revisions import with_revision

# The words of programs about a file that they must not write.
DENIED = re.compile(r"permission denied|read-only file system|unable to open database file|readonly database", re.I)


def build_release(build: Build, manifest: Manifest) -> None:
    """Create the folder of a release and all that its processes need in it. Then the manifest says BUILT.

    Raises ReleaseError with what to do.
    """
    # Up to version 0.1.0, uv's cache was in a folder of the application. Nothing reads it, and the application
    # may fill it meanwhile, so it may also stay.
    with suppress(OSError):
        remove_tree(os.path.join(build.layout.cache, "uv"))
    os.makedirs(os.path.join(build.release, "bin"), mode=0o755)
    manifest.state = BUILDING
    write_manifest(build.layout, manifest)
    try:
        make(build, manifest)
        manifest.state = BUILT
        write_manifest(build.layout, with_revision(build.layout, manifest, build.spec.get("revision") or ""))
    except (MissingPackages, NoImage, Unresolved):
        remove_tree(build.release)
        raise
    except ReleaseError as error:
        if not keep_as_bad(build, manifest, error):
            raise
        raise build.error(f"{error.text}\nWhat was built is kept in {build.release} for inspection.") from error
    except BaseException:
        # Nothing is kept for inspection: a full disk would stay full.
        remove_tree(build.release)
        raise


def make(build: Build, manifest: Manifest) -> None:
    if build.spec["source"].get("kind") == "image":
        # Few applications need this code, and the host compiles every import.
        from ansible_collections.pyweb.stack.plugins.module_utils.building.given_image import provide_given

        build = provide_given(build, manifest)
    elif build.spec["source"].get("environment"):
        from ansible_collections.pyweb.stack.plugins.module_utils.building.given_image import provide_for_code

        build = unpack(build)
        provide_for_code(build, manifest)
    else:
        build = unpack(build)
        provide_image(build, manifest)
        manifest.venv, points_into_release = provide_environment(build)
        manifest.leans_on = build.identity if points_into_release else ""
    link_shared(build)
    write_launcher(build)
    take_for_root(build.source)
    write_given_files(build)
    run_build_commands(build)
    check_static_folders(build)
    owner = existing_account(build.name)
    inside = [build.release, os.path.join(build.layout.venvs, manifest.venv)]
    give_outward_links(build.source, inside, owner.pw_uid, owner.pw_gid)
    check_paths(build)
    if build.spec.get("import_check", True) and not (build.spec.get("stop_first") and build.layout.current_release()):
        check_import(build)
    # Where the live release runs alone, no other code of the application may run beside it. Its health check follows.


def keep_as_bad(build: Build, manifest: Manifest, error: ReleaseError) -> bool:
    """Keep a release that could not be finished, and no earlier one, for inspection; return whether that worked."""
    manifest.state, manifest.reason = BAD, lines_of(error.text)[0]
    try:
        take_for_root(build.source)
        write_manifest(build.layout, manifest)
    except OSError:
        remove_tree(build.release)
        return False
    for known in manifests(build.layout):
        if known.state == BAD and known.id != manifest.id:
            remove_tree(build.layout.release(known.id))
    return True


def run_build_commands(build: Build) -> None:
    """Run the build commands in the application root. The whole source belongs to the build account meanwhile.

    It is closed then: whatever modes a command gives to its files, the application can't change them.
    """
    if not build.spec["build_commands"]:
        return
    # Only before the first command: after it the account may have put anything there.
    owner = existing_account(build.name, build.builder)
    give_to(build.source, owner.pw_uid, owner.pw_gid)
    os.chmod(build.source, 0o700)
    for command in build.spec["build_commands"]:
        try:
            answer = run_build_command(build, command)
        except subprocess.TimeoutExpired:
            raise build.error(
                f"the build command '{command}' did not end within {COMMAND_TIMEOUT} seconds. Make it end by itself."
            ) from None
        if answer.returncode != 0:
            output = tail(answer.stdout + answer.stderr, 15)
            raise build.error(
                f"the build command '{command}' failed with status {answer.returncode}. {remedy_of(build, output)}"
                f"Its output:\n{output}"
            )
    take_for_root(build.source, fresh=True)
    os.chmod(build.source, 0o755)  # noqa: S103  # the folder of the releases is closed to other accounts
    # A command may have replaced a folder on the way to the application root by a link.
    if not is_real_folder(build.source, tuple(part for part in build.subdir.split("/") if part)):
        raise build.error(
            f"the build commands have replaced or removed '{build.subdir}', the application root that "
            "source.subdir names. Let them write into that folder instead."
        )
    write_given_files(build, may_exist=True)


def run_build_command(build: Build, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the build world, with the variables of the release and the build account."""
    account = [f"{key}={value}" for key, value in account_of_builds(build).items()]
    argv = [build.launcher, "/usr/bin/env", *account, "/bin/sh", "-c", command]
    return build.build_with(argv, build.layout.home, {**proxies(), **program_environment()}, COMMAND_TIMEOUT)


def remedy_of(build: Build, output: str) -> str:
    """The remedy where a command could not write; empty for other failures."""
    if not DENIED.search(output):
        return ""
    return (
        f"Build commands can write the source of their release alone, not {build.layout.shared}. Move a command that "
        "writes other files to commands.release. "
    )
