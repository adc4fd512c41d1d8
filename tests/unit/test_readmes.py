# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The examples in the READMEs of the roles: each has a complete play, and sets only inputs that the roles accept.

The scenario `variants` runs the plays on a host.
"""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.role_inputs import ITEMS, role_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import misspelt_inputs
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options
from pyweb_readmes import examples, inputs, plays, role_names, roles_of


@pytest.mark.parametrize("role", role_names())
def test_every_readme_begins_with_a_complete_play(role: str) -> None:
    first = examples(role)[0]
    assert first == plays(role)[:1]
    for play in plays(role):
        assert play["hosts"] == ("balancer" if role == "balancer" else "web")
        assert play["become"] is True
        assert play["gather_facts"] is False
        assert role in roles_of(play)


@pytest.mark.parametrize("role", role_names())
def test_an_example_sets_only_what_the_roles_accept(role: str) -> None:
    problems: list[str] = []
    for example in examples(role):
        given: dict[str, Any] = inputs(example)
        problems += misspelt_inputs(given)
        for one in ITEMS:
            own = {name: value for name, value in given.items() if name in role_options(one)}
            problems += role_problems(one, own) if own else []
    assert problems == []
