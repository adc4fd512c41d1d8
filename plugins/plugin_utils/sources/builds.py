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
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.commands import LONGEST, Silent, run_bounded
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import is_inside
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import repository_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder, find_folder

# The engines, the preferred one first: how each gets a new base, and how it writes an archive of an image.
ENGINES = {
    "podman": ("--pull=newer", ["save", "--quiet", "--format", "docker-archive", "--output"]),
    "docker": ("--pull", ["save", "--output"]),
}
# Seconds until an engine has to say that it works.
ENGINE_SECONDS = 30
# Lines of a failed build in messages.
LINES = 6
# The images of one Containerfile that the controller keeps. A run deploys the one that its first host was given.
MOST_KEPT = 3
# Days after which the images of a Containerfile that no run has asked for are removed from the controller.
KEPT_DAYS = 30
# The file that lists the images of a Containerfile, its lock, and the prefix of folders for builds.
RECORD, LOCK, SCRATCH = "built.json", "lock", "building-"


@dataclass(frozen=True)
class RunOfBuilds:
    """The run that wants an image. With ``renews``, it wants a new base and new packages, the same for all hosts.

    Later runs do not use an image that a check run has renewed.
    """

    identity: str = ""
    renews: bool = False
    is_check: bool = False


@dataclass(frozen=True)
class Built:
    """An image of the controller: its archive, its digest, and its architectures."""

    archive: Path
    digest: str
    architectures: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """An image to build. ``place`` is where the controller keeps it.

    ``key`` is the option in messages, and ``shown`` what the folder is. ``state`` returns a text that changes if
    anything in the folder does. ``folder`` provides the folder for a build: only a build has to fetch the code of a
    repository.
    """

    key: str
    name: str
    shown: str
    revision: str
    place: Path
    containerfile: str
    platform: str
    state: Callable[[], str]
    folder: Callable[[], contextlib.AbstractContextManager[Path]]

    @property
    def tag(self) -> str:
        """The name that the engine gives to the image, so that pruning keeps it and its layers."""
        word = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "image"
        return f"localhost/pyweb-stack/{word[:60].strip('-')}:{self.place.name}"


# Describes an archive: its digest and its architectures.
Describe = Callable[[Path], tuple[str, list[str]]]


def order_of(source: dict[str, Any], bases: list[str]) -> Order:
    """The image that a source wants; raises SourceError."""
    context = str(source.get("context") or "")
    containerfile, platform = str(source["containerfile"]), str(source.get("platform") or "")
    # The Containerfile of an image in which the code of a source runs is an option of the container.
    group = "container" if source.get("environment") else "source"
    if source.get("git"):
        repository = repository_of(source, bases)
        version = source.get("version") or "HEAD"
        commit = source.get("commit") or repository.commit_of(version)
        shown = f"{redacted(source['git'])} at '{version}'"

        @contextlib.contextmanager
        def folder() -> Iterator[Path]:
            with tempfile.TemporaryDirectory() as scratch:
                top = Path(scratch) / "source"
                repository.checkout(commit, version, top)
                yield folder_of(top, context, shown, group)

        path = urlsplit(repository.url).path if "://" in repository.url else repository.url
        name = re.split(r"[/:]", path.rstrip("/"))[-1].removesuffix(".git")
        identity, revision = f"{repository.url} {version}", commit[:12]
        state: Callable[[], str] = lambda: commit  # noqa: E731
    else:
        top = find_folder(source["path"], bases)
        shown = f"source.path '{source['path']}'"
        local = folder_of(top, context, shown, group)

        @contextlib.contextmanager
        def folder() -> Iterator[Path]:
            yield local

        name, identity, revision = local.name, str(local), ""
        state = lambda: state_of(local)  # noqa: E731
    place = cache_folder() / "builds" / digest([identity, context, containerfile, platform])[:16]
    return Order(f"{group}.containerfile", name, shown, revision, place, containerfile, platform, state, folder)


def digest(words: list[str]) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def folder_of(top: Path, context: str, source: str, group: str) -> Path:
    folder = top / context
    if not folder.is_dir() or not is_inside(top, folder):
        raise SourceError(f"{group}.context: {source} has no folder '{context}'. Correct it.")
    return folder


def state_of(folder: Path) -> str:
    """A digest that changes if anything in a folder does. An engine reads files that git leaves out, too.

    It is made of times and sizes, because folders can be large. If it changes without reason, the engine finds all
    steps in its cache.
    """
    total = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = os.path.join(place, name)
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(path)
                size = 0 if name in folders else found.st_size
                words = [os.path.relpath(path, folder), found.st_mode, size, found.st_mtime_ns, found.st_ctime_ns]
                total.update(repr(words).encode())
    return total.hexdigest()


def built(order: Order, describe: Describe, run: RunOfBuilds) -> Built:
    """The image of an order, built unless the controller has it. Raises SourceError with what to do."""
    try:
        remove_unused(order.place)
        with locked(order.place):
            record = record_of(order.place)
            state = digest([order.state(), run.identity if run.renews and run.is_check else ""])
            known = record["images"].get(state)
            if known and not (run.renews and known["run"] != run.identity):
                return image_in(order.place, known)
            failed = record["failed"]
            if run.identity and (failed.get("run"), failed.get("state")) == (run.identity, state):
                # Another host of this run has tried it.
                raise SourceError(str(failed["error"]))
            try:
                return build(order, state, describe, run, record)
            except SourceError as error:
                record["failed"] = {"run": run.identity, "state": state, "error": str(error)}
                write_record(order.place, record)
                raise
    except OSError as error:
        raise SourceError(
            f"{order.key}: the folder of the controller for images, {order.place}, can't be used: {error.strerror}. "
            "Make room there, or name another folder in XDG_CACHE_HOME."
        ) from error


def kept(order: Order, wanted: str) -> Built:
    """The image that this run has built, by its digest. Raises SourceError if the controller no longer has it."""
    for known in record_of(order.place)["images"].values():
        if known["digest"] == wanted:
            return image_in(order.place, known)
    raise SourceError(
        f"{order.key}: other runs have built other images of '{order.name}' while this run was under way. Run again."
    )


def image_in(place: Path, known: dict[str, Any]) -> Built:
    return Built(place / known["archive"], known["digest"], tuple(known["architectures"]))


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """Hold the lock of the images of a Containerfile. Hosts ask side by side, and one of them builds."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(place / LOCK, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        os.utime(place / LOCK)
        yield


def remove_unused(own: Path) -> None:
    """Remove the images of other Containerfiles that no run has asked for in a long time."""
    for lock in own.parent.glob(f"*/{LOCK}"):
        if lock.parent == own or time.time() - lock.stat().st_mtime <= KEPT_DAYS * 86400:
            continue
        with open(lock) as stream, contextlib.suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def record_of(place: Path) -> dict[str, Any]:
    """The images of a Containerfile by the digests of their folders, the last build that failed, and the last upgrade.

    An archive that is not whole does not count.
    """
    try:
        found = json.loads((place / RECORD).read_text())
        images = {
            state: one
            for state, one in found["images"].items()
            if (place / one["archive"]).is_file() and (place / one["archive"]).stat().st_size == one["size"]
        }
        return {"images": images, "failed": dict(found["failed"]), "renewed": str(found.get("renewed") or "")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {"images": {}, "failed": {}, "renewed": ""}


def write_record(place: Path, record: dict[str, Any]) -> None:
    new = place / f"{RECORD}.new"
    new.write_text(json.dumps(record))
    new.replace(place / RECORD)


def build(order: Order, state: str, describe: Describe, run: RunOfBuilds, record: dict[str, Any]) -> Built:
    """Build an image, and save it unless the controller has the same. The caller holds the lock."""
    engine = working_engine(order.key)
    newer, save = ENGINES[engine]
    for left in order.place.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    images: dict[str, dict[str, Any]] = record["images"]
    with tempfile.TemporaryDirectory(dir=order.place, prefix=SCRATCH) as scratch, order.folder() as folder:
        file = folder / order.containerfile
        if not file.is_file() or not is_inside(folder, file):
            raise SourceError(
                f"{order.key} '{order.containerfile}' is no file of {order.shown}. The path starts at the folder that "
                f"the build reads ({order.key.partition('.')[0]}.context, or the whole source). Correct it."
            )
        label = run.identity if run.renews else str(record["renewed"])
        if label:
            file = with_label(file, Path(scratch), label)
        number = Path(scratch) / "id"
        options = ["--platform", order.platform] if order.platform else []
        options += [newer, "--no-cache"] if run.renews else []
        command = ["build", *options, "--file", str(file), "--iidfile", str(number), "--tag", order.tag, str(folder)]
        words = " ".join([engine, "build", *options])
        doing = f"{order.key}: building {order.containerfile} of '{order.name}'"
        asked(engine, command, doing, f"Correct the Containerfile, and try it with {words}.")
        image = number.read_text().strip()
        known = next((dict(one) for one in images.values() if one["id"] == image), None)
        if known is None:
            archive = Path(scratch) / "image.tar"
            doing = f"{order.key}: saving the image of '{order.name}' in {order.place}"
            asked(engine, [*save, str(archive), image], doing, "Make room there, if the disk is full.")
            found, architectures = describe(archive)
            known = {"id": image, "digest": found, "architectures": architectures, "size": archive.stat().st_size}
            known["archive"] = f"{found.partition(':')[2][:32]}.tar"
            with open(archive, "rb") as stream:
                os.fsync(stream.fileno())
            archive.replace(order.place / known["archive"])
    # The newest is the last one.
    images.pop(state, None)
    images[state] = {**known, "run": run.identity}
    record["images"] = dict(list(images.items())[-MOST_KEPT:])
    record["failed"] = {}
    record["renewed"] = label if not run.is_check else record["renewed"]
    write_record(order.place, record)
    listed = {one["archive"] for one in record["images"].values()}
    for path in order.place.glob("*.tar"):
        if path.name not in listed:
            path.unlink()
    return image_in(order.place, known)


def with_label(file: Path, scratch: Path, label: str) -> Path:
    """A copy of a Containerfile in which each stage begins with a label, which names the last upgrade.

    Engines take equal steps from their cache, and podman takes the older ones. So without it, the next build would have
    the packages from before the upgrade again.
    """
    found: list[str] = []
    documents: list[str] = []
    words = ""
    for line in lines_of(file.read_text(encoding="utf-8", errors="surrogateescape")):
        found.append(line)
        if documents:
            if line.strip() == documents[0]:
                documents.pop(0)
            continue
        if line.lstrip().startswith("#"):
            continue
        words += f" {line.rstrip()}"
        if words.endswith("\\"):
            # The instruction continues in the next line.
            words = words[:-1]
            continue
        documents = re.findall(r"<<-?[\"']?(\w+)", words) if "<<" in words else []
        if words.split()[:1] and words.split()[0].upper() == "FROM":
            found.append(f"LABEL pyweb.stack.upgraded={label}")
        words = ""
    copy = scratch / file.name
    copy.write_text("\n".join(found) + "\n", encoding="utf-8", errors="surrogateescape")
    ignored = file.with_name(f"{file.name}.dockerignore")
    if ignored.is_file():
        shutil.copy(ignored, copy.with_name(ignored.name))
    return copy


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


def asked(engine: str, words: list[str], doing: str, remedy: str) -> None:
    """Run the engine; raises SourceError with its last lines."""
    # Messages are shown to the user, and a terminal would get lines that overwrite each other.
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "BUILDKIT_PROGRESS": "plain"}
    try:
        answer = run_bounded([engine, *words], None, environment, quiet=LONGEST)
    except Silent:
        raise SourceError(f"{doing} did not end within {LONGEST // 60} minutes. Make it shorter.") from None
    if answer.returncode != 0:
        said = words_of(answer.stderr, LINES) or words_of(answer.stdout, LINES)
        raise SourceError(f"{doing} failed. {remedy} {engine} says: {' '.join(said)}")


def words_of(text: str, count: int) -> list[str]:
    """The last lines of an output, without credentials."""
    return [redacted(line.strip()) for line in lines_of(text) if line.strip()][-count:]
