# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application that stops before it starts: a restart of all hosts goes from host to host, so others always serve."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import CHECKOUT, Place
from pyweb_places import everywhere

DOMAIN = "vault.example.com"
VAULT = {
    "name": "vault",
    "source": {"path": str(CHECKOUT / "tests/apps/mirror")},
    "wsgi": "mirror:app",
    "workers": 1,
    "switch": "stop_first",
    "health": {"path": "/healthz"},
    "site": {"domains": [DOMAIN]},
}


@contextmanager
def visitors(balancer: Place) -> Iterator[Counter[int]]:
    """Ten requests a second. Yields their statuses."""
    over, statuses = threading.Event(), Counter()

    def ask() -> None:
        while not over.wait(0.1):
            statuses[balancer.ask("/", headers={"Host": DOMAIN}, timeout=30).status_code] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join(60)


def releases(webs: list[Place]) -> list[str]:
    return everywhere(lambda place: place.run("basename $(readlink -f /srv/webapps/vault/current)").strip(), webs)


@pytest.mark.matrix(whole=True)
def test_a_restart_goes_from_host_to_host(webs, balancers, deploy, run_playbook, numbers):
    run = deploy(next(numbers), more=[VAULT])
    assert run.status == 0, run.output
    before = releases(webs)
    with visitors(balancers[0]) as statuses:
        run = run_playbook("pyweb.stack.restart", {"more": [VAULT], "app": "vault"}, timeout=600)
    assert run.status == 0, run.output
    assert "each host switches for good" in " ".join(run.output.split())
    assert "batch 4 of 4: fleet-web4" in run.output
    after = releases(webs)
    assert not set(after) & set(before)
    # The ID of a release begins with the time of its switch.
    assert after == sorted(after), "one host after the other"
    assert set(statuses) == {200}, statuses
    run = run_playbook("pyweb.stack.remove", {"more": [VAULT], "app": "vault", "confirm": "vault"})
    assert run.status == 0, run.output
