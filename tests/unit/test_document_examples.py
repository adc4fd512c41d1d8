# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Every YAML example of the documents has keys and values that the validator accepts.

tests/local/test_howto.py checks whole inventories, and tests/unit/test_readmes.py the READMEs of the roles.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.role_inputs import ITEMS, role_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import misspelt_inputs
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options
from pyweb_documents import CHECKOUT, HOWTO, PAGES, yaml_blocks

APP: dict[str, Any] = {"name": "shop", "source": {"path": "../../shop"}, "wsgi": "shop:app"}
APP_KEYS = role_options("webapp")["webapps"]["options"]
SITE_KEYS = APP_KEYS["site"]["options"]
GROUPS = {"web", "balancer"}
# The files of a howto or of compose that are no inventory of ours: requirements, those of a CI, and variables.
OTHER_FILES = re.compile(
    r"# (compose\.override\.yaml|requirements\.yml|\.github/|\.gitlab-ci|deploy\.yml|inventory|inventories/)"
)
# The examples shorten host keys.
HOST_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
EXAMPLES = [
    pytest.param(block.text, id=f"{path.relative_to(CHECKOUT)}-{block.line}")
    for path in PAGES
    if path.parts[-3] != "roles"
    for block in yaml_blocks(path.read_text())
    if not ((path.parent == HOWTO or path.name == "compose.md") and OTHER_FILES.match(block.text))
]


def plain(value: Any) -> Any:
    """A value with a text for each template and each shortened key."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return re.sub(r"\{\{.*?\}\}", "x", value).replace("AAAAC3…", HOST_KEY) if isinstance(value, str) else value


def app_problems(apps: Any) -> list[str]:
    """The problems of applications, whose required keys an example may leave out."""
    if isinstance(apps, str):  # a lookup that joins lists
        return []
    whole = [app if app.get("state") == "absent" else {**APP, **app} for app in apps]
    return checked_inventory(whole, "/srv/webapps", {}).problems


def problems_of(example: Any) -> list[str]:
    if not isinstance(example, dict):
        return ["the example is no mapping"]
    example = plain(example)
    if example.keys() <= GROUPS:
        wrong = [key for group in example.values() for key in group if key not in ("hosts", "children", "vars")]
        return [f"an inventory has no key {key}" for key in wrong]
    if example.keys() <= APP_KEYS.keys():
        return app_problems([example])
    if example.keys() <= SITE_KEYS.keys():
        return app_problems([{"site": {"domains": ["shop.example.com"], **example}}])
    problems = misspelt_inputs(example)
    own = {name: value for name, value in example.items() if re.fullmatch(r"webapps(_\w+)?", name)}
    for apps in own.values():
        problems += app_problems(apps)
    inputs = {name: value for name, value in example.items() if name not in own}
    owners = {name: role for role in [*ITEMS, "webapp"] for name in role_options(role) if name in inputs}
    problems += [f"no role has the input {name}" for name in inputs if name not in owners]
    for role in {*owners.values()} & ITEMS.keys():
        problems += role_problems(role, {name: inputs[name] for name in inputs if owners.get(name) == role})
    return problems


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_validator_accepts_the_example(text: str) -> None:
    assert problems_of(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("web: {host: {a: }}", "an inventory has no key host"),
        ("webapps: [{name: shop, wsgy: x}]", "'wsgy'"),
        ("site: {domain: [a.example.com]}", "'domain'"),
        ("workers: many", "workers"),
        ("tls: {mode: letsencrypt}", "tls.mode"),
        ("nginx_acme_mail: x", "nginx_acme_mail"),
        ("nginx_sites: [{name: a, location: []}]", "'location'"),
        ("python_uv_version: latest", "python_uv_version"),
    ],
)
def test_a_wrong_example_is_found(text: str, problem: str) -> None:
    assert any(problem in found for found in problems_of(yaml.safe_load(text)))


def test_examples_are_found_at_all() -> None:
    assert len(EXAMPLES) > 45
