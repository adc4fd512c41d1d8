# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A managed host that lies: whatever its Python answers, the controller reads and runs nothing for it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import (
    COMMON,
    FACTS,
    answer_of,
    checked_facts,
    input_names,
    shadow_problem,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import LookAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases
from host_facts import GOOD

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.attack("1", "A managed host answers with a fact of another type than the check of the host expects")
@pytest.mark.parametrize("name", FACTS)
def test_every_fact_has_its_type(name: str) -> None:
    assert checked_facts({**GOOD, "sources": {"shop": {"path": "/etc"}}}, "web1") == GOOD
    with pytest.raises(AnsibleActionFail, match=rf"web1 .* pyweb\.{name} is NoneType"):
        checked_facts({**GOOD, name: None}, "web1")


@pytest.mark.attack("1", "A managed host returns data that Ansible would act on, such as tasks or variables")
def test_an_answer_holds_nothing_that_ansible_acts_upon() -> None:
    acted_upon = (
        "ansible_facts add_host add_group ansible_stats ansible_job_id results skipped unreachable failed_when_result "
        "_ansible_notify _ansible_facts_cacheable"
    )
    hostile = {name: {"x": 1} for name in acted_upon.split()}
    answer = answer_of({"changed": True, "apps": [], "warnings": ["w"] * 1000, **hostile}, ("apps",))
    assert answer == {"changed": True, "apps": [], "warnings": ["w"] * 200}


@pytest.mark.attack("1", "A managed host names one of its facts like an input of a role")
@pytest.mark.parametrize("name", sorted(input_names()))
def test_no_input_is_taken_from_facts(name: str) -> None:
    assert name in shadow_problem({"ansible_facts": {name: 1}, "inventory_hostname": "web1"})


def test_usual_facts_are_no_inputs() -> None:
    facts = {"distribution": "Debian", "python_version": "3.11", "pyweb": GOOD, "local": {}, "env": {}, "packages": {}}
    assert shadow_problem({"ansible_facts": facts, "inventory_hostname": "web1"}) == ""


@pytest.mark.attack("1", "A managed host answers with its own address for the source of another host")
def test_settled_sources_hold_a_commit_and_nothing_else() -> None:
    app = {"name": "shop", "source": {"git": "https://git.example.com/shop.git"}, "wsgi": "shop:app"}
    lies = {"commit": "--upload-pack=x", "path": "/root/.ssh", "key": "/root/.ssh/id", "git": "ext::sh -c id"}
    source = releases([app], {**GOOD, "sources": {"shop": lies}})[0]["source"]
    assert source["git"] == "https://git.example.com/shop.git"
    assert not ({"commit"} & set(source) and source["commit"])
    assert not source.get("path")
    assert not source.get("key")


@pytest.mark.parametrize("path", sorted((CHECKOUT / "plugins/action").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_module_documents_is_passed_on(path: Path) -> None:
    action = importlib.import_module(f"ansible_collections.pyweb.stack.plugins.action.{path.stem}").ActionModule
    module = importlib.import_module(f"ansible_collections.pyweb.stack.plugins.modules.{path.stem}")
    # The look checks the facts of the host itself, and passes no others on.
    checked = {"ansible_facts", "deployment"} if issubclass(action, LookAction) else set()
    assert set(yaml.safe_load(module.RETURN) or {}) <= action.returns | COMMON | checked
