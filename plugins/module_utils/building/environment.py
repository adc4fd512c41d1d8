# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The virtual environment of a release: shared by releases with the same dependencies."""

from __future__ import annotations

import os
import platform
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.image import image_of
from ansible_collections.pyweb.stack.plugins.module_utils.building.installed import links_into
from ansible_collections.pyweb.stack.plugins.module_utils.building.interpreters import find_interpreter
from ansible_collections.pyweb.stack.plugins.module_utils.building.list_folders import folder_of_lists, from_folder
from ansible_collections.pyweb.stack.plugins.module_utils.building.project import make_own_environment
from ansible_collections.pyweb.stack.plugins.module_utils.building.requirements import (
    Requirements,
    check_requirements,
    read_requirements,
    settings_of_uv,
    settings_text,
    wanted_requirements,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.resolution import (
    Resolution,
    Step,
    indexes_of_lines,
    record_resolution,
    resolve,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.server import install_server
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import COPY, UNLINKED, cache_of, link_mode, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.building.variables import inputs_of_environment
from ansible_collections.pyweb.stack.plugins.module_utils.building.virtual import (
    create_environment,
    pip_install,
    take_environment,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.workspace import Workspace
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import recorded
from ansible_collections.pyweb.stack.plugins.module_utils.release.completeness import (
    interpreter_of,
    is_complete,
    remove_mark,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_in, record_contents
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import give_outward_links
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    ReleaseError,
    existing_account,
    manifests,
    remove_tree,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import SOURCE, with_places
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    Line,
    RequirementsError,
    constraint_files,
    kind,
    lines_of,
    text_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import without_login
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.self_contained import (
    are_lines_self_contained,
    is_file_self_contained,
)


def provide_environment(build: Build) -> tuple[str, bool]:
    """An environment for the dependencies of a build: an existing one, else a new one; and the link to it.

    Return its name, and whether it links into the release.
    """
    interpreter, version = find_interpreter(build)
    try:
        wanted = wanted_requirements(build)
        with Workspace(build) as work:
            read_requirements(build, wanted, work)
            check_requirements(build, wanted)
            inputs = inputs_of(build, wanted, version)
            found = resolve(build, wanted, interpreter, inputs, work)
            name, leans = find_or_install(build, wanted, found, interpreter, version, work)
            record_resolution(build, found)
            if found.local:
                # The host may have several of this version. Those that no shared environment has may be removed.
                chosen = interpreter_of(os.path.join(build.layout.venvs, name))
                make_own_environment(build, found.local, chosen, name, work)
            else:
                os.symlink(os.path.join("..", "..", "venvs", name), os.path.join(build.release, "venv"))
            return name, leans
    except RequirementsError as error:
        raise build.error(str(error)) from error


def find_or_install(
    build: Build, wanted: Requirements, found: Resolution, interpreter: str, version: str, work: Workspace
) -> tuple[str, bool]:
    key = environment_key(build, wanted, found, version)
    while True:
        name = digest(key)[:16]
        path = os.path.join(build.layout.venvs, name)
        if is_complete(path):
            if fault_in(path, build.layout.root) is None:
                return name, "release" in key
            # Files of the cache may be files of the environment.
            remove_tree(cache_of(build))
        if os.path.lexists(os.path.join(path, COMPLETE)) and is_used(build, name):
            # Its release serves until the next one is live. Then both are removed.
            key["instead_of"] = name
            continue
        remove_tree(path)
        try:
            install_linked(build, path, interpreter, wanted, found, work)
            if "release" in key or not links_into(path, build.release):
                remove_mark(path)
                take_environment(build, path)
                owner = existing_account(build.name)
                give_outward_links(path, [path], owner.pw_uid, owner.pw_gid)
                record_contents(path, build.layout.root, image_of(build))
                write(File(os.path.join(path, COMPLETE), f"{interpreter}\n"))
                return name, "release" in key
        except BaseException:
            remove_tree(path)
            raise
        # The files did not show it, but a library in the source has asked for a link. No other release may use this
        # environment.
        remove_tree(path)
        key["release"] = build.identity


def is_used(build: Build, name: str) -> bool:
    """Whether a release has an environment."""
    return any(manifest.venv == name for manifest in manifests(build.layout))


def inputs_of(build: Build, wanted: Requirements, version: str) -> dict[str, Any]:
    """The inputs that decide which packages uv finds. They include the whole source unless only its lists matter."""
    python = build.spec["python"]
    lines = [line for found in wanted.lines.values() for line in found]
    tables = [name for name in wanted.files if kind(name) in ("project", "pylock", "program")]
    texts = {
        name: "\n".join(line.text for line in wanted.lines[name])
        if kind(name) == "lock"
        else text_of(build.root, name, build.source)
        for name in wanted.files
    }
    texts |= {name: settings_text(build, name) for name in settings_of_uv(build) if name not in texts}
    inputs: dict[str, Any] = {
        **common_key(build, version),
        "files": texts,
        "packages": list(map(recorded, wanted.packages)),
        "choice": [python.get(key) for key in ("extras", "groups", "index_strategy")],
    }
    is_self_contained = are_lines_self_contained([*lines, *(Line(one) for one in wanted.packages)]) and all(
        is_file_self_contained(build.root, build.source, name) for name in tables
    )
    if not is_self_contained:
        inputs["code"] = build.code
    named = [*texts.values(), *wanted.packages]
    return inputs | inputs_of_environment(build, named, not is_self_contained, across_hosts=True)


def common_key(build: Build, version: str) -> dict[str, Any]:
    """The inputs of every environment: interpreter, machine and indexes. Credentials are no part of it."""
    python = build.spec["python"]
    indexes = [python.get("index_url"), *(python.get("extra_index_urls") or [])]
    return {
        "interpreter": version,
        "machine": platform.machine(),
        "indexes": [without_login(index or "") for index in indexes] if any(indexes) else [],
    }


def environment_key(build: Build, wanted: Requirements, found: Resolution, version: str) -> dict[str, Any]:
    """The key of an environment: the exact packages in it, and the app server."""
    key: dict[str, Any] = {
        **common_key(build, version),
        "steps": [[without_logins(step.text), step.file, *step.options] for step in found.steps],
        "server": list(map(recorded, build.spec["server_packages"])),
    }
    if image := image_of(build):
        # Its packages may be built for the libraries of the image.
        key["image"] = image
    limits = limits_of_server(build, wanted)
    if limits:
        key["limits"] = limits
    direct = [step.file for step in found.steps if step.file]
    needs_source = not all(
        is_file_self_contained(build.root, build.source, name)
        if kind(name) == "pylock"
        else are_lines_self_contained(wanted.lines[name])
        for name in direct
    )
    reads_source = needs_source or found.may_change
    if reads_source:
        key["code"] = build.code
    # uv replaces variables in files that are installed as they are.
    return key | inputs_of_environment(build, [step.text for step in found.steps if step.file], reads_source)


def limits_of_server(build: Build, wanted: Requirements) -> list[str]:
    """The lines of constraints. They also limit the app server, which no step lists."""
    files = [limit for name in wanted.files if kind(name) == "text" for limit in constraint_files(build.root, name)]
    lines = [line.text for limit in dict.fromkeys(files) for line in lines_of(build.root, limit, build.source)]
    return [without_logins(line) for line in lines] if build.spec["server_packages"] else []


def without_logins(text: str) -> str:
    return re.sub(r"(?<=://)[^\s/'\"@]*@", "", text)


def install_linked(
    build: Build, path: str, interpreter: str, wanted: Requirements, found: Resolution, work: Workspace
) -> None:
    """Install all packages, with links to the files of uv's cache if the build account can link all of them.

    The second attempt copies the files, which needs no link. It gets a new folder, because uv writes through a link
    that the first attempt has made.
    """
    how = link_mode(build)
    try:
        install(build, path, interpreter, wanted, found, work, how)
    except ReleaseError as error:
        if how == COPY or not UNLINKED.search(error.text):
            raise
        remove_tree(path)
        install(build, path, interpreter, wanted, found, work, COPY)


def install(
    build: Build, path: str, interpreter: str, wanted: Requirements, found: Resolution, work: Workspace, how: str
) -> None:
    """Create an environment and install all packages.

    Packages may run their own code when they are built, so the build account installs them, in a folder that is closed
    meanwhile. Afterwards all files become root's, so that nothing can edit the environment. If ``how`` is HARDLINK, the
    files of packages are links to those of uv's cache, which become root's too: the disk holds them once.
    """
    python = create_environment(build, path, interpreter)
    pip = pip_install(python, how)
    for step in found.steps:
        install_step(build, pip, step, indexes_of_lines(build, wanted), work)
    unlocked = [name for name in wanted.files if kind(name) not in ("lock", "pylock")]
    install_server(build, path, pip, unlocked, work)


def install_step(build: Build, pip: list[str], step: Step, indexes: list[str], work: Workspace) -> None:
    if step.file:
        place = folder_of_lists(build.root, [step.file], step.text.split("\n"))
        arguments = [*pip, *step.options, "-r", from_folder(build.root, step.file, place)]
        run_uv(build, arguments, step.doing, work.inside(place), in_source=True)
        return
    name = "pylock.toml" if step.is_pylock else "requirements.txt"
    text = with_places(step.text, work.source) if SOURCE in step.text else step.text
    arguments = [*pip, *step.options, "-r", work.file(name, text)]
    run_uv(build, arguments, step.doing, work.root if work.copied else "", in_source=True, indexes=indexes)
