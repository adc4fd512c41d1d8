# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Images that are built from a Containerfile, by the container engine of the controller. Hosts get an archive."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.commands import LONGEST, Silent, run_bounded
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import is_inside
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import repository_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import walked
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder, find_folder

# The engines, the preferred one first, and how each writes an archive of an image.
ENGINES = {
    "podman": ["save", "--quiet", "--format", "docker-archive", "--output"],
    "docker": ["save", "--output"],
}
# Seconds until an engine has to say that it works.
ENGINE_SECONDS = 30
# Lines of a failed build in messages.
LINES = 6
# Days after which an image that no run has asked for is removed from the controller.
KEPT_DAYS = 30
# Of an image: its archive, what it was built from, and the lock of both.
ARCHIVE, RECORD, LOCK = "image.tar", "built.json", "lock"


@dataclass(frozen=True)
class Order:
    """An image to build. ``state`` changes if anything in the folder does, and ``place`` is where the image is kept.

    ``key`` is the option in messages. ``folder`` provides the folder for a build. Only a build has to fetch the code of
    a repository.
    """

    key: str
    name: str
    revision: str
    state: str
    place: Path
    containerfile: str
    platform: str
    folder: Callable[[], AbstractContextManager[Path]]

    @property
    def archive(self) -> Path:
        return self.place / ARCHIVE

    @property
    def tag(self) -> str:
        """The name that the engine gives to the image, so that pruning keeps it and its layers."""
        word = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "image"
        return f"localhost/pyweb-stack/{word[:60].strip('-')}:{self.place.name}"


def order_of(source: dict[str, Any], bases: list[str]) -> Order:
    """The image that a source wants; raises SourceError."""
    subdir = str(source.get("subdir") or "")
    containerfile, platform = str(source["containerfile"]), str(source.get("platform") or "")
    if source.get("git"):
        repository = repository_of(source, bases)
        version = source.get("version") or "HEAD"
        commit = source.get("commit") or repository.commit_of(version)

        @contextlib.contextmanager
        def checkout() -> Iterator[Path]:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "source"
                repository.checkout(commit, version, folder)
                yield folder_of(folder, subdir, f"{redacted(source['git'])} at '{version}'")

        name = re.split(r"[/:]", repository.url.rstrip("/"))[-1].removesuffix(".git")
        identity, state, revision, folder = f"{repository.url} {version}", commit, commit[:12], checkout
    else:
        top = find_folder(source["path"], bases)
        path = folder_of(top, subdir, f"source.path '{source['path']}'")
        name, identity, state, revision = path.name, str(path), state_of(path), ""
        folder = partial(contextlib.nullcontext, path)
    words = [identity, subdir, containerfile, platform]
    place = cache_folder() / "builds" / digest(words)[:16]
    state = digest([*words, state])
    # The Containerfile of an image in which the code of a source runs is an option of the container.
    key = f"{'container' if source.get('environment') else 'source'}.containerfile"
    return Order(key, name, revision, state, place, containerfile, platform, folder)


def digest(words: list[str]) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def folder_of(top: Path, subdir: str, source: str) -> Path:
    folder = top / subdir
    if not folder.is_dir() or not is_inside(top, folder):
        raise SourceError(f"{source} has no folder '{subdir}'. Correct source.subdir.")
    return folder


def state_of(folder: Path) -> str:
    """What changes if anything in a folder does. An engine reads files that git leaves out, too.

    It is made of times and sizes, because folders can be large. If it changes without reason, the engine finds all
    layers in its cache.
    """
    total = hashlib.sha256()
    for path in sorted(walked(folder, str(folder), left_out=frozenset())):
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
            size = found.st_size if not os.path.isdir(path) else 0
            words = [os.path.relpath(path, folder), found.st_mode, size, found.st_mtime_ns, found.st_ctime_ns]
            total.update(repr(words).encode())
    return total.hexdigest()


def built(source: dict[str, Any], bases: list[str], renewal: str = "") -> Path:
    """The archive of the image that a source wants, built unless it is there. Raises SourceError with what to do.

    ``renewal`` names a run that wants a new base and new packages. All its hosts get one image.
    """
    order = order_of(source, bases)
    order.place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(order.place):
        known = record_of(order.place)
        is_renewed = not renewal or known.get("renewed") == renewal
        if known.get("state") == order.state and is_renewed:
            return order.archive
        remove_unused(order.place.parent)
        with order.folder() as folder:
            build(order, folder, renewal, str(known.get("id") or ""))
        return order.archive


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold the lock of an image. Hosts ask side by side, and one of them builds."""
    with open(place / LOCK, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        os.utime(place / LOCK)
        yield


def remove_unused(places: Path) -> None:
    """Remove the images of the controller that no run has asked for in a long time."""
    for lock in places.glob(f"*/{LOCK}"):
        if time.time() - lock.stat().st_mtime > KEPT_DAYS * 86400:
            shutil.rmtree(lock.parent, ignore_errors=True)


def record_of(place: Path) -> dict[str, Any]:
    """What the archive of a place was built from; empty if it has none."""
    try:
        found = json.loads((place / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and (place / ARCHIVE).is_file() else {}


def build(order: Order, folder: Path, renewal: str, known: str) -> None:
    """Build an image and save it, unless it is the ``known`` one. The caller holds the lock."""
    file = folder / order.containerfile
    if not file.is_file() or not is_inside(folder, file):
        raise SourceError(
            f"{order.key} '{order.containerfile}' is no file in the folder from which the image is built. "
            "Write its path in the source, below source.subdir if that is set."
        )
    engine = working_engine(order.key)
    with tempfile.TemporaryDirectory(dir=order.place) as scratch:
        number = Path(scratch) / "id"
        options = ["--file", str(file), "--iidfile", str(number), "--tag", order.tag]
        if order.platform:
            options += ["--platform", order.platform]
        if renewal:
            options += ["--pull", "--no-cache"]
        asked(
            engine, ["build", *options, str(folder)], f"{order.key}: building {order.containerfile} of '{order.name}'"
        )
        image = number.read_text().strip()
        if image != known or not record_of(order.place):
            archive = Path(scratch) / ARCHIVE
            asked(engine, [*ENGINES[engine], str(archive), image], f"{order.key}: saving the image of '{order.name}'")
            # The record goes first: an archive without one is built again.
            (order.place / RECORD).unlink(missing_ok=True)
            archive.replace(order.archive)
        new = Path(scratch) / RECORD
        new.write_text(json.dumps({"state": order.state, "id": image, "renewed": renewal}))
        new.replace(order.place / RECORD)


def working_engine(key: str) -> str:
    """The engine that builds: the first one that works. Raises SourceError if there is none."""
    answers = []
    for name in ENGINES:
        if shutil.which(name):
            try:
                answer = subprocess.run(
                    [name, "info"],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    timeout=ENGINE_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                answers.append(f"{name} did not answer for {ENGINE_SECONDS} seconds")
                continue
            if answer.returncode == 0:
                return name
            answers.append(f"{name} says: {' '.join(words_of(answer.stderr, 1))}")
    if answers:
        raise SourceError(
            f"{key} needs a container engine on the controller, but none works. {'; '.join(answers)}. "
            "Start it, or build the image elsewhere and set source.image."
        )
    raise SourceError(
        f"{key} needs a container engine on the controller: {' or '.join(ENGINES)}. Install one, or "
        "build the image elsewhere and set source.image."
    )


def asked(engine: str, words: list[str], doing: str) -> None:
    """Run the engine; raises SourceError with its last lines."""
    # Messages are shown to the user, and a terminal would get lines that overwrite each other.
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "BUILDKIT_PROGRESS": "plain"}
    try:
        answer = run_bounded([engine, *words], None, environment, quiet=LONGEST)
    except Silent as error:
        raise SourceError(f"{doing} failed: {error}. Make the build shorter.") from None
    if answer.returncode != 0:
        said = words_of(answer.stderr, LINES) or words_of(answer.stdout, LINES)
        raise SourceError(
            f"{doing} failed. Correct the Containerfile, and try it with {engine} build. "
            f"{engine} says: {' '.join(said)}"
        )


def words_of(text: str, count: int) -> list[str]:
    """The last lines of an output, without credentials."""
    return [redacted(line.strip()) for line in lines_of(text) if line.strip()][-count:]
