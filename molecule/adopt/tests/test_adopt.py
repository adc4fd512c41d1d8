# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that people deployed by hand are taken over: no request is lost, and no answer is another one."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from pyweb_places import Place, wait_until
from pyweb_playbooks import CHECKOUT, Run

NAMES = ("one", "two", "three", "four", "five")
EARLY = ("one", "two")
APP = CHECKOUT / "molecule" / "adopt" / "app"
RATE = float(os.environ.get("PYWEB_ADOPT_RATE", "200"))  # requests a second, of all visitors together
KINDS = (
    ("GET", "/", b""),
    ("POST", "/echo", b"what was sent" * 200),
    ("GET", "/missing", b""),
    ("GET", "/slow", b""),
)


@dataclass
class Visitors:
    """Visitors of all applications. Each answer is compared with the first one of its kind."""

    address: str
    first: dict[tuple[str, str], tuple[int, str, bytes]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def ask(self, name: str, kind: tuple[str, str, bytes]) -> tuple[int, str, bytes]:
        method, path, body = kind
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            connection.request(method, path, body or None, {"Host": f"{name}.example.com"})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            connection.close()

    def answers(self, name: str) -> bool:
        try:
            return self.ask(name, KINDS[0])[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def visit(self, name: str, kinds: tuple[tuple[str, str, bytes], ...], pause: float) -> None:
        number = 0
        while not self.stopped.is_set():
            kind = kinds[number % len(kinds)]
            number += 1
            begun = time.monotonic()
            try:
                found = self.ask(name, kind)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{time.time():.2f} {name}{kind[1]}: {error!r}")
                continue
            self.asked[name] += 1
            if found != self.first[name, kind[1]]:
                self.wrong.append(f"{time.time():.2f} {name}{kind[1]}: {found[0]} {found[2][:80]!r}")
            time.sleep(max(0.0, pause - (time.monotonic() - begun)))

    def start(self) -> None:
        quick, slow = KINDS[:3], KINDS[3:]
        for name in NAMES:
            # A server that was started a moment ago may still load the application.
            wait_until(lambda name=name: self.answers(name), 120)
            self.first.update({(name, kind[1]): self.ask(name, kind) for kind in KINDS})
            each = 4
            jobs = [(quick, each * len(NAMES) / RATE)] * each + [(slow, 0.5)]
            self.threads += [threading.Thread(target=self.visit, args=(name, *job), daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(90)


@dataclass
class Adoption:
    """The runs that take everything over."""

    written: dict[str, Any]
    text: str
    secrets: dict[str, str]
    modes: dict[str, int]
    run: Run
    visitors: Visitors
    variables: dict[str, Any]


# The load takes the processors from sudo, too.
PATIENT = {"ANSIBLE_TIMEOUT": "60"}


@pytest.fixture(scope="module")
def adoption(
    places: list[Place], run_playbook: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory
) -> Adoption:
    place = places[0]
    folder = tmp_path_factory.mktemp("adopted") / "inventory"
    visitors = Visitors(place.address)
    visitors.start()
    runs: list[Run] = []
    try:
        time.sleep(2)
        assert run_playbook("pyweb.stack.adopt", {"folder": str(folder)}, environment=PATIENT).status == 0
        files = {path.name: path for path in folder.iterdir()}
        text = files[f"{place.name}.yml"].read_text()
        print(text)
        written, secrets = (yaml.safe_load(path.read_text()) for _name, path in sorted(files.items(), reverse=True))
        apps = {app["name"]: {**app, "source": {"path": str(APP)}} for app in written["webapps"]}
        # The first run switches in the call that builds. The second one has release commands, so it has several stages.
        early = {"webapps": [apps[name] for name in EARLY], **secrets}
        apps["three"]["commands"] = {"release": ["true"]}
        variables = {"webapps": list(apps.values()), **secrets}
        for given in (early, variables):
            runs.append(run_playbook("pyweb.stack.site", given, environment=PATIENT, timeout=900))
        time.sleep(2)
    finally:
        visitors.stop()
    modes = {name: path.stat().st_mode & 0o777 for name, path in files.items()}
    run = Run(max(one.status for one in runs), "".join(one.output for one in runs))
    return Adoption(apps, text, secrets, modes, run, visitors, variables)


def test_the_inventory_says_what_the_tutorials_did(adoption: Adoption) -> None:
    apps = adoption.written
    assert sorted(apps) == sorted(NAMES)
    assert {name: app["wsgi"] for name, app in apps.items()} == dict.fromkeys(NAMES, "app:app")
    assert {name: app["site"]["domains"][0] for name, app in apps.items()} == {
        name: f"{name}.example.com" for name in NAMES
    }
    assert apps["one"]["adopts"] == {"command": "/srv/venv/bin/python /srv/venv/bin/gunicorn -c gun.conf.py app:app"}
    assert apps["two"]["adopts"] == {"unit": "two.service"}
    assert apps["two"]["site"]["static"] == [{"url": "/static/", "path": "static"}]
    assert apps["three"]["adopts"] == {"program": "three"}
    assert apps["four"]["adopts"] == {"command": "/srv/venv/bin/python /srv/venv/bin/uwsgi --ini /srv/four/uwsgi.ini"}
    assert apps["five"]["adopts"] == {"unit": "five.service"}
    assert (apps["four"]["server"], apps["four"]["workers"], apps["four"]["threads"]) == ("uwsgi", 2, 2)
    assert adoption.secrets == {"adopted_two_secret_key": "not for logs"}
    assert "not for logs" not in adoption.text
    assert sorted(adoption.modes.values()) == [0o600, 0o644]
    assert "cpu_count() * 2 + 1: workers: auto" in adoption.text
    assert "/etc/rc.local starts it at boot" in adoption.text


def test_no_request_is_lost_and_no_answer_is_another_one(adoption: Adoption, tell: Callable[[str], None]) -> None:
    assert adoption.run.status == 0
    asked = sum(adoption.visitors.asked.values())
    tell(f"adopted 5 applications: {len(adoption.visitors.wrong)} of {asked} requests failed or differed")
    assert adoption.visitors.wrong == []
    assert all(adoption.visitors.asked[name] > 100 for name in NAMES)


def test_everything_was_reported_before_it_changed(adoption: Adoption) -> None:
    said = " ".join(adoption.run.output.split())
    for name in NAMES:
        assert f"responds until webapps '{name}' has a live release" in said
    assert "other.example.com on port 80" in said
    assert "It stays as it is" in said
    for what in ("the unit two.service is stopped and disabled", "the supervisor program three is stopped"):
        assert what in said
    assert "/etc/rc.local starts it at boot: remove that line" in said
    assert "not for logs" not in said


def test_the_old_processes_are_retired_and_nothing_is_deleted(adoption: Adoption, host: Any) -> None:
    for unit in ("two", "five"):
        assert not host.service(unit).is_running
        assert not host.service(unit).is_enabled
        assert host.file(f"/etc/systemd/system/{unit}.service").exists
    assert "STOPPED" in host.run("supervisorctl status three").stdout
    assert "autostart=false" in host.file("/etc/supervisor/conf.d/three.conf").content_string
    assert host.file("/etc/supervisor/before-pyweb/three.conf").exists
    assert host.run("pgrep -f ^/srv/venv/bin/").stdout == ""
    for path in ("conf.d/three.conf", "sites-enabled/five", "sites-enabled/two", "sites-enabled/four"):
        assert host.run(f"test -L /etc/nginx/before-pyweb/{path} -o -f /etc/nginx/before-pyweb/{path}").succeeded
    assert host.file("/etc/nginx/sites-available/two").exists
    assert host.file("/etc/nginx/nginx.conf.before-pyweb").exists


def test_a_server_that_the_inventory_does_not_serve_stays(adoption: Adoption, http: Callable[..., Any]) -> None:
    assert http("/", headers={"Host": "other.example.com"}).text == "other\n"
    assert http("/static/style.css", headers={"Host": "two.example.com"}).text == "body { color: black; }\n"


def test_a_second_run_changes_nothing(
    adoption: Adoption, places: list[Place], run_playbook: Callable[..., Run]
) -> None:
    run = run_playbook("pyweb.stack.site", adoption.variables)
    assert run.counts(places[0].name)["changed"] == 0
    assert "is live" not in run.output
    assert "responds until" not in run.output
    assert run_playbook("pyweb.stack.verify", adoption.variables).status == 0
