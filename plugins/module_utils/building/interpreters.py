# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Choose the Python interpreter of a release: the inventory's, else the one that its source asks for."""

from __future__ import annotations

import os
import shutil

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.image import find_interpreter_of_image, image_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import changeable_by, version_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.pythons import (
    FOLDER,
    closed_folder,
    full_version,
    owner_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import SYSTEM_PATH
from ansible_collections.pyweb.stack.plugins.module_utils.release.provided_pythons import (
    PythonError,
    Supply,
    find_or_provide,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import existing_account
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import RequirementsError
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import (
    VERSION_FILE,
    Request,
    is_version,
    minor_of,
    request_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.versions import fits

# The interpreter of the host, where neither the inventory nor the source asks for another one.
DEFAULT = "python3"


def find_interpreter(build: Build) -> tuple[str, str]:
    """The path and the version of the interpreter, such as cpython-3.11. uv provides it if the host lacks it."""
    if image_of(build):
        return find_interpreter_of_image(build)
    given = build.spec["python"].get("interpreter") or ""
    try:
        asked = request_of(build.root, build.source)
    except RequirementsError as error:
        raise build.error(str(error)) from error
    if is_version(given):
        refuse_unless_fitting(build, given, asked)
        return wanted_interpreter(build, Request(version=given, exact=True), "python.interpreter")
    if given:
        path, version = named_interpreter(build, given)
        note_ignored(build, given, path, asked)
        return path, version
    if asked.unknown:
        note(
            build,
            f"{VERSION_FILE} says '{asked.unknown}', which is no version of CPython, so it does not choose the "
            "interpreter. Set python.interpreter to a version, such as '3.13'.",
        )
    return asked_interpreter(build, asked)


def asked_interpreter(build: Build, asked: Request) -> tuple[str, str]:
    """The interpreter that the source asks for: the host's python3 if it fits, else another one."""
    path = shutil.which(DEFAULT, path=SYSTEM_PATH)
    if not (asked.version or asked.requires):
        return named_interpreter(build, DEFAULT)
    system = full_version(path, build.layout.root) if path else ""
    if system and asked.is_met_by(system):
        return named_interpreter(build, DEFAULT)
    if asked.version and not could_fit(asked):
        raise build.error(f"{asked}, so no Python fits both. Correct one of them in the source.")
    found = wanted_interpreter(build, asked, "python.interpreter")
    note(
        build,
        f"the release uses Python {full_version(found[0], build.layout.root)} ({found[0]}), because {asked}. The "
        f"host's python3 is {system or 'missing'}. To use it anyway, set python.interpreter to python3.",
    )
    return found


def could_fit(asked: Request) -> bool:
    """Whether any patch level of the version that a source names fits its requires-python."""
    return any(fits(f"{asked.minor}.{patch}", asked.requires) for patch in range(100))


def wanted_interpreter(build: Build, request: Request, key: str) -> tuple[str, str]:
    """An interpreter of the host that fits, else one that uv provides."""
    try:
        found, is_new = find_or_provide(request, supply_of(build), build.layout.root)
    except PythonError as error:
        wanted = f"{key}: '{request.version}' is set" if request.exact else str(request)
        keep = "" if request.exact else " Or set python.interpreter to python3, if the application works with it."
        raise build.error(f"{wanted}, but the host has no such Python. {error}{keep}") from error
    check_changeable(build, found.path, found.path)
    if is_new:
        note(build, f"uv has installed Python {found.version} in {os.path.dirname(os.path.dirname(found.path))}.")
    return found.path, f"cpython-{request.version if request.exact else minor_of(found.version)}"


def supply_of(build: Build) -> Supply:
    given = build.spec.get("pythons") or {}
    return Supply(
        uv=build.uv,
        folder=given.get("folder") or FOLDER,
        mirror=given.get("mirror") or "",
        listing=given.get("listing") or "",
        ca_bundle=build.spec["python"].get("ca_bundle") or "",
    )


def refuse_unless_fitting(build: Build, given: str, asked: Request) -> None:
    """Refuse a version of the inventory that the source excludes."""
    if given.count(".") == 1:
        fitting = any(fits(f"{given}.{patch}", asked.requires) for patch in range(100))
    else:
        fitting = fits(given, asked.requires)
    if not fitting:
        raise build.error(
            f"python.interpreter is '{given}', but pyproject.toml says requires-python = '{asked.requires}'. Set a "
            "version that fits, or leave python.interpreter out."
        )


def note_ignored(build: Build, given: str, path: str, asked: Request) -> None:
    """Say that the interpreter that the inventory names is not the one that the source asks for."""
    if asked.version or asked.requires:
        version = full_version(path, build.layout.root)
        if version and not asked.is_met_by(version):
            note(build, f"python.interpreter '{given}' is Python {version}, although {asked}.")


def named_interpreter(build: Build, name: str) -> tuple[str, str]:
    """The interpreter with a name or a path. The application must not be able to change what builds run."""
    interpreter = shutil.which(name, path=SYSTEM_PATH)
    if interpreter is None:
        raise build.error(
            f"python.interpreter '{name}' is not on the host. Install it (apt install {os.path.basename(name)}), name "
            "one that is, or set a version, such as '3.13', which uv provides."
        )
    check_entered(build, name, interpreter)
    check_changeable(build, name, interpreter)
    version = version_of(interpreter, build.layout.root)
    if not version:
        raise build.error(
            f"python.interpreter '{name}' ({interpreter}) is not a Python interpreter, or other accounts than root "
            "can't run it. Set one that they can, such as python3."
        )
    return interpreter, version


def check_entered(build: Build, name: str, interpreter: str) -> None:
    """Refuse an interpreter in a folder that an account of the application can't enter, such as a home."""
    for account in (existing_account(build.name), existing_account(build.name, build.builder)):
        folder = closed_folder(interpreter, account.pw_uid, (account.pw_gid,))
        if folder:
            raise build.error(
                f"python.interpreter '{name}' is in {folder}, a folder of {owner_of(folder)} that the account "
                f"{account.pw_name} may not enter. Set a version, such as '3.13', which uv provides for all "
                "applications, or install Python below /opt."
            )


def check_changeable(build: Build, name: str, interpreter: str) -> None:
    owner = existing_account(build.name)
    place = changeable_by(interpreter, owner.pw_uid, owner.pw_gid)
    if place:
        raise build.error(
            f"python.interpreter '{name}' can be changed by the application: its account can write {place}. Move the "
            "interpreter to a folder of root, such as one below /opt."
        )


def note(build: Build, text: str) -> None:
    """Add a warning to the result of the run."""
    build.spec.get("notes", []).append(f"webapps '{build.name}': {text}")
