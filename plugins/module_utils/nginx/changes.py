# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The difference between the state of nginx on a host and the wanted one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class State:
    """nginx as it is on the host."""

    live: str | None
    content: dict[str, str]
    entry: str | None
    default_site: bool
    drop_in: list[dict[str, Any]]
    daemon_reload: bool
    running: bool
    enabled: bool
    loaded: str | None
    new_certificates: list[str] = field(default_factory=list)
    stale_certificates: bool = False
    exposed_keys: list[str] = field(default_factory=list)
    open_logs: list[str] = field(default_factory=list)
    entry_exposed: bool = False
    renewal: list[dict[str, Any]] = field(default_factory=list)
    # The new texts of files of other people.
    handmade: dict[str, str | None] = field(default_factory=dict)
    rotation: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Changes:
    """The changes to make."""

    tree: bool
    entry: bool
    default_site: bool
    drop_in: bool
    daemon_reload: bool
    enable: bool
    service: str | None
    new_certificates: list[str] = field(default_factory=list)
    exposed_keys: list[str] = field(default_factory=list)
    open_logs: list[str] = field(default_factory=list)
    renewal: bool = False
    handmade: dict[str, str | None] = field(default_factory=dict)
    rotation: bool = False

    @property
    def actions(self) -> list[str]:
        """All changes, in order, in words for the user."""
        names = {
            "install tree": self.tree,
            "install nginx.conf": self.entry,
            "disable the default site": self.default_site,
            "install drop-in": self.drop_in,
            "reload systemd": self.daemon_reload,
            "enable": self.enable,
        }
        return [
            *(name for name, wanted in names.items() if wanted),
            *(f"install certificate {name}" for name in self.new_certificates),
            *(f"protect {path}" for path in [*self.exposed_keys, *self.open_logs]),
            *(f"replace {path}" for path in sorted(self.handmade)),
            *(["renew certificates by a timer"] if self.renewal else []),
            *(["signal nginx after a rotation of its logs"] if self.rotation else []),
            *([self.service] if self.service else []),
        ]


def decide(state: State, wanted: dict[str, str], entry: str) -> Changes:
    """The changes that lead from the state to the wanted files and the wanted nginx.conf."""
    tree = state.content != wanted or state.live is None
    rewritten = state.entry != entry or state.entry_exposed
    reload = (
        tree
        or rewritten
        or state.default_site
        or state.loaded != state.live
        or bool(state.new_certificates)
        or state.stale_certificates
        or bool(state.handmade)
    )
    service = None
    if not state.running:
        service = "start"
    elif reload:
        service = "reload"
    return Changes(
        tree=tree,
        entry=rewritten,
        default_site=state.default_site,
        drop_in=bool(state.drop_in),
        daemon_reload=state.daemon_reload or bool(state.drop_in),
        enable=not state.enabled,
        service=service,
        new_certificates=state.new_certificates,
        exposed_keys=state.exposed_keys,
        open_logs=state.open_logs,
        renewal=bool(state.renewal),
        handmade=state.handmade,
        rotation=bool(state.rotation),
    )


def diff(header: str, before: str, after: str) -> dict[str, str]:
    """Ansible's diff of one file. Ansible can't carry bytes that are not UTF-8."""
    before, after = (text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in (before, after))
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def service_diff(state: State, changes: Changes) -> dict[str, str]:
    """Ansible's diff of the running nginx."""
    loaded = str(state.loaded) if state.running else "not running"
    return diff(
        "nginx",
        f"{loaded}, enabled: {str(state.enabled).lower()}\n",
        f"{'the new tree' if changes.tree else state.live}, enabled: true\n",
    )
