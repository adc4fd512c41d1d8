# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What every deployed site promises, asked of the running systems. The same as the playbook verify."""

from __future__ import annotations

import pytest

PROMISES = (
    "the release runs and is good",
    "no other release runs",
    "it comes back after a boot",
    "nginx runs what is configured",
    "it is started again when it ends",
    "its workers stay alive",
    "nginx is started again when it ends",
    "it listens on loopback only",
    "every domain is healthy",
    "every redirect leads to the first domain",
    "http leads to https",
    "its certificate is valid",
    "its headers are set",
    "nginx hides its version",
    "static files come from nginx",
    "secrets are for the application alone",
    "no other account can read its files",
    "no other account can reach its processes",
    "its command lines hold no secret",
    "it sees no processes of others",
    "it can not change its own code",
    "its environment is as installed",
    "what its builds trust is closed to it",
    "its commands are sandboxed",
    "only nginx reaches its socket",
    "its sockets belong to root",
    "its units are hardened",
    "its background processes run",
    "its jobs are scheduled",
)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.replace(" ", "-"))
def test_a_site_keeps_its_promises(promise, broken):
    assert broken(promise) == []
