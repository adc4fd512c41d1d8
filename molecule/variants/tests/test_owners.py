# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites of the operator's own beside those of the applications: no playbook removes what is not its own."""

from __future__ import annotations

import pytest

FRONT = "molecule/variants/front.yml"
DOCS = {"Host": "docs.example.com"}
SECOND = {"Host": "second.example.com"}
SITES = {
    "nginx_sites": [
        {"name": "docs", "domains": ["docs.example.com"], "extra": 'location = / { return 200 "docs\\n"; }'},
    ]
}
NONE = {"nginx_sites": []}
REMOVED = "no longer serves"


@pytest.fixture(scope="module")
def run(host, run_playbook):
    """Runs a playbook for this host."""
    if host.backend.host not in ("variants-supervisor", "variants-noinit"):
        pytest.skip("one host of each Debian will do")

    def once(playbook, given=None, unchanged=False):
        told = run_playbook(playbook, given, "--limit", host.backend.host)
        assert told.status == 0
        if unchanged:
            assert told.counts(host.backend.host)["changed"] == 0
        return told.output

    return once


def served(http) -> dict[str, bool]:
    """Whether the sites answer, as visitors see it; a host that no site names gets the default site, hello."""
    docs = http("/", headers=DOCS)
    return {
        "hello": http("/healthz").status_code == 200,
        "second": http("/healthz", headers=SECOND).status_code == 200,
        "docs": docs.text == "docs\n",
    }


def test_each_playbook_leaves_the_sites_of_the_other_alone(run, http):
    everything = {"hello": True, "second": True, "docs": True}
    without = {**everything, "docs": False}
    assert served(http) == without
    run(FRONT, SITES)
    run(FRONT, SITES, unchanged=True)
    # The role alone: one site, then no list at all.
    for playbook, given in ((FRONT, SITES), (FRONT, None), ("pyweb.stack.site", None), ("pyweb.stack.site", SITES)):
        assert REMOVED not in run(playbook, given)
        assert served(http) == everything
    run("pyweb.stack.site", SITES, unchanged=True)
    assert "no longer serves the site 'docs' (docs.example.com)" in " ".join(run(FRONT, NONE).split())
    assert served(http) == without
    # Both lists in one run, then one of them is empty.
    assert REMOVED not in run("pyweb.stack.site", SITES)
    assert served(http) == everything
    assert "no longer serves the site 'docs' (docs.example.com)" in " ".join(run("pyweb.stack.site", NONE).split())
    assert served(http) == without
