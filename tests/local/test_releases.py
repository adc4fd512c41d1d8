# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lock of an application, held and left by real processes."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release import programs
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import has_lock_holder, lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import programs_of_deployments
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    ReleaseError,
    now,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what a release says of itself belongs to root")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("shop", str(tmp_path / "srv"), str(tmp_path / "run"))
    os.makedirs(layout.releases)
    os.makedirs(layout.venvs)
    return layout


# The lock

HOLDER = """
    import sys
    sys.path.insert(0, {path!r})
    from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import lock
    from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
    with lock(Layout("shop", {root!r}), "alice@desk"):
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def holder(layout: Layout) -> subprocess.Popen[str]:
    """Another process that holds the lock."""
    path = next(entry for entry in sys.path if entry.endswith(".collections"))
    code = textwrap.dedent(HOLDER.format(path=path, root=layout.root))
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_told_who_holds_the_lock(layout: Layout, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(ReleaseError, match="another deployment is under way") as caught, lock(layout, "bob"):
        pytest.fail("two at once")
    assert f"alice@desk, since {now():%Y-%m-%d}" in str(caught.value)
    assert f"process {holder.pid}" in str(caught.value)


def test_the_lock_of_a_killed_run_is_free(layout: Layout, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock(layout, "bob"):
        assert Path(layout.path(".lock")).read_text().startswith("bob, since ")
    with lock(layout, "carol"):
        pass


@needs_root
def test_programs_of_a_run_that_was_killed_are_ended_by_the_next(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(programs, "account", {"shop": nobody}.get)

    def start(**marks: str) -> subprocess.Popen[bytes]:
        argv = ["/bin/sh", "-c", "sleep 60; true"]
        return subprocess.Popen(argv, env=marks, user=nobody.pw_uid, start_new_session=True, cwd="/")

    mine, other, service = start(WEBAPP_DEPLOYMENT="shop"), start(WEBAPP_DEPLOYMENT="shop2"), start()
    # Its environment can't be read in a container; its session can.
    unmarked = start()
    Path(layout.command).write_text(f"{unmarked.pid}\n")
    try:
        with lock(layout, "a run that ends"):
            pass
        with lock(layout, "bob"):
            assert {mine.poll(), unmarked.poll()} == {None}, "no run was killed, so no process must be stopped"
        Path(layout.path(".lock")).write_text("alice, since then, process 1\n")
        assert has_lock_holder(layout)
        with lock(layout, "bob"):
            assert programs_of_deployments(layout) == []
            assert (other.poll(), service.poll()) == (None, None)
        assert not has_lock_holder(layout)
    finally:
        for process in (mine, other, service, unmarked):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
