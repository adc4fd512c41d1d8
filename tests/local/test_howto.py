# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The how-tos: Ansible reads each inventory, and the validator accepts it. The code is that of tests/apps/howto."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.cut_connections import cut_connections
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.unused import unused_settings
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import resolved_webapps
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import (
    input_problems,
    misspelt_inputs,
    single_inputs,
)
from pyweb_documents import CHECKOUT, HOWTO, blocks, inventories, write

PAGES = sorted(path for path in HOWTO.glob("*.md") if path.name != "README.md")
APPS = CHECKOUT / "tests" / "apps" / "howto"
# Pages whose inventory has several folders, and those that one command names.
TOGETHER = {"environments": [("common", "staging"), ("common", "production")]}
SETS = [
    pytest.param(path, number, sources, id=f"{path.stem}-{number}-{'-'.join(sources)}")
    for path in PAGES
    for number, files in enumerate(inventories(path.read_text()))
    if any("group_vars" in name for name in files)
    for sources in TOGETHER.get(path.stem, [("inventory",)])
]
# The keys of an inventory that Ansible itself reads.
OWN_WORDS = re.compile(r"ansible_\w+|vault_\w+|shop_\w+|environment_name|secrets|webapps(_\w+)?")


@pytest.fixture
def sops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that decrypts a file which is not encrypted."""
    program = tmp_path / "bin" / "sops"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = --decrypt ] && exec cat "$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def hosts_of(folder: Path, sources: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The variables of each host in the group web, as a run has them."""
    loader = DataLoader()
    names = [folder / (name if name == "inventory" else f"inventories/{name}") for name in sources]
    inventory = InventoryManager(loader=loader, sources=[str(name) for name in names])
    manager = VariableManager(loader=loader, inventory=inventory)
    return {host.name: manager.get_vars(host=host) for host in inventory.get_hosts("web")}


def problems_of(variables: dict[str, Any]) -> list[str]:
    """The problems and warnings of a run about the inventory of a host."""
    templar = Templar(loader=DataLoader(), variables=variables)
    webapps, problems = resolved_webapps(variables, templar.template)
    inputs = {name: templar.template(variables[name]) for name in single_inputs() if name in variables}
    nginx = {name.removeprefix("nginx_"): value for name, value in inputs.items() if name.startswith("nginx_")}
    apps, found, *_ = checked_inventory(webapps, "/srv/webapps", nginx)
    problems += [*found, *misspelt_inputs(variables), *input_problems(inputs)]
    return problems + unused_settings(webapps, apps) + cut_connections(apps)


@pytest.mark.usefixtures("sops")
@pytest.mark.parametrize(("path", "number", "sources"), SETS)
def test_the_validator_accepts_the_inventory(path: Path, number: int, sources: tuple[str, ...], tmp_path: Path) -> None:
    text = path.read_text()
    write(inventories(text)[number], tmp_path)
    (tmp_path / "secrets.sops.yml").write_text("secret_key: x\n")
    found = hosts_of(tmp_path, sources)
    assert found, "the inventory has no host in the group web"
    defined = set.union(*(set(variables) for variables in found.values()))
    # Secrets that another page describes.
    secrets = {name: "secret" for name in re.findall(r"\bvault_\w+", text) if name not in defined}
    for variables in found.values():
        assert problems_of(variables | secrets) == []


@pytest.mark.parametrize(("path", "number", "sources"), SETS)
def test_the_files_set_only_variables_that_have_a_use(path: Path, number: int, sources: tuple[str, ...]) -> None:
    for name, text in inventories(path.read_text())[number].items():
        if "_vars/" in name:
            unknown = [
                key for key in yaml.safe_load(text) if key not in single_inputs() and not OWN_WORDS.fullmatch(key)
            ]
            assert unknown == [], name


def test_every_page_has_an_inventory() -> None:
    assert {param.values[0] for param in SETS} == {*PAGES}


def test_a_wrong_inventory_is_refused(tmp_path: Path) -> None:
    files = inventories((HOWTO / "django.md").read_text())[0]
    text = files["inventory/group_vars/web.yml"].replace("wsgi:", "wsgy:").replace("immutable", "imutable")
    write({**files, "inventory/group_vars/web.yml": f"webapp_keep_release: 3\n{text}"}, tmp_path)
    (variables,) = hosts_of(tmp_path, ("inventory",)).values()
    problems = "\n".join(problems_of(variables | {"vault_secret_key": "x"}))
    assert "'wsgy'" in problems
    assert "'imutable'" in problems
    assert "'webapp_keep_release'" in problems


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_code_of_a_page_is_that_of_the_tested_application(path: Path) -> None:
    code = "\n".join(
        line.strip() for file in sorted(APPS.rglob("*.py")) for line in file.read_text().splitlines()
    ).splitlines()
    shown = [
        line.strip()
        for block in blocks(path.read_text())
        if block.language == "python"
        for line in block.text.splitlines()
    ]
    assert [line for line in shown if line not in code and not line.startswith("celery.conf.beat_schedule")] == []


def headings(path: Path) -> list[str]:
    return re.findall(r"^## (.*)", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_page_says_what_is_seen_and_what_goes_wrong(path: Path) -> None:
    assert "What goes wrong" in headings(path)
    assert "What you see" in headings(path)


# Messages of other programs that the tables quote.
FOREIGN = re.compile(
    r"Invalid HTTP_HOST header|CSRF verification failed|Origin checking failed|attempt to write a readonly database|"
    r"Peer authentication failed|role \"|fe_sendauth|too many clients|Attempting to decrypt|sops: not found|"
    r"Failed to get the data key|Host key verification failed|Permission denied|no such table|.*[=:{].*|if __name__.*"
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_quoted_message_is_in_the_code(path: Path) -> None:
    """The symptoms of the last table: a text of several words is a message of the collection or of a known program."""
    table = path.read_text().partition("| symptom |")[2]
    code = "\n".join(file.read_text() for file in sorted((CHECKOUT / "plugins").rglob("*.py")))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    for row in table.splitlines()[2:]:
        if not row.startswith("|"):
            break
        for message in re.findall(r"`([^`]+ [^`]+)`", row.split("|")[1]):
            piece = max(re.split(r"'[^' ]+'", message), key=len).strip()
            assert piece in code or FOREIGN.match(message), f"{path.name} quotes {message!r}, which no code prints"
