# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files that .gitignore leaves out of a folder, those of them that the inventory names, and empty folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import DEEPEST, REMEDY, Bounds, TooLarge
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.listing import (
    ALWAYS_LEFT_OUT,
    git,
    git_ls_files,
    ignore_rules,
    walked,
)

# Files that .gitignore leaves out because they hold secrets. A named folder does not include them; their names do.
SECRET = re.compile(r"\.env(\..*)?\Z|.*\.(pem|key)\Z", re.IGNORECASE)
# Left out, and of no interest to anyone: nothing asks for them.
UNINTERESTING = re.compile(r".*\.(py[cod]|egg-info|swp)\Z|\.coverage(\..*)?\Z|\.DS_Store\Z|htmlcov\Z|\..*_cache\Z")
# The number of names that messages may need.
MOST_NAMES = 200


def left_out(folder: Path) -> list[str]:
    """The files and folders that .gitignore leaves out. A folder ends with a slash and stands for all that is in it."""
    with ignore_rules(folder) as rules:
        if rules is None:
            return []
        names = git_ls_files(folder, rules, ["--others", "--ignored", "--directory"])
    return [
        name
        for name in names
        if not ALWAYS_LEFT_OUT.intersection(name.strip("/").split("/"))
        and not UNINTERESTING.match(os.path.basename(name.strip("/")))
    ][:MOST_NAMES]


def named_files(folder: Path, named: Iterable[str]) -> list[str]:
    """The files that paths of the inventory name, whatever .gitignore says, relative to the folder.

    The links on the way to them belong to them. A path that does not exist names none. Raises SourceError for one that
    leads out of the folder.
    """
    found: list[str] = []
    top = folder.resolve()
    for name in named:
        path = (folder / name).resolve()
        if not path.exists():
            continue
        if path == top or not path.is_relative_to(top):
            raise SourceError(
                f"'{name}' leads to {path}, outside of {folder}. Replace the link by a copy of its target."
            )
        place = str(path.relative_to(top))
        parts = name.strip("/").split("/")
        ways = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        found += next(([way] for way in ways if (folder / way).is_symlink()), [])
        if path.is_dir():
            found += [os.path.join(place, inner) for inner in files_below(path)]
        else:
            found.append(place)
    return found


def files_below(folder: Path) -> Iterator[str]:
    """The files and links below a folder that is sent as a whole, without caches and files with secrets."""
    for path in walked(folder, str(folder)):
        if (os.path.islink(path) or not os.path.isdir(path)) and not SECRET.match(os.path.basename(path)):
            yield os.path.relpath(path, folder)


def empty_folders(folder: Path, names: list[str], *, is_filtered: bool) -> list[str]:
    """The folders without any content, each with a slash at its end. ``names`` are the files that are sent.

    ``is_filtered`` is true where .gitignore files leave out others.
    """
    parents = {""}
    for name in names:
        while name := os.path.dirname(name):
            parents.add(name)
    found, bounds = [], Bounds(str(folder))
    for parent in parents:
        for place in sorted(folders_in(folder, parent)):
            if place not in parents:
                found += [f"{one}/" for one in empty_below(folder, place, bounds)]
    if found and is_filtered:
        with ignore_rules(folder) as rules:
            names_of = "\0".join(found)
            answer = git(folder, *(rules or []), "check-ignore", "-z", "--stdin", stdin=os.fsencode(names_of))
            ignored = {os.fsdecode(name) for name in answer.stdout.split(b"\0")}
            found = [name for name in found if name not in ignored]
    return found


def folders_in(folder: Path, place: str) -> list[str]:
    """The folders in a folder, relative to the source, without those that are never part of one."""
    try:
        with os.scandir(folder / place) as entries:
            return [
                os.path.join(place, entry.name)
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and entry.name not in ALWAYS_LEFT_OUT
            ]
    except (PermissionError, FileNotFoundError):
        return []


def empty_below(folder: Path, place: str, bounds: Bounds) -> list[str]:
    """The innermost folders of a tree that has only folders; none for a tree with any file."""
    found, waiting = [], [place]
    while waiting:
        here = waiting.pop()
        if here.count("/") > DEEPEST:
            raise TooLarge(f"{folder} has folders that are more than {DEEPEST} deep. {REMEDY}")
        bounds.add(here)
        try:
            with os.scandir(folder / here) as listed:
                entries = list(listed)
        except (PermissionError, FileNotFoundError):
            return []
        if any(not entry.is_dir(follow_symlinks=False) for entry in entries):
            return []
        waiting += [os.path.join(here, entry.name) for entry in entries]
        if not entries:
            found.append(here)
    return found
