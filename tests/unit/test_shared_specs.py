# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ansible needs the options of a site in the specification of every role that has them. The copies are equal."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

# Options with other items in each role: the locations of nginx lead anywhere, and those of an application to it.
OWN = {"locations"}


def sites(*path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a site, or of a part of one, in the role nginx and in the role webapp."""
    found = (
        role_options("nginx")["nginx_sites"]["options"],
        role_options("webapp")["webapps"]["options"]["site"]["options"],
    )
    for key in path:
        found = (found[0][key]["options"], found[1][key]["options"])
    return found


def without_texts(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification without its descriptions."""
    return {
        key: {name: without_texts(option) for name, option in value.items()} if key == "options" else value
        for key, value in spec.items()
        if key != "description"
    }


@pytest.mark.parametrize("path", [(), ("locations",)], ids=["site", "locations"])
def test_an_option_of_both_roles_is_the_same_in_both(path: tuple[str, ...]) -> None:
    of_nginx, of_webapp = sites(*path)
    both = of_nginx.keys() & of_webapp.keys() - OWN
    assert len(both) > 15
    for name in both:
        assert without_texts(of_nginx[name]) == without_texts(of_webapp[name]), name
