# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites that nginx served before a run, and does not serve after it: a warning for each. Pure."""

from __future__ import annotations

from collections.abc import Collection

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.blocks import parsed
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.owners import (
    OWN_SITES,
    STATUS_PAGE,
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
    warnings += [
        f"nginx no longer serves the status page of this host ({domains(before[name])}): webapp_status_site is not set."
        for name in removed_sites(live, new)
        if owner(before[name]) == STATUS_PAGE
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


def replacement_warnings(entry: str, path: str) -> list[str]:
    """A warning if an nginx.conf that the role replaces served anything but HTTP. ``path`` is its path."""
    found = switched_off(entry) if "nginx role of pyweb.stack" not in entry else []
    if not found:
        return []
    return [
        f"{path} is replaced, and nginx no longer serves its content: {', '.join(found)}. The old file is "
        f"{path}.before-pyweb. The role nginx serves HTTP alone. Serve the rest with another program."
    ]


def switched_off(entry: str) -> list[str]:
    """The blocks of an nginx.conf for other kinds of traffic. Its servers for HTTP stay."""
    return [f"the {one.name} block" for one in parsed(entry) if one.name in ("stream", "mail")]
