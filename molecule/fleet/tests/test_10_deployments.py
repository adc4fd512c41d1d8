# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Deployments to all hosts while visitors are there: none of them notices."""

from __future__ import annotations

import pytest
from conftest import assert_settled
from pyweb_places import everywhere


def test_nginx_serves_on_every_host(host):
    assert host.run("pgrep -x nginx").rc == 0


def test_a_deployment_loses_no_request(webs, traffic, deploy, numbers):
    build = next(numbers)
    with traffic() as visitors:
        run = deploy(build)
    assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    assert_settled(webs, build)


@pytest.mark.matrix(whole=True)
def test_ten_deployments_in_a_row_lose_no_request(webs, traffic, deploy, numbers):
    with traffic() as visitors:
        for build in (next(numbers) for _ in range(10)):
            run = deploy(build)
            assert run.status == 0, run.output
            assert_settled(webs, build)
    visitors.assert_nothing_was_lost()


@pytest.mark.matrix(whole=True)
def test_a_second_run_changes_nothing(webs, traffic, deploy, numbers):
    build = next(numbers)
    assert deploy(build).status == 0
    before = assert_settled(webs, build)
    with traffic() as visitors:
        run = deploy(build)
    assert [run.counts(place.name)["changed"] for place in webs] == [0] * len(webs)
    visitors.assert_nothing_was_lost()
    assert [place.look() for place in webs] == before
    assert len(everywhere(lambda place: place.orders(), webs)) == len(webs)
