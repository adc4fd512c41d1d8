# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The own environment of a release: the project itself and the libraries of its source, above the shared environment.

It is a virtual environment inside the release. Its packages come first. A file for Python's module ``site`` adds those
of the shared environment, and the programs of the shared environment are copied, so that they run with both.
"""

from __future__ import annotations

import os
import shutil
import stat

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.installed import site_packages
from ansible_collections.pyweb.stack.plugins.module_utils.building.resolution import NOTHING_TO_BUILD, note_unbuilt
from ansible_collections.pyweb.stack.plugins.module_utils.building.source import is_real_folder
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import COPY, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.building.virtual import (
    create_environment,
    pip_install,
    take_environment,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.workspace import Workspace
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import give_outward_links
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError, existing_account
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import Package, list_of, with_places
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import RequirementsError, normalized

# The file that adds the shared environment. Python runs lines of such files that begin with "import".
SHARED = "_pyweb_shared.pth"
# Bytes at the beginning of a program that may name its interpreter.
MOST_HEAD = 1024
# Bytes of the file that lists what a package has installed.
MOST_RECORD = 32 * 1024**2


def make_own_environment(build: Build, local: list[Package], interpreter: str, shared: str, work: Workspace) -> None:
    """Build packages from folders of the source, and install them into the release.

    They are built from a copy of the source, as the build account. Afterwards everything is root's.
    """
    path = os.path.join(build.release, "venv")
    python = create_environment(build, path, interpreter)
    own = os.path.relpath(build.root, build.source)
    libraries = [package for package in local if package.folder != own]
    if libraries:
        install_folders(build, python, libraries, work)
    if len(libraries) < len(local):
        try:
            install_folders(build, python, [package for package in local if package.folder == own], work)
        except ReleaseError as error:
            if not NOTHING_TO_BUILD.search(error.text):
                raise
            note_unbuilt(build, error.text)
    take_environment(build, path)
    environment = os.path.join(build.layout.venvs, shared)
    add_shared(path, environment)
    owner = existing_account(build.name)
    give_outward_links(path, [build.release, environment], owner.pw_uid, owner.pw_gid)
    fill_packages(build, path, local)


def install_folders(build: Build, python: str, local: list[Package], work: Workspace) -> None:
    pylock = work.file("pylock.toml", with_places(list_of(local), work.source))
    names = " and ".join(f"{package.name} ({package.folder})" for package in local)
    arguments = [*pip_install(python, COPY), "-r", pylock]
    run_uv(build, arguments, f"install {names} from the source", work.root, in_source=True)


def packages_of(path: str) -> str:
    """The folder with the packages of an environment."""
    found = site_packages(path, "")
    if len(found) != 1:
        raise RequirementsError(
            f"the environment {path} has {len(found)} folders with packages instead of one. A package has changed it. "
            "Remove that package."
        )
    return found[0].rstrip("/")


def add_shared(path: str, shared: str) -> None:
    """Add the packages, the programs and the data of a shared environment to an own one. Both are root's."""
    packages, below = packages_of(path), packages_of(shared)
    check_real(packages, path)
    line = f"import site; site.addsitedir({below!r})\n"
    write(File(os.path.join(packages, SHARED), line))
    programs = os.path.join(path, "bin")
    check_real(programs, path)
    for name in sorted(os.listdir(os.path.join(shared, "bin"))):
        target = os.path.join(programs, name)
        if not os.path.lexists(target):
            add_program(os.path.join(shared, "bin", name), target, f"{shared}/bin/", f"{path}/bin/")
    for name in os.listdir(shared):
        target = os.path.join(path, name)
        if not os.path.lexists(target) and not name.startswith(".") and os.path.isdir(os.path.join(shared, name)):
            os.symlink(os.path.relpath(os.path.join(shared, name), path), target)


def add_program(program: str, target: str, shared: str, own: str) -> None:
    """Add a program of the shared environment. One that names its interpreter becomes a copy that names the own one."""
    status = os.lstat(program)
    if stat.S_ISREG(status.st_mode):
        with open(program, "rb") as stream:
            head = stream.read(MOST_HEAD)
            if head.startswith(b"#!") and shared.encode() in head:
                with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755), "wb") as copy:
                    copy.write(head.replace(shared.encode(), own.encode()))
                    shutil.copyfileobj(stream, copy)
                return
    os.symlink(os.path.relpath(program, os.path.dirname(target)), target)


def check_real(folder: str, top: str) -> None:
    """Refuse a folder of an environment that is a link: a package has put it there, and root would write through it."""
    if os.path.realpath(folder) != os.path.join(os.path.realpath(top), os.path.relpath(folder, top)):
        raise RequirementsError(f"a package of the source has replaced {folder} by a link. Remove that package.")


def fill_packages(build: Build, path: str, local: list[Package]) -> None:
    """Complete packages that exist in the source and in the environment, as if they were installed as editable.

    The project is imported from its source, which lacks what its build generates: compiled modules, files with the
    version. A library is imported from the environment, which lacks data that its author has not declared.
    """
    packages = packages_of(path)
    own = os.path.relpath(build.root, build.source)
    for package in local:
        for name in names_of(path, package.name):
            for folder in ("", "src"):
                # The build account has written the name of the folder.
                parts = tuple(part for part in f"{package.folder}/{folder}/{name}".split("/") if part not in ("", "."))
                source, built = os.path.join(build.source, *parts), os.path.join(packages, name)
                if ".." not in parts and is_real_folder(build.source, parts) and is_folder(built):
                    fill(*((built, source) if package.folder == own else (source, built)))


def names_of(path: str, package: str) -> set[str]:
    """The names in site-packages that a package has installed."""
    found: set[str] = set()
    for record in site_packages(path, "*.dist-info/RECORD"):
        if normalized(os.path.basename(os.path.dirname(record)).partition("-")[0]) == package:
            lines = read_untrusted(record, MOST_RECORD).decode(errors="replace").split("\n")
            found |= {name for name in (line.partition("/")[0] for line in lines) if name.isidentifier()}
    return found - {"__pycache__"}


def fill(source: str, target: str) -> None:
    """Copy the files of a folder that another folder lacks. Root owns both, and no link is followed."""
    for name in os.listdir(source):
        one, other = os.path.join(source, name), os.path.join(target, name)
        if name == "__pycache__":
            continue
        if is_folder(one):
            if not os.path.lexists(other):
                os.mkdir(other, 0o755)
            if is_folder(other):
                fill(one, other)
        elif os.path.isfile(one) and not os.path.islink(one) and not os.path.lexists(other):
            shutil.copyfile(one, other)
            os.chmod(other, 0o755 if os.stat(one).st_mode & 0o100 else 0o644)


def is_folder(path: str) -> bool:
    return os.path.isdir(path) and os.path.realpath(path) == os.path.join(
        os.path.realpath(os.path.dirname(path)), os.path.basename(path)
    )
