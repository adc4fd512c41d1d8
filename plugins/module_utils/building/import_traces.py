# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A program that runs the import check, and then removes the files that it has created, such as an empty database.

It runs by itself, as the application's account, so it needs the standard library alone. Python reports the files that
the process opens (audit events), so files of the live release stay. Files of code in C and of other programs are found
by a comparison of the shared folders, if no release is live: then nothing else writes there.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import types
from typing import Any

# With more entries than this, folders are not compared.
MOST_ENTRIES = 20_000
# Files of SQLite beside a database.
COMPANIONS = ("-journal", "-wal", "-shm")
# The position of the new name among the arguments of an event.
CREATING = {"os.mkdir": 0, "sqlite3.connect": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}


class Traces:
    """The files and folders that this process creates, except below ``kept``, where libraries keep their caches.

    Everything new below ``watched`` counts as well, unless that is empty. ``shared`` is the folder of shared folders.
    """

    def __init__(self, kept: str, watched: str, shared: str) -> None:
        self.kept, self.watched, self.shared = kept, watched, shared
        self.created: list[str] = []
        self.before = entries(watched)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit event, which comes before the file is created. An error here would stop the application."""
        with contextlib.suppress(Exception):
            if event == "open":
                if arguments[2] & os.O_CREAT:
                    self.note(arguments[0])
            elif event in CREATING:
                self.note(arguments[CREATING[event]])

    def note(self, path: Any) -> None:
        if isinstance(path, (str, bytes)) and path:
            name = re.sub(r"^file:(//(?=/))?([^?]*).*", r"\2", os.fsdecode(path))
            name = os.path.join(os.path.realpath(os.path.dirname(name) or "."), os.path.basename(name))
            if not os.path.lexists(name):
                self.created.append(name)

    def remove(self, has_problem: bool) -> None:
        """Remove the created files, the newest first. A file that another process of the account has open stays.

        After an import without a problem, files with content in shared folders stay, such as a database with tables.
        The application would create them again when it starts, and several workers that do so at the same time fail.
        """
        after = entries(self.watched)
        compared = [] if self.before is None or after is None else sorted(after - self.before)
        found = [*compared, *(path + end for path in self.created for end in ("", *COMPANIONS))]
        found = [path for path in dict.fromkeys(found) if not f"{path}/".startswith(f"{self.kept}/")]
        used = open_elsewhere(found)
        if not has_problem:
            used |= self.filled(found)
        for path in reversed(found):
            with contextlib.suppress(OSError):
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rmdir(path)
                elif path not in used:
                    os.unlink(path)

    def filled(self, paths: list[str]) -> set[str]:
        """The paths of shared files with content, and of the files that SQLite has beside them."""
        found: set[str] = set()
        for path in paths:
            if path.startswith(f"{self.shared}/") and os.path.isfile(path) and os.path.getsize(path):
                found |= {path, *(path + end for end in COMPANIONS)}
        return found


def entries(top: str) -> set[str] | None:
    """The files and folders below a folder; None for no folder, and for a folder with very many."""
    found: set[str] = set()
    for folder, folders, files in os.walk(os.path.realpath(top)) if top else ():
        found.update(os.path.join(folder, name) for name in (*folders, *files))
        if len(found) > MOST_ENTRIES:
            return None
    return found if top else None


def open_elsewhere(paths: list[str]) -> set[str]:
    """The paths that other processes of this account have open."""
    wanted, found = set(paths), set()
    for pid in filter(str.isdigit, os.listdir("/proc") if paths else ()):
        if int(pid) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return wanted & found


def main(source: str, kept: str, watched: str, shared: str, arguments: list[str]) -> None:
    probe = types.ModuleType("import_probe")
    exec(compile(source, "<string>", "exec"), probe.__dict__)  # noqa: S102  # our own program
    traces = Traces(os.path.realpath(kept), watched, os.path.realpath(shared))
    probe.__dict__["ENDING"].append(traces.remove)
    sys.argv[1:] = arguments
    sys.addaudithook(traces.hear)
    probe.__dict__["main"](*arguments)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
