# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Each role alone, as somebody uses it who wants nothing else of the collection."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("on_alone")


@pytest.fixture
def on_alone(host):
    if host.backend.host != "variants-alone":
        pytest.skip("this host has the whole site")


def test_nginx_serves_an_upstream_of_its_own(http):
    answer = http("/")
    assert answer.status_code == 200
    assert answer.text.startswith("100% $HOME to ")


def test_the_service_runs_as_its_account_in_a_sandbox(host):
    service = host.service("greeter")
    assert service.is_running
    assert service.is_enabled
    pid = host.check_output("systemctl show -p MainPID --value greeter")
    assert host.check_output(f"ps -o user= -p {pid}") == "greeter"
    assert host.check_output("systemctl show -p NoNewPrivileges --value greeter") == "yes"


def test_gunicorn_runs_by_the_settings(host):
    """One master and the two workers that were asked for, on the address that was given and on no other."""
    assert len(host.process.filter(user="greeter")) == 3
    assert host.socket("tcp://127.0.0.1:8000").is_listening
    assert not host.socket("tcp://0.0.0.0:8000").is_listening


def test_nothing_of_the_other_roles_came_along(host):
    assert not host.file("/srv/webapps").exists
    assert not host.package("supervisor").is_installed
