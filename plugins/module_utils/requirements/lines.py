# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the files that list dependencies: their lines, and what is in the files that they refer to.

Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import stat
from dataclasses import dataclass
from typing import Any

tomllib: Any = None
with contextlib.suppress(ImportError):  # Python 3.10 and older do not have it.
    tomllib = importlib.import_module("tomllib")

# Limits of the lists of a source: the largest known lock has some ten MiB.
MOST_BYTES = 32 * 1024**2
MOST_FILES = 100
# The parts of a dotted name in a TOML file. A name of n parts takes n * n / 2 words of memory.
MOST_PARTS = 50

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
EXTRAS = rf"(?:\s*\[\s*(?:{NAME}(?:\s*,\s*{NAME})*)?\s*\])?"
HASH = re.compile(r"\s+--hash[=\s]\s*[a-z0-9]+:[0-9a-fA-F]+")
NESTED = re.compile(r"(?P<option>-r|--requirement|-c|--constraint)(?:[=\s]\s*|(?=[^-\s]))(?P<file>\S.*)")


class RequirementsError(ValueError):
    """The files of a source that list dependencies can't be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Line:
    """A logical line of a requirements file: without its comment, and joined with its continuation."""

    text: str
    # Whether it is in a file of constraints, which install nothing.
    constraint: bool = False
    # Whether it refers to a file whose lines follow.
    followed: bool = False


def kind(name: str) -> str:
    """How a file lists dependencies: ``lock`` (of uv), ``pylock``, ``project``, ``program`` or ``text``."""
    base = os.path.basename(name)
    if base == "uv.lock":
        return "lock"
    if base.startswith("pylock.") and base.endswith(".toml"):
        return "pylock"
    if base.endswith("pyproject.toml"):
        return "project"
    return "program" if base.endswith((".py", ".cfg", ".toml")) else "text"


def content(path: str) -> str:
    """The text of a file of a source; empty where there is none.

    A source can hold a link to a device, a pipe, or a file without end. Only a regular file of a common size is read.
    Raises RequirementsError for a larger one.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return ""
            data = stream.read(MOST_BYTES + 1)
    except OSError:
        return ""
    if len(data) > MOST_BYTES:
        raise RequirementsError(
            f"{path} has more than {MOST_BYTES // 1024**2} MiB, so it is no list of dependencies. Name another file in "
            "python.requirements."
        )
    return data.decode(errors="replace")


def table(text: str) -> dict[str, Any] | None:
    """The content of a TOML file; None where it can't be parsed, as on a Python without a TOML parser."""
    if tomllib is None or has_long_key(text):
        return None
    try:
        parsed: dict[str, Any] = tomllib.loads(text)
        return parsed
    except (ValueError, RecursionError):  # not TOML, a number of too many digits, or nested without end
        return None


def has_long_key(text: str) -> bool:
    """Whether a line of a TOML file may be a name of very many parts, which takes much memory to parse."""
    for line in text.split("\n"):
        if line.count(".") > MOST_PARTS:
            bare = re.sub(r"\"[^\"]*\"|'[^']*'", "", line)
            if max(run.count(".") for run in re.split(r"[^\w\-. \t]+", bare)) > MOST_PARTS:
                return True
    return False


def logical_lines(text: str) -> list[str]:
    """The lines of a requirements file, joined with their continuations, without comments."""
    lines, pending = [], ""
    for line in text.split("\n"):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if line.endswith("\\"):
            pending += f"{line[:-1].strip()} "
            continue
        lines.append(pending + line)
        pending = ""
    return [line.strip() for line in [*lines, pending] if line.strip()]


def lines_of(root: str, name: str, top: str = "") -> list[Line]:
    """The lines of a requirements file and of those it refers to, whatever these are called.

    ``top`` is the folder of the source. Raises RequirementsError for a file outside of it.
    """
    return lines_below(os.path.normpath(os.path.join(root, name)), False, {}, top)


def text_of(root: str, name: str, top: str = "") -> str:
    """The text of a requirements file and of those it refers to."""
    seen: dict[tuple[str, bool], str] = {}
    lines_below(os.path.normpath(os.path.join(root, name)), False, seen, top)
    return "\n".join(seen.values())


def files_of_requirements(root: str, name: str, top: str = "") -> list[str]:
    """The paths of the requirements files that a file refers to, and of the file itself."""
    if kind(name) != "text":
        return []
    seen: dict[tuple[str, bool], str] = {}
    lines_below(os.path.normpath(os.path.join(root, name)), False, seen, top)
    return [path for path, _constraint in seen]


def check_inside(path: str, top: str) -> None:
    """Refuse a file that is outside of the source when every link is followed: root reads it, and records it."""
    real, base = os.path.realpath(path), os.path.realpath(top)
    if top and not real.startswith(f"{base}/"):
        raise RequirementsError(
            f"{path} is the file {real}, outside of the source, so it can't list dependencies. Put the file itself "
            "into the source."
        )


def lines_below(path: str, constraint: bool, seen: dict[tuple[str, bool], str], top: str) -> list[Line]:
    """The lines of a file and of those it refers to. ``seen`` receives their texts, and ends a circle of references."""
    check_inside(path, top)
    text_here = seen[(path, constraint)] = content(path)
    if len(seen) > MOST_FILES:
        raise RequirementsError(f"{path} is one of more than {MOST_FILES} files of requirements. Use fewer files.")
    found: list[Line] = []
    for text in logical_lines(text_here):
        nested = NESTED.fullmatch(text)
        if not nested:
            found.append(Line(text, constraint))
            continue
        inner = referred_file(path, nested)
        follows = kind(inner) == "text" and os.path.isfile(inner)
        if not follows and os.path.exists(inner) and not stat.S_ISREG(os.stat(inner).st_mode):
            raise RequirementsError(f"{path} names {inner}, which is not a file. Name a file of the source.")
        found.append(Line(text, constraint, follows))
        mark = (inner, constraint or nested["option"] in ("-c", "--constraint"))
        if follows and mark not in seen:
            found += lines_below(*mark, seen, top)
    return found


def constraint_files(root: str, name: str) -> list[str]:
    """The files of constraints that a requirements file or one of those it refers to names."""
    found, seen, waiting = [], set(), [os.path.normpath(os.path.join(root, name))]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for text in logical_lines(content(path)):
            nested = NESTED.fullmatch(text)
            if nested:
                inner = referred_file(path, nested)
                if nested["option"] in ("-c", "--constraint"):
                    found.append(inner)
                elif inner not in seen and kind(inner) == "text":
                    waiting.append(inner)
    return list(dict.fromkeys(path for path in found if os.path.isfile(path)))


def referred_file(path: str, nested: re.Match[str]) -> str:
    """The path of the file that a line of another file refers to."""
    return os.path.normpath(os.path.join(os.path.dirname(path), nested["file"].strip("\"'")))


def normalized(name: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
