# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sites of nginx as data: what may be said, what contradicts itself, and which files come of it. Pure."""

from __future__ import annotations

import re
from typing import Any

SITE_KEYS = (
    "name",
    "state",
    "domains",
    "redirects",
    "port",
    "max_body_size",
    "locations",
    "access_log",
    "error_log",
    "extra",
)
LOCATION_KEYS = ("path", "upstream", "read_timeout", "websocket", "buffering", "alias", "immutable")
UPSTREAM_ONLY = ("read_timeout", "websocket", "buffering")
ALIAS_ONLY = ("immutable",)

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DOMAIN = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
SIZE = re.compile(r"[0-9]+[kKmMgG]?")
# What nginx compares a location with is the decoded path, so a percent sign there would never match anything.
LOCATION_PATH = re.compile(r"/([A-Za-z0-9._~!@+,=:-]+/)*([A-Za-z0-9._~!@+,=:-]+)?")
FILE_PATH = re.compile(r"/[^\x00-\x1f\x7f$]*")
SOCKET = re.compile(r"unix:/[A-Za-z0-9._@+/-]+")
ADDRESS = re.compile(r"http://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?/?")

# The lines around what a user wrote, by which an error is traced back from the file to the user's own line.
BEGIN_EXTRA = "# begin {name}, as the inventory has it"
END_EXTRA = "# end {name}"

# Placeholder for the folder of the tree; pyweb.stack.nginx_config puts the folder in its place.
TREE = "@TREE@"


def validate_sites(sites: Any) -> list[str]:
    """Everything that is wrong with a list of sites; each entry names the site, the value found and the remedy."""
    if not isinstance(sites, list):
        return [f"nginx_sites is {_shown(sites)}, but it is a list of sites."]
    problems = []
    present = []
    for number, site in enumerate(sites, start=1):
        if not isinstance(site, dict):
            problems.append(f"nginx_sites, item {number}, is {_shown(site)}, but a site is a dictionary.")
        elif not isinstance(site.get("name"), str) or not NAME.fullmatch(site["name"]):
            problems.append(
                f"nginx_sites, item {number}: its name is {_shown(site.get('name'))}. It names files: use up to "
                "63 letters a-z, digits and dashes, with a letter or digit at both ends."
            )
        elif site.get("state", "present") not in ("present", "absent"):
            problems.append(f"{_label(site)} state is {_shown(site['state'])}. Use present or absent.")
        elif site.get("state", "present") == "present":
            problems.extend(_site_problems(site))
            present.append(site)
    names = [site["name"] for site in sites if isinstance(site, dict) and isinstance(site.get("name"), str)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"nginx_sites has {names.count(name)} sites named '{name}'. Give each its own name.")
    return problems + _collisions(present)


def input_problems(sites: Any, worker_processes: Any, worker_connections: Any, extra: Any) -> list[str]:
    """Everything that is wrong with the sites, and with the settings that they share."""
    problems = validate_sites(sites)
    if worker_processes != "auto" and (not str(worker_processes).isdecimal() or int(worker_processes) < 1):
        problems.append(f"nginx_worker_processes is '{worker_processes}'. Use auto, or a number of at least 1.")
    if not str(worker_connections).isdecimal() or int(worker_connections) < 1:
        problems.append(f"nginx_worker_connections is '{worker_connections}'. Use a number of at least 1.")
    if not isinstance(extra, str):
        problems.append(f"nginx_extra is {_shown(extra)}. Write nginx directives, as text.")
    elif trouble := unbalanced(extra):
        problems.append(f"nginx_extra can't be printed into the http block: {trouble}.")
    return problems


def plan_files(sites: list[dict[str, Any]], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of nginx's tree for valid sites: dictionaries of path, template and vars."""
    planned = [_normalised(site) for site in sites if site.get("state", "present") == "present"]
    planned.sort(key=lambda site: site["name"])
    connections = int(settings["worker_connections"])
    main = {
        "tree": TREE,
        "worker_processes": settings["worker_processes"],
        "worker_connections": connections,
        # A proxied connection holds the visitor's socket, the application's, and at worst a buffer file.
        "worker_rlimit_nofile": 3 * connections + 512,
        "server_names_hash_bucket_size": _bucket_size(planned),
        "extra": extra_lines(settings.get("extra", ""), "nginx_extra"),
        "user": "www-data",
        "pid_file": "/run/nginx.pid",
        "log_dir": "/var/log/nginx",
    }
    files = [
        {"path": "nginx.conf", "template": "nginx.conf.j2", "vars": main},
        {"path": "proxy.conf", "template": "proxy.conf.j2", "vars": {}},
    ]
    ports = sorted({site["port"] for site in planned} - {site["port"] for site in planned if site["default"]})
    files.append({"path": "catch_all.conf", "template": "catch_all.conf.j2", "vars": {"ports": ports}})
    files.extend(
        {"path": f"sites/{site['name']}.conf", "template": "site.conf.j2", "vars": {"site": site, "tree": TREE}}
        for site in planned
    )
    return files


def extra_lines(text: str, name: str) -> list[str]:
    """The user's directives between lines that say whose they are; nothing for nothing."""
    if not text.strip():
        return []
    return [BEGIN_EXTRA.format(name=name), *text.rstrip().splitlines(), END_EXTRA.format(name=name)]


def unbalanced(text: str) -> str | None:
    """What is wrong with the braces, quotes and last semicolon of directives, None if nothing is.

    nginx would report such a slip at the end of the file, far from the user's line, or take it for the server's end.
    """
    depth, line, last, at_start = 0, 1, "", True
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\n":
            line += 1
        if character == "#" and at_start:
            end = text.find("\n", position)
            position = len(text) if end < 0 else end
            continue
        if character == "\\":
            position, last, at_start = position + 2, "\\", False
            continue
        if character in "'\"" and at_start:
            end = position + 1
            while end < len(text) and text[end] != character:
                end += 2 if text[end] == "\\" else 1
            if end >= len(text):
                return f"line {line} opens a quote ({character}) that is never closed"
            line += text.count("\n", position, end)
            position, last, at_start = end + 1, character, False
            continue
        if text.startswith("${", position):
            end = text.find("}", position)
            if end > 0:
                position, last, at_start = end + 1, "}$", False
                continue
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth < 0:
                return f"line {line} closes a brace that was not opened there"
        if not character.isspace():
            last = character
        at_start = character.isspace() or character in "{};"
        position += 1
    if depth:
        return f"{depth} brace{'s are' if depth > 1 else ' is'} opened but never closed"
    if last and last not in ("", ";", "}"):
        return "the last directive lacks its semicolon"
    return None


def split_upstream(upstream: str) -> str:
    """The ``server`` of an upstream block: a socket with its prefix, or host:port."""
    if upstream.startswith("unix:"):
        return upstream
    match = ADDRESS.fullmatch(upstream)
    if match is None:
        raise ValueError(upstream)
    return f"{match['host']}:{match['port'] or 80}"


def _label(site: dict[str, Any]) -> str:
    return f"nginx_sites, site '{site['name']}':"


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(str(value)) if isinstance(value, (str, int, float)) else repr(value)


def _site_problems(site: dict[str, Any]) -> list[str]:
    label = _label(site)
    problems = _unknown_keys(label, site, SITE_KEYS)
    problems += _domain_problems(site)
    if not _is_port(site.get("port", 80)):
        problems.append(f"{label} port is {_shown(site['port'])}. Use a number from 1 to 65535.")
    size = site.get("max_body_size", "16m")
    if not SIZE.fullmatch(str(size)):
        problems.append(
            f"{label} max_body_size is {_shown(size)}. Use a number of bytes, or one with k, m or g: 16m; 0: no limit."
        )
    for key in ("access_log", "error_log"):
        path = site.get(key)
        if path is not None and path != "off" and not (isinstance(path, str) and FILE_PATH.fullmatch(path)):
            problems.append(f"{label} {key} is {_shown(path)}. Use an absolute path without '$'.")
    if site.get("error_log") == "off":
        problems.append(
            f"{label} error_log is 'off', which nginx takes for a file's name. Use /dev/null, or leave it out."
        )
    extra = site.get("extra", "")
    if not isinstance(extra, str):
        problems.append(f"{label} extra is {_shown(extra)}. Write nginx directives, as text.")
    elif trouble := unbalanced(extra):
        problems.append(f"{label} extra can't be printed into the server block: {trouble}.")
    return problems + _location_problems(site)


def _unknown_keys(label: str, mapping: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    return [f"{label} unknown key '{key}'. Known: {', '.join(known)}." for key in mapping if key not in known]


def _is_port(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).isdecimal() and 0 < int(value) < 65536


def _domain_problems(site: dict[str, Any]) -> list[str]:
    label, problems = _label(site), []
    for key in ("domains", "redirects"):
        names = site.get(key) or []
        if not isinstance(names, list):
            problems.append(f"{label} {key} is {_shown(names)}. Write a list: [{names}].")
            continue
        for name in names:
            if not isinstance(name, str) or len(name) > 253 or not DOMAIN.fullmatch(name.lower()):
                problems.append(f"{label} {key} has {_shown(name)}. {_domain_remedy(name)}")
    if problems:
        return problems
    domains, redirects = site.get("domains") or [], site.get("redirects") or []
    if redirects and not domains:
        problems.append(
            f"{label} redirects {_shown(redirects[0])} to the first of its domains, but it has none. Add one."
        )
    elif redirects and domains[0].startswith("*."):
        problems.append(
            f"{label} redirects go to its first domain, but {_shown(domains[0])} is a pattern. Put a name first."
        )
    return problems


def _domain_remedy(name: Any) -> str:
    text = str(name)
    if "://" in text or "/" in text:
        return "Write the bare host name, without scheme and path."
    if re.search(r":[0-9]+$", text):
        return "Write the bare host name; the port has its own key."
    if not text.isascii():
        try:
            return f"Write it in its ASCII form, '{text.encode('idna').decode()}'."
        except UnicodeError:
            pass
    return "Use a host name such as shop.example.com, or *.example.com."


def _location_problems(site: dict[str, Any]) -> list[str]:
    label, problems = _label(site), []
    locations = site.get("locations") or []
    if not isinstance(locations, list):
        return [
            f"{label} locations is {_shown(locations)}. Write a list of dictionaries with path and upstream or alias."
        ]
    seen: list[str] = []
    for number, location in enumerate(locations, start=1):
        if not isinstance(location, dict):
            problems.append(f"{label} location {number} is {_shown(location)}. Write a dictionary with path.")
            continue
        path = location.get("path")
        if not isinstance(path, str) or not LOCATION_PATH.fullmatch(path) or ".." in path.split("/"):
            problems.append(
                f"{label} location {number}: its path is {_shown(path)}. Start with a slash, as in /static/, and use "
                "letters, digits and ._~!@+,=:- between slashes."
            )
            continue
        here = f"{label} location '{path}':"
        problems += _unknown_keys(here, location, LOCATION_KEYS) + _target_problems(here, location)
        if path.rstrip("/") in seen:
            problems.append(f"{here} the site has this path twice. Keep one of them.")
        seen.append(path.rstrip("/"))
    return problems


def _target_problems(here: str, location: dict[str, Any]) -> list[str]:
    upstream, alias = location.get("upstream"), location.get("alias")
    if (upstream is None) == (alias is None):
        found = "neither upstream nor alias" if upstream is None else "both upstream and alias"
        return [f"{here} it has {found}. Give exactly one: where requests go, or the folder that holds the files."]
    problems = [
        f"{here} {key} has no meaning beside {'upstream' if alias is None else 'alias'}. Remove it."
        for key in (ALIAS_ONLY if alias is None else UPSTREAM_ONLY)
        if key in location
    ]
    if upstream is not None and not _is_upstream(upstream):
        problems.append(
            f"{here} upstream is {_shown(upstream)}. Use unix:/run/app.sock or http://127.0.0.1:5000, without a path: "
            "the request's path is passed on unchanged."
        )
    if alias is not None and not (
        isinstance(alias, str) and FILE_PATH.fullmatch(alias) and ".." not in alias.split("/")
    ):
        problems.append(f"{here} alias is {_shown(alias)}. Use an absolute path of a folder, without '..' and '$'.")
    timeout = location.get("read_timeout", 60)
    if isinstance(timeout, bool) or not str(timeout).isdecimal() or int(timeout) < 1:
        problems.append(f"{here} read_timeout is {_shown(timeout)}. Use whole seconds, at least 1.")
    for key in ("websocket", "buffering", "immutable"):
        if not isinstance(location.get(key, True), bool):
            problems.append(f"{here} {key} is {_shown(location[key])}. Use true or false.")
    return problems


def _is_upstream(upstream: Any) -> bool:
    if not isinstance(upstream, str):
        return False
    if SOCKET.fullmatch(upstream):
        return True
    match = ADDRESS.fullmatch(upstream)
    return match is not None and _is_port(match["port"] or 80)


def _collisions(sites: list[dict[str, Any]]) -> list[str]:
    """Two sites that want one name, or to be the default, on one port: nginx would only warn, and drop the second."""
    problems = []
    defaults: dict[int, str] = {}
    names: dict[tuple[int, str], str] = {}
    for site in sites:
        domains, redirects = site.get("domains") or [], site.get("redirects") or []
        if not _is_port(site.get("port", 80)) or not isinstance(domains, list) or not isinstance(redirects, list):
            continue
        port = int(site.get("port", 80))
        if not domains:
            if port in defaults:
                problems.append(
                    f"{_label(site)} it has no domains, so it is the default site of port {port}, but so is site "
                    f"'{defaults[port]}'. Give one of them domains, or another port."
                )
            defaults.setdefault(port, site["name"])
        for name in [*domains, *redirects]:
            key = (port, str(name).lower())
            if key in names:
                owner = "itself, in domains or redirects" if names[key] == site["name"] else f"site '{names[key]}'"
                problems.append(
                    f"{_label(site)} '{name}' on port {port} is already taken by {owner}. A name leads to one site: "
                    "remove it here or there, or use another port."
                )
            names.setdefault(key, site["name"])
    return problems


def _normalised(site: dict[str, Any]) -> dict[str, Any]:
    """A valid site with every default filled in and every type made sure of, as the template wants it."""
    name = site["name"]
    domains = [domain.lower() for domain in site.get("domains") or []]
    upstreams: list[str] = []
    locations = []
    for location in site.get("locations") or []:
        if location.get("upstream") is not None:
            server = split_upstream(location["upstream"])
            if server not in upstreams:
                upstreams.append(server)
            # No site's name has an underscore, so no two upstreams can meet.
            locations.append(_proxy(location, f"{name}_{upstreams.index(server) + 1}"))
        else:
            locations.append(_folder(location))
    return {
        "name": name,
        "default": not domains,
        "domains": domains,
        "redirects": [domain.lower() for domain in site.get("redirects") or []],
        "port": int(site.get("port", 80)),
        "max_body_size": str(site.get("max_body_size", "16m")),
        "access_log": site.get("access_log") or f"/var/log/nginx/{name}.access.log",
        "error_log": site.get("error_log") or f"/var/log/nginx/{name}.error.log",
        "upstreams": [
            {"name": f"{name}_{number}", "server": server} for number, server in enumerate(upstreams, start=1)
        ],
        "locations": locations,
        "folders": any("alias" in location for location in locations),
        "extra": extra_lines(site.get("extra", ""), "extra"),
    }


def _proxy(location: dict[str, Any], upstream: str) -> dict[str, Any]:
    prefix = location["path"].rstrip("/")
    return {
        # /api and /api/... but not /apiary: an exact match and a prefix, because a regular expression would win over
        # longer prefixes.
        "matches": [f"= {prefix}", f"{prefix}/"] if prefix else ["/"],
        "prefix": prefix,
        "upstream": upstream,
        "read_timeout": int(location.get("read_timeout", 60)),
        "websocket": location.get("websocket", False),
        "buffering": location.get("buffering", True),
    }


def _folder(location: dict[str, Any]) -> dict[str, Any]:
    # Both end in a slash: with only one of them, /static../secret would leave the folder.
    return {
        "path": location["path"].rstrip("/") + "/",
        "alias": location["alias"].rstrip("/") + "/",
        "cache_control": "public, max-age=31536000, immutable" if location.get("immutable", False) else "no-cache",
    }


def _bucket_size(sites: list[dict[str, Any]]) -> int:
    """A bucket holds the longest name, its length, a pointer and the alignment; nginx's own default is 64."""
    longest = max((len(name) for site in sites for name in [*site["domains"], *site["redirects"]]), default=0)
    size = 64
    while size < longest + 40:
        size *= 2
    return size
