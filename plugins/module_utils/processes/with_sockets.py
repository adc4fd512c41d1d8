# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Make unix sockets as root, and run a program that inherits them as descriptors from 3 on.

The module supervisor_programs installs this file on hosts, where supervisor runs it by itself. It follows the protocol
of systemd (LISTEN_FDS, LISTEN_PID), so a program gets its sockets in the same way from both process managers.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import grp
import os
import socket
import stat
import sys

# Where the file is installed.
PROGRAM = "/usr/local/lib/pyweb/with_sockets.py"

FIRST_DESCRIPTOR = 3
# The mode of a new folder. Everyone may pass it; the mode of each socket decides who may connect.
FOLDER_MODE = 0o711
# The number of connections that may wait, as in the socket units of systemd.
BACKLOG = 2048


def check_folder(folder: str) -> None:
    """Make a folder, or raise PermissionError for one that others than root can change."""
    before = os.umask(0o022)
    try:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        if not os.path.lexists(folder):
            os.mkdir(folder, FOLDER_MODE)
    finally:
        os.umask(before)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(
            f"{folder} must be a folder that only root can change, but its owner has the ID {found.st_uid} "
            f"and its mode is {stat.filemode(found.st_mode)}. Remove it; the next start makes it"
        )


def listen(path: str, group: int, mode: int) -> int:
    """Make a socket, remove an old one before, and return its descriptor."""
    check_folder(os.path.dirname(path))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        before = os.umask(0o177)
        try:
            server.bind(path)
        finally:
            os.umask(before)
        os.chown(path, os.geteuid(), group)
        os.chmod(path, mode)
        server.listen(BACKLOG)
        # Far from the descriptors that the program gets.
        return fcntl.fcntl(server.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="with_sockets", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--group", required=True, help="the group of the sockets, by its name or its ID")
    parser.add_argument("--mode", required=True, type=lambda text: int(text, 8), help="the mode of the sockets")
    parser.add_argument("--if-exists", metavar="FILE", help="without this file, run the program without sockets")
    parser.add_argument("--socket", action="append", required=True, metavar="PATH", help="may be given several times")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Make the sockets, and become the program."""
    given = parse(arguments)
    if given.if_exists is None or os.path.exists(given.if_exists):
        group = int(given.group) if given.group.isdigit() else grp.getgrnam(given.group).gr_gid
        found = [listen(path, group, given.mode) for path in given.socket]
        for number, descriptor in enumerate(found, FIRST_DESCRIPTOR):
            os.dup2(descriptor, number, inheritable=True)
        os.environ.update({"LISTEN_FDS": str(len(found)), "LISTEN_PID": str(os.getpid())})
    os.execv(given.command[0], given.command)  # noqa: S606  # it becomes the program


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, KeyError) as error:
        sys.exit(f"Making the sockets of a program: {error}.")
