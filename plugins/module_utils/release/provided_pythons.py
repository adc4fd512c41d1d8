# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Interpreters that uv provides: root installs them once, all applications share them, and unused ones are removed.

uv downloads an archive of python-build-standalone and verifies its SHA-256 checksum. The checksum comes from uv's own
list, from another list of downloads, or from the inventory. A download without a checksum is never installed.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.pythons import (
    FOLDER,
    Python,
    find,
    full_version,
    is_roots,
    provided,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import ARCHIVE, Request

# Seconds for a download, and bytes of a list of downloads. uv's own list has about 2 MiB.
TIMEOUT = 900
LIST_TIMEOUT = 60
MOST_LIST = 32 * 1024**2
# The folders of applications whose releases may use a provided interpreter.
ROOTS = ".roots"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")


class PythonError(HostError):
    """uv could not provide an interpreter. The text says why, and what to do."""


@dataclass(frozen=True)
class Supply:
    """Where interpreters come from: ``mirror`` replaces the address of the archives, ``listing`` uv's own list."""

    uv: str
    folder: str = FOLDER
    mirror: str = ""
    listing: str = ""
    # The certificate authorities to trust instead of the host's.
    ca_bundle: str = ""
    # Archives on this host: path, name and sha256.
    archives: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def folder_lock(folder: str) -> Iterator[None]:
    """Hold the lock of the folder of interpreters, so that none is removed while another run chooses it."""
    os.makedirs(folder, mode=0o755, exist_ok=True)
    descriptor = os.open(os.path.join(folder, ".pyweb.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def find_or_provide(request: Request, supply: Supply, root: str) -> tuple[Python, bool]:
    """The interpreter for a request, which uv provides if the host has none, and whether it is new.

    ``root`` is the folder of the application's releases. Raises PythonError.
    """
    exact = Request(request.version, request.requires, exact=True)
    with folder_lock(supply.folder):
        found = find(exact.is_met_by, request.minor, supply.folder) or find(
            request.is_met_by, request.minor, supply.folder
        )
        is_new = found is None
        found = found or install(target_of(request), supply)
        if found.path.startswith(f"{supply.folder}/"):
            note_root(supply.folder, root)
        return found, is_new


def target_of(request: Request) -> str:
    """The request as uv takes it."""
    return request.version or request.requires


def note_root(folder: str, root: str) -> None:
    path = os.path.join(folder, ROOTS)
    known = roots_of(folder)
    if root not in known:
        write(File(path, "".join(f"{one}\n" for one in [*known, root])))


def roots_of(folder: str) -> list[str]:
    try:
        with open(os.path.join(folder, ROOTS), encoding="utf-8") as stream:
            return [line for line in lines_of(stream.read()) if line]
    except FileNotFoundError:
        return []


def install(request: str, supply: Supply) -> Python:
    """Let uv install an interpreter as root, and check it as another account. The caller holds the lock."""
    if not is_roots(supply.uv):
        raise PythonError(
            f"other accounts than root can change {supply.uv}, which would run as root. Set webapp_uv to a program "
            "that root alone can change."
        )
    before = {one.path for one in provided(supply.folder)}
    # Any account could lock the file that uv itself would create.
    os.close(os.open(os.path.join(supply.folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with tempfile.TemporaryDirectory() as scratch:
        run_install(request, supply, scratch)
    tidy(supply.folder)
    for found in provided(supply.folder):
        if found.path not in before:
            return checked(found, supply.folder)
    raise PythonError(
        f"uv has reported success for Python {request}, but {supply.folder} has no new interpreter. Remove "
        f"incomplete folders there, and run again."
    )


def checked(found: Python, folder: str) -> Python:
    """A new interpreter, taken for root. It is removed unless it runs, as another account, with the right version."""
    home = os.path.dirname(os.path.dirname(found.path))
    take_for_root(home)
    os.chmod(home, 0o755)  # noqa: S103  # all applications share it
    version = full_version(found.path)
    if version != found.version:
        trees.remove(home)
        raise PythonError(
            f"the interpreter that uv has installed as Python {found.version} does not run on this host, or it is "
            f"another version ({version or 'none'}). Check the archive, and that {folder} is on a disk whose programs "
            "may run (no noexec)."
        )
    return found


def run_install(request: str, supply: Supply, scratch: str) -> None:
    listing = list_for(supply, scratch)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": scratch,
        "TMPDIR": scratch,
        "UV_CACHE_DIR": os.path.join(scratch, "cache"),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_SYSTEM_CERTS": "1",
        **({"UV_PYTHON_INSTALL_MIRROR": supply.mirror} if supply.mirror else {}),
        **({"SSL_CERT_FILE": supply.ca_bundle} if supply.ca_bundle else {}),
        **({"UV_PYTHON_DOWNLOADS_JSON_URL": listing} if listing else {}),
        **{name: os.environ[name] for name in PROXIES if name in os.environ},
    }
    command = [supply.uv, "python", "install", "--no-bin", "--install-dir", supply.folder, request]
    doing = f"uv could not provide Python {request}"
    try:
        answer = subprocess.run(
            command,
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TIMEOUT,
            umask=0o022,
        )
    except subprocess.TimeoutExpired:
        raise PythonError(f"{doing} within {TIMEOUT} seconds. {REMEDY}") from None
    except OSError as error:
        raise PythonError(f"{doing}: {supply.uv}: {error.strerror}. Run the role python first.") from error
    if answer.returncode != 0:
        tidy(supply.folder)
        words = "\n".join(lines_of(answer.stderr.strip())[-8:])
        raise PythonError(f"{doing}. {remedy_of(words)} Its output:\n{words}")


REMEDY = (
    "The host needs access to github.com, or a mirror (python_downloads_mirror), or an archive that the controller "
    "sends (python_archives)."
)


def remedy_of(output: str) -> str:
    lowered = output.lower()
    if "hash mismatch" in lowered:
        return "The archive is not the one whose checksum is known: compare it with the original. Nothing is installed."
    if "no download found" in lowered:
        return (
            "The list of downloads has no such version for this host. Choose another version, or install it below /opt."
        )
    if "no space left" in lowered:
        return "The disk is full; make room."
    return REMEDY


def list_for(supply: Supply, scratch: str) -> str:
    """The path of a list of downloads with checksums: of the archives, or of another list; empty for uv's own."""
    if supply.archives:
        entries = dict(entry_of(archive) for archive in supply.archives)
    elif supply.listing:
        entries = with_checksums(read_list(supply.listing), supply.listing)
    else:
        return ""
    path = os.path.join(scratch, "downloads.json")
    write(File(path, json.dumps(entries), mode=0o600))
    return path


def entry_of(archive: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """An archive as an entry of a list of downloads."""
    parts = ARCHIVE.fullmatch(archive["name"])
    if parts is None or not re.fullmatch(r"[0-9a-f]{64}", archive["sha256"]):
        raise PythonError(f"the archive '{archive['name']}' has no name of python-build-standalone, or no checksum.")
    if parts["arch"] != platform.machine():
        raise PythonError(
            f"the archive '{archive['name']}' is for {parts['arch']}, but this host has {platform.machine()}. List the "
            "archive for this host in its own variables."
        )
    major, minor, patch = map(int, parts["version"].split("."))
    return f"cpython-{parts['version']}-linux-{parts['arch']}-{parts['libc']}", {
        "name": "cpython",
        "arch": {"family": parts["arch"], "variant": None},
        "os": "linux",
        "libc": parts["libc"],
        "major": major,
        "minor": minor,
        "patch": patch,
        "prerelease": "",
        "url": f"file://{urllib.request.pathname2url(archive['path'])}",
        "sha256": archive["sha256"],
        "variant": None,
        "build": parts["build"],
    }


def read_list(place: str) -> dict[str, Any]:
    """A list of downloads, from a file of this host or from an address."""
    try:
        if re.match(r"https?://", place):
            with urllib.request.urlopen(place, timeout=LIST_TIMEOUT) as answer:  # noqa: S310  # http or https
                data = answer.read(MOST_LIST + 1)
        else:
            with open(urllib.request.url2pathname(place.removeprefix("file://")), "rb") as stream:
                data = stream.read(MOST_LIST + 1)
        found = json.loads(data) if len(data) <= MOST_LIST else None
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise PythonError(f"python_downloads_json '{place}' can't be read on the host: {error}.") from error
    if not isinstance(found, dict):
        raise PythonError(f"python_downloads_json '{place}' is no list of downloads as uv takes it.")
    return found


def with_checksums(entries: dict[str, Any], place: str) -> dict[str, Any]:
    """The entries that have a checksum. uv installs the others without any."""
    known = {
        key: entry
        for key, entry in entries.items()
        if isinstance(entry, dict) and re.fullmatch(r"[0-9a-f]{64}", str(entry.get("sha256")))
    }
    if not known:
        raise PythonError(f"python_downloads_json '{place}' has no entry with a sha256. Add the checksums.")
    return known


def tidy(folder: str) -> None:
    """Remove uv's links to the newest patch level, which would change under an environment, and its leftovers."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.islink(path):
            os.unlink(path)
    with suppress(FileNotFoundError):
        shutil.rmtree(os.path.join(folder, ".temp"))
