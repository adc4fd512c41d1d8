# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases of an application on the host: where they lie, what they are made of, what happened to them."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import hmac
import json
import os
import pwd
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, read, write

# In files that are rendered before a release has a name: stands for its identity.
RELEASE = "@RELEASE@"

# The parts of a release's identity, in the order in which a message names them.
PARTS = ("code", "dependencies", "settings", "secrets")

# The time in a release's name.
STAMP = "%Y%m%dT%H%M%SZ"

# On every program that a deployment starts to build or to migrate, so that those of a run that was killed are found.
DEPLOYMENT_VARIABLE = "WEBAPP_DEPLOYMENT"

# What says that a release, or an environment, is whole.
MANIFEST = "release.json"
COMPLETE = ".complete"

# A withdrawn release was good once, and somebody went back from it.
BUILDING, BUILT, GOOD, WITHDRAWN, BAD = "building", "built", "good", "withdrawn", "bad"


class ReleaseError(Exception):
    """Something that stops one application's deployment: what was being done, what came back, what to try."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"webapps '{name}': {text}")
        self.name = name
        self.text = text


@dataclass(frozen=True)
class Layout:
    """The folders of one application."""

    name: str
    root: str = "/srv/webapps"
    runtime_root: str = "/run/webapps"

    @property
    def home(self) -> str:
        return os.path.join(self.root, self.name)

    def path(self, *parts: str) -> str:
        return os.path.join(self.home, *parts)

    @property
    def releases(self) -> str:
        return self.path("releases")

    @property
    def venvs(self) -> str:
        return self.path("venvs")

    @property
    def shared(self) -> str:
        return self.path("shared")

    @property
    def cache(self) -> str:
        return self.path("cache")

    @property
    def jobs(self) -> str:
        return self.path("jobs")

    @property
    def current(self) -> str:
        return self.path("current")

    @property
    def previous(self) -> str:
        """The link to the release that was live before: pages that were loaded from it still ask for its files."""
        return self.path("previous")

    @property
    def current_socket(self) -> str:
        return self.path("current.sock")

    @property
    def current_uwsgi(self) -> str:
        """There as long as the live release is one of uWSGI's."""
        return self.path("current.uwsgi")

    @property
    def current_uwsgi_socket(self) -> str:
        """Where it speaks its own protocol; there for as long as somebody may still be asking."""
        return self.path("current.uwsgi.sock")

    @property
    def command(self) -> str:
        """The session of the program that a deployment is waiting for: a number, while there is one."""
        return self.path(".command")

    @property
    def history(self) -> str:
        return self.path("deployments.log")

    def release(self, identity: str) -> str:
        return os.path.join(self.releases, identity)

    def socket(self, identity: str) -> str:
        return os.path.join(self.runtime_root, self.name, f"{identity}.sock")

    def uwsgi_socket(self, identity: str) -> str:
        return os.path.join(self.runtime_root, self.name, f"{identity}.uwsgi.sock")

    def current_release(self) -> str | None:
        """The ID of the live release, None before the first."""
        try:
            return os.path.basename(os.readlink(self.current))
        except FileNotFoundError:
            return None


@dataclass
class Manifest:
    """What is known about one release; ``release.json`` in its folder, readable by root alone."""

    id: str
    state: str = BUILDING
    fingerprint: dict[str, str] = field(default_factory=dict)
    revision: str = ""
    venv: str = ""
    process_manager: str = "systemd"
    created: str = ""
    reason: str = ""
    # Its background processes: service, stop_timeout, start_seconds, exclusive.
    processes: list[dict[str, Any]] = field(default_factory=list)
    # The release whose folder its environment points into, where a requirement is installed as editable.
    leans_on: str = ""

    @property
    def usable(self) -> bool:
        return self.state in (BUILT, GOOD, WITHDRAWN)


def read_manifest(layout: Layout, identity: str) -> Manifest | None:
    """The manifest of a release; None where it has none, or one that was never finished."""
    try:
        with open(os.path.join(layout.release(identity), MANIFEST), encoding="utf-8") as stream:
            data = json.load(stream)
        return Manifest(**{key: data[key] for key in Manifest.__dataclass_fields__ if key in data})
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def write_manifest(layout: Layout, manifest: Manifest) -> None:
    content = json.dumps(manifest.__dict__, indent=2) + "\n"
    write(File(os.path.join(layout.release(manifest.id), MANIFEST), content, mode=0o600))


def manifests(layout: Layout) -> list[Manifest]:
    """Every release that has a manifest, newest first."""
    try:
        names = sorted(os.listdir(layout.releases), reverse=True)
    except FileNotFoundError:
        return []
    return [manifest for name in names if (manifest := read_manifest(layout, name))]


def whole(layout: Layout, manifest: Manifest) -> bool:
    """Whether the environment of a release is still there."""
    return os.path.exists(os.path.join(layout.venvs, manifest.venv, COMPLETE))


def digest(value: Any) -> str:
    """A fingerprint of any value that JSON can hold, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def secret_digest(layout: Layout, value: Any, create_key: bool = True) -> str:
    """A fingerprint of secrets that tells a reader nothing: keyed by a random file that only root can read."""
    path = layout.path(".fingerprint_key")
    try:
        with open(path, encoding="ascii") as stream:
            key = stream.read().strip()
    except FileNotFoundError:
        key = secrets.token_hex(32)
        if create_key:
            write(File(path, key + "\n", mode=0o600))
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def differing_parts(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """Which parts of two fingerprints differ."""
    return [part for part in PARTS if wanted.get(part) != found.get(part)]


def choose(wanted: dict[str, str], current: str | None, known: list[Manifest]) -> tuple[str, str | None, list[str]]:
    """Decide what an application needs: (none, reuse or build; release to reuse; parts that differ from the live one).

    A finished release that is just as wanted is used again, be it left by an interrupted run or older than the live
    one. A
    release that was found bad is not: what made it bad may have been mended outside of it, so it is built anew.
    """
    live = next((manifest for manifest in known if manifest.id == current), None)
    parts = list(PARTS) if live is None else differing_parts(wanted, live.fingerprint)
    if live is not None and not parts:
        return "none", None, []
    for manifest in known:
        if manifest.usable and not differing_parts(wanted, manifest.fingerprint):
            return "reuse", manifest.id, parts
    return "build", None, parts


def choose_rollback(name: str, wanted: str, current: str | None, known: list[Manifest]) -> str:
    """The release to go back to: the one that is wanted, else the newest good one that is older than the live one."""
    good = [manifest.id for manifest in known if manifest.state in (GOOD, WITHDRAWN) and manifest.id != current]
    listed = ", ".join(good) or "none"
    if wanted:
        if wanted in good:
            return wanted
        found = next((manifest.state for manifest in known if manifest.id == wanted), None)
        why = "it serves already" if wanted == current else f"it is {found}" if found else "there is no such release"
        raise ReleaseError(name, f"can't go back to '{wanted}': {why}. Releases that have been good: {listed}.")
    withdrawn = {manifest.id for manifest in known if manifest.state == WITHDRAWN}
    older = [identity for identity in good if identity not in withdrawn and (current is None or identity < current)]
    if not older:
        raise ReleaseError(
            name,
            f"there is no release to go back to: none that was good is older than the live one. Good ones: {listed}.",
        )
    return max(older)


def new_identity(fingerprint: dict[str, str], now: datetime.datetime, taken: list[str]) -> str:
    """UTC time and short fingerprint, such as ``20261121T010735Z-ab12cd34``.

    Later than every one that is there, even if the clock was set back: what is newer is told by the order of names.
    """
    stamp = now.strftime(STAMP)
    newest = max((identity.partition("-")[0] for identity in taken), default="")
    if stamp <= newest:
        later = datetime.datetime.strptime(newest, STAMP) + datetime.timedelta(seconds=1)  # it is UTC
        stamp = later.strftime(STAMP)
    return f"{stamp}-{digest(fingerprint)[:8]}"


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@contextlib.contextmanager
def lock(layout: Layout, owner: str) -> Iterator[None]:
    """Hold the application's deployment lock, or raise, naming its holder. The kernel frees it when its holder dies.

    What a holder that was killed has left running is ended first: two migrations at once, say, could do any harm.
    """
    descriptor = locked(layout)
    try:
        if os.pread(descriptor, 1, 0):
            end_abandoned(layout)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{owner}, since {now():%Y-%m-%d %H:%M:%S} UTC, process {os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def locked(layout: Layout) -> int:
    """The open lock file, once it is ours."""
    path = layout.path(".lock")
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Else a removal has taken the file away since it was opened, and the next run would lock another.
            if is_still(descriptor, path):
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 4096, 0).decode(errors="replace").strip() or "an unknown run"
            os.close(descriptor)
            raise ReleaseError(
                layout.name, f"another deployment is under way: {holder}. Wait until it has ended, then run again."
            ) from None
        os.close(descriptor)


def is_still(descriptor: int, path: str) -> bool:
    """Whether a path leads to the file that was opened by it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def abandoned(layout: Layout) -> bool:
    """Whether somebody holds the lock, or was killed while holding it."""
    try:
        return os.path.getsize(layout.path(".lock")) > 0
    except FileNotFoundError:
        return False


def end_abandoned(layout: Layout) -> None:
    """Kill the programs that a deployment of this application has started and did not live to see the end of."""
    until = time.monotonic() + 5
    # Again, for one may just have started another, and none is gone at once.
    while (found := programs_of_deployments(layout)) and time.monotonic() < until:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def programs_of_deployments(layout: Layout) -> list[int]:
    """The processes of an application that were started by a deployment, rather than by the process manager.

    By their session; and one that has left it by its environment, which a container's root may not read.
    """
    owner = account(layout.name)
    session = (read(layout.command) or b"").strip()
    mark = f"{DEPLOYMENT_VARIABLE}={layout.name}".encode()
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            if owner is None or os.stat(f"/proc/{pid}").st_uid != owner.pw_uid or not read(f"/proc/{pid}/cmdline"):
                continue
            if str(os.getsid(pid)).encode() == session or mark in (read(f"/proc/{pid}/environ") or b"").split(b"\0"):
                found.append(pid)
    return found


def record(layout: Layout, **entry: Any) -> None:
    """Add one line to the application's log of deployments."""
    line = json.dumps({"time": f"{now():%Y-%m-%dT%H:%M:%SZ}", "app": layout.name, **entry}, ensure_ascii=False)
    descriptor = os.open(layout.history, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        # A line that was cut by a full disk must not spoil the next one.
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" * torn + line.encode() + b"\n")
    finally:
        os.close(descriptor)


def prunable(known: list[Manifest], current: str | None, keep: int) -> list[str]:
    """The releases that may go: beyond ``keep``, live and newest good ones first; the newest bad one is kept."""
    ordered = sorted(known, key=lambda manifest: manifest.id, reverse=True)
    kept = {current}
    served = [manifest for manifest in ordered if manifest.state in (GOOD, WITHDRAWN) and manifest.id != current]
    kept.update([manifest.id for manifest in served[: max(keep, 2) - 1]])
    # Those may all be newer than the live one, or withdrawn; it still needs one to go back to.
    good = [manifest.id for manifest in served if manifest.state == GOOD]
    kept.update([identity for identity in good if identity < (current or "")][:1])
    bad = [manifest.id for manifest in ordered if manifest.state == BAD]
    kept.update(bad[:1])
    # One that waits for its turn; what is older than the live one was left by a run that did not live to use it.
    waiting = [manifest.id for manifest in ordered if manifest.state == BUILT and manifest.id > (current or "")]
    kept.update(waiting[:1])
    kept.update([manifest.leans_on for manifest in ordered if manifest.id in kept])
    return [manifest.id for manifest in ordered if manifest.id not in kept]


def in_use(layout: Layout, identity: str) -> bool:
    """Whether a job still runs in a release: it holds a shared lock on its ``env`` until it has ended."""
    try:
        with open(os.path.join(layout.release(identity), "env"), "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def prune(layout: Layout, keep: int) -> list[str]:
    """Remove old releases, and the environments that no release uses any more; return what went."""
    known = manifests(layout)
    gone = [identity for identity in prunable(known, layout.current_release(), keep) if not in_use(layout, identity)]
    finished = {manifest.id for manifest in known}
    with contextlib.suppress(FileNotFoundError):
        gone += [
            name for name in os.listdir(layout.releases) if name not in finished and name != layout.current_release()
        ]
    for identity in gone:
        remove_tree(layout.release(identity))
    used = {manifest.venv for manifest in known if manifest.id not in gone}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(layout.venvs):
            if name not in used:
                remove_tree(os.path.join(layout.venvs, name))
    return gone


def unfinished(layout: Layout) -> list[str]:
    """What an interrupted run has left: releases that were never finished, files that were never renamed."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(layout.releases):
            manifest = read_manifest(layout, name)
            if manifest is None or manifest.state == BUILDING:
                found.append(layout.release(name))
    with contextlib.suppress(FileNotFoundError):
        found += [layout.path(name) for name in os.listdir(layout.home) if name.endswith(".new")]
    current = layout.current_release()
    return [path for path in found if path != layout.release(current or "")]


# The files of a release in which its own ID stands, beside its programs.
NAMING_FILES = ("env", "gunicorn.conf.py", "uwsgi.ini")


def clone(layout: Layout, manifest: Manifest) -> Manifest:
    """The same release under a new ID, so that it can be started beside itself. Its code is linked, not copied."""
    taken = [known.id for known in manifests(layout)]
    copy = Manifest(**{**manifest.__dict__, "id": new_identity(manifest.fingerprint, now(), taken), "state": BUILDING})
    source, target = layout.release(manifest.id), layout.release(copy.id)
    shutil.copytree(source, target, symlinks=True, copy_function=os.link, ignore=shutil.ignore_patterns(MANIFEST))
    programs = [os.path.join("bin", name) for name in os.listdir(os.path.join(target, "bin"))]
    for name in (*NAMING_FILES, *programs):
        path = os.path.join(target, name)
        if os.path.exists(path):
            status = os.stat(path)
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read().replace(manifest.id, copy.id)
            os.unlink(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            os.chown(path, status.st_uid, status.st_gid)
            os.chmod(path, status.st_mode & 0o7777)
    copy.state, copy.created = BUILT, f"{now():%Y-%m-%dT%H:%M:%SZ}"
    write_manifest(layout, copy)
    return copy


def remove_tree(path: str) -> None:
    """Remove a folder, or a file or link of that name.

    First what says that the folder is whole: if this is interrupted, nobody may take half a release for a good one.
    """
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        for seal in (MANIFEST, COMPLETE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, seal))
        shutil.rmtree(path)


def account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
