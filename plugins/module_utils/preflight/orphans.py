# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find the applications on a host that an inventory does not know. Changes nothing.

An application is on a host if something there has its name and was made by this collection: its folder below the root,
its account, a unit, a program of supervisor, a crontab, or a site of nginx. Units and programs belong to an application
if they carry the mark of the collection and start a program of its folder.
"""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import processes_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

MARK = "Managed by pyweb.stack"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
# The name of an application at the beginning of a file's name. No name of an application has a dot.
UNIT = re.compile(rf"(?P<app>{NAME.pattern})(?P<part>\.[a-z0-9.-]+?)?@?\.service")
PROGRAM = re.compile(rf"(?P<app>{NAME.pattern}?)(?P<part>\.[a-z0-9.-]+?)?(?:@|-{INSTANCE.pattern})\.conf")
SCRIPT = re.compile(rf"(?P<app>{NAME.pattern})(?P<part>\.[a-z0-9.-]+)")
# cron ignores files with a dot in their name.
TABLE = re.compile(rf"pyweb-(?P<app>{NAME.pattern})(?P<part>_[a-z0-9_-]+)")
# The program that a definition starts, in the folder of an application.
STARTED = r"(?P<root>/[^\s\"'=]*)/{app}/(?:releases/|current/bin/)"
# Maximum bytes of a definition, and of a site.
MOST_BYTES = 1 << 20


@dataclass
class Orphan:
    """One application: its root, its live release, and the names of everything that it has on the host."""

    name: str
    root: str
    release: str = ""
    units: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)
    crontabs: list[str] = field(default_factory=list)
    # Each with its name, its ``names`` (pairs of port and domain), and whether it has a certificate of its own.
    sites: list[dict[str, Any]] = field(default_factory=list)
    # The background processes of the live release, and those of them that must not run twice.
    processes: list[str] = field(default_factory=list)
    exclusive: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    # How many processes its account has.
    running: int = 0
    # Whether only the data of a removed application are left.
    only_data: bool = False


@dataclass(frozen=True)
class Places:
    """The folders that hold parts of applications."""

    root: str = "/srv/webapps"
    units: str = "/etc/systemd/system"
    supervisor: str = "/etc/supervisor"
    cron: str = "/etc/cron.d"
    nginx: str = "/etc/nginx"
    accounts: str = "/etc/passwd"


def orphans(known: Collection[str], places: Places) -> dict[str, Any]:
    """The applications that are not ``known``, and the exclusive processes of those that are.

    The latter only matter beside an unknown application that has exclusive processes, and are only read then.
    """
    found: dict[str, Orphan] = {}
    for name in {*folders(places.root, known), *accounts(places, known)}:
        found[name] = Orphan(name, places.root)
    for kind, app, root, name in definitions(known, places):
        getattr(found.setdefault(app, Orphan(app, root)), kind).append(name)
    for site, folder_names in sites_of(known, places, bool(found)):
        for app, folder in folder_names.items():
            # nginx keeps the site of no other one.
            if os.path.lexists(f"{folder}/current.sock"):
                found.setdefault(app, Orphan(app, os.path.dirname(folder))).sites.append(site)
    for orphan in found.values():
        complete(orphan)
    exclusive: dict[str, list[str]] = {}
    if any(orphan.exclusive for orphan in found.values()):
        exclusive = {name: services(f"{places.root}/{name}")[1] for name in known}
    return {
        "apps": [asdict(found[name]) for name in sorted(found)],
        "exclusive": {name: names for name, names in exclusive.items() if names},
    }


def entries(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def folders(root: str, known: Collection[str]) -> Iterator[str]:
    """The names of folders below the root that this collection has made: root's, with its log or a live release.

    Other tools make folders with the names releases and shared too.
    """
    for name in entries(root):
        home = f"{root}/{name}"
        if name in known or not NAME.fullmatch(name) or os.path.islink(home):
            continue
        is_one = any(os.path.lexists(f"{home}/{part}") for part in ("deployments.log", "current/release.json"))
        if is_one and os.stat(home).st_uid == os.geteuid():
            yield name


def accounts(places: Places, known: Collection[str]) -> Iterator[str]:
    """The names of accounts whose home is the folder of an application: one of them stays as long as its data do.

    The file is read directly, because the host may look up other accounts in a directory service.
    """
    for line in lines_of(text_of(places.accounts)):
        fields = line.split(":")
        name, home = fields[0], fields[5] if len(fields) > 5 else ""
        if home == f"{places.root}/{name}" and name not in known and NAME.fullmatch(name):
            yield name


def account_of(name: str, home: str) -> pwd.struct_passwd | None:
    """The account of an application; None if there is none, or if another one has its name."""
    with suppress(KeyError):
        account = pwd.getpwnam(name)
        return account if account.pw_dir == home and account.pw_uid > 0 else None
    return None


def definitions(known: Collection[str], places: Places) -> Iterator[tuple[str, str, str, str]]:
    """The kind, application, root and name of each unit, program and crontab of unknown applications.

    Only files whose name begins with that of an unknown application are read.
    """
    base = places.supervisor
    kinds = (
        ("units", places.units, UNIT),
        ("programs", f"{base}/templates", PROGRAM),
        ("programs", f"{base}/conf.d", PROGRAM),
        ("programs", f"{base}/scheduled", SCRIPT),
    )
    for kind, folder, pattern in kinds:
        for entry in entries(folder):
            match = pattern.fullmatch(entry)
            if match and match["app"] not in known and (root := root_of(f"{folder}/{entry}", match["app"])):
                yield kind, match["app"], root, entry
    for entry in entries(places.cron):
        match = TABLE.fullmatch(entry)
        if match and match["app"] not in known:
            script = f"{base}/scheduled/{match['app']}"
            text = text_of(f"{places.cron}/{entry}")
            started = re.search(rf"\sroot\s({re.escape(script)}\.\S+)", text) if MARK in text else None
            if started and (root := root_of(started[1], match["app"])):
                yield "crontabs", match["app"], root, entry


def lone_services(places: Places) -> list[dict[str, str]]:
    """The services that the roles systemd and supervisor have defined, and that belong to no application.

    Each has its ``name``, as their lists have it, and its ``role``.
    """
    base, found = places.supervisor, {}
    for role, folder, ending in (
        ("systemd", places.units, ".service"),
        ("supervisor", f"{base}/templates", ".conf"),
        ("supervisor", f"{base}/conf.d", ".conf"),
        ("supervisor", f"{base}/scheduled", ""),
    ):
        for entry in entries(folder):
            name = entry.removesuffix(ending)
            # Instances have definitions, groups have no processes, and the collection has programs of its own.
            if not entry.endswith(ending) or name.startswith(("pyweb-", "group@")) or INSTANCE.search(name):
                continue
            text = text_of(f"{folder}/{entry}")
            if f"{MARK} (role {role})" in text and not re.search(STARTED.format(app=NAME.pattern), text):
                found[role, name] = {"name": name, "role": role}
    return [found[key] for key in sorted(found)]


def root_of(path: str, app: str) -> str:
    """The root of the application whose program a definition starts; empty if it is not one of this collection."""
    text = text_of(path)
    match = re.search(STARTED.format(app=re.escape(app)), text) if MARK in text else None
    return match["root"] if match else ""


def text_of(path: str) -> str:
    """The text of a regular file; empty for anything else, such as a link."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, encoding="utf-8", errors="replace") as stream:
            return stream.read(MOST_BYTES)
    return ""


def sites_of(known: Collection[str], places: Places, every: bool) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Each site of nginx that leads to unknown applications, and the folders of these.

    A site has the name of an application that it leads to. Without ``every``, those with the name of a known
    application are not read.
    """
    folder = f"{places.nginx}/pyweb/current/sites"
    wanted = [entry for entry in entries(folder) if every or entry.rpartition(".")[0] not in known]
    if not wanted:
        return
    # Imported only here, because the host compiles all imports.
    from ansible_collections.pyweb.stack.plugins.module_utils.nginx import owners

    for entry in wanted:
        text, path = text_of(f"{folder}/{entry}"), f"sites/{entry}"
        name = owners.site_of(path)
        if name is None:
            continue
        unknown = {app: home for app, home in owners.applications({path: text}).items() if app not in known}
        if unknown:
            certificate = f"{places.nginx}/pyweb/certificates/{name}.pem"
            names = sorted([port, domain] for port, domain in owners.names(text))
            yield {"name": name, "names": names, "certificate": os.path.exists(certificate)}, unknown


def complete(orphan: Orphan) -> None:
    """Add the release, the processes and the jobs of an application, from its folder and its account."""
    home = f"{orphan.root}/{orphan.name}"
    with suppress(OSError):
        orphan.release = os.path.basename(os.readlink(f"{home}/current"))
    orphan.processes, orphan.exclusive = services(home)
    own = [*orphan.units, *orphan.programs]
    orphan.jobs = sorted(
        {match["part"][1:] for entry in own if (match := SCRIPT.fullmatch(entry.removesuffix(".service")))}
    )
    if account := account_of(orphan.name, home):
        orphan.running = len(processes_of([account.pw_uid]))
    parts = [*own, *orphan.crontabs, *orphan.sites]
    orphan.only_data = not (parts or orphan.running) and set(entries(home)) <= {"shared", ".lock"}


def services(home: str) -> tuple[list[str], list[str]]:
    """The background processes of the live release, and those that must not run twice."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        listed = json.loads(text_of(f"{home}/current/release.json"))["processes"]
        names = [str(process["service"]) for process in listed]
        return names, [str(process["service"]) for process in listed if process["exclusive"]]
    return [], []
