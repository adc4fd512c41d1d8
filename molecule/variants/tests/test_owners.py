# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sites of the operator's own beside those of the applications: no playbook removes what is not its own."""

from __future__ import annotations

import pytest
from conftest import PAIR
from pyweb_places import everywhere

FRONT = "molecule/variants/front.yml"
SITES = {
    "nginx_sites": [
        {"name": "docs", "domains": ["docs.example.com"], "extra": 'location = / { return 200 "docs\\n"; }'},
    ]
}
NONE = {"nginx_sites": []}
REMOVED = "no longer serves"


@pytest.fixture
def run(run_playbook):
    """Runs a playbook for a host of each Debian; what it says."""

    def once(playbook, given=None, unchanged=False):
        told = run_playbook(playbook, given, "--limit", ",".join(PAIR))
        assert told.status == 0
        if unchanged:
            assert [told.counts(name)["changed"] for name in PAIR] == [0, 0]
        return " ".join(told.output.split())

    return once


def served(pair) -> list[str]:
    """The sites that answer on both hosts, as visitors see it."""

    def on(place) -> list[str]:
        answers = {
            name: place.ask(path, headers={"Host": f"{name}.example.com"} if name != "hello" else {})
            for name, path in (("hello", "/facts"), ("second", "/facts"), ("docs", "/"))
        }
        # A host that no site names gets the default site, hello, so that each has to say who it is.
        apps = [name for name in ("hello", "second") if answers[name].json()["application"] == name]
        return apps + (["docs"] if answers["docs"].text == "docs\n" else [])

    first, second = everywhere(on, pair)
    assert first == second
    return first


@pytest.mark.matrix
def test_each_playbook_leaves_the_sites_of_the_other_alone(run, pair):
    without, everything = ["hello", "second"], ["hello", "second", "docs"]
    assert served(pair) == without
    run(FRONT, SITES)
    run(FRONT, SITES, unchanged=True)
    # The role alone: one site, then no list at all.
    for playbook, given in ((FRONT, SITES), (FRONT, None), ("pyweb.stack.site", None), ("pyweb.stack.site", SITES)):
        assert REMOVED not in run(playbook, given)
        assert served(pair) == everything
    run("pyweb.stack.site", SITES, unchanged=True)
    assert f"{REMOVED} the site 'docs' (docs.example.com)" in run(FRONT, NONE)
    assert served(pair) == without
    # Both lists in one run, then one of them is empty.
    assert REMOVED not in run("pyweb.stack.site", SITES)
    assert served(pair) == everything
    assert f"{REMOVED} the site 'docs' (docs.example.com)" in run("pyweb.stack.site", NONE)
    assert served(pair) == without
