# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Make an image from the packages of Debian, or find one that exists."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.machine import distribution
from ansible_collections.pyweb.stack.plugins.module_utils.images.archive import archive_of, sources_of_host
from ansible_collections.pyweb.stack.plugins.module_utils.images.explanations import explained
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import (
    MARK,
    ROOT,
    ImageError,
    description,
    folder_of,
    path_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.images.store import (
    UNFINISHED,
    remove_unfinished,
    stop,
    unit_of,
)

# Python, and what its standard library reads: certificates, time zones, names of protocols and types of files.
PACKAGES = ("python3", "ca-certificates", "tzdata", "netbase", "media-types")
# Changes when images are made in another way, so that none of an earlier version is used again.
RECIPE = 1
OLDEST_PYTHON = (3, 9)
# Seconds. Longer than any download of a small Debian.
TIMEOUT = 1800
# Bytes that a base takes while it is made.
NEEDED = 512 * 1024**2
# The user can add packages with documentation, which no program reads.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/lintian/*")
# The variables by which apt reaches the archive.
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Where files and folders of the host are shown. systemd would create them at the first start.
FOLDERS = ("dev", "proc", "run", "sys", "tmp", "srv", "opt", "usr/local/share/ca-certificates", "etc/ssl/certs")
EMPTY_FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/localtime")


@dataclass(frozen=True)
class Wanted:
    """The input of an image. ``upgrade`` is the run that wants the newest packages; empty for any image."""

    base: str
    packages: tuple[str, ...] = ()
    upgrade: str = ""

    @property
    def prefix(self) -> str:
        """The beginning of the names of all images that are made from this. They differ in the time."""
        text = json.dumps([RECIPE, os.uname().machine, self.base, sorted(set(self.packages))])
        return f"{self.base}-{hashlib.sha256(text.encode()).hexdigest()[:16]}-"


def provide(root: str, wanted: Wanted) -> str:
    """The name of an image, which is made if the host has none. The caller holds the lock."""
    return find(root, wanted) or make(root, wanted)


def find(root: str, wanted: Wanted) -> str:
    """The newest image that was made from this; empty if there is none."""
    for name in sorted(os.listdir(folder_of(root)), reverse=True):
        if name.startswith(wanted.prefix):
            known = description(root, name)
            if known and wanted.upgrade in ("", known.get("run")):
                return name
    return ""


def make(root: str, wanted: Wanted) -> str:
    """Make an image. Whatever fails, nothing of it stays."""
    remove_unfinished(root)
    check_space(root)
    name = f"{wanted.prefix}{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%SZ}"
    path = path_of(root, name)
    unfinished = f"{path}{UNFINISHED}"
    try:
        os.mkdir(unfinished, 0o755)
        install(unfinished, wanted)
        file_system = os.path.join(unfinished, ROOT)
        complete(file_system)
        found = {"base": wanted.base, "packages": sorted(set(wanted.packages)), "run": wanted.upgrade}
        found |= {"python": python_of(file_system, wanted), "made": f"{name[-16:]}"}
        write(File(os.path.join(unfinished, MARK), json.dumps(found, indent=1) + "\n"))
        os.sync()
        os.rename(unfinished, path)
    except BaseException as error:
        stop(unfinished)
        with suppress(OSError):
            trees.remove(unfinished)
        if isinstance(error, OSError):
            raise ImageError(explained(f"{error.strerror}: {error.filename}", wanted.base, wanted.packages)) from error
        raise
    return name


def install(unfinished: str, wanted: Wanted) -> None:
    """Let mmdebstrap install the packages, in a unit whose mounts nothing else sees."""
    sources = archive_of(wanted.base, distribution()["codename"], sources_of_host())
    if not sources:
        raise ImageError(
            "the image can't be made: the apt sources of the host name no archive of its own release. Add one to "
            "/etc/apt/sources.list."
        )
    listed = os.path.join(unfinished, "sources.list")
    write(File(listed, "".join(f"{source.line}\n" for source in sources)))
    argv = [
        *("systemd-run", "--quiet", "--wait", "--collect", "--pipe", "--service-type=exec"),
        *(f"--unit={unit_of(unfinished)}", "-p", "PrivateMounts=yes", "-p", f"RuntimeMaxSec={TIMEOUT}"),
        *(f"--setenv={name}={os.environ[name]}" for name in with_upper(PROXIES) if name in os.environ),
        *("--setenv=LC_ALL=C.UTF-8", "--", "mmdebstrap", "--mode=root", "--format=directory", "--variant=essential"),
        *(f"--include={','.join([*PACKAGES, *wanted.packages])}", "--dpkgopt=force-unsafe-io"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        *([f"--keyring={KEYRING}"] if os.path.exists(KEYRING) else []),
        *("--skip=output/dev", wanted.base, os.path.join(unfinished, ROOT), listed),
    ]
    try:
        answer = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, cwd="/"
        )
    except FileNotFoundError as error:
        raise ImageError("the image can't be made without systemd. Set runtime: host on this host.") from error
    if answer.returncode != 0:
        raise ImageError(explained(answer.stdout + answer.stderr, wanted.base, wanted.packages))


def with_upper(names: Collection[str]) -> list[str]:
    return [*names, *(name.upper() for name in names)]


def complete(file_system: str) -> None:
    """Remove what no program needs, take rights from programs, and create the places for files of the host."""
    for name in ("var/cache/apt", "var/lib/apt/lists", "var/log", "dev"):
        path = os.path.join(file_system, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        os.makedirs(path, mode=0o755)
    for name in FOLDERS:
        os.makedirs(os.path.join(file_system, name), mode=0o755, exist_ok=True)
    for name in EMPTY_FILES:
        path = os.path.join(file_system, name)
        if os.path.islink(path):
            os.unlink(path)
        if not os.path.exists(path):
            write(File(path, ""))
    for folder, _folders, files in os.walk(file_system):
        for name in files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and mode & 0o6000:
                os.chmod(path, stat.S_IMODE(mode) & ~0o6000)
    os.chmod(file_system, 0o755)  # noqa: S103  # the folder of the images is closed


def python_of(file_system: str, wanted: Wanted) -> str:
    """The version of Python in an image, such as 3.11."""
    link = os.path.join(file_system, "usr", "bin", "python3")
    found = re.fullmatch(r"python(3\.\d+)", os.path.basename(os.path.realpath(link)))
    if not found:
        raise ImageError(f"container.base: '{wanted.base}' has no python3. Choose another base.")
    if tuple(map(int, found[1].split("."))) < OLDEST_PYTHON:
        raise ImageError(
            f"container.base: '{wanted.base}' has Python {found[1]}, but this collection needs "
            f"{'.'.join(map(str, OLDEST_PYTHON))} or newer. Choose a newer base."
        )
    return found[1]


def check_space(root: str) -> None:
    free = shutil.disk_usage(folder_of(root)).free
    if free < NEEDED:
        raise ImageError(
            f"the image needs {NEEDED // 1024**2} MiB while it is made, but the disk of {folder_of(root)} has "
            f"{free // 1024**2} MiB free. Make room."
        )
