# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files of a tree: the run's own ones, and those of other owners that stay."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.nginx import owners
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import CONDITION_SIGN, TREE, for_host
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import LOADED, SECRETS, Trees
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store

# Placeholders for folders of this host.
CERTIFICATES = "@CERTIFICATES@"
CHALLENGES = "@CHALLENGES@"


def invalid_files(files: list[dict[str, Any]]) -> str | None:
    """The reason why the list of files can't be used; None if it can."""
    paths = [item["path"] for item in files]
    for path in paths:
        if os.path.isabs(path) or os.path.normpath(path) != path or path.startswith(".."):
            return f"files has the path {path!r}. Use one that stays inside the tree, such as sites/shop.conf."
        if path == LOADED:
            return f"files has the path {path!r}, which is reserved. Use another."
        if paths.count(path) > 1:
            return f"files has the path {path!r} twice. Give each file its own."
    main = [item["content"] for item in files if item["path"] == "nginx.conf"]
    if not main:
        return "files has no nginx.conf. Add the main file."
    if f"{TREE}/{LOADED}" not in main[0]:
        return f"nginx.conf lacks the line 'error_log {TREE}/{LOADED} emerg;', by which a reload is verified. Add it."
    return None


def is_deployed(folder: str) -> bool:
    """Whether the application in a folder has a live release."""
    return os.path.lexists(f"{folder}/current.sock")


class TreeFiles:
    """All files of a tree, before they are written for this host."""

    def __init__(self, params: dict[str, Any], store: Store, trees: Trees, ipv6: bool) -> None:
        self.trees = trees
        self.ipv6 = ipv6
        self.given = {
            item["path"]: item["content"].replace(CERTIFICATES, store.folder).replace(CHALLENGES, store.acme.challenges)
            for item in params["files"]
        }
        self.given.update(params["secret_files"])
        self.own = self.given
        self.held: list[str] = params.get("held") or []
        # The sites of these applications that stay as they are.
        self.held_sites: set[str] = set()
        self.secrets = frozenset(params["secret_files"])
        self.owners = params["owners"]
        # Applications that the run knows beside those that its sites lead to.
        self.known: set[str] = {*params["removed"], *(params.get("applications") or ())}
        # Files of the live tree: those of other owners, and all.
        self.others: dict[str, str] = {}
        self.live: dict[str, str] = {}

    @property
    def all(self) -> dict[str, str]:
        return {**self.own, **self.others}

    @property
    def is_conditional(self) -> bool:
        """Whether some lines depend on facts of the host."""
        return any(CONDITION_SIGN in content for content in self.own.values())

    def keep_others(self, name: str | None) -> None:
        """Take the files of other owners from a tree. Raises NginxError if they can't be kept."""
        if not name or not os.path.isdir(self.trees.folder(name)):
            self.others = {}
            return
        files = self.trees.content(name, self.secrets)
        self.live = {path: text.replace(self.trees.folder(name), TREE) for path, text in files.items()}
        orphans = owners.orphans(self.live, self.given, self.known, is_deployed)
        self.others = owners.kept(self.live, self.given, self.owners, orphans)
        held, replaced = owners.held(self.live, {**self.given, **self.others}, self.held)
        self.own = {path: text for path, text in self.given.items() if path not in replaced}
        self.others |= held
        self.held_sites = {*owners.sites(held)}
        self._refuse_exposed_sites(name)
        if problems := owners.clashes(self.own, self.others):
            raise NginxError(
                f"nginx can't serve both: {'; '.join(problems)}. Change one of them, or name both lists in one "
                "inventory and run site.yml. 'nginx_sites: []' gives up all sites of nginx_sites. remove.yml removes "
                "an application with its site, even if it is not in the inventory. Nothing in nginx has changed."
            )

    def _refuse_exposed_sites(self, name: str) -> None:
        for path in self.trees.paths(name):
            if owners.site_of(path) and path not in self.live and path not in self.own:
                raise NginxError(
                    f"The site in {self.trees.folder(name)}/{path} is not part of this run, and can't be kept: "
                    "accounts other than root can write to it or to a folder above it. Check its content, run "
                    f"'chmod -R go-w {self.trees.home}' and run again. Nothing in nginx has changed."
                )

    def written_to(self, folder: str, facts: AbstractSet[str]) -> dict[str, str]:
        """The files as they are written into this folder, on a host with these facts."""
        kept_tls = {"kept_tls"} if owners.has_tls(self.others) else set()
        own = for_host(self.own, folder, self.ipv6, {*facts, *kept_tls})
        others = {path: text.replace(TREE, folder) for path, text in self.others.items()}
        return owners.merged(own, others, self.live)

    def is_secret(self, path: str) -> bool:
        return path in self.secrets or path.startswith(SECRETS)
