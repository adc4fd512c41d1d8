#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install nginx's whole configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Install nginx's configuration as a transaction, and have nginx run it
version_added: 0.1.0
description:
  - Takes all files of the configuration at once. Where they differ from what is live, they are written into a new
    folder beside the
    live one, tested as a whole by nginx, made live by renaming one link, and loaded.
  - The reload is verified. nginx reports success even when it refuses a configuration, because a port is taken, for
    example; so
    the module waits until the workers are new ones that run the new tree.
  - If anything fails, the previous tree is live again, nginx goes on serving it, and the module fails with nginx's
    own words, the site, and the
    line of the user's input they are about.
  - Starts nginx where it does not run, by systemd where that is the init, else as a daemon of its own. Under systemd
    it is enabled at boot.
  - A reload that an earlier, interrupted run left undone is recognised by what the running nginx has loaded, and done.
  - Files in C(conf.d) and C(sites-enabled) stay and are loaded, but for the distribution's own unchanged default
    site, which is disabled.
  - Brings the certificates of the sites along, makes those that are signed by the host itself, and sees after the
    reload that nginx serves them. Warns of every one that ends within 21 days and does not renew itself.
author: The pyweb.stack contributors
extends_documentation_fragment: [pyweb.stack.stamped]
attributes:
  check_mode:
    support: full
    description: Predicts changes; nginx's own test needs the files on the host, so it is left to the real run.
  diff_mode:
    support: full
options:
  files:
    description:
      - All files of the tree. One must be C(nginx.conf), the main file.
      - C(@TREE@) in a file stands for the folder of the tree. The main file must hold C(error_log @TREE@/loaded
        emerg;), by which
        the module recognises the running configuration.
      - C(listen [...]) lines are left out on a host whose kernel has no IPv6.
      - Lines from C(#@ if FACT), or C(#@ unless FACT), to C(#@ else) or C(#@ end) are for hosts of which the fact is
        true.
        There are C(http2_directive) (nginx 1.25.1), C(http3), C(fresh_tickets) (nginx changes the keys of session
        tickets by itself), C(mlkem) (OpenSSL has the group X25519MLKEM768), C(certificate:NAME) (there is one of that
        name), and C(ocsp:NAME) (it names a responder).
      - C(@CERTIFICATES@) stands for the folder of the certificates, C(@CHALLENGES@) for that of the proofs which an
        ACME authority asks for.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file, relative to the tree.
        type: str
        required: true
      content:
        description: The file's text.
        type: str
        required: true
  secret_files:
    description:
      - Files of the tree that only root and nginx may read (mode 0640), such as those of passwords, as path and text.
        No diff and no log shows them.
    type: dict
    default: {}
  owners:
    description:
      - The lists of sites that O(files) hold in full. A site of such an owner that is not among the files is removed,
        and a warning names it. Sites of other owners that are on the host stay as they are.
      - A comment in a site's file names its owner. A site without this comment belongs to V(webapps) if it refers
        to the socket of a release, otherwise to V(nginx_sites).
    type: list
    elements: str
    choices: [webapps, nginx_sites]
    default: [nginx_sites]
  removed:
    description: Applications that are removed on purpose, so that no warning is due.
    type: list
    elements: str
    default: []
  certificates:
    description:
      - The certificates that the files name. Those of the modes V(selfsigned) and V(acme), and those whose text is
        given, are the file C(@CERTIFICATES@/NAME.pem), with chain and key.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Names the file; the site's name.
        type: str
        required: true
      mode:
        description:
          - V(selfsigned) is signed by the host's own authority, C(@CERTIFICATES@/ca.crt).
          - V(provided) is given, as a text or as a path on the host.
          - V(acme) is ordered from O(acme), in a run with O(fetch).
        type: str
        choices: [selfsigned, provided, acme]
        required: true
      names:
        description: The names it has to be valid for. None are for the default site, which has those of the host.
        type: list
        elements: str
        default: []
      port:
        description: The port that it is served on, where it is verified.
        type: int
        default: 443
      http_port:
        description: The port where nginx answers an authority that asks for the proof.
        type: int
        default: 80
      certificate:
        description: The certificate with its chain, in PEM form.
        type: str
        default: ""
      key:
        description: Its key, in PEM form.
        type: str
        default: ""
      certificate_path:
        description: Where on the host the certificate is, with its chain.
        type: str
        default: ""
      key_path:
        description: Where on the host the key is.
        type: str
        default: ""
  acme:
    description: The authority of certificates of the mode V(acme).
    type: dict
    default: {}
    suboptions:
      directory:
        description: Address of its ACME directory.
        type: str
        default: ""
      email:
        description: Where it may write to.
        type: str
        default: ""
      ca_bundle:
        description: File on the host with what the authority's own address is verified by.
        type: str
        default: ""
  ca_certificate:
    description: Certificate of the authority that signs certificates of the mode V(selfsigned). Default is one of the
      host's own.
    type: str
    default: ""
  ca_key:
    description: Its key.
    type: str
    default: ""
  fetch:
    description:
      - Whether to order the certificates of the mode V(acme) that are due. Takes seconds for each.
      - Otherwise they are returned as RV(due), and a site without a certificate has no C(certificate:NAME).
      - An order that fails changes nothing. The module fails when all that could be done is done.
    type: bool
    default: false
  renewal:
    description:
      - What has C(/usr/local/lib/pyweb/certificates.py) run, which renews certificates and has nginx load them.
      - Installed where there are some to renew, and removed elsewhere. Without it nothing of that is touched.
    type: dict
    suboptions:
      service:
        description: Text of the systemd service.
        type: str
        required: true
      timer:
        description: Text of its timer.
        type: str
        required: true
      cron:
        description: Text of a file of C(/etc/cron.d), used where systemd is not the init.
        type: str
        required: true
  state_dir:
    description: Folder for the account at the authority and its proofs.
    type: path
    default: /var/lib/pyweb
  drop_in:
    description: Text of a drop-in for C(nginx.service). Used only where systemd is the init.
    type: str
  conf_dir:
    description: nginx's configuration folder.
    type: path
    default: /etc/nginx
  pid_file:
    description: The file that holds the master's process id.
    type: path
    default: /run/nginx.pid
  error_log:
    description: The main error log, read for nginx's words when a start or reload fails.
    type: path
    default: /var/log/nginx/error.log
  init:
    description: What starts nginx. V(auto) is systemd where it runs as init, else nothing but nginx itself.
    type: str
    choices: [auto, systemd, none]
    default: auto
"""

EXAMPLES = r"""
- name: Bring the sites live
  pyweb.stack.nginx_config:
    files: "{{ query('pyweb.stack.templates', *(nginx_sites | pyweb.stack.nginx_files)) }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be, in order.
  type: list
  elements: str
  returned: success
  sample: [install tree, reload]
tree:
  description: Folder of the live tree; in check mode of the one that is live now, if any.
  type: str
  returned: success
removed_sites:
  description: Sites that this run removed from the live configuration, or would remove in check mode.
  type: list
  elements: str
  returned: success
due:
  description: Certificates of the mode V(acme) that a run with O(fetch) would order.
  type: list
  elements: str
  returned: success
ca:
  description: The file that a browser has to import to trust certificates of the mode V(selfsigned); empty without any.
  type: str
  returned: success
unowned:
  description: Files that nginx loads beside the tree, from C(conf.d) and C(sites-enabled).
  type: list
  elements: str
  returned: success
settled:
  description: Whether the host is known to be as wanted.
  type: bool
  returned: with O(foresee)
"""

import contextlib  # the documentation stands first in a module
import fcntl
import glob
import grp
import hashlib
import os
import pwd
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, apply_files, atomic_symlink, sweep
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import owners as nginx_owners
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.certificates import Certificates, Renewal
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import (
    CONDITION_SIGN,
    LOADED,
    TREE,
    Nginx,
    NginxError,
    Trees,
    explain,
    for_host,
    has_ipv6,
    is_private,
    make_folder,
    now,
    systemctl,
    tree_name,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificates import Authority, Store, Wanted

ENTRY = """\
# Managed by the nginx role of pyweb.stack. All configuration is in pyweb/current;
# what stood here before is in nginx.conf.before-pyweb.
include {home}/{tree}/nginx.conf;
"""
# Placeholders for folders of this host.
CERTIFICATES = "@CERTIFICATES@"
CHALLENGES = "@CHALLENGES@"
DROP_IN = "/etc/systemd/system/nginx.service.d/pyweb.conf"
SECRETS = "secrets/"
LOCK_TIMEOUT = 120  # seconds to wait for another run on this host


@dataclass
class Look:
    """What is on the host."""

    live: str | None
    content: dict[str, str]
    entry: str | None
    default_site: bool
    drop_in: list[dict[str, Any]]
    daemon_reload: bool
    running: bool
    enabled: bool
    loaded: str | None
    coming: list[str] = field(default_factory=list)
    stale: bool = False
    exposed: list[str] = field(default_factory=list)
    entry_exposed: bool = False
    renewal: list[dict[str, Any]] = field(default_factory=list)
    # Of the live tree: files of owners for whom this run does not speak.
    others: dict[str, str] = field(default_factory=dict)


@dataclass
class Plan:
    """What has to be done about it."""

    tree: bool
    entry: bool
    default_site: bool
    drop_in: bool
    daemon_reload: bool
    enable: bool
    service: str | None
    coming: list[str] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)
    renewal: bool = False
    actions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = {
            "install tree": self.tree,
            "install nginx.conf": self.entry,
            "disable the default site": self.default_site,
            "install drop-in": self.drop_in,
            "reload systemd": self.daemon_reload,
            "enable": self.enable,
        }
        self.actions = [name for name, wanted in names.items() if wanted]
        self.actions += [f"install certificate {name}" for name in self.coming]
        self.actions += [f"protect {path}" for path in self.exposed]
        self.actions += ["renew certificates by a timer"] if self.renewal else []
        self.actions += [self.service] if self.service else []


def decide(look: Look, wanted: dict[str, str], entry: str) -> Plan:
    """The difference between the host and the wish."""
    tree = look.content != wanted or look.live is None
    rewritten = look.entry != entry or look.entry_exposed
    service: str | None = None
    if not look.running:
        service = "start"
    elif tree or rewritten or look.default_site or look.loaded != look.live or look.coming or look.stale:
        service = "reload"
    return Plan(
        tree=tree,
        entry=rewritten,
        default_site=look.default_site,
        drop_in=bool(look.drop_in),
        daemon_reload=look.daemon_reload or bool(look.drop_in),
        enable=not look.enabled,
        service=service,
        coming=look.coming,
        exposed=look.exposed,
        renewal=bool(look.renewal),
    )


class Transaction:
    """One change of the configuration: all of it, or nothing."""

    def __init__(self, params: dict[str, Any], binary: str | None) -> None:
        self.conf_dir = params["conf_dir"]
        self.trees = Trees(self.conf_dir)
        self.certificates = Certificates(
            Store(
                f"{self.trees.home}/certificates",
                params["state_dir"],
                Authority(**{key: value or "" for key, value in params["acme"].items()}),
                (params["ca_certificate"], params["ca_key"]),
            ),
            [Wanted(**{**item, "names": tuple(item["names"])}) for item in params["certificates"]],
        )
        self.fetch = params["fetch"]
        store = self.certificates.store
        self.files = {
            item["path"]: item["content"].replace(CERTIFICATES, store.folder).replace(CHALLENGES, store.challenges)
            for item in params["files"]
        } | params["secret_files"]
        self.secrets = frozenset(params["secret_files"])
        self.owners = params["owners"]
        self.removed = params["removed"]
        self.others: dict[str, str] = {}
        self.live_files: dict[str, str] = {}
        self.systemd = params["init"] == "systemd" or (
            params["init"] == "auto" and os.path.isdir("/run/systemd/system")
        )
        self.nginx = Nginx(binary, self.conf_dir, params["pid_file"], params["error_log"], self.systemd, self.trees)
        self.drop_in = params["drop_in"] if self.systemd else None
        self.entry = ENTRY.format(home=self.trees.home, tree="current")
        self.ipv6 = has_ipv6()
        self.stamp = params["stamp"]
        conditional = any(CONDITION_SIGN in content for content in self.files.values())
        self.program_facts = self.nginx.facts() if conditional else set()
        plan = {"nginx": binary, "entry": self.nginx.entry, "pid_file": params["pid_file"], "lock": self.lock_path}
        self.renewal = Renewal(params["renewal"], self.systemd, plan, self.certificates)
        self.warnings: list[str] = []

    @property
    def lock_path(self) -> str:
        return f"{self.trees.home}/.lock"

    # look

    def witnesses(self) -> dict[str, Any]:
        """All that a look depends on."""
        unit = "/etc/systemd/system"
        paths = [
            *(f"{self.conf_dir}/{name}" for name in ("", "nginx.conf", "conf.d", "sites-enabled", "modules-enabled")),
            *(
                self._default_link,
                f"{self.conf_dir}/sites-available/default",
                self.trees.home,
                self.trees.all,
                self.trees.current,
            ),
            *(
                f"{unit}/nginx.service",
                os.path.dirname(DROP_IN),
                DROP_IN,
                f"{unit}/multi-user.target.wants/nginx.service",
            ),
        ]
        live = self.trees.live()
        for parent, _folders, files in os.walk(self.trees.folder(live)) if live else ():
            paths += [parent, *(os.path.join(parent, file) for file in files)]
        master = self.nginx.master()
        paths += self.certificates.witnesses() + self.renewal.witnesses()
        return stamps.witnesses(paths, [master] if master else [])

    def look(self) -> Look:
        live = self.trees.live()
        active, enabled, daemon_reload = self._unit() if self.systemd else (True, True, False)
        master = self.nginx.master() if active else None
        self.certificates.look()
        content = self.trees.content(live, self.secrets) if live else {}
        loaded = self.nginx.loaded(master)
        self._keep_others(live or loaded)
        return Look(
            live=live,
            content=content,
            others=self.others,
            entry=_text(self.nginx.entry),
            default_site=self._default_site_is_stock(),
            drop_in=apply_files(self._drop_in_files(), check_mode=True)[1],
            daemon_reload=daemon_reload,
            running=master is not None,
            enabled=enabled,
            loaded=loaded,
            coming=[one.name for one in self.certificates.coming()],
            stale=master is not None and self.certificates.stale(),
            exposed=self.certificates.exposed(),
            entry_exposed=self._entry_is_exposed(),
            renewal=self.renewal.look(),
        )

    def _keep_others(self, name: str | None) -> None:
        """Take over from a tree what belongs to other owners; refuse what can't be kept, or not beside this run's."""
        if not name or not os.path.isdir(self.trees.folder(name)):
            self.others = {}
            return
        files = self.trees.content(name, self.secrets)
        self.live_files = {path: text.replace(self.trees.folder(name), TREE) for path, text in files.items()}
        self.others = nginx_owners.kept(self.live_files, self.files, self.owners)
        if set(self.owners) != {nginx_owners.APPLICATIONS, nginx_owners.OWN_SITES}:
            for path in self.trees.paths(name):
                if nginx_owners.site_of(path) and path not in self.live_files and path not in self.files:
                    raise NginxError(
                        f"The site in {self.trees.folder(name)}/{path} is not part of this run, and can't be kept: "
                        "accounts other than root can write to it or to a folder above it. Check its content, run "
                        f"'chmod -R go-w {self.trees.home}' and run again. Nothing in nginx has changed."
                    )
        if problems := nginx_owners.clashes(self.files, self.others):
            raise NginxError(
                f"nginx can't serve both: {'; '.join(problems)}. Change one of them, or name both lists in one "
                "inventory and run site.yml; 'nginx_sites: []' gives up all sites of nginx_sites. Nothing in nginx has "
                "changed."
            )
        self.certificates.kept = set(nginx_owners.sites(self.others))
        self.renewal.keep(self.certificates.kept)

    def _entry_is_exposed(self) -> bool:
        """Whether others may write to nginx.conf. One that somebody made a link is that person's."""
        entry = self.nginx.entry
        return os.path.exists(entry) and not os.path.islink(entry) and not is_private(entry)

    def _unit(self) -> tuple[bool, bool, bool]:
        shown = systemctl("show", "nginx.service", "--property=ActiveState,UnitFileState,NeedDaemonReload").stdout
        unit = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return (
            unit.get("ActiveState") in ("active", "reloading"),
            unit.get("UnitFileState") in ("enabled", "enabled-runtime"),
            unit.get("NeedDaemonReload") == "yes",
        )

    def _drop_in_files(self) -> list[File]:
        return [] if self.drop_in is None else [File(DROP_IN, self.drop_in)]

    @property
    def _default_link(self) -> str:
        return f"{self.conf_dir}/sites-enabled/default"

    def _default_site_is_stock(self) -> bool:
        """Whether the distribution's default site is enabled, as it came: one that somebody edited is that person's."""
        if not os.path.islink(self._default_link):
            return False
        available = f"{self.conf_dir}/sites-available/default"
        if os.path.realpath(self._default_link) != os.path.realpath(available):
            return False
        query = subprocess.run(
            ["dpkg-query", "--show", "--showformat=${Conffiles}", "nginx-common"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        shipped = {line.split()[0]: line.split()[1] for line in query.stdout.splitlines() if len(line.split()) > 1}
        data = _text(available)
        return data is not None and hashlib.md5(data.encode(), usedforsecurity=False).hexdigest() == shipped.get(
            available
        )

    def unowned(self) -> list[str]:
        """What nginx loads beside the tree."""
        found = []
        for folder, suffix in (("conf.d", ".conf"), ("sites-enabled", "")):
            with contextlib.suppress(FileNotFoundError):
                found += [
                    f"{self.conf_dir}/{folder}/{name}"
                    for name in sorted(os.listdir(f"{self.conf_dir}/{folder}"))
                    if name.endswith(suffix) and not name.startswith(".")
                ]
        return found

    # decide

    def wanted(self, name: str | None) -> dict[str, str]:
        return self._in_folder(self.trees.folder(name or "new"))

    def _in_folder(self, folder: str) -> dict[str, str]:
        own = for_host(self.files, folder, self.ipv6, self.facts())
        others = {path: text.replace(TREE, folder) for path, text in self.others.items()}
        return nginx_owners.merged(own, others, self.live_files)

    def facts(self) -> set[str]:
        kept_tls = {"kept_tls"} if nginx_owners.has_tls(self.others) else set()
        return self.program_facts | self.certificates.facts() | kept_tls

    def _tell_removals(self) -> list[str]:
        """Warn of every site that this run removes; returns their names."""
        new = {**self.files, **self.others}
        told = nginx_owners.sites(self.live_files)
        removed = nginx_owners.removed_sites(self.live_files, new)
        for name in removed:
            if nginx_owners.owner(told[name]) == nginx_owners.OWN_SITES:
                self.warnings.append(
                    f"nginx no longer serves the site '{name}' ({nginx_owners.domains(told[name])}): it is not in "
                    "nginx_sites any more."
                )
        for name, folder in nginx_owners.removed_applications(self.live_files, new, self.removed).items():
            alive = os.path.lexists(f"{folder}/current.sock")
            self.warnings.append(
                f"nginx no longer serves the application '{name}': it is not in webapps any more. "
                + (f"Its processes still run, from {folder}, and start again after a boot. " if alive else "")
                + f"To serve it, put it back. To remove it, list '{name}' in webapps with 'state: absent' and run "
                "site.yml."
            )
        return removed

    def _tell_switched_off(self, entry: str) -> None:
        """Warn of what an nginx.conf of somebody else served."""
        found = nginx_owners.switched_off(entry) if "nginx role of pyweb.stack" not in entry else []
        if found:
            self.warnings.append(
                f"{self.nginx.entry} is replaced, and nginx no longer serves what stood in it: {', '.join(found)}. The "
                f"old file is {self.nginx.entry}.before-pyweb. Move what you need to nginx_sites, or to a file in "
                f"{self.conf_dir}/conf.d."
            )

    def run(self, check_mode: bool) -> dict[str, Any]:
        """Look, decide, act, report."""
        with contextlib.nullcontext() if check_mode else self._lock():
            seen = self.witnesses()
            look = self.look()
            removed = self._tell_removals()
            failures: list[str] = []
            if self.fetch and self.certificates.due():
                if check_mode:
                    return {**self._predicted_orders(), "removed_sites": removed}
                failures = self.certificates.order()
                look = self.look()
            plan = decide(look, self.wanted(look.live), self.entry)
            result: dict[str, Any] = {
                "changed": bool(plan.actions),
                "actions": plan.actions,
                "removed_sites": removed,
                "diff": self.diff(look, plan),
            }
            if plan.entry:
                self._tell_switched_off(look.entry or "")
            if not check_mode:
                if plan.actions:
                    self.act(look, plan)
                    look = self.look()
                self._sweep()
                self.trees.prune(keep=[self.trees.live(), look.loaded, self._previous()])
                if plan.actions:
                    seen = self.witnesses()
                    look = self.look()
                self.certificates.tidy()
                settled = not decide(look, self.wanted(look.live), self.entry).actions and not self.certificates.due()
                if self.stamp and settled:
                    stamps.leave("nginx_config", self.stamp, seen, self.certificates.good_until())
            live = self.trees.live()
            result.update(tree=self.trees.folder(live) if live else "", unowned=self.unowned())
            result.update(due=[one.name for one in self.certificates.due()], ca=self.certificates.ca)
        unowned = [path for path in result["unowned"] if path != self._default_link or not plan.default_site]
        result["unowned"] = unowned
        if plan.tree and unowned:
            self.warnings.append(f"nginx also loads files that this role does not own: {', '.join(unowned)}.")
        self.warnings += self.certificates.warnings()
        if failures:
            raise NginxError(
                f"{' '.join(failures)} Each goes on as before: with its previous certificate, or over http where "
                "it has none. Correct that and run again."
            )
        return result

    def _predicted_orders(self) -> dict[str, Any]:
        """Whether an authority will give a certificate can't be known before it is asked."""
        due = [one.name for one in self.certificates.due()]
        actions = [f"order certificate {name}" for name in due]
        live = self.trees.live()
        tree = self.trees.folder(live) if live else ""
        return {
            "changed": True,
            "actions": actions,
            "due": due,
            "tree": tree,
            "unowned": [],
            "ca": self.certificates.ca,
        }

    def _sweep(self) -> None:
        """Remove what runs that were killed have left beside our files."""
        own = glob.escape(self.conf_dir)
        for path in glob.glob(f"{own}/.nginx.conf.*.test"):
            os.unlink(path)
        sweep(path for name in ("nginx.conf.*", ".nginx.conf.*", "pyweb/*") for path in glob.glob(f"{own}/{name}.new"))

    def _previous(self) -> str | None:
        """The tree before the live one: for a person's way back."""
        try:
            names = sorted(os.listdir(self.trees.all))
        except FileNotFoundError:
            return None
        live = self.trees.live()
        earlier = [name for name in names if live and name < live]
        return earlier[-1] if earlier else None

    def diff(self, look: Look, plan: Plan) -> list[dict[str, Any]]:
        """Ansible's diff, as if the tree were always at pyweb/current."""
        current = self.trees.current
        before = {}
        if look.live:
            folder = self.trees.folder(look.live)
            before = {path: text.replace(folder, current) for path, text in look.content.items()}
        after = self._in_folder(current)
        diffs = [
            _diff(f"{current}/{path}", self._shown(path, before, ""), self._shown(path, after, ", changed"))
            for path in sorted({*before, *after})
            if before.get(path) != after.get(path)
        ]
        if plan.entry:
            diffs.append(_diff(self.nginx.entry, look.entry or "", self.entry))
        if plan.default_site:
            diffs.append(_diff(self._default_link, "-> ../sites-available/default\n", ""))
        diffs += self.certificates.diffs() + look.renewal + look.drop_in
        if plan.service or plan.enable:
            service = {
                "loaded": str(look.loaded) if look.running else "not running",
                "enabled": str(look.enabled).lower(),
            }
            diffs.append(
                _diff(
                    "nginx",
                    f"{service['loaded']}, enabled: {service['enabled']}\n",
                    f"{'the new tree' if plan.tree else look.live}, enabled: true\n",
                )
            )
        return diffs

    def _shown(self, path: str, files: dict[str, str], state: str) -> str:
        """The text of a file for a diff; one that is secret, or lies where secrets do, keeps it to itself."""
        if path in files and (path in self.secrets or path.startswith(SECRETS)):
            return f"(secret{state})\n"
        return files.get(path, "")

    # act

    def act(self, look: Look, plan: Plan) -> None:
        if self.nginx.binary is None:
            raise NginxError(
                "nginx can't be configured: its program is not installed. Install the package nginx and run again."
            )
        if plan.drop_in:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(DROP_IN), 0o755)
            apply_files(self._drop_in_files())
        if plan.daemon_reload:
            _must(systemctl("daemon-reload"), "systemd can't read its units again")
        for path in plan.exposed:
            self.certificates.protect(path)
            self.warnings.append(
                f"{path} could be read by others than root, and can't any more. If somebody did, that key is no secret."
            )
        if plan.service:
            self._change_configuration(look, plan)
        if plan.renewal:
            self.renewal.act()
        if plan.enable:
            _must(
                systemctl("enable", "nginx.service"),
                "nginx.service can't be enabled, so it would not come back after a boot",
            )

    def _change_configuration(self, look: Look, plan: Plan) -> None:
        """Stage, test, swap, load; on any failure everything back, in reverse."""
        name = look.live
        files = self.wanted(name)
        if plan.tree or name is None:
            name = tree_name({**self.files, **self.others}, now())
            files = self.wanted(name)
        # A live tree that nginx could not load is no way back: the one that it runs is.
        back = look.loaded if look.loaded and os.path.isdir(self.trees.folder(look.loaded)) else look.live
        signalled = False
        with contextlib.ExitStack() as undo:
            undo.callback(lambda: self._serve_again(look, back, bool(plan.coming)) if signalled else None)
            self.certificates.put_in_place(undo)
            if plan.tree:
                undo.callback(self.trees.remove, name)
                self.trees.stage(name, files, self.secrets | {path for path in files if path.startswith(SECRETS)})
            if plan.default_site:
                target = os.readlink(self._default_link)
                undo.callback(atomic_symlink, target, self._default_link)
                os.unlink(self._default_link)
            self._test(name, files)
            if look.live != name or back != name:
                undo.callback(self._point_to, back)
                self._point_to(name)
            if plan.entry:
                self._back_up_entry(look)
                undo.callback(self._write_entry, look.entry)
                self._write_entry(self.entry)
            signalled = True
            try:
                if plan.service == "start":
                    self.nginx.start(name)
                else:
                    self.nginx.reload(name)
                self.certificates.verify()
            except NginxError as error:
                doing = "start" if plan.service == "start" else "load the new configuration"
                complaint = str(error)
                kept = self._kept(look) if look.running else "nginx did not run before either."
                raise NginxError(
                    f"nginx could not {doing}: {explain(complaint, self.trees.folder(name), files)}."
                    f"{self.nginx.port_holders(complaint)} {kept}"
                ) from error
            undo.pop_all()

    def _test(self, name: str, files: dict[str, str]) -> None:
        # Beside nginx.conf, for relative names in a configuration are relative to the folder of its entry.
        entry = f"{self.conf_dir}/.nginx.conf.{secrets.token_hex(4)}.test"
        try:
            self._write(entry, ENTRY.format(home=self.trees.home, tree=f"trees/{name}"))
            said = self.nginx.test(entry)
        except NginxError as error:
            folder = self.trees.folder(name)
            raise NginxError(
                f"nginx refuses the new configuration: {explain(str(error), folder, files)}. Nothing was changed: what "
                "nginx serves, it goes on serving. Correct that line and run again."
            ) from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry)
        for line in said.splitlines():
            if "[warn]" in line:
                self.warnings.append(f"nginx: {line.split('[warn]', 1)[1].strip()}")

    def _kept(self, look: Look) -> str:
        return f"The previous configuration{f' ({look.loaded})' if look.loaded else ''} is back and serving."

    def _point_to(self, name: str | None) -> None:
        if os.path.isdir(self.trees.current) and not os.path.islink(self.trees.current):
            # A copy that followed links made a folder of it; among the trees it is pruned like one.
            os.rename(self.trees.current, self.trees.folder(f"0-{secrets.token_hex(4)}"))
        if name:
            atomic_symlink(f"trees/{name}", self.trees.current)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.trees.current)

    def _back_up_entry(self, look: Look) -> None:
        backup = f"{self.conf_dir}/nginx.conf.before-pyweb"
        if look.entry is not None and not os.path.exists(backup):
            self._write(backup, look.entry)

    def _write_entry(self, content: str | None) -> None:
        self._write(self.nginx.entry, content)

    def _write(self, path: str, content: str | None) -> None:
        owner = pwd.getpwuid(os.geteuid())
        apply_files([File(path, content, owner=owner.pw_name, group=grp.getgrgid(owner.pw_gid).gr_name)])

    def _serve_again(self, look: Look, back: str | None, certificates: bool) -> None:
        """The way back ends with nginx running what it ran; a failure here must not hide the one that led here."""
        with contextlib.suppress(NginxError):
            master = self.nginx.master()
            if master is None and (look.running or back):
                self.nginx.start(back)
            elif master is not None and back and (certificates or self.nginx.loaded(master) != back):
                self.nginx.reload(back)
            elif master is not None and not back and self.nginx.loaded(master):
                os.kill(master, 1)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One run at a time: two would prune each other's trees. The kernel frees the lock of a run that was killed."""
        if not os.path.isdir(self.trees.home):
            if not os.path.isdir(self.conf_dir):
                raise NginxError(
                    f"nginx can't be configured: {self.conf_dir} does not exist. Install the package nginx and run "
                    "again."
                )
            make_folder(self.trees.home)
        with open(self.lock_path, "a", encoding="ascii") as stream:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise NginxError(
                            f"Another run has been changing nginx's configuration for {LOCK_TIMEOUT} s, and holds "
                            f"{self.trees.home}/.lock. Wait for it to end and run again."
                        ) from None
                    time.sleep(0.1)
            yield


def _must(result: subprocess.CompletedProcess[str], failure: str) -> None:
    if result.returncode:
        raise NginxError(f"{failure}: {result.stderr.strip()}")


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _diff(header: str, before: str, after: str) -> dict[str, str]:
    # A file that is not valid UTF-8 is healed like any other; Ansible can't carry its bytes.
    before = before.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def invalid_files(files: list[dict[str, Any]]) -> str | None:
    """What makes the list of files unusable, None if nothing does."""
    paths = [item["path"] for item in files]
    for path in paths:
        if os.path.isabs(path) or os.path.normpath(path) != path or path.startswith(".."):
            return f"files has the path {path!r}. Use one that stays inside the tree, as sites/shop.conf does."
        if path == LOADED or paths.count(path) > 1:
            why = "twice" if path != LOADED else "which is reserved"
            return f"files has the path {path!r} {why}. Give each file its own."
    main = [item["content"] for item in files if item["path"] == "nginx.conf"]
    if not main:
        return "files has no nginx.conf. Add the main file."
    if f"{TREE}/{LOADED}" not in main[0]:
        return f"nginx.conf lacks the line 'error_log {TREE}/{LOADED} emerg;', by which a reload is verified. Add it."
    return None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "str", "required": True},
                    "content": {"type": "str", "required": True},
                },
            },
            "secret_files": {"type": "dict", "default": {}, "no_log": True},
            "owners": {
                "type": "list",
                "elements": "str",
                "choices": [nginx_owners.APPLICATIONS, nginx_owners.OWN_SITES],
                "default": [nginx_owners.OWN_SITES],
            },
            "removed": {"type": "list", "elements": "str", "default": []},
            "certificates": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "mode": {"type": "str", "required": True, "choices": ["selfsigned", "provided", "acme"]},
                    "names": {"type": "list", "elements": "str", "default": []},
                    "port": {"type": "int", "default": 443},
                    "http_port": {"type": "int", "default": 80},
                    "certificate": {"type": "str", "default": ""},
                    "key": {"type": "str", "default": "", "no_log": True},
                    "certificate_path": {"type": "str", "default": ""},
                    "key_path": {"type": "str", "default": "", "no_log": False},
                },
            },
            "acme": {
                "type": "dict",
                "default": {},
                "options": {
                    "directory": {"type": "str", "default": ""},
                    "email": {"type": "str", "default": ""},
                    "ca_bundle": {"type": "str", "default": ""},
                },
            },
            "ca_certificate": {"type": "str", "default": ""},
            "ca_key": {"type": "str", "default": "", "no_log": True},
            "fetch": {"type": "bool", "default": False},
            "renewal": {
                "type": "dict",
                "options": {
                    "service": {"type": "str", "required": True},
                    "timer": {"type": "str", "required": True},
                    "cron": {"type": "str", "required": True},
                },
            },
            "state_dir": {"type": "path", "default": "/var/lib/pyweb"},
            "drop_in": {"type": "str"},
            "conf_dir": {"type": "path", "default": "/etc/nginx"},
            "pid_file": {"type": "path", "default": "/run/nginx.pid"},
            "error_log": {"type": "path", "default": "/var/log/nginx/error.log"},
            "init": {"type": "str", "choices": ["auto", "systemd", "none"], "default": "auto"},
            **stamps.OPTIONS,
        },
        supports_check_mode=True,
    )
    trouble = invalid_files(module.params["files"])
    result: dict[str, Any] = {}
    if trouble is None:
        transaction = Transaction(
            module.params, module.get_bin_path("nginx", opt_dirs=["/usr/sbin", "/usr/local/sbin"])
        )
        try:
            result = transaction.run(module.check_mode)
        except NginxError as error:
            trouble = str(error)
        except OSError as error:
            trouble = f"Installing nginx's configuration in {module.params['conf_dir']} failed: {error}"
        for warning in transaction.warnings:
            module.warn(warning)
    if trouble:
        module.fail_json(msg=trouble)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
