# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Walk through trees of files that others may have made, and remove them: by descriptors, within limits.

A walk never follows a link, and needs no recursion: a hostile tree is deep, wide, or changes meanwhile.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

# Limits of a tree: far more than any application has.
DEEPEST = 128
MOST_ENTRIES = 1_000_000
MOST_BYTES = 16 * 1024**3
# Folders that others may change while root removes them.
MOST_CHANGED = 10_000
# Names of one folder that a removal reads at a time.
BATCH = 10_000
FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class TreeError(OSError):
    """A tree that goes beyond a limit."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(errno.EFBIG, f"{why}. Remove what the application does not need", path)
        self.why = why


@dataclass
class Budget:
    """The number of entries that a walk may still find. Several walks can share one budget."""

    entries: int = MOST_ENTRIES
    depth: int = DEEPEST

    def spend(self, path: str) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise TreeError(path, "it has too many files")


@dataclass
class Visit:
    """One folder of a walk: its descriptor, its path below the top, and its entries.

    Each folder is visited twice: before its folders, and after them (``leaving``). At the first visit, a name that is
    removed from ``folders`` is not entered.
    """

    descriptor: int
    path: str
    files: dict[str, os.stat_result] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    leaving: bool = False

    def below(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


def walk(
    top: str, budget: Budget | None = None, enter: Callable[[int], None] | None = None, start: int | None = None
) -> Iterator[Visit]:
    """Visit a folder and all folders below it. Raises TreeError beyond the budget, and OSError.

    ``enter`` is called with the descriptor of each folder before its entries are read. ``start`` is the descriptor of
    the folder itself, if it is open already; the walk closes it.
    """
    budget = budget or Budget()
    enter = enter or (lambda _descriptor: None)
    opened = [listed(os.open(top, FOLDER) if start is None else start, "", top, budget, enter)]
    waiting: list[list[str]] = []
    try:
        yield opened[0]
        waiting.append(sorted(opened[0].folders, reverse=True))
        while opened:
            here = opened[-1]
            if not waiting[-1]:
                here.leaving = True
                yield here
                os.close(opened.pop().descriptor)
                waiting.pop()
                continue
            name = waiting[-1].pop()
            if len(opened) > budget.depth:
                raise TreeError(os.path.join(top, here.below(name)), f"it is more than {budget.depth} folders deep")
            try:
                descriptor = os.open(name, FOLDER, dir_fd=here.descriptor)
            except FileNotFoundError:
                continue
            opened.append(listed(descriptor, here.below(name), top, budget, enter))
            yield opened[-1]
            waiting.append(sorted(opened[-1].folders, reverse=True))
    finally:
        for visit in opened:
            os.close(visit.descriptor)


def listed(descriptor: int, path: str, top: str, budget: Budget, enter: Callable[[int], None]) -> Visit:
    """The entries of an open folder, without those that disappear meanwhile."""
    visit = Visit(descriptor, path)
    try:
        enter(descriptor)
        with os.scandir(descriptor) as entries:
            for entry in entries:
                budget.spend(os.path.join(top, path))
                with suppress(FileNotFoundError):
                    status = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        visit.folders.append(entry.name)
                    else:
                        visit.files[entry.name] = status
    except BaseException:
        os.close(descriptor)
        raise
    return visit


def open_below(folder: int, names: Iterable[str], create: bool = False) -> int:
    """Open a folder below an open one, and follow no link. With ``create``, missing folders are created."""
    here = os.dup(folder)
    try:
        for name in names:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=here)
            below = os.open(name, FOLDER, dir_fd=here)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def remove(path: str, first: tuple[str, ...] = (), folder: int | None = None) -> None:
    """Remove a folder and all in it, a file or a link; a missing path is no error.

    The path is one of the open ``folder``, if that is given. The names ``first`` of a folder are removed before the
    others. Whatever is in the folder, however deep it is, two descriptors are enough: every folder is moved to the top
    before it is emptied. It becomes root's before, so that its former owner can't put anything in meanwhile. Raises
    OSError if others fill the folder all the time.
    """
    try:
        top = os.open(path, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        with suppress(FileNotFoundError):
            os.unlink(path, dir_fd=folder)
        return
    try:
        removal = Removal(path, top)
        for name in first:
            removal.remove(name)
        while names := some_names(top):
            for name in names:
                removal.remove(name)
    finally:
        os.close(top)
    os.rmdir(path, dir_fd=folder)


class Removal:
    """The removal of all entries of an open folder, ``top``.

    Until root has reached a folder, its owner can create others in it, by descriptors. So folders that are changed
    after the beginning are counted: a few are normal, and a removal without end is an error.
    """

    def __init__(self, path: str, top: int) -> None:
        own(top)
        self.path, self.top = path, top
        # The time of the file system, as it has just been set.
        self.began = os.fstat(top).st_ctime_ns
        # The beginning of the names of moved folders. No account can guess it.
        self.moved = secrets.token_hex(16)
        self.count = self.changed = 0

    def remove(self, name: str) -> None:
        """Remove one entry of the top. The folders in a folder are moved to the top, to be removed later."""
        if is_unlinked(name, self.top):
            return
        below = os.open(name, FOLDER, dir_fd=self.top)
        try:
            if not name.startswith(self.moved):
                self.check(os.fstat(below))
            own(below)
            while names := some_names(below):
                for inner in names:
                    if not is_unlinked(inner, below):
                        self.check(os.stat(inner, dir_fd=below, follow_symlinks=False))
                        self.count += 1
                        os.rename(inner, f"{self.moved}.{self.count}", src_dir_fd=below, dst_dir_fd=self.top)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=self.top)

    def check(self, status: os.stat_result) -> None:
        """Count a folder that has been changed meanwhile; it must not have been touched by this removal before."""
        self.changed += status.st_ctime_ns > self.began
        if self.changed > MOST_CHANGED:
            why = "its owner creates folders in it all the time. End the processes of its owner, and run again"
            raise OSError(errno.EBUSY, why, self.path)


def is_unlinked(name: str, folder: int) -> bool:
    """Remove an entry of an open folder unless it is a folder; return whether it is gone."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except OSError as error:
        # Linux answers EISDIR for a folder, POSIX demands EPERM.
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        return False
    return True


def own(folder: int) -> None:
    """Take an open folder away from any other account."""
    if os.geteuid() == 0:
        os.fchown(folder, 0, 0)
    os.fchmod(folder, 0o700)


def some_names(folder: int) -> list[str]:
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) >= BATCH:
                break
    return names
