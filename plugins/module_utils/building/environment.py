# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The virtual environment of a release: shared by releases with the same dependencies."""

from __future__ import annotations

import glob
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.list_folders import folder_of_lists, from_folder
from ansible_collections.pyweb.stack.plugins.module_utils.building.requirements import (
    Requirements,
    check_requirements,
    read_requirements,
    wanted_requirements,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import COPY, UNLINKED, cache_of, link_mode, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import changeable_by, version_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import recorded
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.completeness import is_complete, remove_mark
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import give_outward_links
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import StillOpen, take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import SYSTEM_PATH
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    ReleaseError,
    existing_account,
    manifests,
    remove_tree,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import (
    Line,
    RequirementsError,
    constraint_files,
    kind,
    lines_of,
    normalized,
    text_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import without_login
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import (
    is_too_old,
    old_server_message,
    package_name,
    same_program,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.self_contained import (
    are_lines_self_contained,
    is_file_self_contained,
    points_into_source,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.server_lock import (
    LockProblem,
    locked_lines,
    locked_packages,
    only_wheels,
)

# Bytes of a file that records a link to code.
MOST_NOTE = 256 * 1024


def provide_environment(build: Build) -> tuple[str, bool]:
    """An environment for the dependencies of a build: an existing one, else a new one.

    Return its name, and whether it links into the release.
    """
    interpreter, version = find_interpreter(build)
    try:
        wanted = wanted_requirements(build)
    except RequirementsError as error:
        raise build.error(str(error)) from error
    try:
        read_requirements(build, wanted)
        check_requirements(build, wanted)
        return find_or_install(build, wanted, interpreter, version)
    except RequirementsError as error:
        raise build.error(str(error)) from error
    finally:
        for path in wanted.exported.values():
            remove_tree(path)


def find_interpreter(build: Build) -> tuple[str, str]:
    """The path and the version of the interpreter. The application must not be able to change what builds run."""
    name = build.spec["python"]["interpreter"]
    interpreter = shutil.which(name, path=SYSTEM_PATH)
    if interpreter is None:
        raise build.error(
            f"python.interpreter '{name}' is not on the host. Install it (apt install {os.path.basename(name)}), or "
            "name one that is."
        )
    owner = existing_account(build.name)
    place = changeable_by(interpreter, owner.pw_uid, owner.pw_gid)
    if place:
        raise build.error(
            f"python.interpreter '{name}' can be changed by the application: its account can write {place}. Move the "
            "interpreter to a folder of root, such as one below /opt."
        )
    version = version_of(interpreter, build.layout.root)
    if not version:
        raise build.error(
            f"python.interpreter '{name}' ({interpreter}) is not a Python interpreter, or other accounts than root "
            "can't run it. Set one that they can, such as python3."
        )
    return interpreter, version


def find_or_install(build: Build, wanted: Requirements, interpreter: str, version: str) -> tuple[str, bool]:
    key = environment_key(build, wanted, version)
    while True:
        name = digest(key)[:16]
        path = os.path.join(build.layout.venvs, name)
        if is_complete(path):
            return name, "release" in key
        if os.path.lexists(os.path.join(path, COMPLETE)) and is_used(build, name):
            # Its release serves until the next one is live. Then both are removed.
            key["instead_of"] = name
            continue
        remove_tree(path)
        try:
            install_linked(build, path, interpreter, wanted)
            if "release" in key or not links_into(path, build.release):
                remove_mark(path)
                take_environment(build, path)
                owner = existing_account(build.name)
                give_outward_links(path, [path], owner.pw_uid, owner.pw_gid)
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


def environment_key(build: Build, wanted: Requirements, version: str) -> dict[str, Any]:
    """The inputs of an environment. They include the whole source, unless it provably does not matter."""
    python = build.spec["python"]
    lines = [line for found in wanted.lines.values() for line in found]
    tables = [name for name in wanted.files if kind(name) in ("project", "pylock", "program")]
    texts = {
        name: "\n".join(line.text for line in wanted.lines[name])
        if name in wanted.exported
        else text_of(build.root, name, build.source)
        for name in wanted.files
    }
    key: dict[str, Any] = {
        "interpreter": version,
        "machine": platform.machine(),
        "files": texts,
        "packages": list(map(recorded, [*wanted.packages, *build.spec["server_packages"]])),
    }
    indexes = [python.get("index_url"), *(python.get("extra_index_urls") or [])]
    if any(indexes):
        key["indexes"] = [without_login(index or "") for index in indexes]
    if indexes[0] and len(indexes) > 1:
        # Up to version 0.1.0, a package of an extra index could replace one of the named index.
        key["order"] = "the named index first"
    is_self_contained = are_lines_self_contained([*lines, *(Line(one) for one in wanted.packages)]) and all(
        is_file_self_contained(build.root, build.source, name) for name in tables
    )
    if not is_self_contained:
        key["code"] = build.code
    if points_into_source(lines, [texts[name] for name in tables]):
        key["release"] = build.identity
    return key


def install_linked(build: Build, path: str, interpreter: str, wanted: Requirements) -> None:
    """Install all requirements, with links to the files of uv's cache if the build account can link all of them.

    The second attempt copies the files, which needs no link. It gets a new folder, because uv writes through a link
    that the first attempt has made.
    """
    how = link_mode(build)
    try:
        install(build, path, interpreter, wanted, how)
    except ReleaseError as error:
        if how == COPY or not UNLINKED.search(error.text):
            raise
        remove_tree(path)
        install(build, path, interpreter, wanted, COPY)


def install(build: Build, path: str, interpreter: str, wanted: Requirements, how: str) -> None:
    """Create an environment and install all requirements.

    Packages may run their own code when they are built, so the build account installs them, in a folder that is closed
    meanwhile. Afterwards all files become root's, so that nothing can edit the environment. If ``how`` is HARDLINK, the
    files of packages are links to those of uv's cache, which become root's too: the disk holds them once.
    """
    owner = existing_account(build.name, build.builder)
    os.makedirs(path, mode=0o700)
    os.chown(path, owner.pw_uid, owner.pw_gid)
    venv = ["venv", "--quiet", "--allow-existing", "--no-project", "--python", interpreter, path]
    run_uv(build, venv, "create the virtual environment")
    python = os.path.join(path, "bin", "python")
    pip = ["pip", "install", "--quiet", "--python", python, "--link-mode", how, "--compile-bytecode"]
    for name, exported in wanted.exported.items():
        # As it is locked: nothing is resolved a second time.
        folder = os.path.dirname(os.path.normpath(os.path.join(build.root, name)))
        run_uv(build, [*pip, "--no-deps", "-r", exported], f"install what {name} lists", folder)
    for name in wanted.files:
        if kind(name) == "pylock":
            run_uv(build, [*pip, "-r", name], f"install what {name} lists")
    unlocked = [name for name in wanted.files if name not in wanted.exported and kind(name) != "pylock"]
    with scratch_folder(build) as scratch:
        constraints = os.path.join(scratch, "installed.txt")
        folder = folder_of_lists(build.root, unlocked)
        arguments = [part for name in unlocked for part in ("-r", from_folder(build.root, name, folder))]
        if wanted.packages:
            arguments += ["-r", requirements_file(build, scratch, "packages", wanted.packages)]
        if arguments:
            # The packages of a lock keep their versions, except where the inventory names them.
            named = {package_name(package) for package in wanted.packages}
            locked = {name: one for name, one in installed_packages(path).items() if name not in named}
            write(for_builder(build, constraints, as_pins(locked)))
            listed = " and ".join([*unlocked, *(f"'{package}'" for package in wanted.packages)])
            run_uv(build, [*pip, "-c", constraints, *arguments], f"install {listed}", folder)
        install_server(build, path, pip, unlocked, scratch)


def requirements_file(build: Build, folder: str, name: str, requirements: list[str]) -> str:
    """A requirements file for uv: an address may hold a password, and everyone can read a command line."""
    path = os.path.join(folder, f"{name}.txt")
    write(for_builder(build, path, "".join(f"{one}\n" for one in requirements)))
    return path


@contextmanager
def scratch_folder(build: Build) -> Iterator[str]:
    """A folder of root for files that only the build account reads. The next run removes one that is left."""
    path = build.layout.path(f".{secrets.token_hex(8)}.new")
    os.mkdir(path)
    try:
        yield path
    finally:
        remove_tree(path)


def for_builder(build: Build, path: str, text: str) -> File:
    return File(path, text, mode=0o400, owner=build.builder)


def install_server(build: Build, path: str, pip: list[str], unlocked: list[str], scratch: str) -> None:
    """Add the app server to the installed packages, unless the application has installed one; check its version."""
    servers = build.spec["server_packages"]
    found = installed_packages(path)
    missing = [one for one in servers if not found.keys() & {*same_program(one)}]
    files = list(dict.fromkeys(limit for name in unlocked for limit in constraint_files(build.root, name)))
    chosen = [one for one in missing if one not in (build.spec.get("server_lock") or {}).get("requirements", ())]
    if chosen:
        install_resolved(build, path, pip, chosen, files, scratch)
    locked = [one for one in missing if one not in chosen]
    if locked and not install_locked(build, path, pip, locked, files, scratch):
        install_resolved(build, path, pip, locked, files, scratch)
    found = installed_packages(path)
    for server in servers[:1]:
        for name in found.keys() & {*same_program(server)}:
            if is_too_old(found[name], server):
                raise build.error(old_server_message(server, "a requirement", name, found[name]))


def install_resolved(
    build: Build, path: str, pip: list[str], missing: list[str], limits: list[str], scratch: str
) -> None:
    """Install packages in the versions that uv finds, beside the application's own packages and within its limits."""
    constraints = os.path.join(scratch, "installed.txt")
    write(for_builder(build, constraints, as_pins(installed_packages(path))))
    bounds = [part for limit in [constraints, *limits] for part in ("-c", limit)]
    arguments = ["-r", requirements_file(build, scratch, "server", missing)]
    run_uv(build, [*pip, *bounds, *arguments], f"install {' and '.join(missing)} beside what is required")


def install_locked(
    build: Build, path: str, pip: list[str], missing: list[str], limits: list[str], scratch: str
) -> bool:
    """Install packages from the files whose hashes the lock of the collection has.

    Return whether the locked versions fit the application's own packages and limits. Only files of the application
    decide that. So no index can have this collection install packages without hashes.
    """
    python = python_of(path)
    lines = [line.text for limit in limits for line in lines_of(build.root, limit, build.source)]
    try:
        packages = locked_packages(build.spec["server_lock"], python, missing, installed_packages(path), lines)
    except LockProblem as problem:
        names = " and ".join(map(package_name, missing))
        build.spec.get("notes", []).append(
            f"webapps '{build.name}': {names} is installed without the hashes of this collection, because {problem}."
        )
        return False
    listed = requirements_file(build, scratch, "locked", [locked_lines(build.spec["server_lock"], packages)])
    options = ["--no-deps", "--require-hashes", *only_wheels(build.spec["server_lock"], python, packages)]
    names = " and ".join(as_pins({name: packages[name]}).strip() for name in map(package_name, missing))
    choice = "webapp_server_requirements chooses another version, without hashes"
    run_uv(build, [*pip, *options, "-r", listed], f"install {names} with the hashes of this collection ({choice})")
    return True


def python_of(path: str) -> str:
    """The version of CPython that an environment is for, such as 3.11; empty for any other interpreter."""
    found = [re.search(r"/lib/python(3\.\d+)/site-packages/?$", place) for place in site_packages(path, "")]
    return next((one[1] for one in found if one), "")


def site_packages(path: str, pattern: str) -> list[str]:
    """The entries of an environment's site-packages that match a pattern."""
    return glob.glob(os.path.join(glob.escape(path), "lib", "python*", "site-packages", pattern))


def installed_packages(path: str) -> dict[str, str]:
    """The packages of an environment and their versions, by the folders with their metadata."""
    found = {}
    for folder in site_packages(path, "*.dist-info"):
        parts = re.fullmatch(r"([A-Za-z0-9._]+)-([A-Za-z0-9.+!_]+)\.dist-info", os.path.basename(folder))
        if parts:
            found[normalized(parts.group(1))] = parts.group(2)
    return found


def as_pins(packages: dict[str, str]) -> str:
    """Packages and versions as the text of a requirements file."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


def links_into(path: str, folder: str) -> bool:
    """Whether an environment links to code in a folder, by the files in which installers record such links."""
    for pattern in ("*.pth", "*.egg-link", "__editable__*", "*.dist-info/direct_url.json"):
        for note in site_packages(path, pattern):
            text = note_text(note)
            is_named = folder in text or os.path.realpath(folder) in text
            if is_named and (not note.endswith(".json") or '"editable":true' in re.sub(r"\s", "", text)):
                return True
    return False


def note_text(path: str) -> str:
    """The text of a file that a package has installed; empty for anything that is not one of a common size."""
    try:
        return read_untrusted(path, MOST_NOTE).decode(errors="replace")
    except OSError:
        return ""


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
