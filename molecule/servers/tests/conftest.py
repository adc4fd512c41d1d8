# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of this scenario, and visitors of their applications."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

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
            options = ["--host", "board.example.com", "--rate", "60", "--slow", "2", "--seconds", "150"]
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


@pytest.fixture(scope="session")
def addresses(scenario_inventory: str) -> dict[str, str]:
    hosts = json.loads(Path(scenario_inventory, "test_hosts.json").read_text())["all"]["hosts"]
    return {name: variables["ansible_host"] for name, variables in hosts.items()}


@pytest.fixture(scope="session")
def flips(
    run_playbook: Callable[..., Any], addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The board goes to the other app server under load, then back; what came of it, and what it told in between."""
    found: dict[str, Any] = {}
    with Loads(tmp_path_factory.mktemp("load"), addresses) as loads:
        found["there"] = run_playbook("pyweb.stack.site", {"flipped": True})
        found["told"] = {name: told(address) for name, address in addresses.items()}
        found["back"] = run_playbook("pyweb.stack.site", {"flipped": False})
    found["load"] = {name: loads.report(name) for name in addresses}
    return found


def told(address: str) -> dict[str, Any]:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"http://{address}/told", headers={"Host": "board.example.com"}, timeout=10).json()
