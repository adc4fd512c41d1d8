# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Fixtures of all scenarios: the host from inside (testinfra's `host`, as root) and from outside (`http`).

A pytest plugin, loaded by the verifier (see .config/molecule/config.yml).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import testinfra.utils.ansible_runner
from testinfra.host import Host


@dataclass(frozen=True)
class Machine:
    """The declared and the actual properties of a host."""

    name: str
    address: str
    init: str  # "systemd" or "none"
    suite: str  # "bookworm", "trixie"
    variables: Mapping[str, Any]


@pytest.fixture
def facts(host: Host) -> Machine:
    """Name, address, init, suite and inventory variables of this host."""
    variables = host.ansible.get_variables()
    os_release = host.file("/etc/os-release").content_string
    suite = next(
        line.partition("=")[2].strip('"') for line in os_release.splitlines() if line.startswith("VERSION_CODENAME=")
    )
    return Machine(
        name=variables["inventory_hostname"],
        address=variables["ansible_host"],
        init="systemd" if host.file("/run/systemd/system").is_directory else "none",
        suite=suite,
        variables=variables,
    )


@pytest.fixture
def url(facts: Machine) -> str:
    """The base of this host's site as its visitors reach it, without a slash at the end."""
    return f"http://{facts.address}"


@pytest.fixture
def http(url: str) -> Callable[..., requests.Response]:
    """Asks this host from the controller, as a visitor: `http("/path", headers={"Host": "shop.example.com"})`.

    Redirects are not followed unless asked for, no proxy stands between, and every question ends after ten seconds.
    """
    session = requests.Session()
    session.trust_env = False

    def ask(path: str = "/", method: str = "GET", **options: Any) -> requests.Response:
        options.setdefault("allow_redirects", False)
        options.setdefault("timeout", 10)
        target = path if path.startswith(("http://", "https://")) else url + path
        return session.request(method, target, **options)

    return ask


@pytest.fixture
def json_of(host: Host) -> Callable[..., Any]:
    """The JSON output of a command on the host, as data: `json_of("ss", "--json")`."""

    def run(*argv: str) -> Any:
        return json.loads(host.check_output(" ".join(["%s"] * len(argv)), *argv))

    return run


# A green verify has asked every host of the scenario


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fails when no test asks a host of the inventory: a pattern that matches nothing would look like success."""
    inventory = session.config.getoption("ansible_inventory")
    pattern = session.config.getoption("hosts") or ""
    if not inventory or not pattern.startswith("ansible://") or os.environ.get("PYWEB_ALONE") == "only":
        return
    runner = testinfra.utils.ansible_runner.AnsibleRunner.get_runner(inventory)
    wanted = set(runner.get_hosts(pattern.removeprefix("ansible://")))
    asked = {
        item.callspec.params["_testinfra_host"].backend.host
        for item in session.items
        if isinstance(item, pytest.Function) and "_testinfra_host" in getattr(item, "fixturenames", ())
    }
    missing = wanted - asked
    if missing or not wanted:
        names = ", ".join(sorted(missing)) if wanted else "any host"
        raise pytest.UsageError(f"no test asks {names}: is there a test_*.py with a test of `host`?")
