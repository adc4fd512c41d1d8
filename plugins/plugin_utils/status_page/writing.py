# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The file of the page on the controller: its path is checked first, and it is replaced in one step."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress

FORMATS = ("table", "json", "html")
# The hours that the charts can show: nginx's logs are rotated once a day, and this collection reads two of them.
MOST_HOURS = 24
# Names of hosts and people, and revisions, are for the account that asked for the page.
MODE = 0o600


class PageError(ValueError):
    """The page can't be written. The text has the path and the remedy."""


def problem(form: str, to: str, hours: str) -> str:
    """The problem with the variables of status.yml; empty if they are right."""
    if form not in FORMATS:
        return f"format is '{form}'. Set -e format=json or -e format=html, or leave it out for a table."
    if form != "html":
        return (
            f"to is '{to}', but format is '{form}'. Add -e format=html to write a page, or leave out to." if to else ""
        )
    if not to:
        return "to is not set. Set -e to=status.html, the file on this controller that gets the page."
    if not (hours.isdecimal() and 1 <= int(hours) <= MOST_HOURS):
        return f"hours is '{hours}'. Set -e hours to a whole number from 1 to {MOST_HOURS}, or leave it out."
    return problem_of_path(to)


def problem_of_path(to: str) -> str:
    path = os.path.abspath(os.path.expanduser(to))
    folder = os.path.dirname(path)
    if to.endswith("/") or os.path.isdir(path):
        return f"to is '{to}', which is a folder. Name a file in it, such as -e to={os.path.join(to, 'status.html')}."
    # /dev/stdout is a link, and can lead to a file.
    if path.startswith("/dev/") or (os.path.exists(path) and not os.path.isfile(path)):
        return f"to is '{to}', which is no regular file, and would be replaced by one. Name another path."
    if not os.path.isdir(folder):
        return (
            f"to is '{to}', but the folder {folder} does not exist on this controller. Create it, or name another one."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"to is '{to}', but this account can't write to the folder {folder}. Name another one."
    return ""


def write(to: str, content: str) -> str:
    """Replace the file, and return its absolute path.

    An existing file keeps its mode, so that who may read the page is decided once. A link is replaced by a file.
    """
    path = os.path.abspath(os.path.expanduser(to))
    mode = MODE
    with suppress(OSError):
        found = os.lstat(path)
        mode = stat.S_IMODE(found.st_mode) & 0o666 if stat.S_ISREG(found.st_mode) else MODE
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)[:100]}.", dir=os.path.dirname(path))
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(content)
            os.chmod(temporary, mode)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise PageError(f"the page can't be written to {path}: {error.strerror or error}.") from error
    return path
