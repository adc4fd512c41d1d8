# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Archives as sources: they are unpacked on the controller, and hostile ones are refused."""

from __future__ import annotations

import calendar
import functools
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.links import Parts, first_outward
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import is_address
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import (
    DEEPEST,
    MOST_BYTES,
    MOST_FILES,
    MOST_RATIO,
    REMEDY,
    SMALL,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.downloads import downloaded, verify
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import find
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.tars import BombError, open_tar

# Bytes. The kernel accepts no longer target of a link.
LONGEST_LINK = 4096


def archive_file(source: dict[str, Any], bases: list[str]) -> Path:
    """The file of an archive on the controller. It is downloaded if need be, and verified if a checksum is given."""
    name = source["archive"]
    if is_address(name):
        return downloaded(name, source.get("checksum") or "")
    path = find(name, bases, os.path.isfile, "source.archive", "file")
    if source.get("checksum"):
        verify(path, source["checksum"], name)
    return path


@dataclass(frozen=True)
class Member:
    """One entry of an archive of any format."""

    name: str
    executable: bool = False
    modified: float = 0
    # The target of a symbolic link. Links are written last, so that nothing is ever written through one.
    link: str | None = None
    # Opens the content of a file; None for folders and links.
    open: Callable[[], IO[bytes]] | None = None

    @property
    def kind(self) -> str:
        if self.link is not None:
            return "link"
        return "folder" if self.open is None else "file"


def unpack(path: Path, target: Path, name: str = "") -> Path:
    """Unpack an archive and refuse hostile members. Return the folder of the source: the single top folder, if any."""
    name = name or path.name
    most = min(MOST_BYTES, max(SMALL, MOST_RATIO * path.stat().st_size))
    try:
        with open_tar(path, most) as tar:
            # tar comes first, because a tar archive that ends with a zip archive looks like a zip archive.
            if tar:
                write(checked_plan(tar_members(tar, name), name), target, name, most)
            elif zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    write(checked_plan(zip_members(packed, name), name), target, name, most)
            else:
                raise SourceError(
                    f"{name} is neither a tar nor a zip archive, or it is cut off. Make or copy it again."
                )
    except BombError as error:
        raise SourceError(f"{name} can't be unpacked: {error}") from error
    except SourceError:
        raise
    except Exception as error:  # each format and compression raises its own errors for damaged data
        raise SourceError(
            f"{name} can't be unpacked: {str(error) or type(error).__name__}. It may be damaged; make or copy it again."
        ) from error
    entries = list(target.iterdir())
    folder = entries[0] if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink() else target
    check_links(folder, name)
    return folder


def is_hostile_name(name: str) -> bool:
    """Whether the name of a member leads out of the folder of the archive, here or on Windows."""
    return (
        name.startswith(("/", "\\"))
        or ".." in re.split(r"[/\\]", name)
        or "\0" in name
        or re.match(r"[A-Za-z]:", name) is not None
    )


def check_member(archive: str, name: str) -> str:
    """The name of a member; refuse one that leads out of the source, or that is too deep."""
    if len(PurePosixPath(name).parts) > DEEPEST:
        raise SourceError(f"{archive} has members that are more than {DEEPEST} folders deep. {REMEDY}")
    if is_hostile_name(name):
        raise SourceError(
            f"{archive} has the hostile member '{name}', which would be written outside of the source. "
            "Nothing was unpacked."
        )
    return str(PurePosixPath(name))


def check_links(folder: Path, archive: str) -> None:
    """Refuse links out of the source. A link may lead through others, so they are checked when all are written."""
    inside = os.path.realpath(folder)
    for root, folders, files in os.walk(folder):
        for entry in (*folders, *files):
            path = os.path.join(root, entry)
            if not os.path.islink(path):
                continue
            link = os.readlink(path)
            if os.path.isabs(link) or os.path.commonpath([inside, os.path.realpath(path)]) != inside:
                raise SourceError(
                    f"{archive} has the hostile link '{os.path.relpath(path, folder)}', which leads to '{link}', "
                    "outside of the source. Nothing was sent."
                )


def tar_members(tar: tarfile.TarFile, archive: str) -> Iterator[Member]:
    entries = []
    for entry in tar:
        entries.append(entry)
        check_count(len(entries), archive)
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise SourceError(f"{archive} is cut off: it lacks the end of a tar archive. Make or copy it again.")
    while tar.fileobj.read(1 << 20):  # the compression has its own end and checksum behind the tar archive
        pass
    for entry in entries:
        name = check_member(archive, entry.name)
        if entry.isdir():
            yield Member(name)
        elif entry.issym():
            yield Member(name, link=entry.linkname)
        elif entry.isfile() or entry.islnk():
            # A hard link becomes a copy of the member that it names. One that names no member can't be read.
            if entry.islnk():
                check_member(archive, entry.linkname)
            yield Member(
                name,
                executable=bool(entry.mode & stat.S_IXUSR),
                modified=entry.mtime,
                open=functools.partial(file_of, tar, entry, archive),
            )
        else:
            raise SourceError(
                f"{archive} has the hostile member '{entry.name}', which is neither a file, a folder nor a link. "
                "Nothing was unpacked."
            )


def file_of(tar: tarfile.TarFile, entry: tarfile.TarInfo, archive: str) -> IO[bytes]:
    content = tar.extractfile(entry)
    if content is None:
        raise SourceError(f"{archive} has the member '{entry.name}' without content.")
    return content


def zip_members(packed: zipfile.ZipFile, archive: str) -> Iterator[Member]:
    for entry in packed.infolist():
        if entry.filename.startswith("__MACOSX/"):  # metadata of macOS, which would hide a single top folder
            continue
        mode = entry.external_attr >> 16
        # Some programs write the separator of Windows.
        name = check_member(archive, entry.filename.replace("\\", "/"))
        if entry.is_dir() or entry.filename.endswith("\\"):
            yield Member(name)
        elif stat.S_ISLNK(mode):
            if entry.file_size > LONGEST_LINK:
                raise SourceError(f"{archive} has the hostile link '{name}', whose target is too long.")
            yield Member(name, link=os.fsdecode(packed.read(entry)))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            yield Member(
                name,
                executable=bool(mode & stat.S_IXUSR),
                modified=calendar.timegm((*entry.date_time, 0, 0, 0)),
                open=functools.partial(packed.open, entry),
            )
        else:
            raise SourceError(
                f"{archive} has the hostile member '{name}', which is neither a file, a folder nor a link. "
                "Nothing was unpacked."
            )


def check_count(count: int, archive: str) -> None:
    if count > MOST_FILES:
        raise SourceError(f"{archive} has more than {MOST_FILES} members. Leave out what the application doesn't need.")


def checked_plan(members: Iterable[Member], archive: str) -> dict[Parts, Member]:
    """All members by their paths, checked against each other before any is written.

    If a file occurs twice, the last one counts, as for tar itself.
    """
    plan: dict[Parts, Member] = {}
    for count, member in enumerate(members, 1):
        check_count(count, archive)
        parts = PurePosixPath(member.name).parts
        if member.kind != plan.get(parts, member).kind or not (parts or member.kind == "folder"):
            raise hostile(archive, member, "has the same path as another member")
        if parts:
            plan[parts] = member
    for parts, member in plan.items():
        for depth in range(1, len(parts)):
            parent = plan.get(parts[:depth])
            if parent and parent.kind != "folder":
                raise hostile(archive, member, f"would be written through the {parent.kind} '{parent.name}'")
    check_targets(plan, archive)
    return plan


def hostile(archive: str, member: Member, why: str) -> SourceError:
    """The error for a hostile member."""
    kind = "link" if member.link is not None else "member"
    return SourceError(f"{archive} has the hostile {kind} '{member.name}', which {why}. Nothing was unpacked.")


def check_targets(plan: dict[Parts, Member], archive: str) -> None:
    """Follow each link through all others of the archive. None of them may lead out of the source."""
    outward = first_outward({parts: member.link for parts, member in plan.items() if member.link is not None})
    if outward:
        member = plan[outward]
        raise hostile(archive, member, f"leads to '{member.link}', outside of the source")


def write(plan: dict[Parts, Member], target: Path, archive: str, most: int = MOST_BYTES) -> None:
    """Write folders and files, then links. Names are opened by descriptors of folders, so no link is followed.

    ``most`` is the number of bytes that all files may have.
    """
    left = most
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for parts, member in sorted(plan.items(), key=lambda entry: entry[1].link is not None):
            with folder_in(root, parts if member.kind == "folder" else parts[:-1]) as parent:
                try:
                    if member.link is not None:
                        os.symlink(member.link, parts[-1], dir_fd=parent)
                    elif member.open is not None:
                        left -= write_file(parent, parts[-1], member, left, archive)
                except FileExistsError:
                    raise SourceError(
                        f"{archive} has '{member.name}', and another name that differs only in case. The disk of "
                        f"{target} does not distinguish them. Set TMPDIR to a folder on a disk that does."
                    ) from None
    finally:
        os.close(root)


def write_file(parent: int, name: str, member: Member, most: int, archive: str) -> int:
    """Write a new file and return its size."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    size = 0
    if member.open is None:
        raise SourceError(f"{archive} has the member '{member.name}' without content.")
    with member.open() as content, open(os.open(name, flags, 0o600, dir_fd=parent), "wb") as stream:
        while chunk := content.read(1 << 20):
            size += len(chunk)
            if size > most:
                raise SourceError(
                    f"{archive} unpacks to more than {MOST_BYTES // 1024**3} GiB, or to more than {MOST_RATIO} times "
                    f"its own size. {REMEDY}"
                )
            stream.write(chunk)
        stream.flush()
        os.fchmod(stream.fileno(), 0o755 if member.executable else 0o644)
        os.utime(stream.fileno(), (member.modified, member.modified))
    return size


@contextmanager
def folder_in(root: int, parts: Parts) -> Iterator[int]:
    """The descriptor of a folder below another. A missing folder is created."""
    current = os.dup(root)
    try:
        for part in parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=current)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)
