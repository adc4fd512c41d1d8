# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Repositories that would run programs on the controller."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import source_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository

# Settings in a repository's own configuration that would run a command; {run} creates the marker.
TRICKS: dict[str, list[tuple[str, str]]] = {
    "lazy fetch by ext": [
        ("remote.origin.url", "ext::{run}"),
        ("protocol.ext.allow", "always"),
    ],
    "lazy fetch by upload-pack": [("remote.origin.url", "file://{folder}"), ("remote.origin.uploadpack", "{run}")],
    "lazy fetch by ssh": [("remote.origin.url", "ssh://localhost/x"), ("core.sshCommand", "{run}")],
    "lazy fetch by a git proxy": [("remote.origin.url", "git://localhost/x"), ("core.gitProxy", "{run}")],
    "fsmonitor": [("core.fsmonitor", "{run}")],
    "hooks": [("core.hooksPath", "{hooks}")],
    "pack objects hook": [("uploadpack.packObjectsHook", "{run}")],
    "alternate refs": [("core.alternateRefsCommand", "{run}")],
    "filter": [("filter.evil.clean", "{run}"), ("filter.evil.smudge", "{run}"), ("filter.evil.required", "true")],
    "pager and editor": [("core.pager", "{run}"), ("core.editor", "{run}"), ("diff.external", "{run}")],
    "credentials": [("credential.helper", "!{run}"), ("core.askPass", "{run}")],
}


def hostile_repository(tmp_path: Path, settings: list[tuple[str, str]]) -> tuple[Path, Path]:
    folder, marker, hooks = tmp_path / "repository", tmp_path / "marker", tmp_path / "hooks"
    run = tmp_path / "run"
    hooks.mkdir()
    run.write_text(f"#!/bin/sh\ntouch {marker}\nexit 1\n")
    run.chmod(0o755)
    for hook in ("post-checkout", "post-index-change", "pre-auto-gc", "reference-transaction"):
        (hooks / hook).symlink_to(run)
    folder.mkdir()
    (folder / "app.py").write_text("x")
    (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / ".gitignore").write_text("*.pyc\n")
    git("init", "--quiet")
    git("add", ".")
    git("-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "-m", "x")
    lazy = any(name == "remote.origin.url" for name, _value in settings)
    if lazy:
        settings = [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            *settings,
        ]
    # Git reads such a file from the repository instead, and so tries to fetch the missing object.
    git("update-index", "--skip-worktree", ".gitignore")
    (folder / ".gitignore").unlink()
    (folder / "untracked.py").write_text("x")
    for name, value in settings:
        git("config", name, value.format(run=run, hooks=hooks, folder=folder))
    if lazy:
        # Something is missing, so that git wants to fetch it: the file's content, and an index that needs a tree.
        for path in (folder / ".git/objects").glob("??/*"):
            shown = subprocess.run(
                ["git", "cat-file", "-t", path.parent.name + path.name], cwd=folder, capture_output=True, check=False
            )
            if shown.stdout.strip() == b"blob":
                path.unlink()
        marker.unlink(missing_ok=True)
    return folder, marker


# Commands with which plain git runs the program of a trick. For the others, git needs a server or ignores the setting.
SPRINGS = {
    **{trick: ["cat-file", "-p", "HEAD:app.py"] for trick in TRICKS if trick.startswith("lazy fetch")},
    "fsmonitor": ["status"],
    "hooks": ["update-index", "--refresh"],
    "filter": ["checkout", "--force", "HEAD"],
    "pager and editor": ["diff", "HEAD"],
}


@pytest.mark.parametrize("trick", SPRINGS)
def test_the_trap_is_armed(tmp_path: Path, trick: str) -> None:
    """Otherwise the next test would pass without a reason."""
    folder, marker = hostile_repository(tmp_path, TRICKS[trick])
    if not trick.startswith("lazy fetch"):
        (folder / "app.py").write_text("changed")
        # A file of another date, so that git refreshes its index in whatever second it was written.
        os.utime(folder / ".gitattributes", (10**9, 10**9))
    subprocess.run(["git", *SPRINGS[trick]], cwd=folder, check=False, capture_output=True)
    assert marker.exists()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("use", ["path", "git"])
def test_a_local_repository_runs_nothing(tmp_path: Path, trick: str, use: str) -> None:
    folder, marker = hostile_repository(tmp_path, TRICKS[trick])
    try:
        if use == "path":
            source_files(folder)
        else:
            repository = Repository(str(folder))
            repository.checkout(repository.commit_of("HEAD"), "HEAD", tmp_path / "taken")
    except SourceError:
        pass  # a repository that lacks objects can't be used
    assert not marker.exists()


def test_a_file_behind_a_link_is_not_read(tmp_path: Path) -> None:
    folder, _marker = hostile_repository(tmp_path, [])
    (folder / "a").mkdir()
    (folder / "a/key").write_text("x")
    subprocess.run(["git", "add", "a/key"], cwd=folder, check=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / "key").write_text("secret")
    (folder / "a/key").unlink()
    (folder / "a").rmdir()
    (folder / "a").symlink_to(out)
    assert "a/key" not in source_files(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another account")
def test_a_repository_of_another_account_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder, _marker = hostile_repository(tmp_path, [])
    os.chown(folder, 12345, 12345)
    with pytest.raises(SourceError, match=r"belongs to another account.*safe\.directory"):
        source_files(folder)
