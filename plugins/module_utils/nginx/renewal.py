# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The timer that renews certificates on the host: its program, its plan, and its unit or cron file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from dataclasses import asdict, replace
from types import ModuleType
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import commands, files, lines, texts, untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, apply_files
from ansible_collections.pyweb.stack.plugins.module_utils.host.source_text import source_text
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import lock, processes, renewal_program
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.certificates import Certificates
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.tls import (
    acme,
    certificate,
    serving,
    signing,
    store,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls import files as tls_files

PROGRAM = "/usr/local/lib/pyweb/certificates.pyz"
# The program of earlier versions.
OLD_PROGRAM = "/usr/local/lib/pyweb/certificates.py"
SERVICE = "/etc/systemd/system/pyweb-certificates.service"
TIMER = "/etc/systemd/system/pyweb-certificates.timer"
WANTS = "/etc/systemd/system/timers.target.wants/pyweb-certificates.timer"
CRON = "/etc/cron.d/pyweb-certificates"

# The files of the program: renewal_program and all that it imports from this collection.
PARTS: tuple[ModuleType, ...] = (
    acme,
    certificate,
    commands,
    files,
    lines,
    lock,
    processes,
    renewal_program,
    serving,
    signing,
    store,
    texts,
    tls_files,
    untrusted,
)
MAIN = f"""\
import sys

from {renewal_program.__name__} import main

sys.exit(main(sys.argv[1:]))
"""


def program() -> bytes:
    """The program as one file that Python runs: a zip archive with the same bytes on every host."""
    sources = {f"{part.__name__.replace('.', '/')}.py": source_text(part) for part in PARTS}
    for path in list(sources):
        while path := os.path.dirname(path):
            sources[f"{path}/__init__.py"] = ""
    sources["__main__.py"] = MAIN
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path, text in sorted(sources.items()):
            packed.writestr(zipfile.ZipInfo(path), text)
    return archive.getvalue()


class Renewal:
    """The timer of this host. It renews certificates without any run of a playbook."""

    def __init__(
        self, texts: dict[str, str] | None, systemd: bool, plan: dict[str, Any], found: Certificates, run: Run
    ) -> None:
        self.systemd = systemd
        self.run = run
        self.plan_path = f"{found.store.folder}/plan.json"
        # A certificate that another program renews on the host is in the plan, too: nginx loads the new one.
        renewing = [one for one in found.wanted if one.mode != "provided" or one.certificate_path]
        # Without texts, nothing of the timer is touched. Without certificates to renew, it is removed.
        self.given = texts
        self.texts = texts if renewing else None
        self.own = sorted(
            (asdict(replace(one, certificate="", key="")) for one in renewing), key=lambda one: one["name"]
        )
        self.own_authority = asdict(found.store.authority)
        self.plan = {
            **plan,
            "folder": found.store.folder,
            "state_folder": found.store.state_folder,
            "authority": self.own_authority,
            "certificates": self.own,
        }

    def keep(self, names: set[str]) -> None:
        """Take the certificates of these sites, which this run does not change, from the plan on the host."""
        plan: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), open(self.plan_path, encoding="utf-8") as stream:
            plan = json.load(stream)
        kept = [one for one in plan.get("certificates", []) if one["name"] in names]
        own = [one for one in self.own if one["name"] not in names]
        everything = sorted([*own, *kept], key=lambda one: one["name"])
        self.plan["certificates"] = everything
        # An authority that only they need is theirs.
        theirs = any(one["mode"] == "acme" for one in kept) and all(one["mode"] != "acme" for one in own)
        self.plan["authority"] = plan["authority"] if theirs else self.own_authority
        self.texts = self.given if everything else None

    def files(self) -> list[File]:
        """The files of the timer as they should be."""
        if self.given is None:
            return []
        wanted: dict[str, str | bytes | None] = dict.fromkeys(
            (PROGRAM, OLD_PROGRAM, self.plan_path, SERVICE, TIMER, CRON)
        )
        if self.texts:
            wanted[PROGRAM] = program()
            wanted[self.plan_path] = json.dumps(self.plan, indent=2) + "\n"
            if self.systemd:
                wanted.update({SERVICE: self.texts["service"], TIMER: self.texts["timer"]})
            else:
                wanted[CRON] = self.texts["cron"]
        return [File(path, content) for path, content in wanted.items()]

    def paths(self) -> list[str]:
        """The paths that a look depends on."""
        return [file.path for file in self.files()] + ([WANTS] if self.texts else [])

    def diffs(self) -> list[dict[str, Any]]:
        """Ansible's diffs of the files that differ."""
        return apply_files(self.files(), check_mode=True)[1]

    def apply(self) -> None:
        """Install the files, or remove them, and have systemd run the timer."""
        timer = os.path.basename(TIMER)
        if self.systemd and not self.texts and os.path.exists(TIMER):
            self.run(["systemctl", "disable", "--now", timer])
        for file in self.files():
            if file.content is not None:
                os.makedirs(os.path.dirname(file.path), mode=0o755, exist_ok=True)
        apply_files(self.files())
        if self.systemd:
            self.run(["systemctl", "daemon-reload"])
            if self.texts:
                must(
                    self.run,
                    "Starting the timer that renews certificates",
                    ["systemctl", "enable", "--now", timer],
                    f"See 'systemctl status {timer}', and run again.",
                    NginxError,
                )
