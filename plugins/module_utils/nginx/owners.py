# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whose the sites of a tree are: a run replaces the sites of its own lists, and keeps all others. Pure.

Each site's file names its owner. Files that two owners share (the servers for unknown hosts, the size of a hash) are
merged from what the run brings and what the live tree has.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable

APPLICATIONS = "webapps"
OWN_SITES = "nginx_sites"

SITE = re.compile(r"sites/(?P<name>[^/]+)\.conf")
OWNER = re.compile(r"(?m)^# Owner: (\S+)$")
# The socket of an application, as its releases have it; a tree of an older version tells no owner.
APPLICATION = re.compile(r"unix:(?P<folder>/[^\s;\"']+)/current(?:\.uwsgi)?\.sock")
SERVER = re.compile(r"(?m)^server \{\n.*?^\}\n", re.DOTALL)
LISTEN = re.compile(r"(?m)^\s*listen\s+(?:\S*:)?(?P<port>\d+)(?P<options>[^;]*);")
NAMES = re.compile(r"(?m)^\s*server_name\s+([^;]+);")
BUCKET = re.compile(r"server_names_hash_bucket_size (\d+);")
CATCH_ALL = "catch_all.conf"
MAIN = "nginx.conf"
PAGE = "maintenance.html"


def site_of(path: str) -> str | None:
    """The name of the site whose file this is; None for any other file."""
    match = SITE.fullmatch(path)
    return match["name"] if match else None


def sites(files: dict[str, str]) -> dict[str, str]:
    """The text of each site, by its name."""
    return {name: text for path, text in files.items() if (name := site_of(path))}


def owner(text: str) -> str:
    """The list that a site is from."""
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
        told = [name.strip('"') for line in NAMES.findall(server) for name in line.split()] or [""]
        found |= {(port, name) for port in ports(server) for name in told}
    return found


def kept(files: dict[str, str], own: dict[str, str], owners: Collection[str]) -> dict[str, str]:
    """The files of the live tree that belong to owners whom this run does not speak for."""
    # A tree of an older version tells no owner: a site that the run brings itself is its own.
    brought = sites(own)
    staying = {
        name: text
        for name, text in sites(files).items()
        if owner(text) not in owners and (OWNER.search(text) or name not in brought)
    }
    found = {f"sites/{name}.conf": text for name, text in staying.items()}
    for path, text in files.items():
        # A site's secrets are SITE_NUMBER, and no site's name has an underscore.
        if path.startswith("secrets/") and path.partition("/")[2].rpartition("_")[0] in staying:
            found[path] = text
    if PAGE in files and PAGE not in own and any(f"/{PAGE}" in text for text in staying.values()):
        found[PAGE] = files[PAGE]
    return found


def clashes(own: dict[str, str], others: dict[str, str]) -> list[str]:
    """Sites of this run that want what a site of another owner has: nginx would only warn, and serve one of them."""
    problems = []
    for name, text in sorted(sites(own).items()):
        for other, kept_text in sorted(sites(others).items()):
            where = f"the site '{other}' of {owner(kept_text)}, which is on the host and not part of this run"
            if name == other:
                problems.append(f"the site '{name}' of {owner(text)} has the name of {where}")
                continue
            for port, domain in sorted(names(text) & names(kept_text)):
                what = f"'{domain}'" if domain else "the default site"
                problems.append(f"{what} on port {port} is wanted by the site '{name}' of {owner(text)} and by {where}")
    return problems


def merged(own: dict[str, str], others: dict[str, str], live: dict[str, str]) -> dict[str, str]:
    """A whole tree: what the run brings, and what stays of other owners with its part of the shared files."""
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
    """One server for unknown hosts on each port that has no default site, whoever uses the port."""
    taken = _union(default_ports(text) for text in sites(own).values())
    taken_there = _union(default_ports(text) for text in sites(others).values())
    used_there = _union(ports(text) for text in sites(others).values())
    mine = _by_port(own[CATCH_ALL])
    theirs = {port: text for port, text in _by_port(live).items() if port in used_there - taken}
    servers = {port: text for port, text in {**theirs, **mine}.items() if port not in taken_there}
    ordered = sorted(servers.items(), key=lambda item: ("ssl_reject_handshake" in item[1], item[0]))
    return SERVER.sub("", own[CATCH_ALL]).rstrip("\n") + "\n" + "".join(f"\n{text}" for _port, text in ordered)


def _by_port(text: str) -> dict[int, str]:
    return {min(ports(server)): server for server in SERVER.findall(text) if ports(server)}


def _union(found: Iterable[set[int]]) -> set[int]:
    return set().union(*found)


# --- what a run ends ----------------------------------------------------------------------------------------------


def removed_sites(live: dict[str, str], new: dict[str, str]) -> list[str]:
    return sorted(sites(live).keys() - sites(new).keys())


def removed_applications(live: dict[str, str], new: dict[str, str], announced: Collection[str]) -> dict[str, str]:
    """Applications that no site leads to any more, and that nobody asked to remove, with their folders."""
    there = applications(new)
    gone = applications(live).items()
    return {name: folder for name, folder in sorted(gone) if name not in there and name not in announced}


def domains(text: str) -> str:
    """The names of a site, for a message."""
    found = sorted({name for _port, name in names(text) if name})
    return ", ".join(found) or "the default site of port " + ", ".join(map(str, sorted(ports(text))))


# --- an nginx.conf of somebody else -------------------------------------------------------------------------------

LOADED_ANYWAY = ("modules-enabled/*.conf", "mime.types", "conf.d/*.conf", "sites-enabled/*")


def switched_off(entry: str) -> list[str]:
    """What an nginx.conf has that the tree does not load: its own servers, other files, other kinds of traffic."""
    text = re.sub(r"(?m)(?:^|(?<=[\s;{}]))#.*$", "", entry)
    found = [f"the server {name}" for name in _server_names(text)]
    for path in re.findall(r"(?m)(?:^|(?<=[\s;{}]))include\s+[\"']?([^;\"']+?)[\"']?\s*;", text):
        if path.removeprefix("/etc/nginx/") not in LOADED_ANYWAY and not path.endswith("_params"):
            found.append(f"the files {path}")
    return found + [f"the {word} block" for word in ("stream", "mail") if re.search(rf"(?m)^\s*{word}\s*\{{", text)]


def _server_names(text: str) -> list[str]:
    starts = [match.end() for match in re.finditer(r"(?:^|(?<=[\s;{}]))server\s*\{", text)]
    told = []
    for start, end in itertools.pairwise([*starts, len(text)]):
        match = re.search(r"\bserver_name\s+([^;]+);", text[start:end])
        listen = re.search(r"\blisten\s+([^;]+);", text[start:end])
        without = f"on {listen[1]}" if listen else "without a name"
        told.append(" ".join(match[1].split()) if match else without)
    return told
