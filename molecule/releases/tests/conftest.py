# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of the scenario, what serves on them, and the load that goes on while something is done to them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pyweb_places
import yaml
from pyweb_data import each, merged
from pyweb_playbooks import PROGRAM, Run, usual_environment

CHECKOUT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(__file__).resolve().parent.parent / "inventory"
# One of each process manager on each Debian; what is tried on the first and the last, or on the two between, is tried
# on both process managers and on both Debians.
HOSTS = list(yaml.safe_load((INVENTORY / "hosts.yml").read_text())["releases"]["hosts"])
PATIENT = CHECKOUT / "tests" / "apps" / "patient"
LOAD = CHECKOUT / "tests" / "load" / "load.py"

# Runs on a host, as root: everything that a deployment may change, and what it must not leave behind.
LOOK = r"""
import glob, json, os, pwd, subprocess
def processes(name):
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid != pwd.getpwnam(name).pw_uid:
                continue
            words = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if words:
            found[pid] = words
    return found
def output(*argv):
    return subprocess.run(argv, capture_output=True, text=True).stdout.split("\n")
apps = {}
for home in sorted(glob.glob("/srv/webapps/*")):
    name = os.path.basename(home)
    states, unfinished = {}, []
    for path in glob.glob(f"{home}/releases/*"):
        try:
            states[os.path.basename(path)] = json.load(open(f"{path}/release.json"))
        except (OSError, ValueError):
            unfinished.append(os.path.basename(path))
    if os.path.isdir("/run/systemd/system"):
        units = output("systemctl", "list-units", "--all", "--plain", "--no-legend", f"{name}@*.service")
        # One that is merely remembered, neither active nor failed, is none.
        words = [line.split() for line in units if line]
        instances = [word[0].split("@")[1].removesuffix(".service") for word in words if word[2] != "inactive"]
        links = glob.glob(f"/etc/systemd/system/*.wants/{name}@*.service")
        enabled = [path.split("@")[1].removesuffix(".service") for path in links]
    else:
        lines = [line.split() for line in output("supervisorctl", "status") if line.startswith(f"{name}-2")]
        instances = [line[0].removeprefix(f"{name}-") for line in lines]
        files = glob.glob(f"/etc/supervisor/conf.d/{name}-2*.conf")
        enabled = [os.path.basename(path).removesuffix(".conf").removeprefix(f"{name}-") for path in files]
    leftovers = [path for top in (home, "/etc/systemd/system", "/etc/supervisor", f"/run/webapps/{name}")
                 for path in glob.glob(f"{glob.escape(top)}/**/*.new", recursive=True) if "/venvs/" not in path]
    apps[name] = {
        "current": os.path.basename(os.readlink(f"{home}/current")) if os.path.islink(f"{home}/current") else "",
        "socket": os.readlink(f"{home}/current.sock") if os.path.islink(f"{home}/current.sock") else "",
        "states": {key: value["state"] for key, value in states.items()},
        "venvs_used": sorted({value["venv"] for value in states.values() if value["venv"]}),
        "venvs": sorted(os.listdir(f"{home}/venvs")),
        "unfinished": unfinished,
        "instances": sorted(instances),
        "enabled": sorted(enabled),
        "processes": processes(name),
        "leftovers": leftovers + glob.glob(f"{home}/.activating"),
        "sockets": [path for folder in (f"/run/webapps/{name}", f"/run/webapps/{name}.sockets")
                    if os.path.isdir(folder) for path in sorted(os.listdir(folder))],
    }
print(json.dumps(apps))
"""


class Place(pyweb_places.Place):
    """One host, as its operator and as its visitors reach it, and what its applications are like."""

    @property
    def systemd(self) -> bool:
        return "systemd" in self.name

    def look(self, app: str = "patient") -> dict[str, Any]:
        return json.loads(self.run("python3 -", given=LOOK))[app]

    def neighbour(self) -> dict[str, Any]:
        """What no deployment of the patient may change."""
        found = self.look("hello")
        return {key: found[key] for key in ("current", "socket", "states", "instances", "processes")}

    def settled(self, app: str = "patient") -> dict[str, Any]:
        """What is there, after a look that nothing is there beside the live release."""
        found = self.look(app)
        live = found["current"]
        assert found["instances"] == found["enabled"] == [live], f"{self.name}: {found}"
        assert found["socket"] == f"/run/webapps/{app}.sockets/{live}.sock", f"{self.name}: {found}"
        assert not found["unfinished"] + found["leftovers"], f"{self.name}: {found}"
        assert {name.split(".")[0] for name in found["sockets"]} == {live}, f"{self.name}: {found}"
        strangers = {pid: words for pid, words in found["processes"].items() if f"/releases/{live}/" not in words}
        # A worker's words are its server's, so that every process of the account names its release.
        assert found["processes"], f"{self.name}: nothing runs"
        assert not strangers, f"{self.name}: {strangers}"
        return found


class Load:
    """Visitors of one host, from `with` to its end; then what became of them."""

    def __init__(self, place: Place, folder: Path, rate: float, slow: int) -> None:
        self.place = place
        self.file = folder / f"load-{place.name}-{time.monotonic_ns()}.json"
        words = [f"http://{place.address}/", "--rate", f"{rate:g}", "--slow", f"{slow}", "--seconds", "600"]
        self.process = subprocess.Popen(
            [sys.executable, str(LOAD), *words, "--json", str(self.file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.report: dict[str, Any] = {}

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        finally:
            self.process.kill()
        self.report = json.loads(self.file.read_text())
        kinds = {kind: told["failures"][:2] for kind, told in self.report["kinds"].items() if told["failures"]}
        told = {key: self.report[key] for key in ("requests", "failed", "slowest")}
        print(f"load on {self.place.name}: {told} {kinds or ''}")
        return self.report


@contextlib.contextmanager
def load_on(places: list[Place], folder: Path, rate: float = 50, slow: int = 0) -> Iterator[list[Load]]:
    """Visitors of all these hosts. Whatever happens inside, they are ended."""
    loads = [Load(place, folder, rate, slow) for place in places]
    try:
        time.sleep(0.5)  # until they ask
        yield loads
    finally:
        for load in loads:
            load.end()


def lost_nothing(loads: list[Load]) -> None:
    for load in loads:
        assert load.report["requests"] > 20, f"{load.place.name}: hardly anybody came: {load.report}"
        assert load.report["failed"] == 0, f"{load.place.name}: {json.dumps(load.report, indent=1)}"


def webapps(change: Mapping[str, Any] | None = None, source: Path = PATIENT) -> dict[str, Any]:
    """The inventory's applications with the patient changed, as variables for a run."""
    lookup = "{{ lookup('ansible.builtin.env', 'MOLECULE_PROJECT_DIRECTORY') }}"
    text = (INVENTORY / "group_vars" / "web.yml").read_text().replace(lookup, str(CHECKOUT))
    patient, *others = yaml.safe_load(text)["webapps"]
    patient["source"] = {"path": str(source)}
    return {"webapps": [merged(patient, dict(change or {})), *others]}


# The task of a batch, in a run of several hosts that has built everywhere. A run of one host builds and switches in one
# call. If nothing is left to do then, it has no such task.
TAKE_OVER = "switch | Switch to the new releases"
TOOK_OVER = re.compile(rf"TASK \[.*{re.escape(TAKE_OVER)}.*\] \*+\s+changed: ")


def deploy(run_playbook: Callable[..., Run], variables: Mapping[str, Mapping[str, Any]], alone: bool) -> dict[str, Run]:
    """Deploys to each host what is meant for it, in one run for all, or in a run for each, all at once."""
    if not alone:
        return dict.fromkeys(variables, run_playbook("pyweb.stack.site", each(variables)))
    with ThreadPoolExecutor(len(variables)) as pool:
        runs = pool.map(lambda name: run_playbook("pyweb.stack.site", variables[name], "--limit", name), variables)
        return dict(zip(variables, runs, strict=True))


@pytest.fixture(scope="session")
def places(scenario_inventory: str) -> list[Place]:
    return [Place(name, Path(scenario_inventory)) for name in HOSTS]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the patient whose code a test may change."""
    target = tmp_path / "patient"
    shutil.copytree(PATIENT, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def begin_playbook(inventory: str, folder: Path, variables: Mapping[str, Any], *arguments: str) -> subprocess.Popen:
    """Begins to deploy, in a process group of its own, which a test can kill."""
    given = folder / f"variables-{time.monotonic_ns()}.json"
    given.write_text(json.dumps(variables))
    with given.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [str(PROGRAM), "pyweb.stack.site", "--inventory", inventory, "--extra-vars", f"@{given}", *arguments],
            cwd=CHECKOUT,
            env=usual_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
