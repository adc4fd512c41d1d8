# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""gixy reports no problem in the configuration that the inventories of this repository produce."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from ansible_collections.pyweb.stack.plugins.filter.nginx_files import nginx_files
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import for_host
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

CHECKOUT = Path(__file__).resolve().parents[2]
# These scenarios have no sites in their inventories, but write them when they run.
WITHOUT_SITES = ("adopt", "controllers", "howto")
INVENTORIES = [
    CHECKOUT / "inventory",
    *(path for path in sorted(CHECKOUT.glob("molecule/*/inventory")) if path.parent.name not in WITHOUT_SITES),
]


def trees(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """The sites and settings of every host of an inventory, each once."""
    monkeypatch.setenv("MOLECULE_PROJECT_DIRECTORY", str(CHECKOUT))
    loader = DataLoader()
    loader.set_basedir(str(CHECKOUT))
    manager = InventoryManager(loader=loader, sources=[str(inventory)])
    variables = VariableManager(loader=loader, inventory=manager)
    names = [name for name in role_options("nginx") if name not in ("nginx_sites", "nginx_required_packages")]
    found = []
    for host in manager.get_hosts():
        known = variables.get_vars(host=host)
        templar = Templar(loader=loader, variables=known)
        sites = templar.template(known.get("nginx_sites", [])) + nginx_sites(templar.template(known.get("webapps", [])))
        settings = {name.removeprefix("nginx_"): templar.template(known[name]) for name in names if name in known}
        if sites and (sites, settings) not in found:
            found.append((sites, settings))
    return found


NEWEST = {"http2_directive", "http3", "fresh_tickets", "mlkem", "reject_handshake", "keepalive_time"}


def hosts(sites: list[dict[str, Any]]) -> list[set[str]]:
    """The facts of the hosts that a tree may come to: the oldest, without certificates yet; the newest, with all."""
    secure = [site["name"] for site in sites if (site.get("tls") or {}).get("mode", "none") != "none"]
    there = {f"{kind}:{name}" for name in secure for kind in ("certificate", "ocsp")}
    return [set(), NEWEST | there] if secure else [set()]


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.parent.name)
def test_gixy_finds_nothing(
    inventory: Path, render: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trees(inventory, monkeypatch)
    assert found, f"{inventory} has no sites"
    for sites, settings in found:
        texts = {file["path"]: file["content"] for file in render("nginx", nginx_files(sites, settings))}
        for facts in hosts(sites):
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            for path, content in for_host(texts, str(folder), True, facts).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content)
            found_there = complaints(folder / "nginx.conf", sites)
            assert not found_there, "\n".join(found_there)


# Accepted reports: the text that a reported line contains, and the pattern that it must match.
ANSWERED = {
    # This "if" holds one uwsgi_pass and nothing else, because no variable can choose between two protocols; tests ask
    # it on real hosts.
    "if_is_evil": ("if (", re.compile(r"if \(-e \S+/current\.uwsgi\) \{\s*uwsgi_pass \S+;\s*\}")),
    # Written where nginx runs with an OpenSSL that has the group.
    "ssl_ecdh_curve": ("ssl_ecdh_curve", re.compile(r"ssl_ecdh_curve X25519MLKEM768:\S+;")),
    # nginx resolves the responder when it loads its configuration; a test verifies that browsers get the OCSP response.
    "ssl_stapling_without_resolver": ("ssl_stapling", re.compile(r"ssl_stapling on;")),
}


def complaints(main: Path, sites: list[dict[str, Any]]) -> list[str]:
    program = Path(sys.executable).with_name("gixy")
    result = subprocess.run([str(program), "--format", "json", str(main)], capture_output=True, text=True, check=False)
    issues = json.loads(result.stdout or "[]")
    return [
        f"{issue['plugin']}: {issue['summary']}: {issue['config']}" for issue in issues if not answered(issue, sites)
    ]


def answered(issue: dict[str, Any], sites: list[dict[str, Any]]) -> bool:
    """Whether every reported line is accepted."""
    if issue["plugin"] == "hsts_header":  # valid for a year, so exactly the strict sites have it
        strict = [site for site in sites if site.get("header_preset") == "strict"]
        names = {name for site in strict for name in [*site["domains"], *site.get("redirects", [])]}
        return not names & set(re.findall(r"[^\s;]+", issue["config"]))
    sign, right = ANSWERED.get(issue["plugin"], ("", re.compile("")))
    return bool(sign) and sign not in right.sub("", issue["config"])
