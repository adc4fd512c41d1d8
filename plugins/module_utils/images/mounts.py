# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The directives of systemd by which a program runs in the image of its release. Pure.

The sandbox of the unit stays as it is: it applies inside of the image. An application sees the folder of its own at the
same path as on the host, so nothing in a release depends on where it runs.
"""

from __future__ import annotations

from collections.abc import Iterable

# Files of the host that a program needs: accounts, names, time zone, and the authorities that the host trusts. With a
# dash in front, a file may be missing.
FILES = (
    *("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/localtime"),
    *("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"),
)
# Sockets of systemd: the report that a service is ready, and the journal.
SOCKETS = ("/run/systemd/notify", "/run/systemd/journal/socket", "/run/systemd/journal/dev-log")


def root_lines(file_system: str) -> list[str]:
    """An image is given by its root file system. systemd accepts no link on the way to it."""
    return [
        f"RootDirectory={file_system}",
        # The command before the start makes the runtime folder on the host.
        "RootDirectoryStartOnly=yes",
        "MountAPIVFS=yes",
        # systemd 252 lets every account write there.
        "ReadOnlyPaths=-+/run",
        f"BindReadOnlyPaths={' '.join(f'-{path}' for path in (*FILES, *SOCKETS))}",
    ]


def run_lines(home: str, runtime: str, file_system: str, more: Iterable[str] = ()) -> list[str]:
    """For a program of the run world. ``more`` are further folders that it can write."""
    written = [f"{home}/shared", f"{home}/cache", *more]
    return [
        *root_lines(file_system),
        f"BindReadOnlyPaths={home}",
        f"BindPaths={' '.join([*written, f'-{runtime}'])}",
        f"ReadWritePaths={' '.join([*(f'+{path}' for path in written), f'-+{runtime}'])}",
    ]


def build_lines(home: str, file_system: str, shown: Iterable[str]) -> list[str]:
    """For a program of the build world. ``shown`` are files of the host that it needs, such as uv.

    Environment and cache have to be in one mount, or uv can't link files.
    """
    return [
        *root_lines(file_system),
        f"BindPaths={home}",
        f"ReadWritePaths=+{home}",
        f"ReadOnlyPaths=+{home}/shared",
        *(f"BindReadOnlyPaths=-{path}" for path in shown),
    ]


def drop_in(lines: Iterable[str]) -> str:
    """The lines as a file that completes a unit."""
    head = "# Managed by pyweb.stack: this service runs in the image of its release. Changes are overwritten."
    return "\n".join([head, "[Service]", *lines, ""])
