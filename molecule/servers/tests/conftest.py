# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of this scenario, and visitors of their applications."""

from __future__ import annotations

import collections
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from pyweb_places import Place

CHECKOUT = Path(__file__).resolve().parents[3]
LOAD = CHECKOUT / "tests" / "load" / "load.py"

# Bytes of an entry's body after its name.
PADDING = 20_000

PATHS = {"board": "/told", "catalogue": "/told", "ticker": "/live/told"}


def served_by(facts: Any, app: str, flipped: bool = False) -> tuple[str, str]:
    """The app server and the process manager that the inventory names."""
    chosen = facts.variables[f"{app}_flipped" if flipped else app]
    return chosen.get("server", "gunicorn"), chosen["process_manager"]


@pytest.fixture
def visit(http: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
    """Asks one application: ``visit("board", "/path")``."""

    def ask(app: str, path: str | None = None, method: str = "GET", **options: Any) -> requests.Response:
        options["headers"] = {"Host": f"{app}.example.com", **options.get("headers", {})}
        return http(path or PATHS[app], method, **options)

    return ask


class Loads:
    """The strict load client against the board of every host, at once."""

    def __init__(self, folder: Path, addresses: Mapping[str, str]) -> None:
        self.folder, self.addresses = folder, addresses
        self.running: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> Loads:
        for name, address in self.addresses.items():
            options = ["--host", "board.example.com", "--rate", "60", "--slow", "2", "--seconds", "900"]
            command = [sys.executable, str(LOAD), f"http://{address}/", *options, "--json", str(self.folder / name)]
            self.running[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(1)
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(30)

    def report(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text())


class Visitors(threading.Thread):
    """Ask one application of every host again and again, and remember what was not right."""

    def __init__(self, app: str, addresses: Mapping[str, str]) -> None:
        super().__init__(daemon=True)
        self.app, self.addresses, self.over = app, addresses, threading.Event()
        self.asked = dict.fromkeys(addresses, 0)
        self.wrong: dict[str, list[Any]] = {name: [] for name in addresses}

    def run(self) -> None:
        while not self.over.wait(0.03):
            for name, address in self.addresses.items():
                self.asked[name] += 1
                try:
                    told(address, self.app)
                except (requests.RequestException, ValueError) as error:
                    self.wrong[name].append(f"{time.strftime('%H:%M:%S')} {error}")


class Depositors(threading.Thread):
    """Enter names in the ledger of one host's vault again and again, and remember the answers."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address, self.over = address, threading.Event()
        # Names that were answered with success, and everything that is neither success nor "come back later".
        self.entered: list[str] = []
        self.unavailable = 0
        self.wrong: list[str] = []
        self.slowest = 0.0

    def run(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            number = 0
            while not self.over.wait(0.03):
                number += 1
                pool.submit(self.enter, f"entry-{id(self)}-{number}")

    def enter(self, name: str) -> None:
        begun = time.monotonic()
        try:
            with requests.Session() as session:
                session.trust_env = False
                headers = {"Host": "vault.example.com"}
                body = f"{name} {'x' * PADDING}"
                answer = session.post(f"http://{self.address}/ledger", body, headers=headers, timeout=30)
        except requests.RequestException as error:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {error}")
            return
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if answer.status_code == 200 and answer.text == f"{name} {PADDING}\n":
            self.entered.append(name)
        elif answer.status_code == 503 and answer.headers.get("Retry-After") == "5":
            self.unavailable += 1
        else:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {answer.status_code} {answer.text[:80]!r}")


@contextlib.contextmanager
def depositing(addresses: Mapping[str, str]) -> Iterator[dict[str, Depositors]]:
    """Visitors of every vault at once."""
    found = {name: Depositors(address) for name, address in addresses.items()}
    for one in found.values():
        one.start()
    time.sleep(0.5)
    try:
        yield found
        time.sleep(0.5)
    finally:
        for one in found.values():
            one.over.set()
        for one in found.values():
            one.join()


def assert_kept(name: str, one: Depositors, address: str) -> None:
    """Whether the visitors got success or a plain refusal, and the vault has all that it answered with success."""
    print(f"{name}: {len(one.entered)} entered, {one.unavailable} got 503, slowest {one.slowest:.1f} s")
    assert one.wrong == []
    assert len(one.entered) > 20
    with requests.Session() as session:
        session.trust_env = False
        ledger = session.get(f"http://{address}/ledger", headers={"Host": "vault.example.com"}, timeout=10).text
    lines = collections.Counter(ledger.split("\n"))
    assert {entry: lines[f"{entry} {PADDING}"] for entry in one.entered} == dict.fromkeys(one.entered, 1)


@pytest.fixture(scope="session")
def addresses(scenario_inventory: str) -> dict[str, str]:
    hosts = json.loads(Path(scenario_inventory, "test_hosts.json").read_text())["all"]["hosts"]
    return {name: variables["ansible_host"] for name, variables in hosts.items()}


@pytest.fixture(scope="session")
def flips(
    run_playbook: Callable[..., Any],
    addresses: dict[str, str],
    places: list[Place],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Every application goes to its other server and process manager under load, then back; and what was in between."""
    found: dict[str, Any] = {}
    visitors = [Visitors(app, addresses) for app in ("catalogue", "ticker")]
    found["nginx"] = {"before": {place.name: nginx_workers(place) for place in places}}
    with Loads(tmp_path_factory.mktemp("load"), addresses) as loads, depositing(addresses) as found["depositors"]:
        for one in visitors:
            one.start()
        found["there"] = run_playbook("pyweb.stack.site", {"flipped": True})
        found["told"] = {name: {app: told(address, app) for app in PATHS} for name, address in addresses.items()}
        found["left"] = {place.name: {app: instances(place, app) for app in PATHS} for place in places}
        found["back"] = run_playbook("pyweb.stack.site", {"flipped": False})
        for one in visitors:
            one.over.set()
            one.join()
    found["nginx"]["after"] = {place.name: nginx_workers(place) for place in places}
    found["load"] = {name: loads.report(name) for name in addresses}
    found["visitors"] = visitors
    return found


def nginx_workers(place: Place) -> list[str]:
    """The process IDs of nginx's workers. A reload replaces all of them."""
    return sorted(place.run("pgrep --parent $(cat /run/nginx.pid)").split())


def told(address: str, app: str) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"http://{address}{PATHS[app]}", headers={"Host": f"{app}.example.com"}, timeout=10)
        answer.raise_for_status()
        return answer.json()


def instances(place: Place, app: str) -> list[str]:
    """Every instance of either process manager, and the files that start one at boot."""
    units = place.run(f"systemctl list-units --all --plain --no-legend '{app}@*.service'").splitlines()
    # A unit that is only loaded, because a command named it, does not count.
    found = {line.split()[0] for line in units if line.split()[2] != "inactive"}
    found |= set(place.run(f"find /etc/systemd/system -name '{app}@*.service' -type l -printf '%f\\n'").split())
    programs = place.run("supervisorctl status", check=False).splitlines()
    found |= {line.split()[0] for line in programs if line.startswith(f"{app}-")}
    files = place.run(f"find /etc/supervisor/conf.d -name '{app}-*.conf' -printf '%f\\n'").split()
    return sorted(found | {name.removesuffix(".conf") for name in files})


def instance(app: str, manager: str, release: str) -> str:
    return f"{app}@{release}.service" if manager == "systemd" else f"{app}-{release}"
