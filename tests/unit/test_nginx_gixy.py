# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""gixy finds nothing to complain about in the trees that the inventories of this repository lead to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from ansible_collections.pyweb.stack.plugins.filter.nginx_files import nginx_files
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import for_host
from ansible_collections.pyweb.stack.plugins.plugin_utils.mapping import nginx_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.spec import role_options

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORIES = [CHECKOUT / "inventory", *sorted(CHECKOUT.glob("molecule/*/inventory"))]


def trees(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """The sites and settings of every host of an inventory, each once."""
    monkeypatch.setenv("MOLECULE_PROJECT_DIRECTORY", str(CHECKOUT))
    loader = DataLoader()
    loader.set_basedir(str(CHECKOUT))
    manager = InventoryManager(loader=loader, sources=[str(inventory)])
    variables = VariableManager(loader=loader, inventory=manager)
    names = [name for name in role_options("nginx") if name not in ("nginx_sites", "nginx_packages")]
    found = []
    for host in manager.get_hosts():
        known = variables.get_vars(host=host)
        templar = Templar(loader=loader, variables=known)
        sites = templar.template(known.get("nginx_sites", [])) + nginx_sites(templar.template(known.get("webapps", [])))
        settings = {name.removeprefix("nginx_"): templar.template(known[name]) for name in names if name in known}
        if sites and (sites, settings) not in found:
            found.append((sites, settings))
    return found


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.parent.name)
def test_gixy_finds_nothing(
    inventory: Path, render: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trees(inventory, monkeypatch)
    assert found, f"{inventory} has no sites"
    for number, (sites, settings) in enumerate(found):
        folder = tmp_path / str(number)
        rendered = render("nginx", nginx_files(sites, settings))
        for path, content in for_host({file["path"]: file["content"] for file in rendered}, str(folder), True).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        found_there = complaints(folder / "nginx.conf")
        assert not found_there, "\n".join(found_there)


# Complaints that are answered: the check, and what the lines it is about have in common. An "if" here holds one
# uwsgi_pass and nothing else, because no variable can choose between the two protocols; tests ask it on real hosts.
ANSWERED = [("if_is_evil", re.compile(r"if \(-e \S+/current\.uwsgi\) \{\s*uwsgi_pass \S+;\s*\}"))]


def complaints(main: Path) -> list[str]:
    program = Path(sys.executable).with_name("gixy")
    result = subprocess.run([str(program), "--format", "json", str(main)], capture_output=True, text=True, check=False)
    issues = json.loads(result.stdout or "[]")
    return [f"{issue['plugin']}: {issue['summary']}: {issue['config']}" for issue in issues if not answered(issue)]


def answered(issue: dict[str, Any]) -> bool:
    """Whether every "if" that is complained about is one of those."""
    return any(
        issue["plugin"] == plugin and "if (" not in pattern.sub("", issue["config"]) for plugin, pattern in ANSWERED
    )
