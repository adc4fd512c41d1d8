# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A release whose source is an image: its code, its Python and its packages are those of the image."""

from __future__ import annotations

import os
import shlex
import stat
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.image import (
    create_places,
    find_interpreter_of_image,
    image_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.source import with_real_root, write_links
from ansible_collections.pyweb.stack.plugins.module_utils.given_images import references
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.contents import check_program
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import shown
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.making import Wanted, has, provide
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.registry import Login
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.links import Parts
from ansible_collections.pyweb.stack.plugins.module_utils.images import inside
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import (
    LINK,
    ImageError,
    description,
    file_system,
    path_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.images.store import locked, remove_unused
from ansible_collections.pyweb.stack.plugins.module_utils.release.completeness import is_complete
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_in, record_contents
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import used_images
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    COMPLETE,
    OWN_COMMAND,
    Manifest,
    NoImage,
    manifests,
    remove_tree,
    write_manifest,
)

# The app server that is the command of the image.
OWN = "image"
START = """#!/bin/sh
# Managed by Ansible: pyweb.stack. Changes made here are overwritten.
if [ "${{LISTEN_PID:-}}" != "$$" ] || [ "${{LISTEN_FDS:-0}}" -lt 1 ]; then
    echo "The process manager passes no sockets. Run the playbook site, which writes its definition again." >&2
    exit 1
fi
# Only the first socket is for HTTP.
export LISTEN_FDS=1
exec 4>&-
exec {command}
"""
# Changes when environments are made in another way.
RECIPE = 1
# Folders of the code that are not copied: the history, and environments, which work at their own place alone.
LEFT_OUT = (".git", ".hg", ".svn")
ENVIRONMENT = "pyvenv.cfg"
MOST_FILES = 100_000
MOST_BYTES = 2 * 1024**3


def wanted_image(source: dict[str, Any]) -> Wanted:
    """The image that a source names."""
    reference = None if source.get("archive") else references.parsed(source["image"])[0]
    login = Login(**(source.get("registry") or {}))
    what = f"the image '{shown(source['image'])}'"
    return Wanted(source["digest"], what, source.get("upload") or "", reference, login)


def has_image(source: dict[str, Any], root: str) -> bool:
    """Whether the host has the image of a source already."""
    return has(root, wanted_image(source))


def provide_given(build: Build, manifest: Manifest) -> Build:
    """Give a release its image, its code and its environment. Return the build with its real application root."""
    known = link_image(build, manifest, build.spec["source"])
    build = copy_code(build, known)
    manifest.venv = provide_environment(build, known)
    return build


def provide_for_code(build: Build, manifest: Manifest) -> None:
    """Give a release whose code is there an image with all packages, and its environment."""
    known = link_image(build, manifest, build.spec["source"]["environment"])
    find_interpreter_of_image(build)
    manifest.venv = provide_environment(build, known)


def link_image(build: Build, manifest: Manifest, source: dict[str, Any]) -> dict[str, Any]:
    """Unpack an image unless the host has it, and let a release name it. Return its description."""
    layout = build.layout
    try:
        with locked(layout.root):
            wanted = wanted_image(source)
            image = provide(layout.root, wanted, lambda: used_images(layout.root))
            known = description(layout.root, image)
            try:
                check_programs(build, file_system(layout.root, image), known)
            except ImageError:
                remove_unused(layout.root, used_images(layout.root))
                raise
            manifest.image = image
            os.symlink(path_of(layout.root, manifest.image), os.path.join(build.release, LINK))
            write_manifest(layout, manifest)
        create_places(build, manifest.image)
    except ImageError as error:
        raise NoImage(build.name, str(error)) from error
    return known


def check_programs(build: Build, top: str, known: dict[str, Any]) -> None:
    """Refuse an image without Python, or without the app server."""
    if not known.get("interpreter"):
        raise ImageError(
            f"{known['base']} has no python3 in its PATH ({shown(known['path'])}), or its version is unknown. "
            "Choose an image with Python."
        )
    server = str(build.spec["environment"].get("WEBAPP_SERVER") or "")
    if server == OWN:
        write_command(build, top, known)
        return
    remedy = f"Install {server} where the image is built, or set server to one that the image has."
    check_program(top, known, server, remedy)


def write_command(build: Build, top: str, known: dict[str, Any]) -> None:
    """Write the start command of a release that runs the command of its image."""
    words = [str(word) for word in known["command"]]
    if not words:
        raise ImageError(
            f"{known['base']} has no command (ENTRYPOINT, CMD). Set one where the image is built, or set server: "
            "gunicorn."
        )
    program = words[0]
    if "/" in program and not program.startswith("/"):
        program = os.path.join(known["folder"], program)
    remedy = "It is the command of the image. Correct ENTRYPOINT and CMD, or set server: gunicorn."
    check_program(top, known, program, remedy)
    command = " ".join(shlex.quote(word) for word in [build.launcher, *words])
    write(File(os.path.join(build.release, "bin", "web"), START.format(command=command), mode=0o755))
    # The gate explains a command that does not use the socket.
    write(File(os.path.join(build.release, OWN_COMMAND), f"{shlex.join(words)}\n"))


def copy_code(build: Build, known: dict[str, Any]) -> Build:
    """Copy the working folder of an image to the source of a release: nginx serves its static files from there."""
    os.makedirs(build.source, mode=0o755)
    links: dict[Parts, str] = {}
    with inside.opened(file_system(build.layout.root, image_of(build))) as top:
        names = inside.followed(top, known["folder"])
        if names:
            copy_folder(build, top, names, links)
    write_links(build, links)
    return with_real_root(build, links)


def copy_folder(build: Build, top: int, names: tuple[str, ...], links: dict[Parts, str]) -> None:
    """Copy all files of a folder, and collect its links. An image without this folder has no code there."""
    try:
        start = trees.open_below(top, names)
    except (FileNotFoundError, NotADirectoryError):
        return
    copied, place = 0, "/".join(names)
    for visit in trees.walk(place, trees.Budget(MOST_FILES), start=start):
        if visit.leaving:
            continue
        if ENVIRONMENT in visit.files:
            visit.folders.clear()
            continue
        visit.folders[:] = [name for name in visit.folders if name not in LEFT_OUT]
        target = os.path.join(build.source, visit.path)
        os.makedirs(target, mode=0o755, exist_ok=True)
        for name, status in visit.files.items():
            if stat.S_ISLNK(status.st_mode):
                links[tuple(visit.below(name).split("/"))] = os.readlink(name, dir_fd=visit.descriptor)
                continue
            copied += status.st_size
            if copied > MOST_BYTES:
                raise build.error(
                    f"the working folder of the image, /{place}, has more than {MOST_BYTES // 1024**3} GiB. Set "
                    "another one (WORKDIR), which has the code alone."
                )
            copy_file(visit.descriptor, name, os.path.join(target, name), status)


def copy_file(folder: int, name: str, target: str, status: os.stat_result) -> None:
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with open(source, "rb") as stream, open(target, "xb") as copy:
        while block := stream.read(1024**2):
            copy.write(block)
        copy.flush()
        os.fchmod(copy.fileno(), 0o755 if status.st_mode & 0o111 else 0o644)
        # Compiled files next to it have this time.
        os.utime(copy.fileno(), ns=(status.st_mtime_ns, status.st_mtime_ns))


def provide_environment(build: Build, known: dict[str, Any]) -> str:
    """An environment that starts the interpreter of an image, which has all packages already. Return its name."""
    layout, image = build.layout, image_of(build)
    key: dict[str, Any] = {"given": RECIPE, "image": image, "interpreter": known["interpreter"]}
    while True:
        name = digest(key)[:16]
        path = os.path.join(layout.venvs, name)
        if is_complete(path) and fault_in(path, layout.root) is None:
            break
        if os.path.lexists(os.path.join(path, COMPLETE)) and any(one.venv == name for one in manifests(layout)):
            # Its release serves until the next one is live.
            key["instead_of"] = name
            continue
        remove_tree(path)
        write_environment(path, known)
        record_contents(path, layout.root, image)
        write(File(os.path.join(path, COMPLETE), f"{known['interpreter']}\n"))
        break
    os.symlink(os.path.join("..", "..", "venvs", name), os.path.join(build.release, "venv"))
    return name


def write_environment(path: str, known: dict[str, Any]) -> None:
    os.makedirs(os.path.join(path, "bin"), mode=0o755)
    os.makedirs(os.path.join(path, "lib", f"python{known['python']}", "site-packages"), mode=0o755)
    text = (
        "#!/bin/sh\n"
        "# The interpreter of the image, at its own path: it finds its packages there.\n"
        f'exec {shlex.quote(known["interpreter"])} "$@"\n'
    )
    for name in ("python", "python3"):
        write(File(os.path.join(path, "bin", name), text, mode=0o755))
