# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sources that attack the controller: archives that write elsewhere, repositories that run commands."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import archives
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import source_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository, repository_address

Entry = tuple[str, str, str]

# (name, kind, content or target)
HOSTILE: dict[str, list[Entry]] = {
    "a link through a link": [("a", "link", "{out}"), ("a/x.py", "link", "y")],
    "a link through a relative link": [("a", "link", ".."), ("a/x.py", "link", "y")],
    "a file through a link": [("a", "link", "b"), ("a/x.py", "file", "x")],
    "a folder through a link": [("a", "link", "b"), ("a/sub", "folder", "")],
    "a member below a file": [("a", "file", "x"), ("a/b", "file", "x")],
    "a file, then a link": [("a", "file", "x"), ("./a", "link", "b")],
    "a link, then a folder": [("a", "link", "b"), ("a/", "folder", "")],
    "a link by way of another": [("d", "folder", ""), ("d/up", "link", ".."), ("x", "link", "d/up/../../etc")],
    "an absolute target": [("a", "link", "/etc/passwd")],
    "the process's own folder": [("a", "link", "/proc/self/cwd"), ("a//x.py", "link", "y")],
}


def packed(path: Path, entries: list[Entry], out: Path, kind: str) -> Path:
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            for name, what, content in entries:
                member = tarfile.TarInfo(name)
                text = content.format(out=out)
                if what == "link":
                    member.type, member.linkname = tarfile.SYMTYPE, text
                elif what == "folder":
                    member.type = tarfile.DIRTYPE
                else:
                    member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()) if what == "file" else None)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, what, content in entries:
                info = zipfile.ZipInfo(name + "/" * (what == "folder" and not name.endswith("/")))
                info.external_attr = {"link": 0o120777, "folder": 0o40755, "file": 0o100644}[what] << 16
                archive.writestr(info, content.format(out=out))
    return path


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("trick", HOSTILE)
def test_a_hostile_archive_writes_nothing(tmp_path: Path, trick: str, kind: str) -> None:
    out, target = tmp_path / "out", tmp_path / "scratch/target"
    out.mkdir()
    target.mkdir(parents=True)
    with pytest.raises(SourceError, match="hostile"):
        unpack(packed(tmp_path / "x", HOSTILE[trick], out, kind), target)
    assert not list(out.iterdir())
    assert not list(target.iterdir())
    assert os.listdir(tmp_path / "scratch") == ["target"]


def test_links_inside_of_an_archive_work(tmp_path: Path) -> None:
    entries = [("s/d", "folder", ""), ("s/d/f", "file", "x"), ("s/l", "link", "d"), ("s/m", "link", "l/../d/f")]
    folder = unpack(packed(tmp_path / "x", entries, tmp_path, "tar"), empty(tmp_path / "target"))
    assert (folder / "m").read_text() == "x"


def empty(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(("name", "most"), [("MOST_MEMBERS", 2), ("MOST_BYTES", 2)])
def test_an_archive_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    monkeypatch.setattr(archives, name, most)
    entries = [("a", "file", "x"), ("b", "file", "x"), ("c", "file", "x")]
    with pytest.raises(SourceError, match="more than"):
        unpack(packed(tmp_path / "x", entries, tmp_path, "tar"), empty(tmp_path / "target"))


# What a repository's own configuration may name; {run} leaves the marker.
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
    run, hooks_folder = tmp_path / "run", empty(hooks)
    run.write_text(f"#!/bin/sh\ntouch {marker}\nexit 1\n")
    run.chmod(0o755)
    for hook in ("post-checkout", "post-index-change", "pre-auto-gc", "reference-transaction"):
        (hooks_folder / hook).symlink_to(run)
    empty(folder)
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
    # Git reads such a file from the repository instead, and so wants the object that is missing.
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


@pytest.mark.parametrize("address", ["ext::sh -c id", "fd::3", "foo://x/y", "-u:x", "--upload-pack=x:y", "EXT::sh"])
def test_an_address_that_runs_a_command_is_refused(address: str) -> None:
    with pytest.raises(SourceError, match=r"may not use here"):
        repository_address(address, ["/"])


def test_a_file_behind_a_link_is_not_read(tmp_path: Path) -> None:
    folder, _marker = hostile_repository(tmp_path, [])
    (folder / "a").mkdir()
    (folder / "a/key").write_text("x")
    subprocess.run(["git", "add", "a/key"], cwd=folder, check=True)
    out = empty(tmp_path / "out")
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
