# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites that nginx served before a run, and does not serve after it: a warning for each. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import (
    OWN_SITES,
    applications,
    names,
    owner,
    ports,
    sites,
)


def removed_sites(live: dict[str, str], new: dict[str, str]) -> list[str]:
    return sorted(sites(live).keys() - sites(new).keys())


def removed_applications(live: dict[str, str], new: dict[str, str], announced: Collection[str]) -> dict[str, str]:
    """Applications that no site leads to after the run, with their folders, except those ``announced`` as removed."""
    there = applications(new)
    gone = applications(live).items()
    return {name: folder for name, folder in sorted(gone) if name not in there and name not in announced}


def removal_warnings(live: dict[str, str], new: dict[str, str], announced: Collection[str]) -> list[str]:
    """A warning for each site and application that a run removes."""
    before = sites(live)
    warnings = [
        f"nginx no longer serves the site '{name}' ({domains(before[name])}): it is no longer in nginx_sites."
        for name in removed_sites(live, new)
        if owner(before[name]) == OWN_SITES
    ]
    # An application that is still on the host keeps its site.
    for name, folder in removed_applications(live, new, announced).items():
        warnings.append(
            f"nginx no longer serves the application '{name}': it is no longer in webapps, and has no release in "
            f"{folder}."
        )
    return warnings


def domains(text: str) -> str:
    """The names of a site, for a message."""
    found = sorted({name for _port, name in names(text) if name})
    return ", ".join(found) or "the default site of port " + ", ".join(map(str, sorted(ports(text))))


# --- an nginx.conf that is not the role's ---------------------------------------------------------------------------

# The files that the role's own main file loads as well.
LOADED_ANYWAY = ("modules-enabled/*.conf", "mime.types", "conf.d/*.conf", "sites-enabled/*")


def replacement_warnings(entry: str, path: str, conf_dir: str) -> list[str]:
    """A warning if an nginx.conf that the role replaces served something. ``path`` is its path."""
    found = switched_off(entry) if "nginx role of pyweb.stack" not in entry else []
    if not found:
        return []
    return [
        f"{path} is replaced, and nginx no longer serves its content: {', '.join(found)}. The old file is "
        f"{path}.before-pyweb. Move what you need to nginx_sites, or to a file in {conf_dir}/conf.d."
    ]


def switched_off(entry: str) -> list[str]:
    """The parts of an nginx.conf that the role's own does not load: servers, other files, other kinds of traffic."""
    text = re.sub(r"(?m)(?:^|(?<=[\s;{}]))#.*$", "", entry)
    found = [f"the server {name}" for name in server_names(text)]
    for path in re.findall(r"(?m)(?:^|(?<=[\s;{}]))include\s+[\"']?([^;\"']+?)[\"']?\s*;", text):
        if path.removeprefix("/etc/nginx/") not in LOADED_ANYWAY and not path.endswith("_params"):
            found.append(f"the files {path}")
    return found + [f"the {word} block" for word in ("stream", "mail") if re.search(rf"(?m)^\s*{word}\s*\{{", text)]


def server_names(text: str) -> list[str]:
    """A name for each server block of a configuration."""
    starts = [match.end() for match in re.finditer(r"(?:^|(?<=[\s;{}]))server\s*\{", text)]
    found = []
    for number, start in enumerate(starts, start=1):
        block = text[start : starts[number] if number < len(starts) else len(text)]
        name = re.search(r"\bserver_name\s+([^;]+);", block)
        listen = re.search(r"\blisten\s+([^;]+);", block)
        otherwise = f"on {listen[1]}" if listen else "without a name"
        found.append(" ".join(name[1].split()) if name else otherwise)
    return found
