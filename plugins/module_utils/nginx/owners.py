# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Owners of sites: a run replaces the sites of its own lists, and keeps all others. Pure.

Each site's file names its owner. A site of an application that is still on the host, but not known to the run, stays
too: another inventory may have deployed it. Files that two owners share (the servers for unknown hosts, the size of a
hash) are merged from the run's own files and those of the live tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

APPLICATIONS = "webapps"
OWN_SITES = "nginx_sites"
STATUS_PAGE = "webapp_status_site"
# The name of the only site of this owner.
STATUS_SITE = "pyweb-status-page"

SITE = re.compile(r"sites/(?P<name>[^/]+)\.conf")
OWNER = re.compile(r"(?m)^# Owner: (\S+)$")
# The socket of an application's releases. In a tree of an older version it shows the owner.
APPLICATION = re.compile(r"unix:(?P<folder>/[^\s;\"']+)/current(?:\.uwsgi)?\.sock")
SECURE = re.compile(r"\blisten [^;]* ssl\b")
SERVER = re.compile(r"(?m)^server \{\n.*?^\}\n", re.DOTALL)
LISTEN = re.compile(r"(?m)^\s*listen\s+(?:\S*:)?(?P<port>\d+)(?P<options>[^;]*);")
NAMES = re.compile(r"(?m)^\s*server_name\s+([^;]+);")
BUCKET = re.compile(r"server_names_hash_bucket_size (\d+);")
CATCH_ALL = "catch_all.conf"
MAIN = "nginx.conf"
PAGES = ("maintenance.html", "unavailable.html")


def site_of(path: str) -> str | None:
    """The name of the site whose file this is; None for any other file."""
    match = SITE.fullmatch(path)
    return match["name"] if match else None


def sites(files: dict[str, str]) -> dict[str, str]:
    """The text of each site, by its name."""
    return {name: text for path, text in files.items() if (name := site_of(path))}


def owner(text: str) -> str:
    """The list that a site comes from."""
    match = OWNER.search(text)
    if match:
        return match[1]
    return APPLICATIONS if APPLICATION.search(text) else OWN_SITES


def applications(files: dict[str, str]) -> dict[str, str]:
    """The folders of the applications that sites lead to, by their names."""
    folders = {
        match["folder"]
        for text in sites(files).values()
        if owner(text) == APPLICATIONS
        for match in APPLICATION.finditer(text)
    }
    return {folder.rpartition("/")[2]: folder for folder in folders}


def ports(text: str) -> set[int]:
    return {int(match["port"]) for match in LISTEN.finditer(text)}


def default_ports(text: str) -> set[int]:
    return {int(match["port"]) for match in LISTEN.finditer(text) if "default_server" in match["options"].split()}


def has_tls(files: dict[str, str]) -> bool:
    return any("ssl" in match["options"].split() for text in files.values() for match in LISTEN.finditer(text))


def names(text: str) -> set[tuple[int, str]]:
    """The names that a site answers to, with their ports; the default site has the empty one."""
    found = set()
    for server in SERVER.findall(text):
        found_names = [name.strip('"') for line in NAMES.findall(server) for name in line.split()] or [""]
        found |= {(port, name) for port in ports(server) for name in found_names}
    return found


def kept(
    files: dict[str, str], own: dict[str, str], owners: Collection[str], orphans: Collection[str] = ()
) -> dict[str, str]:
    """The files of the live tree that belong to other owners than those of this run, or lead to ``orphans``."""
    # A tree of an older version names no owners. There, a site that is among the run's own files is the run's.
    brought = sites(own)
    staying = {
        name: text
        for name, text in sites(files).items()
        if (OWNER.search(text) or name not in brought)
        and (owner(text) not in owners or applications({f"sites/{name}.conf": text}).keys() & {*orphans})
    }
    found = {f"sites/{name}.conf": text for name, text in staying.items()}
    for path, text in files.items():
        if secret_of(path) in staying:
            found[path] = text
    for page in PAGES:
        if page in files and page not in own and any(f"/{page}" in text for text in staying.values()):
            found[page] = files[page]
    return found


def orphans(
    files: dict[str, str], own: dict[str, str], others: Collection[str], is_deployed: Callable[[str], bool]
) -> set[str]:
    """The applications that a run does not know, but that are still on the host. Their sites stay.

    A run knows those that its own sites lead to or are named after, and those in ``others``, which it removes for
    example. ``is_deployed`` returns whether the application in a folder has a live release.
    """
    known = {*applications(own), *sites(own), *others}
    return {name for name, folder in applications(files).items() if name not in known and is_deployed(folder)}


def held(
    files: dict[str, str], new: dict[str, str], names_of_applications: Collection[str]
) -> tuple[dict[str, str], set[str]]:
    """The files of the live tree for sites that lead to these applications alone, and the paths that they replace.

    A site is not held if a new site of another application has one of its domains: nginx serves one of them only.
    """
    if not names_of_applications:
        return {}, set()
    leaving = {name for name, text in sites(new).items() if leads_only_to(name, text, names_of_applications)}
    answered = {one for name, text in sites(new).items() if name not in leaving for one in names(text)}
    staying = {
        name: text
        for name, text in sites(files).items()
        if leads_only_to(name, text, names_of_applications)
        and not names(text) & answered
        and (name in leaving or name not in sites(new))
    }
    if not staying:
        return {}, set()
    found = {path: text for path, text in files.items() if site_of(path) in staying or secret_of(path) in staying}
    for page in PAGES:
        if page in files and any(f"/{page}" in text for text in staying.values()):
            found[page] = files[page]
    # A new site of an application whose live site is not held is served.
    kept_applications = {one for name, text in staying.items() for one in applications({f"sites/{name}.conf": text})}
    replaced = {
        name
        for name in leaving
        if name in staying or {*applications({f"sites/{name}.conf": sites(new)[name]})} <= kept_applications
    }
    return found, {path for path in new if site_of(path) in replaced or secret_of(path) in replaced}


def leads_only_to(name: str, text: str, wanted: Collection[str]) -> bool:
    """Whether a site leads to applications, and to these alone."""
    found = applications({f"sites/{name}.conf": text})
    return bool(found) and found.keys() <= {*wanted}


def secret_of(path: str) -> str | None:
    """The site whose file of secrets this is: it is named SITE_NUMBER, and no site's name has an underscore."""
    return path.partition("/")[2].rpartition("_")[0] if path.startswith("secrets/") else None


def clashes(own: dict[str, str], others: dict[str, str]) -> list[str]:
    """Sites of this run with the name or a domain of another owner's site. nginx would only warn, and serve one."""
    problems = []
    for name, text in sorted(sites(own).items()):
        for other, kept_text in sorted(sites(others).items()):
            where = f"the site '{other}' of {owner(kept_text)}, which is on the host and not part of this run"
            if name == other:
                problems.append(f"the site '{name}' of {owner(text)} has the name of {where}")
                continue
            for port, domain in sorted(names(text) & names(kept_text)):
                what = f"'{domain}'" if domain else "the default site"
                problems.append(
                    f"{what} on port {port} belongs both to the site '{name}' of {owner(text)} and to {where}"
                )
    return problems


def merged(own: dict[str, str], others: dict[str, str], live: dict[str, str]) -> dict[str, str]:
    """A whole tree: the run's own files, those of other owners, and the shared files for both."""
    if not sites(others):
        return own
    files = {**own, **others}
    if CATCH_ALL in own:
        files[CATCH_ALL] = merged_catch_all(own, others, live.get(CATCH_ALL, ""))
    sizes = [int(size) for text in (own[MAIN], live.get(MAIN, "")) for size in BUCKET.findall(text)]
    if sizes:
        files[MAIN] = BUCKET.sub(f"server_names_hash_bucket_size {max(sizes)};", own[MAIN])
    return files


def merged_catch_all(own: dict[str, str], others: dict[str, str], live: str) -> str:
    """The servers for unknown hosts: one on each port that has no default site, whichever owner uses the port."""
    taken = _union(default_ports(text) for text in sites(own).values())
    taken_there = _union(default_ports(text) for text in sites(others).values())
    used_there = _union(ports(text) for text in sites(others).values())
    mine = _by_port(own[CATCH_ALL])
    theirs = {port: text for port, text in _by_port(live).items() if port in used_there - taken}
    servers = {port: text for port, text in {**theirs, **mine}.items() if port not in taken_there}
    ordered = sorted(servers.items(), key=lambda item: (SECURE.search(item[1]) is not None, item[0]))
    return SERVER.sub("", own[CATCH_ALL]).rstrip("\n") + "\n" + "".join(f"\n{text}" for _port, text in ordered)


def _by_port(text: str) -> dict[int, str]:
    return {min(ports(server)): server for server in SERVER.findall(text) if ports(server)}


def _union(found: Iterable[set[int]]) -> set[int]:
    return set().union(*found)
