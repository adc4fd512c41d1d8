# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A release command whose run is gone: the next run reports it, and ends it on request."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.release import holders, locking
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import Busy, lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from hostile_account import needs_root

from local import test_building as builds
from local.test_building import NAME, Bench

pytestmark = needs_root

# Fixtures
account, bench, public, uv = builds.account, builds.bench, builds.public, builds.uv

# A module on the host that runs a release command, as sudo and a shell start it.
MODULE = """
import sys
sys.path.insert(0, {path!r})
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import doing
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_as_account
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
layout = Layout({name!r}, {root!r})
with lock(layout, "alice@desk"), doing(layout, "the release command 'migrate'"):
    run_as_account(layout, ["/bin/sh", "-c", "setsid sleep 333 & sleep 334; true"], "/", {{}}, None)
"""
# The process of sshd for one connection, and the sshd that listens, which starts it.
SESSION = "import subprocess, sys; subprocess.run(['/bin/sh', '-c', '\"$@\"; true', 'sh', *sys.argv[1:]])"
LISTENING = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"


class Connection:
    """A connection of SSH to this machine, and the module that it has started."""

    def __init__(self, bench: Bench) -> None:
        self.layout = bench.layout
        path = next(entry for entry in sys.path if entry.endswith(".collections"))
        module = bench.folder / "module.py"
        module.write_text(textwrap.dedent(MODULE.format(path=path, name=NAME, root=bench.layout.root)))
        sshd = bench.folder / "sshd"
        sshd.symlink_to(sys.executable)
        session = [str(sshd), "-B", "-c", SESSION, sys.executable, "-B", str(module)]
        self.listening = subprocess.Popen(
            [str(sshd), "-c", LISTENING, *session], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.listening.stdout is not None
        self.session = int(self.listening.stdout.readline())
        assert wait_for(lambda: len(commands()) == 2, 20), "the release command has not started"
        holder = holders.read(self.layout)
        assert holder is not None
        self.module = holder.process.pid

    def close(self) -> None:
        holders.end(self.layout)
        self.listening.kill()
        self.listening.communicate()


def commands() -> list[str]:
    return [line for line in builds.running() if line.endswith(("sleep 333", "sleep 334"))]


@pytest.fixture
def connection(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setattr(locking, "settings", locking.Settings())
    one = Connection(bench)
    yield one
    one.close()
    with lock(bench.layout, "the test"):
        assert wait_for(lambda: commands() == [], 10)


def refused(layout: Layout) -> str:
    with pytest.raises(Busy) as caught, lock(layout, "bob@desk", patience=0):
        pytest.fail("two at once")
    return str(caught.value)


def assert_under_way(connection: Connection) -> None:
    message = refused(connection.layout)
    assert "another deployment is under way: alice@desk, since " in message
    assert f"process {connection.module}. It is running the release command 'migrate'. Wait" in message
    assert f"If you know that its run is gone, end it on this host with 'kill -9 {connection.module}' first." in message
    locking.settings.end_lost = True
    assert "another deployment is under way" in refused(connection.layout), "a run that exists is never ended"
    assert len(commands()) == 2


def assert_lost(connection: Connection) -> None:
    locking.settings.end_lost = False
    message = refused(connection.layout)
    for words in (
        "an earlier deployment still works on this host, but its run is gone: alice@desk, since ",
        f"process {connection.module}",
        "It is running the release command 'migrate'",
        "-e end_lost_command=true",
    ):
        assert words in message
    assert len(commands()) == 2, "a command is ended only on request"
    locking.settings.end_lost = True
    with lock(connection.layout, "bob@desk", patience=0):
        assert wait_for(lambda: commands() == [], 10)
        assert not os.path.exists(f"/proc/{connection.module}/exe") or holders.start_of(connection.module) == ""
    (note,) = locking.settings.take_notes()
    assert "ended the work of an earlier run that is gone: alice@desk" in note


def test_a_connection_that_has_ended_shows_that_its_run_is_gone(connection: Connection) -> None:
    assert_under_way(connection)
    os.kill(connection.session, signal.SIGKILL)
    assert wait_for(lambda: not holders.start_of(connection.session), 10)
    assert_lost(connection)


def test_a_channel_that_is_closed_shows_that_its_run_is_gone(connection: Connection) -> None:
    # ControlPersist keeps the connection for the next run.
    assert_under_way(connection)
    assert connection.listening.stdout is not None
    connection.listening.stdout.close()
    assert_lost(connection)


def test_an_sshd_that_is_restarted_ends_no_run(connection: Connection) -> None:
    connection.listening.kill()
    time.sleep(0.1)
    # The test itself reads the output on, as the process for the connection does.
    assert_under_way(connection)


def test_another_process_with_the_same_number_is_not_ended(bench: Bench) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        own = holders.Process(other.pid, holders.start_of(other.pid))
        Path(bench.layout.path(".lock")).touch()
        # Started at another time; and a process that does not hold the lock.
        for process in (holders.Process(other.pid, "1"), own):
            holders.save(bench.layout, holders.Holder(process, [holders.Process(1, "1")]))
            assert holders.lost(bench.layout) is None
            holders.end(bench.layout)
            assert other.poll() is None
        other.kill()


def test_a_build_can_be_ended_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "settings", locking.Settings(end_lost=True))
    reader, writer = os.pipe()
    path = next(entry for entry in sys.path if entry.endswith(".collections"))
    code = MODULE.format(path=path, name=NAME, root=bench.layout.root).partition("with lock")[0]
    code += "with lock(layout, 'alice@desk'):\n    import time; time.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-B", "-c", code], stdout=writer) as lost:
        os.close(writer)
        assert wait_for(lambda: holders.read(bench.layout) is not None, 20)
        assert "under way" in refused(bench.layout)
        os.close(reader)
        with lock(bench.layout, "bob@desk", patience=0):
            pass
        assert lost.wait(10) == -signal.SIGKILL
