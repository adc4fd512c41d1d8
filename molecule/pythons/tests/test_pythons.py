# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Interpreters that uv provides, and environments that were changed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

PROVIDED = "/opt/pyweb/python/cpython-3.11.99-linux-x86_64-gnu"


def environment(host: Any, name: str) -> str:
    return str(host.check_output(f"readlink -f /srv/webapps/{name}/current/venv"))


@pytest.mark.parametrize("name", ["named", "chosen"])
def test_an_application_runs_with_the_version_it_asks_for(http: Any, name: str) -> None:
    assert http("/", headers={"Host": f"{name}.example.com"}).text == f"3.11.99 {PROVIDED}"


def test_an_application_without_a_version_runs_with_that_of_the_host(host: Any) -> None:
    assert "home = /usr/bin" in host.file(f"{environment(host, 'system')}/pyvenv.cfg").content_string


def test_no_account_but_root_can_change_a_provided_interpreter(host: Any) -> None:
    found = host.check_output("find /opt/pyweb/python ! -user root -o ! -type l -perm /022")
    assert found == ""
    for account in ("named", "nobody"):
        assert host.run(f"setpriv --reuid {account} --clear-groups {PROVIDED}/bin/python3.11 -c 0").rc == 0


def test_status_shows_the_interpreters(host: Any, run_playbook: Callable[..., Any]) -> None:
    assert host.exists("nginx")  # the test runs in its place among the tests of the host
    run = run_playbook("pyweb.stack.status")
    assert run.output.count("3.11.99 (uv)") == 2


def test_a_package_removed_by_hand_is_reported_and_replaced(host: Any, run_playbook: Callable[..., Any]) -> None:
    old = environment(host, "system")
    host.check_output(f"rm -r {old}/lib/python3.11/site-packages/flask*")
    assert "environment is as installed" in run_playbook("pyweb.stack.verify").output
    assert "(removed: flask" in run_playbook("pyweb.stack.doctor", {"app": "system"}).output
    release = json.loads(host.file("/srv/webapps/system/current/release.json").content_string)["id"]
    refused = run_playbook("pyweb.stack.restart", {"app": "system"}).output
    assert f"the release {release} can't run" in refused
    run = run_playbook("pyweb.stack.site")
    assert "A new environment replaces it." in run.output
    assert environment(host, "system") != old
    assert run_playbook("pyweb.stack.verify").output.count("failed=0") == 1
    rollback = run_playbook("pyweb.stack.rollback", {"app": "system"}).output
    assert f"the release {release} can't run" in rollback


def test_an_interpreter_that_nobody_needs_is_removed(host: Any, run_playbook: Callable[..., Any]) -> None:
    changes = {"python_archives": []}
    run_playbook("pyweb.stack.site", changes)
    assert host.file(PROVIDED).exists, "two applications use it"
    for name in ("named", "chosen"):
        run_playbook("pyweb.stack.remove", {"app": name, "confirm": name})
    host.check_output("rm -rf /srv/webapps/named /srv/webapps/chosen")
    run_playbook("pyweb.stack.restart", {"app": "system"})
    assert not host.file(PROVIDED).exists
