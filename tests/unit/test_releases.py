# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases on the host: which one to activate, which ones to remove, the lock, and the records."""

from __future__ import annotations

import dataclasses
import datetime
import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy
from ansible_collections.pyweb.stack.plugins.module_utils.release import locking, releases
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import choose, choose_rollback, skipped
from ansible_collections.pyweb.stack.plugins.module_utils.release.cloning import clone
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import (
    differing_parts,
    digest,
    new_identity,
    secret_digest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import has_lock_holder, lock, settings
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import (
    prunable,
    prune,
    prune_waiting,
    unfinished,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILDING,
    BUILT,
    GOOD,
    WITHDRAWN,
    Layout,
    Manifest,
    ReleaseError,
    has_environment,
    manifests,
    now,
    read_manifest,
    record,
    remove_tree,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching.retirement import remove_temporary_files

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what a release says of itself belongs to root")

WANTED = {"code": "c", "dependencies": "d", "settings": "s", "secrets": "x"}


def manifest(number: int, state: str = GOOD, venv: str = "", leans_on: str = "", **fingerprint: str) -> Manifest:
    known = {**WANTED, **fingerprint}
    return Manifest(f"2026112{number}T000000Z-abcdef00", state, known, venv=venv, leans_on=leans_on)


def different(number: int, state: str = GOOD) -> Manifest:
    """A release with code of its own."""
    return manifest(number, state, code=f"code {number}")


def identity(number: int) -> str:
    return manifest(number).id


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout("shop", str(tmp_path / "srv"), str(tmp_path / "run"))
    os.makedirs(layout.releases)
    os.makedirs(layout.venvs)
    return layout


def put(layout: Layout, *known: Manifest) -> None:
    for one in known:
        os.makedirs(layout.release(one.id), exist_ok=True)
        write_manifest(layout, one)
        if one.venv:
            os.makedirs(os.path.join(layout.venvs, one.venv), exist_ok=True)


# Which release to activate


def test_nothing_is_wanted_that_is_live() -> None:
    assert choose(WANTED, identity(1), [manifest(1)]) == ("none", None, [])


def test_the_first_release_has_every_reason() -> None:
    assert choose(WANTED, None, []) == ("build", None, ["code", "dependencies", "settings", "secrets"])


@pytest.mark.parametrize("part", ["code", "dependencies", "settings", "secrets"])
def test_each_part_is_a_reason(part: str) -> None:
    assert choose(WANTED, identity(1), [manifest(1, **{part: "old"})]) == ("build", None, [part])


@pytest.mark.parametrize("state", [BUILT, GOOD, WITHDRAWN])
def test_a_finished_release_is_used_again(state: str) -> None:
    known = [manifest(3, state), manifest(2, code="old"), manifest(1)]
    assert choose(WANTED, identity(2), known) == ("reuse", identity(3), ["code"])


def test_an_upgrade_of_packages_builds_a_release_in_any_case() -> None:
    known = [manifest(3), manifest(2, code="old")]
    assert choose(WANTED, identity(3), known, upgrade=True) == ("build", None, ["dependencies"])
    assert choose(WANTED, identity(2), known, upgrade=True) == ("build", None, ["code"])


@pytest.mark.parametrize("state", [BAD, BUILDING])
def test_a_bad_or_unfinished_release_never_is(state: str) -> None:
    assert choose(WANTED, identity(1), [manifest(2, state), manifest(1, code="old")])[0] == "build"


def test_a_live_release_that_is_gone_is_built_anew() -> None:
    assert choose(WANTED, identity(9), []) == ("build", None, ["code", "dependencies", "settings", "secrets"])


def test_a_part_that_is_missing_differs() -> None:
    assert differing_parts(WANTED, {"code": "c"}) == ["dependencies", "settings", "secrets"]


def test_a_rollback_goes_to_the_newest_good_one_before() -> None:
    known = [different(5), different(4), different(3, BAD), different(2), different(1)]
    assert choose_rollback("shop", "", identity(4), known) == identity(2)
    assert choose_rollback("shop", identity(5), identity(4), known) == identity(5)
    for wanted, words in ((identity(3), "it is bad"), (identity(4), "already live"), ("x", "no such release")):
        with pytest.raises(ReleaseError, match=words):
            choose_rollback("shop", wanted, identity(4), known)
    with pytest.raises(ReleaseError, match="no release to roll back to"):
        choose_rollback("shop", "", identity(1), known)


def test_a_rollback_after_a_restart_changes_the_code() -> None:
    # 3 and 4 are copies of 2, which restarts have made.
    known = [manifest(4, code="new"), manifest(3, code="new"), manifest(2, code="new"), manifest(1, code="old")]
    assert choose_rollback("shop", "", identity(4), known) == identity(1)
    copies = [f"{identity(number)} (the same content as the live one)" for number in (3, 2)]
    assert skipped(identity(1), identity(4), known) == copies
    # A copy can still be named.
    assert choose_rollback("shop", identity(3), identity(4), known) == identity(3)


def test_a_rollback_says_if_there_are_only_copies() -> None:
    known = [manifest(3), manifest(2), manifest(1, BAD)]
    with pytest.raises(ReleaseError) as caught:
        choose_rollback("shop", "", identity(3), known)
    assert f"Skipped: {identity(2)} (the same content as the live one), {identity(1)} (bad)" in str(caught.value)


def test_a_rollback_takes_an_upgrade_of_packages_back() -> None:
    # An upgrade installs newer packages for the same inputs. So only the environment differs.
    known = [manifest(3, venv="new"), manifest(2, venv="old"), manifest(1, code="old", venv="old")]
    assert choose_rollback("shop", "", identity(3), known) == identity(2)


def test_restarts_do_not_remove_the_release_to_roll_back_to() -> None:
    known = [manifest(1, code="old"), *(manifest(number) for number in range(2, 9))]
    assert identity(1) not in prunable(known, identity(8), 3)


# Which releases to remove


def test_the_live_one_and_the_one_before_it_never_go() -> None:
    known = [different(number) for number in range(1, 10)]
    for live in range(1, 10):
        gone = prunable(known, identity(live), 2)
        assert identity(live) not in gone
        if live > 1:
            assert choose_rollback("shop", "", identity(live), [one for one in known[::-1] if one.id not in gone])


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_at_least_two_are_kept(keep: int) -> None:
    known = [manifest(1), manifest(2), manifest(3)]
    assert prunable(known, identity(3), keep) == [identity(1)]


def test_the_one_before_stays_though_others_were_withdrawn_since() -> None:
    known = [different(4), different(3, WITHDRAWN), different(2, WITHDRAWN), different(1)]
    assert prunable(known, identity(4), 2) == [identity(2)]
    assert choose_rollback("shop", "", identity(4), known) == identity(1)
    assert choose_rollback("shop", identity(3), identity(4), known) == identity(3)


@needs_root
def test_a_release_stays_while_an_environment_points_into_it(layout: Layout) -> None:
    first = manifest(1, leans_on=identity(1))
    put(layout, first)
    os.makedirs(os.path.join(layout.release(first.id), "bin"))
    restarted = clone(layout, first)
    assert restarted.leans_on == first.id
    others = [manifest(number, code="x") for number in (6, 7, 8)]
    assert prunable([first, restarted, *others], restarted.id, 2) == [identity(7), identity(6)]
    assert identity(1) in prunable([manifest(1), Manifest(restarted.id, GOOD), *others], restarted.id, 2)


def test_one_bad_one_and_one_that_waits_are_kept() -> None:
    known = [manifest(1), manifest(2, BAD), manifest(3, BAD), manifest(4), manifest(5, BUILT), manifest(6, BUILT)]
    assert prunable(known, identity(4), 2) == [identity(5), identity(2)]


def test_what_was_built_for_nobody_goes() -> None:
    known = [manifest(1), manifest(2, BUILT), manifest(3)]
    assert prunable(known, identity(3), 5) == [identity(2)]
    # Before the first release is live, every finished one may become live.
    assert prunable([manifest(2, BUILT)], None, 5) == []


def test_a_live_one_that_is_bad_stays() -> None:
    known = [manifest(1, BAD), manifest(2, BAD), manifest(3)]
    assert identity(1) not in prunable(known, identity(1), 2)


@needs_root
def test_pruning_takes_what_is_unfinished_and_environments_of_nobody(layout: Layout) -> None:
    put(
        layout, manifest(1, venv="old"), manifest(2, venv="shared"), manifest(3, venv="shared"), manifest(4, venv="new")
    )
    os.makedirs(os.path.join(layout.releases, "unfinished", "src"))
    os.makedirs(os.path.join(layout.venvs, "orphan"))
    os.symlink(f"releases/{identity(2)}", layout.current)
    assert sorted(prune(layout, 2)) == [identity(3), "unfinished"]
    assert sorted(os.listdir(layout.releases)) == [identity(1), identity(2), identity(4)]
    assert sorted(os.listdir(layout.venvs)) == ["new", "old", "shared"]


@needs_root
def test_pruning_spares_a_live_release_that_cannot_be_read(layout: Layout) -> None:
    put(layout, manifest(1))
    (Path(layout.release(identity(1))) / "release.json").write_text("{ torn")
    os.symlink(f"releases/{identity(1)}", layout.current)
    assert prune(layout, 2) == []
    assert os.path.isdir(layout.release(identity(1)))


@needs_root
def test_a_host_that_never_switches_keeps_the_newest_builds(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ended_runs", ["failed"])
    minute_ago = f"{now() - datetime.timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    put(layout, manifest(1), manifest(2), manifest(3, BUILT))
    # Other runs may still switch to what was built a minute ago, except the one that has ended.
    recent = [dataclasses.replace(manifest(number, BUILT), created=minute_ago) for number in (4, 5, 6, 7, 8)]
    put(layout, *recent[:3], dataclasses.replace(recent[3], run="failed"), recent[4])
    os.symlink(f"releases/{identity(2)}", layout.current)
    assert sorted(prune_waiting(layout)) == [identity(3), identity(4), identity(7)]
    assert sorted(os.listdir(layout.releases)) == [identity(number) for number in (1, 2, 5, 6, 8)]


@needs_root
def test_the_newest_build_stays_whatever_its_run(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "ended_runs", ["failed"])
    put(layout, manifest(1), *(dataclasses.replace(manifest(number, BUILT), run="failed") for number in (2, 3)))
    os.symlink(f"releases/{identity(1)}", layout.current)
    assert prune_waiting(layout) == [identity(2)]


# Identity


def test_identities_sort_by_time_and_are_unique() -> None:
    moment = datetime.datetime(2026, 11, 21, 1, 7, 35, tzinfo=datetime.UTC)
    first = new_identity(WANTED, moment, [])
    assert first == f"20261121T010735Z-{digest(WANTED)[:8]}"
    second = new_identity(WANTED, moment, [first])
    third = new_identity(WANTED, moment, [first, second])
    assert first < second < third


def test_a_clock_that_was_set_back_changes_no_order() -> None:
    newest = identity(5)
    then = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    fresh = new_identity(WANTED, then, [identity(1), newest])
    assert fresh.startswith("20261125T000001Z-")
    live = Manifest(fresh, GOOD, {"code": "new"})
    assert choose_rollback("shop", "", fresh, [live, manifest(5), manifest(1)]) == newest
    assert newest not in prunable([live, manifest(5), manifest(1)], fresh, 2)


def test_equal_values_have_one_digest() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})


@needs_root
def test_the_digest_of_secrets_is_keyed_by_a_file_of_root(layout: Layout) -> None:
    first = secret_digest(layout, {"A": "b"})
    assert secret_digest(layout, {"A": "b"}) == first
    assert secret_digest(layout, {"A": "c"}) != first
    key = Path(layout.path(".fingerprint_key"))
    assert key.stat().st_mode & 0o777 == 0o600
    key.unlink()
    assert secret_digest(layout, {"A": "b"}, create_key=False) != first
    assert not key.exists()


# Manifests


@needs_root
@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", '{"state": "good"}'])
def test_a_torn_manifest_is_none(layout: Layout, text: str) -> None:
    put(layout, manifest(1), manifest(2))
    (Path(layout.release(identity(2))) / "release.json").write_text(text)
    assert read_manifest(layout, identity(2)) is None
    assert [one.id for one in manifests(layout)] == [identity(1)]


@needs_root
def test_a_manifest_of_a_later_version_is_read(layout: Layout) -> None:
    put(layout, manifest(1))
    path = Path(layout.release(identity(1))) / "release.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "news": 1}))
    assert read_manifest(layout, identity(1)) == manifest(1)


def test_no_folder_has_no_releases(tmp_path: Path) -> None:
    layout = Layout("shop", str(tmp_path / "none"))
    assert manifests(layout) == []
    assert layout.current_release() is None
    assert prune(layout, 2) == []


@needs_root
def test_a_clone_names_itself_and_leaves_the_original_alone(layout: Layout) -> None:
    put(layout, manifest(1))
    folder = Path(layout.release(identity(1)))
    (folder / "bin").mkdir()
    (folder / "src").mkdir()
    (folder / "src/app.py").write_text(f"# {identity(1)}")
    (folder / "env").write_text(f"WEBAPP_RELEASE={identity(1)}\nODD='\udce4'\n", errors="surrogateescape")
    os.chown(folder / "env", 0, 12345)
    (folder / "env").chmod(0o640)
    copy = clone(layout, manifest(1))
    new = Path(layout.release(copy.id))
    assert copy.state == BUILT
    assert f"WEBAPP_RELEASE={copy.id}\n".encode() in (new / "env").read_bytes()
    assert ((new / "env").stat().st_mode & 0o777, (new / "env").stat().st_gid) == (0o640, 12345)
    assert identity(1).encode() in (folder / "env").read_bytes()
    assert (new / "src/app.py").read_text() == f"# {identity(1)}"
    assert read_manifest(layout, identity(1)) == manifest(1)


def test_a_file_that_another_run_writes_is_no_leftover(layout: Layout) -> None:
    written = Path(layout.path(".sandbox.json.0123abcd.new"))
    written.touch()
    assert unfinished(layout) == []
    Path(layout.path(".lock")).write_text("a run that was killed")
    assert unfinished(layout) == [str(written)]
    Path(layout.path(".lock")).write_text("")
    os.utime(written, (0, 0))
    assert unfinished(layout) == [str(written)]


def test_a_lock_whose_file_is_removed_meanwhile_is_taken_anew(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    flock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        # A removal completes after the file was opened.
        monkeypatch.setattr(locking.fcntl, "flock", flock)
        os.unlink(layout.path(".lock"))
        flock(descriptor, operation)

    monkeypatch.setattr(locking.fcntl, "flock", late)
    with lock(layout, "bob"):
        assert Path(layout.path(".lock")).read_text().startswith("bob, since ")
        with pytest.raises(ReleaseError, match="bob, since "), lock(layout, "carol", patience=0):
            pytest.fail("two at once")


def test_a_failure_under_the_lock_frees_it(layout: Layout) -> None:
    with pytest.raises(ZeroDivisionError), lock(layout, "bob"):
        raise ZeroDivisionError
    assert not has_lock_holder(layout)
    with lock(layout, "carol"):
        pass


@pytest.mark.attack("11", "An application replaces the lock by a link")
def test_the_lock_is_no_link(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    os.symlink(tmp_path / "victim", layout.path(".lock"))
    with pytest.raises(OSError, match="symbolic"), lock(layout, "bob"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


# Records and removal


def test_each_deployment_is_one_line(layout: Layout) -> None:
    record(layout, action="activate", release="R1", by="ü\nx")
    record(layout, action="rollback", release="R0")
    first, second = (json.loads(line) for line in Path(layout.history).read_text().splitlines())
    assert (first["app"], first["release"], first["by"]) == ("shop", "R1", "ü\nx")
    assert second["action"] == "rollback"
    assert Path(layout.history).stat().st_mode & 0o777 == 0o640


def test_a_failed_build_is_recorded_with_its_reason(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> None:
        raise ReleaseError("shop", "no file requirements.txt.\nIts log:\nmore")

    monkeypatch.setattr(deploy, "build_release", fail)
    spec = {"name": "shop", "source": {"revision": "v1"}, "process_manager": "systemd", "processes": []}
    deployment = deploy.Deployment(layout.root, "uv", "www-data", "anna", lambda *_words: (0, "", ""))
    with pytest.raises(ReleaseError, match=r"no file requirements\.txt"):
        deploy.build(deployment, spec, layout, WANTED)
    (entry,) = (json.loads(line) for line in Path(layout.history).read_text().splitlines())
    assert (entry["action"], entry["result"], entry["by"]) == ("build", "failed", "anna")
    assert entry["reason"] == "no file requirements.txt."


def test_a_line_that_was_cut_spoils_no_other(layout: Layout) -> None:
    Path(layout.history).write_text('{"app": "shop", "rel')
    record(layout, release="R1")
    record(layout, release="R2")
    _torn, *whole_lines = Path(layout.history).read_text().splitlines()
    assert [json.loads(line)["release"] for line in whole_lines] == ["R1", "R2"]


@needs_root
def test_what_is_half_removed_is_taken_for_nothing_whole(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    put(layout, manifest(1, venv="v"))
    Path(layout.venvs, "v", ".complete").touch()
    assert has_environment(layout, manifest(1, venv="v"))

    def killed(_folder: int) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(trees, "some_names", killed)
    for path in (layout.release(identity(1)), os.path.join(layout.venvs, "v")):
        with pytest.raises(KeyboardInterrupt):
            remove_tree(path)
        assert os.path.isdir(path)
    assert manifests(layout) == []
    assert unfinished(layout) == [layout.release(identity(1))]
    assert not has_environment(layout, manifest(1, venv="v"))


@pytest.mark.attack("11", "An application puts a link where root removes a folder")
def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").touch()
    for name, target in (("link", tmp_path / "data"), ("dangling", "nowhere")):
        (tmp_path / name).symlink_to(target)
        remove_tree(str(tmp_path / name))
        assert not os.path.lexists(tmp_path / name)
    remove_tree(str(tmp_path / "never"))
    assert (tmp_path / "data/x").exists()


def test_no_such_account() -> None:
    assert releases.account("nosuchaccount") is None


def test_temporary_files_of_interrupted_runs_are_removed_hidden_ones_too(layout: Layout) -> None:
    left = [".activating.0123abcd.new", "current.0123abcd.new", f"releases/{identity(1)}/bin/run.0123abcd.new"]
    kept = [".activating", "new", f"releases/{identity(1)}/bin/run", "shared/upload.0123abcd.new"]
    for name in (*left, *kept):
        path = Path(layout.home, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_temporary_files(layout, [], lambda argv: (0, "", ""))
    assert [name for name in left if os.path.exists(layout.path(name))] == []
    assert [name for name in kept if not os.path.exists(layout.path(name))] == []
