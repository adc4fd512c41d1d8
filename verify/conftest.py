# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Checks of deployed sites, for anybody's own inventory: pytest …/pyweb/stack/verify --ansible-inventory inventory

Needs pytest-testinfra beside Ansible. Changes nothing on the hosts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest

# The variables that say how the host was set up; the rest of a run's inputs has no say in what it promises.
INPUTS = {
    "webapps": "{{ webapps }}",
    "root": "{{ webapp_root | default('/srv/webapps') }}",
    "nginx_group": "{{ webapp_nginx_group | default('www-data') }}",
}


def pytest_configure(config: pytest.Config) -> None:
    """The hosts are those that the site playbook is for, unless somebody names others."""
    if not config.option.hosts:
        config.option.hosts = "ansible://web"


@functools.cache
def looked_at(host: Any) -> dict[str, Any]:
    return host.ansible("pyweb.stack.webapp_inspect", json.dumps(INPUTS), check=False, become=True)


@pytest.fixture
def broken(host: Any) -> Callable[[str], list[str]]:
    """Where a promise does not hold: `broken("every domain is healthy")`, one line for each application.

    A promise that applies to no application of the host is skipped, with the reason.
    """

    def find(check: str) -> list[str]:
        found = [
            (app["name"], one) for app in looked_at(host)["apps"] for one in app["checks"] if one["check"] == check
        ]
        assert found, f"no application of this host was asked whether {check}"
        if all(one["state"] == "n/a" for _name, one in found):
            pytest.skip("; ".join(f"{name}: {one['note']}" for name, one in found))  # it applies to none
        return [f"{name}: {one['problem']}" for name, one in found if one["state"] == "failed"]

    return find
