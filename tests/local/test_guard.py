# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The guard of provisional switches: a real process that survives its run, and a real supervisord."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import Process, start_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import Lease, lease_in_effect, read_lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    GOOD,
    Layout,
    Manifest,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import guard
from supervising import Lab, needs_supervisord

from local.test_activation import NEW, OLD

pytestmark = needs_supervisord

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
PACKAGE = "ansible_collections/pyweb/stack/plugins"
RUN = "0242ac11-0002-run"

SERVER = """
import http.server, socketserver, sys
release, path = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(release.encode())
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingUnixStreamServer):
    allow_reuse_address = True
import contextlib, os
with contextlib.suppress(FileNotFoundError):
    os.unlink(path)
Server(path, Handler).serve_forever()
"""
# As Ansible runs a module: all code comes from an archive, which is removed in the end.
MODULE = """
import functools, json, os, sys
archive, root, runtime, config, given = sys.argv[1:]
given = json.loads(given)
sys.path.insert(0, archive)
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import Supervisor
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import settings
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation, probation, retirement, switch
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import stages
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import switch as provisional
for module in (switch, retirement, provisional):
    module.process_manager = lambda name, run: Supervisor(config)
for module in (activation, stages):
    module.Layout = functools.partial(Layout, runtime_root=runtime)
probation.PROBATION = 0.1
def die(self):
    os.kill(os.getpid(), 9)
if given["moment"] == "switching":
    provisional.ProvisionalSwitch.replace_exclusive_processes = die
settings.run = given["run"]
if given["stage"] == "switch":
    answer = activation.activate([given["spec"]], root, run_on_host, "alice@desk")
else:
    answer = stages.end(given["stage"], [given["spec"]], root, run_on_host, "alice@desk", given["run"], 60)
print(json.dumps(answer), flush=True)
os.unlink(archive)
if given["moment"] == "end":
    die(None)
"""


class Host:
    """An application under a supervisord, with an old release that serves and a new one that is built."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self.folder, self.lab = folder, lab
        self.layout = Layout("shop", str(folder / "s"), str(folder / "r"))
        os.makedirs(self.layout.runtime)
        lab.run(lab.program("other"))
        server = folder / "server.py"
        server.write_text(SERVER)
        (lab.folder / "templates" / "shop@.conf").write_text(
            f"[program:shop-%i]\ncommand={sys.executable} {server} %i {self.layout.runtime}/%i.sock\nautostart=true\n"
            f"startsecs=0\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
        )
        for identity, state in ((OLD, GOOD), (NEW, BUILT)):
            os.makedirs(self.layout.release(identity))
            manifest = Manifest(identity, state, {"code": identity}, venv="v", process_manager="supervisor")
            write_manifest(self.layout, manifest)
        lab.provider.start("shop", OLD)
        os.symlink(self.layout.socket(OLD), self.layout.current_socket)
        os.symlink(f"releases/{OLD}", self.layout.current)
        assert wait_for(lambda: self.serving == OLD, 20)

    @property
    def serving(self) -> str:
        return ask(Question(unix_socket=self.layout.current_socket), timeout=10).body

    def call(self, stage: str, *, seconds: float = 60, moment: str = "") -> Any:
        """A module call; its answer, or None if it was killed before."""
        archive = self.folder / "module.zip"
        with zipfile.ZipFile(archive, "w") as stream:
            names = [f"{path}/__init__.py" for path in (PACKAGE.rpartition("/plugins")[0], PACKAGE)]
            names += ["ansible_collections/__init__.py", "ansible_collections/pyweb/__init__.py"]
            folders = [PLUGINS / "module_utils", *(p for p in (PLUGINS / "module_utils").rglob("*") if p.is_dir())]
            names += [f"{PACKAGE}/{path.relative_to(PLUGINS)}/__init__.py" for path in folders]
            for name in names:
                stream.writestr(name, "")
            for path in (PLUGINS / "module_utils").rglob("*.py"):
                stream.write(path, f"{PACKAGE}/{path.relative_to(PLUGINS)}")
        health = {"path": "/", "host": "a.org", "scheme": "http", "status": [], "timeout": 30, "error_timeout": 1}
        spec = {"name": "shop", "state": "present", "candidate": NEW, "process_managers": ["supervisor"], "keep": 3}
        spec |= {"stop_timeout": 5, "workers": 1, "release_commands": [], "health": health, "provisional": True}
        spec |= {"lease": {"run": RUN, "seconds": seconds}}
        given = json.dumps({"spec": spec, "stage": stage, "run": RUN, "moment": moment})
        arguments = [str(archive), self.layout.root, str(self.folder / "r"), str(self.lab.config), given]
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", MODULE, *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.returncode in ((0,) if not moment else (-signal.SIGKILL,)), done.stderr
        return json.loads(done.stdout) if done.stdout else None

    @property
    def lease(self) -> Lease:
        lease = read_lease(self.layout)
        assert lease is not None
        return lease

    def close(self) -> None:
        lease = read_lease(self.layout)
        if lease is not None and lease.is_guarded:
            os.kill(lease.guard["pid"], signal.SIGKILL)


@pytest.fixture
def host(short_path: Path, lab: Lab) -> Iterator[Host]:
    one = Host(short_path, lab)
    yield one
    one.close()


def assert_old_serves(host: Host) -> None:
    assert host.serving == OLD
    assert host.layout.current_release() == OLD
    assert host.lab.provider.instances("shop") == [OLD]


def test_a_guard_survives_its_run_and_goes_back_when_the_lease_ends(host: Host) -> None:
    results, problems = host.call("switch", seconds=4, moment="end")
    assert problems == []
    assert results[0]["provisional"]
    assert host.serving == NEW
    assert not (host.folder / "module.zip").exists()
    process = Process(int(host.lease.guard["pid"]), str(host.lease.guard["start"]))
    assert process.runs
    proc = Path("/proc", str(process.pid))
    assert (proc / "comm").read_text() == f"{guard.NAME}\n"
    assert {os.readlink(path) for path in (proc / "fd").iterdir()} <= {os.devnull}, "no file of the run stays open"
    assert os.readlink(proc / "cwd") == "/"
    assert os.getsid(process.pid) not in (os.getsid(0), process.pid), "it has no session of a terminal"
    assert (lease_in_effect(host.layout) or {})["guarded"]
    assert wait_for(lambda: host.serving == OLD, 10)
    assert wait_for(lambda: not process.runs, 10), "without a lease, it ends"
    assert_old_serves(host)
    last = json.loads(Path(host.layout.history).read_text())
    assert (last["result"], last["run"]) == ("reverted", RUN)
    assert "did not commit the switch until" in last["reason"]


def test_a_guard_ends_after_the_commit(host: Host) -> None:
    host.call("switch")
    process = Process(int(host.lease.guard["pid"]), str(host.lease.guard["start"]))
    results, problems = host.call("confirm")
    assert (problems, results[0]["provisional"]) == ([], True)
    assert host.lease.guard["pid"] == process.pid, "the first guard continues"
    results, problems = host.call("commit")
    assert (problems, results[0]["committed"]) == ([], True)
    assert wait_for(lambda: not process.runs, 10)
    assert host.lab.provider.instances("shop") == [NEW]
    assert host.serving == NEW


def test_a_module_that_is_killed_in_the_switch_is_undone_at_once(host: Host) -> None:
    assert host.call("switch", moment="switching") is None
    assert wait_for(lambda: read_lease(host.layout) is None, 10)
    assert_old_serves(host)
    assert "its switch was interrupted" in Path(host.layout.history).read_text()


def test_a_guard_that_is_gone_is_replaced_by_the_confirmation(host: Host) -> None:
    host.call("switch")
    first = host.lease.guard["pid"]
    os.kill(first, signal.SIGKILL)
    assert wait_for(lambda: not host.lease.is_guarded, 10)
    _results, problems = host.call("confirm")
    assert problems == []
    assert host.lease.is_guarded
    assert host.lease.guard["pid"] != first


def test_without_a_guard_nothing_is_switched(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(layouts: list[Layout], identity: str, run: Any) -> Process:
        raise guard.GuardError("the guard could not be started.")

    monkeypatch.setattr(guard, "start", refuse)
    spec = {"name": "shop", "state": "present", "candidate": NEW, "provisional": True, "lease": {"run": RUN}}
    results, problems = activation.activate([spec], host.layout.root, lambda argv: (0, "", ""), "alice@desk")
    assert results == []
    assert problems == ["webapps 'shop': the guard could not be started. Nothing was switched."]
    assert_old_serves(host)


def test_under_systemd_the_guard_gets_a_scope_of_its_own(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SYSTEMD", str(short_path))
    monkeypatch.setattr(guard, "BUS", str(short_path))
    calls: list[list[str]] = []

    def answer(status: int) -> Callable[[list[str]], tuple[int, str, str]]:
        def run(argv: list[str]) -> tuple[int, str, str]:
            calls.append(argv)
            return status, "", "Call failed: Connection timed out" if status else ""

        return run

    one = Process(os.getpid(), start_of(os.getpid()))
    guard.leave_session(one, answer(0))
    (call,) = calls
    assert call[:2] == ["busctl", "call"]
    assert call[call.index("PIDs") :][:4] == ["PIDs", "au", "1", str(os.getpid())]
    with pytest.raises(guard.GuardError, match=r"scope, so it could end .* Connection timed out\. Look at"):
        guard.leave_session(one, answer(1))


def test_a_guard_costs_next_to_nothing(host: Host) -> None:
    host.call("switch")
    pid = host.lease.guard["pid"]

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(2.5)
    assert ticks() - before <= 5, "hundredths of a second of processor time"
