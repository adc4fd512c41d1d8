# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whatever is broken on a host: the doctor names it, its cause and the remedy, and changes nothing.

Each case of cases.yml is tried on all hosts that can have it. Cases that concern one application share a run: each has
an application of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import yaml
from certificate_factory import make
from conftest import APPS, ILL, INVENTORY, TESTS, Place
from pyweb_data import merged
from pyweb_places import everywhere
from pyweb_playbooks import CHECKOUT, Run

CASES = yaml.safe_load((TESTS / "cases.yml").read_text())
SECRET = "no-message-shows-this"
WELL = "rm -f $home/shared/mood/mood"

# The doctor must not change any file, except logs and the files that processes write.
LOOK = r"""
find /etc /srv/webapps /run/webapps /run/nginx.pid ! -path '/run/webapps/*/*' -printf '%p %m %u %g %l\n' 2>&1 | sort
find /etc /srv/webapps /run/nginx.pid ! -type d -printf '%p %T@\n' 2>&1 | sort
"""


@dataclass
class Trial:
    """One run of the doctor: which application of the hosts is broken in which way."""

    alone: bool
    cases: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def takes(self, case: dict[str, Any]) -> str:
        """The application that a case may have here; none if it may not be here at all."""
        if self.alone or case.get("alone"):
            # Two cases that concern all of the host need two kinds of hosts.
            inits = [*(one.get("init") for _app, one in self.cases), case.get("init")]
            free = not self.cases or sorted(map(str, inits)) == ["none", "systemd"]
            return app_of(case) if free and self.alone == bool(case.get("alone")) else ""
        free = [name for name in ([case["app"]] if "app" in case else ILL) if name not in dict(self.cases)]
        return free[0] if free else ""


def app_of(case: dict[str, Any]) -> str:
    """The application that is looked at, of a case that concerns all of the host."""
    return case.get("app", case.get("apps", [{}])[0].get("name", "ailing"))


def planned(cases: list[dict[str, Any]]) -> list[Trial]:
    trials: list[Trial] = []
    for case in sorted(cases, key=lambda case: not case.get("slow")):
        trial = next((one for one in trials if one.takes(case)), None)
        if trial is None:
            trial = Trial(bool(case.get("alone")))
            trials.append(trial)
        trial.cases.append((trial.takes(case), case))
    return trials


TRIALS = planned(CASES)
ALONE = [number for number, trial in enumerate(TRIALS) if trial.alone]


def marks(number: int) -> list[pytest.MarkDecorator]:
    """A case that concerns all of the host has a run of its own: every third of these is the sample."""
    return [pytest.mark.matrix] if number in ALONE and ALONE.index(number) % 3 else []


def variables(case: dict[str, Any]) -> dict[str, Any]:
    """The variables of a run for a case that concerns all of the host."""
    lookup = "{{ lookup('ansible.builtin.env', 'MOLECULE_PROJECT_DIRECTORY') }}"
    ailing, *_others = yaml.safe_load(INVENTORY.read_text().replace(lookup, str(CHECKOUT)))["webapps"]
    changed = {"webapps": [merged(ailing, change) for change in case["apps"]]} if "apps" in case else {}
    return {**changed, "app": app_of(case)}


def concerned(case: dict[str, Any], places: list[Place]) -> list[Place]:
    return [place for place in places if case.get("init", place.init) == place.init]


def await_health(place: Place, app: str) -> None:
    """Until the next case can begin."""
    deadline = time.monotonic() + 60
    while True:
        try:
            if place.visit(app, "/healthz").text == "ok\n":
                return
        except requests.RequestException:
            pass
        assert time.monotonic() < deadline, f"{app} on {place.name} was not repaired"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def certificates(places) -> None:
    """On each host, in /var/tmp, certificates for the site `sealed` that will not do, or not for long."""
    names = ["sealed.example.com", "www.sealed.example.com"]
    made = {
        "expired": make(names, expired=True),
        "ending": make(names, days=9.5),
        "other": make(["other.example.com"]),
        "newer": make(names),
    }
    for name, one in made.items():
        script = f"umask 077; cat >/var/tmp/{name}.pem"
        everywhere(lambda place, script=script, one=one: place.run(script, given=one.certificate + one.key), places)


@dataclass
class Outcome:
    """The doctor's report, and the files before and after it, by host."""

    run: Run
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="session")
def outcome_of(certificates, places, run_playbook) -> Callable[[int], Outcome]:
    """The outcome of a case; those of a trial have it in common."""
    outcomes: dict[int, Outcome] = {}
    # The next trials would find these faults again, each after a long wait.
    unmended: list[str] = []

    def tried(trial: Trial) -> Outcome:
        pairs = [(place, app, case) for app, case in trial.cases for place in concerned(case, places)]
        ill = [place for place in places if place in [one for one, _app, _case in pairs]]

        def do(what: str, usual: str) -> None:
            with ThreadPoolExecutor(len(pairs)) as pool:
                list(pool.map(lambda pair: pair[0].do(pair[2].get(what, usual), pair[1]), pairs))

        def looked() -> dict[str, str]:
            return dict(zip([place.name for place in ill], everywhere(lambda place: place.run(LOOK), ill), strict=True))

        try:
            do("break", ":")
            before = looked()
            told = variables(trial.cases[0][1]) if trial.alone else {}
            run = run_playbook("pyweb.stack.doctor", told, "--limit", ",".join(place.name for place in ill))
            return Outcome(run, before, looked())
        finally:
            unmended.append(" and ".join(case["case"] for _app, case in trial.cases))
            do("mend", WELL)
            for place in ill:
                for app in ILL:
                    await_health(place, app)
            unmended.clear()

    def outcome(number: int) -> Outcome:
        assert not unmended, f"the hosts are still broken from the case: {unmended[0]}"
        if number not in outcomes:
            outcomes[number] = tried(TRIALS[number])
        return outcomes[number]

    return outcome


def test_every_case_is_tried_once_and_none_disturbs_another():
    tried = [case["case"] for trial in TRIALS for _app, case in trial.cases]
    assert sorted(tried) == sorted(case["case"] for case in CASES)
    for trial in TRIALS:
        apps, inits = zip(*((app, case.get("init")) for app, case in trial.cases), strict=True)
        assert {bool(case.get("alone")) for _app, case in trial.cases} == {trial.alone}
        assert len(set(inits if len(inits) > 1 and trial.alone else apps)) == len(trial.cases)


@pytest.fixture(scope="session")
def healthy(run_playbook) -> Run:
    return run_playbook("pyweb.stack.doctor")


def test_hosts_that_are_fine_are_said_to_work(host, healthy):
    name = host.backend.host
    message = healthy.message(name)
    assert healthy.status == 0
    assert healthy.counts(name)["changed"] == 0
    for app in APPS:
        assert f"{app} on {name} works.\n  Checked: name, port," in message
    assert "broken" not in message
    assert "watch" not in message


@pytest.mark.parametrize(
    ("number", "app", "case"),
    [
        pytest.param(number, app, case, id=case["case"].replace(",", "").replace(" ", "-"), marks=marks(number))
        for number, trial in enumerate(TRIALS)
        for app, case in trial.cases
    ],
)
def test_what_is_broken_is_named(number, app, case, places, outcome_of):
    outcome = outcome_of(number)
    assert outcome.run.status == 0
    assert SECRET not in outcome.run.output
    ill = concerned(case, places)
    assert ill
    for place in ill:
        assert_named(case, app, place.name, outcome.run.message(place.name))
        assert outcome.after[place.name] == outcome.before[place.name], "the doctor changed something"
        if not TRIALS[number].alone:
            assert told_of("neighbour", place.name, outcome.run.message(place.name)).startswith("works.\n")


def told_of(app: str, host: str, message: str) -> str:
    """The report on an application, after its name and the name of the host."""
    begin = f"{app} on {host} "
    (told,) = [part for part in re.split(r"^(?=\S)", message, flags=re.MULTILINE) if part.startswith(begin)]
    return told.removeprefix(begin)


def assert_named(case: dict[str, Any], app: str, host: str, message: str) -> None:
    told = told_of(app, host, message)
    if case.get("works"):
        assert told.startswith("works, but:")
        finding = told.partition(f"watch: {case['link']}\n")[2]
    else:
        how = "answers its visitors, but a part of it DOES NOT WORK" if case.get("partly") else "DOES NOT WORK"
        assert told.startswith(f"{how}. The first failing part: {case['link']}\n")
        finding = told.partition("\n")[2]
    finding = finding.partition("  also broken:")[0].partition("  watch:")[0]
    for words in case["says"]:
        assert re.sub(r"\bNAME\b", app, words) in finding
    for part in ("seen: ", "cause: ", "fix: "):
        assert finding.count(f"    {part}") == 1
