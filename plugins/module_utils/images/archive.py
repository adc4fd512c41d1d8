# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The archive that images are made from: the one that the host itself is installed from. Reads its apt sources."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of

APT = "/etc/apt"
# Where apt keeps the descriptions of archives.
LISTS = "/var/lib/apt/lists"
# The origins of archives that have a whole distribution.
ORIGINS = ("debian", "ubuntu")
# Names by which sources may refer to a suite that changes with time.
ALIASES = ("stable", "oldstable", "oldoldstable", "testing", "unstable")
# The suites with updates of a suite.
PARTS = ("", "-updates", "-security", "/updates")
# The part of an archive that has all packages of images.
COMPONENT = "main"
ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")

# A setting of apt, and the values that mean no proxy.
PROXY = re.compile(r'^Acquire::(https?)::Proxy "(.*)";$', re.I | re.M)
NO_PROXY = ("", "direct", "false")


@dataclass(frozen=True)
class Source:
    """One suite of an archive, and the file or the text of the keys that sign it; empty for those of the host."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""
    # From the description of the archive; empty if apt has not read it yet.
    origin: str = ""
    codename: str = ""

    @property
    def line(self) -> str:
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.suite} {COMPONENT}"


def archive_of(base: str, codename: str, found: Iterable[Source]) -> list[Source]:
    """The sources of a base. ``found`` are those of the host, whose own suite is ``codename``.

    Archives of single programs have other suites, or no component of this name. Or they call each of their own suites
    "stable". Those with the suite of the host need not have the one of another base.
    """
    parts = [(source, part) for source in found if (part := part_of(source, codename)) is not None]
    if base != codename and any(part == "" and source.origin in ORIGINS for source, part in parts):
        parts = [(source, part) for source, part in parts if source.origin in ("", *ORIGINS)]
    wanted = [replace(source, suite=f"{base}{part}", origin="", codename="") for source, part in parts]
    return list(dict.fromkeys(wanted))


def part_of(source: Source, codename: str) -> str | None:
    """The rest of the suite behind the name of the host's own; None if it is another suite."""
    for name in (codename, *ALIASES):
        part = source.suite[len(name) :] if name and source.suite.startswith(name) else None
        if part in PARTS and COMPONENT in source.components:
            is_named = name == codename or not (source.codename and codename)
            return part if is_named or source.codename.startswith(codename) else None
    return None


def sources_of_host(folder: str = APT) -> list[Source]:
    """The apt sources of this host."""
    found: list[Source] = []
    paths = [os.path.join(folder, "sources.list")]
    paths += sorted(glob.glob(os.path.join(folder, "sources.list.d", "*.list")))
    for path in paths:
        found += one_line_sources(text_of(path))
    for path in sorted(glob.glob(os.path.join(folder, "sources.list.d", "*.sources"))):
        found += deb822_sources(text_of(path))
    return [described(source) for source in found]


def described(source: Source, lists: str = LISTS) -> Source:
    """A source with the description of its archive."""
    place = re.sub(r"^[^:]+:(?://)?(?:[^/@]*@)?", "", source.uri).rstrip("/")
    name = f"{place}/dists/{source.suite}/".replace("_", "%5f").replace("/", "_")
    for file in ("InRelease", "Release"):
        said = dict(re.findall(r"^(Origin|Codename): *(.*?) *$", text_of(os.path.join(lists, f"{name}{file}")), re.M))
        if said:
            return replace(source, origin=said.get("Origin", "").lower(), codename=said.get("Codename", ""))
    return source


def proxies_of_apt(settings: str) -> dict[str, str]:
    """The variables for the proxies in the output of ``apt-config dump``."""
    found = dict(PROXY.findall(settings))
    return {f"{scheme.lower()}_proxy": url for scheme, url in found.items() if url.lower() not in NO_PROXY}


def text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def one_line_sources(text: str) -> Iterator[Source]:
    for line in lines_of(text):
        match = ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match:
            signed = re.search(r"signed-by=(\S+)", match["options"] or "")
            components = tuple(match["components"].split())
            yield Source(match["uri"], match["suite"], components, signed[1] if signed else "")


def deb822_sources(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = fields_of(stanza)
        is_off = fields.get("enabled", "yes").lower() in ("no", "false", "off", "0")
        if "deb" not in fields.get("types", "").split() or is_off:
            continue
        signed = fields.get("signed-by", "")
        # A key inside of the file can't stand in one line. mmdebstrap then uses the keys that the host trusts.
        signed = ",".join(re.split(r"[\s,]+", signed)) if signed.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), signed)


def fields_of(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in lines_of(stanza):
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
        elif ":" in line:
            name, _colon, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields
