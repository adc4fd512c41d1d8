# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install the app server beside the packages of an application, without changing these."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.installed import (
    as_pins,
    installed_packages,
    python_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.building.workspace import Workspace
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import constraint_files, lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import (
    is_too_old,
    old_server_message,
    package_name,
    same_program,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.server_lock import (
    LockProblem,
    locked_lines,
    locked_packages,
    only_wheels,
)


def install_server(build: Build, path: str, pip: list[str], unlocked: list[str], work: Workspace) -> None:
    """Add the app server to the installed packages, unless the application has installed one; check its version."""
    servers = build.spec["server_packages"]
    found = installed_packages(path)
    missing = [one for one in servers if not found.keys() & {*same_program(one)}]
    files = list(dict.fromkeys(limit for name in unlocked for limit in constraint_files(build.root, name)))
    chosen = [one for one in missing if one not in (build.spec.get("server_lock") or {}).get("requirements", ())]
    if chosen:
        install_resolved(build, path, pip, chosen, files, work)
    locked = [one for one in missing if one not in chosen]
    if locked and not install_locked(build, path, pip, locked, files, work):
        install_resolved(build, path, pip, locked, files, work)
    found = installed_packages(path)
    for server in servers[:1]:
        for name in found.keys() & {*same_program(server)}:
            if is_too_old(found[name], server):
                raise build.error(old_server_message(server, "a requirement", name, found[name]))


def install_resolved(
    build: Build, path: str, pip: list[str], missing: list[str], limits: list[str], work: Workspace
) -> None:
    """Install packages in the versions that uv finds, beside the application's own packages and within its limits."""
    constraints = work.file("installed.txt", as_pins(installed_packages(path)))
    bounds = [part for limit in [constraints, *limits] for part in ("-c", limit)]
    arguments = ["-r", work.file("server.txt", "".join(f"{one}\n" for one in missing))]
    run_uv(build, [*pip, *bounds, *arguments], f"install {' and '.join(missing)} beside what is required")


def install_locked(
    build: Build, path: str, pip: list[str], missing: list[str], limits: list[str], work: Workspace
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
    listed = work.file("locked.txt", locked_lines(build.spec["server_lock"], packages))
    options = ["--no-deps", "--require-hashes", *only_wheels(build.spec["server_lock"], python, packages)]
    names = " and ".join(as_pins({name: packages[name]}).strip() for name in map(package_name, missing))
    choice = "webapp_server_requirements chooses another version, without hashes"
    run_uv(build, [*pip, *options, "-r", listed], f"install {names} with the hashes of this collection ({choice})")
    return True
