# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of this scenario, and visitors of their applications."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from pyweb_places import Place

CHECKOUT = Path(__file__).resolve().parents[3]
LOAD = CHECKOUT / "tests" / "load" / "load.py"

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
    with Loads(tmp_path_factory.mktemp("load"), addresses) as loads:
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
