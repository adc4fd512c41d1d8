# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Files with owner and mode: compared, written atomically, reported as a diff."""

from __future__ import annotations

import contextlib
import difflib
import grp
import hashlib
import os
import pwd
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# The folder of the programs that the collection installs. A diff does not show their text.
PROGRAMS = "/usr/local/lib/pyweb/"
# The end of the name of a temporary file.
UNFINISHED = re.compile(r"\.[0-9a-f]{8}\.new$")


@dataclass(frozen=True)
class File:
    """One file as it should be. ``content`` of None means: it should not exist."""

    path: str
    content: str | bytes | None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    secret: bool = False

    @property
    def data(self) -> bytes | None:
        return self.content.encode() if isinstance(self.content, str) else self.content


def own_file(path: str, content: str | bytes | None, mode: int = 0o644) -> File:
    """A file that belongs to the account of this process."""
    account = pwd.getpwuid(os.geteuid())
    return File(path, content, mode, account.pw_name, grp.getgrgid(account.pw_gid).gr_name)


def mode_of(path: str) -> dict[str, Any]:
    """Path, owner, group and mode as people write them; empty for a missing path."""
    try:
        found = os.lstat(path)
    except OSError:
        return {}
    return {"path": path, "owner": user(found.st_uid), "group": group_name(found.st_gid), "mode": octal(found.st_mode)}


def octal(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"


def user(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def group_name(gid: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def read(path: str) -> bytes | None:
    """The content of a file; None for a missing file."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def owner_ids(owner: str, group: str) -> tuple[int, int]:
    """The IDs of an owner and a group. Raises KeyError for a name that the host does not have."""
    return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid


def differs(file: File) -> bool:
    """Whether a file on the host is not as it should be. An owner that does not exist yet counts as a difference."""
    if file.content is None:
        return os.path.lexists(file.path)
    if read(file.path) != file.data:
        return True
    status = os.stat(file.path)
    try:
        wanted = owner_ids(file.owner, file.group)
    except KeyError:
        return True
    return stat.S_IMODE(status.st_mode) != file.mode or (status.st_uid, status.st_gid) != wanted


def write(file: File) -> None:
    """Write or remove one file. It is written by an atomic rename, so a reader never sees half of it."""
    if file.content is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file.path)
        return
    temporary = f"{file.path}.{secrets.token_hex(4)}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.data or b"")
            stream.flush()
            os.fchown(stream.fileno(), *owner_ids(file.owner, file.group))
            os.fchmod(stream.fileno(), file.mode)
            os.fsync(stream.fileno())
        os.replace(temporary, file.path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def sweep(paths: Iterable[str]) -> None:
    """Remove the temporary files and links among these paths, which interrupted writes have left."""
    for path in paths:
        if UNFINISHED.search(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def apply_files(files: list[File], check_mode: bool = False) -> tuple[list[str], list[dict[str, Any]]]:
    """Write or remove all files; return the changed paths and Ansible's diffs. Parent folders must exist."""
    changed = [file for file in files if differs(file)]
    diffs = [diff(file) for file in changed]
    if not check_mode:
        for file in changed:
            write(file)
    return [file.path for file in changed], diffs


def diff(file: File) -> dict[str, Any]:
    """Ansible's diff of one file, before it is written. It does not show the content of a secret."""
    before, after = read(file.path), file.data
    if file.secret:
        return {
            "before_header": file.path,
            "after_header": file.path,
            "before": "" if before is None else "(secret)\n",
            "after": "" if after is None else "(secret, changed)\n",
        }
    is_program = file.path.startswith(PROGRAMS)
    return {
        "before_header": file.path,
        "after_header": file.path,
        "before": "" if is_program else shown(before),
        "after": program_change(before, after) if is_program else shown(after),
    }


def program_change(before: bytes | None, after: bytes | None) -> str:
    """The change of a program, as one line. Its text is in the collection."""
    if after is None:
        return "(a program of this collection, removed)\n"
    if before is None:
        return "(a program of this collection, new)\n"
    if b"\0" in before + after:
        return "(a program of this collection, changed)\n"
    old, new = (data.decode(errors="replace").split("\n") for data in (before, after))
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = sum(max(end - start, stop - begin) for tag, start, end, begin, stop in steps if tag != "equal")
    return f"(a program of this collection, {changed} {'line' if changed == 1 else 'lines'} changed)\n"


def shown(data: bytes | None) -> str:
    """The content of a file for a diff. For a file that is not a text, the fingerprint is enough."""
    if data and b"\0" in data:
        return f"(not a text, SHA-256 {hashlib.sha256(data).hexdigest()})\n"
    return (data or b"").decode(errors="replace")


def atomic_symlink(target: str, path: str) -> bool:
    """Point the link at its target by an atomic rename; return whether it pointed elsewhere before."""
    if os.path.islink(path) and os.readlink(path) == target:
        return False
    temporary = f"{path}.{secrets.token_hex(4)}.new"
    os.symlink(target, temporary)
    os.replace(temporary, path)
    return True
