# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The images that applications run in, and conflicts between them and the host. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import ARCHITECTURES
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.container import BASE
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.background import service
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.interpreters import fits
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.platforms import systemd_version
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import is_complete

# The program that makes images. A given one needs none.
PACKAGES = ["mmdebstrap"]
# Older ones were not run.
OLDEST_SYSTEMD = (252,)
# The python3 of bases. Others are only known when the image has been made.
PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13", "jammy": "3.10", "noble": "3.12"}


def is_container(app: Mapping[str, Any]) -> bool:
    return app.get("runtime") == "container"


def base_of(app: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The suite of an image: the one of the inventory, else that of the host; empty if that is not known."""
    if is_complete(app):
        return ""
    found = app["container"]["base"] or (facts.get("distribution") or {}).get("codename")
    return found if isinstance(found, str) and BASE.fullmatch(found) else ""


def container_of(app: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The image that an application wants, as a key of its release; nothing for an application of the host."""
    if not is_container(app):
        return {}
    packages = sorted(set(app["container"]["packages"]))
    jobs = [service(app["name"], job["name"]) for job in app["jobs"] if job["enabled"]]
    return {"container": {"base": base_of(app, facts), "packages": packages, "shown": shown_of(app), "jobs": jobs}}


def shown_of(app: Mapping[str, Any]) -> list[str]:
    """Files and folders of the host that a build in an image needs: indexes, wheels and certificates."""
    python = app["python"]
    texts = [python["index_url"], *python["extra_index_urls"], *python["packages"], app["source"].get("package")]
    found = [path for text in texts for path in re.findall(r"\bfile://(?:localhost)?(/[^\s;#?]*)", text or "")]
    paths = [python["ca_bundle"], *(urllib.parse.unquote(path) for path in found)]
    return sorted({path for path in paths if path and not re.search(r"[\s:'\"\\]", path)})


def packages_of_containers(apps: Iterable[Mapping[str, Any]]) -> list[str]:
    """The Debian packages that a host needs for the images of these applications."""
    made = (app for app in apps if app["state"] == "present" and is_container(app) and not is_complete(app))
    return PACKAGES if any(made) else []


def container_problems(app: Mapping[str, Any], facts: Mapping[str, Any], asked: Request) -> Iterator[str]:
    """Why an application can't run in a container on a host."""
    # ansible-core depends on it, but ansible-test imports plugins without it.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if facts["init"] != "systemd":
        yield (
            ".runtime: 'container' needs systemd as PID 1, which gives a service its root file system, but this host "
            "has another init. Set runtime: host."
        )
        return
    systemd = systemd_version(facts)
    if systemd and systemd < OLDEST_SYSTEMD:
        yield (
            f".runtime: 'container' needs systemd {OLDEST_SYSTEMD[0]} or newer, as Debian 12 has it, but this host has "
            f"{systemd[0]}. Set runtime: host, or upgrade the system."
        )
        return
    if is_complete(app):
        yield from given_problems(app, facts)
        return
    base = base_of(app, facts)
    if not base:
        yield (
            ".container.base: the system of the host has no code name that could be the default. Set it, such as "
            "bookworm."
        )
        return
    python = PYTHONS.get(base, "")
    try:
        bounds = SpecifierSet(asked.requires)
    except InvalidSpecifier:
        # The check of the host's interpreter names it. A build would fail, too.
        yield (
            f".source: pyproject.toml says requires-python = '{asked.requires}', which is not a version specifier. "
            "Write one, such as '>=3.11'."
        )
        return
    if python and not (fits(python, bounds) and asked.minor in ("", python)):
        fitting = [one for one, version in PYTHONS.items() if fits(version, bounds) and asked.minor in ("", version)]
        yield (
            f".container.base: '{base}' has Python {python}, but {asked}. Set a base that has it"
            f"{f', such as {fitting[-1]}' if fitting else ''}, or change the source."
        )


def given_problems(app: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    """Why a given image can't run on a host: it is for other processors."""
    machine = str((facts.get("platform") or {}).get("machine") or "")
    found = ((facts.get("sources") or {}).get(app["name"]) or {}).get("architectures")
    wanted = ARCHITECTURES.get(machine, machine)
    if not machine or not isinstance(found, str) or wanted in found.split():
        return
    listed = ", ".join(found.split()) or "no processor with linux"
    if not app["source"].get("image"):
        key = "source.platform" if app["source"].get("containerfile") else "container.platform"
        yield f".{key}: the image was built for {listed}, but the host has {wanted}. Set {key}: linux/{wanted}."
        return
    yield (
        f".source.image: '{app['source']['image']}' is for {listed}, but the host has {wanted}. Build the image for "
        f"linux/{wanted}, or choose another."
    )
