# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The releases of an application on its host: their folders and their metadata."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import pwd
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted

# datetime.UTC needs Python 3.11.
UTC = datetime.timezone(datetime.timedelta(0))

# Stands for the ID of a release in files that are rendered before the release has one.
RELEASE = "@RELEASE@"

# A release that has this file gets its sockets from its process manager. systemd checks it as a condition, so it is a
# file and no entry of release.json. Releases of earlier versions lack it: they bind their own sockets.
INHERITS_SOCKETS = "inherits_sockets"
# A release that runs the command of its image has this file with the command.
OWN_COMMAND = "image_command"

# The settings of uWSGI. Only a release that uWSGI serves has this file.
UWSGI_SETTINGS = "uwsgi.ini"

# These files are written last: a release or an environment that has its file is complete.
MANIFEST = "release.json"
COMPLETE = ".complete"

# The states of a release. A withdrawn release was good once, and was rolled back.
BUILDING, BUILT, GOOD, WITHDRAWN, BAD = "building", "built", "good", "withdrawn", "bad"


class ReleaseError(HostError):
    """The deployment of one application failed. The text has the action, the error and the remedy."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"webapps '{name}': {text}")
        self.name = name
        self.text = text


class MissingPackages(ReleaseError):
    """A build needs Debian packages that the host lacks. The controller installs them and starts the build again."""

    def __init__(self, name: str, text: str, packages: list[str]) -> None:
        super().__init__(name, text)
        self.packages = packages


class NoImage(ReleaseError):
    """The image that a release needs could not be made. Nothing of the release is kept."""


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
    def build(self) -> str:
        """The HOME and the caches of the build account, closed to the application's account."""
        return self.path("build")

    @property
    def jobs(self) -> str:
        return self.path("jobs")

    @property
    def current(self) -> str:
        return self.path("current")

    @property
    def previous(self) -> str:
        """The link to the previous release. Pages that were loaded from it still request its files."""
        return self.path("previous")

    @property
    def current_socket(self) -> str:
        return self.path("current.sock")

    @property
    def current_uwsgi(self) -> str:
        """A link that exists while uWSGI serves the live release."""
        return self.path("current.uwsgi")

    @property
    def current_uwsgi_socket(self) -> str:
        """The link to uWSGI's own socket. It exists as long as a request may still use it."""
        return self.path("current.uwsgi.sock")

    @property
    def command(self) -> str:
        """The file with the session ID of the program that a deployment is running; empty if none is running."""
        return self.path(".command")

    @property
    def sandbox(self) -> str:
        """The file with the properties of the sandboxes for programs of deployments. Root alone can read it."""
        return self.path(".sandbox.json")

    @property
    def history(self) -> str:
        return self.path("deployments.log")

    def release(self, identity: str) -> str:
        return os.path.join(self.releases, identity)

    @property
    def runtime(self) -> str:
        """The application's own folder below /run. It can put anything there."""
        return os.path.join(self.runtime_root, self.name)

    @property
    def sockets(self) -> str:
        """The folder of root with the sockets of the application. No name of an application has a dot."""
        return os.path.join(self.runtime_root, f"{self.name}.sockets")

    def inherited_sockets(self, identity: str) -> list[str]:
        """The sockets that a process manager makes for a release, in the order of their descriptors, from 3 on.

        The first one is for HTTP, the second one for the uwsgi protocol.
        """
        return [os.path.join(self.sockets, f"{identity}{ending}") for ending in (".sock", ".uwsgi.sock")]

    def inherits_sockets(self, identity: str) -> bool:
        """Whether a release on this host gets its sockets from its process manager."""
        return os.path.exists(os.path.join(self.release(identity), INHERITS_SOCKETS))

    def speaks_uwsgi(self, identity: str) -> bool:
        """Whether a release on this host also serves the uwsgi protocol."""
        return os.path.exists(os.path.join(self.release(identity), UWSGI_SETTINGS))

    def socket(self, identity: str) -> str:
        """The socket for HTTP of a release on this host."""
        return os.path.join(self._folder_of_sockets(identity), f"{identity}.sock")

    def uwsgi_socket(self, identity: str) -> str:
        """The socket for the uwsgi protocol of a release on this host."""
        return os.path.join(self._folder_of_sockets(identity), f"{identity}.uwsgi.sock")

    def _folder_of_sockets(self, identity: str) -> str:
        return self.sockets if self.inherits_sockets(identity) else self.runtime

    def notes(self, identity: str) -> str:
        """The file in which the workers of a release report."""
        return os.path.join(self.runtime, f"{identity}.sock.ready")

    def stats_socket(self, identity: str) -> str:
        """The socket at which uWSGI reports the state of its workers."""
        return os.path.join(self.runtime, f"{identity}.stats.sock")

    def current_release(self) -> str | None:
        """The ID of the live release, None before the first deployment."""
        try:
            return os.path.basename(os.readlink(self.current))
        except FileNotFoundError:
            return None


@dataclass
class Manifest:
    """The metadata of one release: ``release.json`` in its folder, readable by root alone."""

    id: str
    state: str = BUILDING
    fingerprint: dict[str, str] = field(default_factory=dict)
    # The identity of the deployment, the same on all hosts. Releases of earlier versions have none.
    revision: str = ""
    # The commit of git, the version of a package, or the start of the digest of the code.
    source: str = ""
    # The run that has built it, and the user of that run.
    run: str = ""
    by: str = ""
    venv: str = ""
    # The image that the release runs in; empty for a release that runs on the host.
    image: str = ""
    process_manager: str = "systemd"
    created: str = ""
    reason: str = ""
    # The background processes of the release: service, stop_timeout, start_seconds, exclusive.
    processes: list[dict[str, Any]] = field(default_factory=list)
    # The release that the environment links to, if a requirement is installed as editable.
    leans_on: str = ""
    # Whether its links have the owners of outward_links. Earlier versions followed the ways of links less strictly.
    links_checked: bool = True

    @property
    def usable(self) -> bool:
        return self.state in (BUILT, GOOD, WITHDRAWN)


def read_manifest(layout: Layout, identity: str) -> Manifest | None:
    """The manifest of a release; None if it is missing or incomplete."""
    try:
        with open(os.path.join(layout.release(identity), MANIFEST), encoding="utf-8") as stream:
            data = {"links_checked": False, **json.load(stream)}
        if "source" not in data:
            # Earlier versions had no identity, and noted the source under its name.
            data |= {"source": data.get("revision", ""), "revision": ""}
        return Manifest(**{key: data[key] for key in Manifest.__dataclass_fields__ if key in data})
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def write_manifest(layout: Layout, manifest: Manifest) -> None:
    texts = {key: redacted(getattr(manifest, key)) for key in ("revision", "source", "reason")}
    content = json.dumps({**manifest.__dict__, **texts}, indent=2) + "\n"
    write(File(os.path.join(layout.release(manifest.id), MANIFEST), content, mode=0o600))


def manifests(layout: Layout) -> list[Manifest]:
    """Every release that has a manifest, newest first."""
    try:
        names = sorted(os.listdir(layout.releases), reverse=True)
    except FileNotFoundError:
        return []
    return [manifest for name in names if (manifest := read_manifest(layout, name))]


def has_environment(layout: Layout, manifest: Manifest) -> bool:
    """Whether the environment of a release still exists."""
    return os.path.exists(os.path.join(layout.venvs, manifest.venv, COMPLETE))


def remove_tree(path: str, folder: int | None = None) -> None:
    """Remove a folder, a file or a link. The path is one of the open ``folder``, if that is given.

    The file that marks a folder as complete is removed first, so that an interrupted removal leaves nothing that looks
    complete.
    """
    trees.remove(path, first=(MANIFEST, COMPLETE), folder=folder)


def account(name: str) -> pwd.struct_passwd | None:
    """The account with this name; None if it does not exist."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def existing_account(name: str, wanted: str = "") -> pwd.struct_passwd:
    """An account of an application whose folders are prepared: its own, or the one that is ``wanted``."""
    found = account(wanted or name)
    if found is None:
        raise ReleaseError(
            name, f"the account {wanted or name} was removed during the deployment. Run again to create it."
        )
    return found


def build_account(name: str) -> str:
    """The name of the account that builds the releases of an application.

    It is hashed, because ``NAME-build`` could be another application, and could be too long.
    """
    return f"pyweb-b-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def builder_of(name: str) -> pwd.struct_passwd | None:
    """The build account of an application; None if there is none, or if the account is not this collection's.

    All processes of a build account are killed again and again, so it must be no other account.
    """
    found = account(build_account(name))
    is_own = found is not None and found.pw_uid > 0 and os.path.basename(found.pw_dir) == "build"
    return found if is_own else None


def accounts_of(name: str) -> list[pwd.struct_passwd]:
    """The existing accounts of an application, in the order in which they can be removed.

    The application's own account is last, because its group is the primary group of the other.
    """
    return [found for found in (builder_of(name), account(name)) if found is not None]


def now() -> datetime.datetime:
    return datetime.datetime.now(UTC)


def record(layout: Layout, **entry: Any) -> None:
    """Add one line to the application's log of deployments."""
    entry = {key: redacted(value) if isinstance(value, str) else value for key, value in entry.items()}
    line = json.dumps({"time": f"{now():%Y-%m-%dT%H:%M:%SZ}", "app": layout.name, **entry}, ensure_ascii=False)
    descriptor = os.open(layout.history, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        # A full disk may have cut the last line; the next entry still gets a line of its own.
        is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" * is_cut + line.encode() + b"\n")
    finally:
        os.close(descriptor)
