# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The revision that all hosts of a rollback go back to, or why none of them switches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import is_revision, shown_revision

# The states of releases that were live once.
USABLE = ("good", "withdrawn")
# The releases of a host that are read, and those that a message lists.
MOST_RELEASES, MOST_LISTED = 1000, 20
UNCHANGED = "Nothing was switched on any host."


@dataclass(frozen=True)
class Release:
    """A release of one host. Releases of earlier versions have no revision; they are compared by their source."""

    id: str
    state: str
    revision: str = ""
    source: str = ""
    # The run that has deployed it.
    run: str = ""

    @property
    def identity(self) -> str:
        return self.revision or f"source {self.source}"

    @property
    def shown(self) -> str:
        return shown_revision(self.revision, self.source)

    def is_like(self, other: Release) -> bool:
        """Whether both belong to one deployment. One run may give hosts different settings, such as `workers`."""
        return self.identity == other.identity or (bool(self.run) and self.run == other.run)

    def matches(self, text: str) -> bool:
        return self.revision.startswith(text) or self.source.startswith(text)


@dataclass(frozen=True)
class Host:
    """The releases of an application on one host, the newest first.

    ``targets`` are those that a rollback without a name may lead to, the newest first.
    """

    live: str
    releases: list[Release] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)

    def release(self, identity: str) -> Release | None:
        return next((one for one in self.releases if one.id == identity), None)

    @property
    def serves(self) -> Release | None:
        return self.release(self.live)

    def serves_like(self, other: Release) -> bool:
        return self.serves is not None and self.serves.is_like(other)

    @property
    def choices(self) -> list[Release]:
        """The releases that a rollback without a name may lead to."""
        return [one for name in self.targets if (one := self.release(name))]

    @property
    def usable(self) -> list[Release]:
        """The releases that a rollback by name may lead to."""
        return [one for one in self.releases if one.state in USABLE and one.id != self.live]


Hosts = Mapping[str, Host]


@dataclass(frozen=True)
class Choice:
    """The release of each host to switch to; empty for a host that serves the revision already. Or a ``refusal``."""

    releases: Mapping[str, str] = field(default_factory=dict)
    # The revision that each host then serves.
    revisions: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""


def host_of(found: Mapping[str, Any]) -> Host:
    """The answer of a host, without everything that is of the wrong kind."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else ""

    listed = found.get("releases")
    targets = found.get("targets")
    releases = [
        Release(
            text(one.get("id")),
            text(one.get("state")),
            one["revision"] if is_revision(one.get("revision")) else "",
            text(one.get("source")),
            text(one.get("run")),
        )
        for one in (listed[:MOST_RELEASES] if isinstance(listed, list) else [])
        if isinstance(one, Mapping)
    ]
    names = [text(one) for one in targets[:MOST_RELEASES]] if isinstance(targets, list) else []
    return Host(text(found.get("current")), releases, names)


# Without a name


def newest_common(app: str, hosts: Hosts) -> Choice:
    """Where a rollback leads on several hosts: every host's newest earlier release, if that is the same everywhere.

    A host that serves it already stays. So a rollback that was interrupted can be repeated.
    """
    first = {host: next(iter(found.choices), None) for host, found in hosts.items()}
    agreed: list[Release] = []
    for one in [release for release in first.values() if release]:
        is_common = all(found.serves_like(one) or is_like(first[host], one) for host, found in hosts.items())
        if is_common and not any(one.is_like(other) for other in agreed):
            agreed.append(one)
    if len(agreed) == 1:
        return chosen(hosts, agreed[0], {host: found.choices[:1] for host, found in hosts.items()})
    return Choice(refusal=disagreement(app, hosts, first))


def is_like(release: Release | None, other: Release) -> bool:
    return release is not None and release.is_like(other)


def chosen(hosts: Hosts, wanted: Release, usable: Mapping[str, list[Release]]) -> Choice:
    """The newest release of this deployment on each host, unless the host serves it."""
    releases, revisions = {}, {}
    for host, own in hosts.items():
        found = next((one for one in usable[host] if one.is_like(wanted)), None)
        serves = own.serves or wanted
        releases[host], revisions[host] = (found.id, found.shown) if found else ("", serves.shown)
    return Choice(releases, revisions)


def disagreement(app: str, hosts: Hosts, first: Mapping[str, Release | None]) -> str:
    """Why the hosts have no common way back, and what is the newest one that they do have."""
    groups: dict[str, list[str]] = {}
    for host, release in first.items():
        groups.setdefault(release.shown if release else "", []).append(host)
    told = "; ".join(f"{shown or 'nothing'} on {', '.join(names)}" for shown, names in groups.items())
    # The one that most hosts would take.
    wanted = max((one for one in first.values() if one), key=lambda one: len(groups[one.shown]), default=None)
    if wanted is None:
        return (
            f"{app}: there is no release to roll back to on {', '.join(hosts)}: no good release is older than the live "
            f"one and differs from it. {UNCHANGED} releases.yml -e app={app} lists the releases."
        )
    lacking = [host for host, found in hosts.items() if not has(found, wanted)]
    without = f" {listed(lacking, 'lacks', 'lack')} {wanted.shown}." if lacking else ""
    return (
        f"{app}: the hosts would go back to different revisions: {told}.{without} {UNCHANGED} "
        f"{way_out(app, hosts, lacking)}"
    )


def listed(hosts: list[str], one: str, many: str) -> str:
    return f"{', '.join(hosts)} {one if len(hosts) == 1 else many}"


def has(host: Host, wanted: Release) -> bool:
    return host.serves_like(wanted) or any(one.is_like(wanted) for one in host.usable)


def way_out(app: str, hosts: Hosts, lacking: Iterable[str]) -> str:
    """The newest earlier revision that all hosts have, as a command; else how to treat each host by itself."""
    orders = [[*([found.serves] if found.serves else []), *found.choices] for found in hosts.values()]
    for release in orders[0]:
        everywhere = all(any(one.is_like(release) for one in order) for order in orders)
        if everywhere and release.revision and not all(found.serves_like(release) for found in hosts.values()):
            return (
                f"The newest revision that all of them have is {release.shown}. To go back to it, use -e app={app} -e "
                f"revision={release.shown}."
            )
    if limit := ":".join(["all", *(f"!{host}" for host in lacking)]) if lacking else "":
        return (
            f"They have no earlier revision in common. Leave hosts out with --limit '{limit}', and treat each of the "
            f"others by itself: --limit HOST -e app={app} -e release=ID."
        )
    return f"They have no earlier revision in common. Treat each by itself: --limit HOST -e app={app} -e release=ID."


# By name


def named(app: str, hosts: Hosts, text: str) -> Choice:
    """Where ``-e revision=`` leads. It may be the beginning of a revision, or of a commit."""
    every = [one for found in hosts.values() for one in [*found.usable, *([found.serves] if found.serves else [])]]
    matching: list[Release] = []
    for one in [one for one in every if one.identity == text] or [one for one in every if one.matches(text)]:
        if not any(one.is_like(other) for other in matching):
            matching.append(one)
    if len(matching) != 1:
        return Choice(refusal=unclear(app, hosts, text, [one.shown for one in matching]))
    (wanted,) = matching
    lacking = [host for host, found in hosts.items() if not has(found, wanted)]
    if lacking:
        return Choice(
            refusal=f"{app}: {listed(lacking, 'lacks', 'lack')} the revision {wanted.shown}: it was never deployed "
            f"there, or was pruned. {UNCHANGED} {way_out(app, hosts, lacking)}"
        )
    if all(found.serves_like(wanted) for found in hosts.values()):
        return Choice(refusal=f"{app}: the revision {wanted.shown} is already live on {', '.join(hosts)}. {UNCHANGED}")
    return chosen(hosts, wanted, {host: [] if own.serves_like(wanted) else own.usable for host, own in hosts.items()})


def unclear(app: str, hosts: Hosts, text: str, matching: list[str]) -> str:
    given = one_line(text)[:60]
    if matching:
        return (
            f"{app}: revision={given} matches several revisions: {', '.join(matching[:MOST_LISTED])}. {UNCHANGED} Give "
            "more digits of one of them."
        )
    known = list(dict.fromkeys(one.shown for found in hosts.values() for one in found.usable))[:MOST_LISTED]
    return (
        f"{app}: no host has the revision '{given}'. {UNCHANGED} Their earlier revisions: {', '.join(known) or 'none'}."
    )


def by_releases(app: str, hosts: Hosts, wanted: Mapping[str, str]) -> Choice:
    """Where ``-e release=`` leads on several hosts: on each to its own release, which it must have."""
    lacking = {host: why_not(found, wanted[host]) for host, found in hosts.items()}
    lacking = {host: why for host, why in lacking.items() if why}
    if not lacking:
        return Choice(dict(wanted), {host: shown_of(found, wanted[host]) for host, found in hosts.items()})
    having = [host for host in hosts if host not in lacking]
    told = "; ".join(f"{host}: {why}" for host, why in lacking.items())
    remedy = f"Use --limit {','.join(having)}, or" if having else "Use"
    return Choice(
        refusal=f"{app}: not all of these hosts can go back to the given release. {told}. {UNCHANGED} {remedy} -e "
        f"revision=REVISION, which names a release on each host. releases.yml -e app={app} lists both."
    )


def shown_of(host: Host, release: str) -> str:
    found = host.release(release)
    return found.shown if found else ""


def why_not(host: Host, release: str) -> str:
    """Why a host can't go back to a release; empty if it can."""
    if any(one.id == release for one in host.usable):
        return ""
    found = host.release(release)
    text = one_line(release)[:60]
    if not release:
        return "no release is given for it"
    if release == host.live:
        return f"{text} is already live"
    return f"{text} is {found.state}" if found else f"there is no release {text}"
