# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Folders and archives of the controller as sources: which files count, their identity, and refused sources."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import archive, fingerprint, source_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.left_out import left_out
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of, requirements_digest
from repositories import git


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def digest(folder: Path) -> str:
    return fingerprint(folder, source_files(folder))


# Which files


def test_a_plain_folder_is_taken_whole(tmp_path: Path) -> None:
    fill(tmp_path, "app.py", "a/b.txt", ".env", "ü ö.txt")
    assert source_files(tmp_path) == [".env", "a/b.txt", "app.py", "ü ö.txt"]


def test_environments_and_caches_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "app.py", ".venv/x", "venv/x", "a/__pycache__/x", "a/node_modules/x", ".git/config", "venv.py")
    assert source_files(tmp_path) == ["app.py", "venv.py"]


def test_gitignore_holds_outside_of_a_repository(tmp_path: Path) -> None:
    fill(tmp_path, "app.py", "a.log", "keep.log", "a/b.log", "a/c.tmp", "c.tmp", "build/x")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/build/\n")
    (tmp_path / "a/.gitignore").write_text("*.tmp\n")
    assert source_files(tmp_path) == [".gitignore", "a/.gitignore", "app.py", "c.tmp", "keep.log"]
    assert not (tmp_path / ".git").exists()


def test_gitignore_of_a_repository_holds_in_its_folders(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    fill(tmp_path, "backend/app.py", "backend/a.log", "backend/new.py", "other/x.py")
    (tmp_path / ".gitignore").write_text("*.log\n")
    git(tmp_path, "add", "backend/app.py")
    assert source_files(tmp_path / "backend") == ["app.py", "new.py"]


def test_a_repository_that_ignores_the_whole_folder_does_not_count(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    fill(tmp_path, "sources/shop/app.py", "sources/shop/a.log", "sources/shop/b/c.py")
    (tmp_path / ".gitignore").write_text("/sources/\n")
    shop = tmp_path / "sources/shop"
    assert source_files(shop) == ["a.log", "app.py", "b/c.py"]
    (shop / ".gitignore").write_text("*.log\n")
    assert source_files(shop) == [".gitignore", "app.py", "b/c.py"]
    assert left_out(shop) == ["a.log"]


def test_what_is_tracked_counts_though_it_is_ignored(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    fill(tmp_path, "app.py", "a.log", "b.log")
    git(tmp_path, "add", "a.log")
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert source_files(tmp_path) == [".gitignore", "a.log", "app.py"]


def test_what_is_tracked_but_gone_does_not_count(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    fill(tmp_path, "app.py", "old.py")
    git(tmp_path, "add", ".")
    (tmp_path / "old.py").unlink()
    assert source_files(tmp_path) == ["app.py"]


def test_a_submodule_is_part_of_the_source(tmp_path: Path) -> None:
    library = fill(tmp_path / "library", "lib.py", "x.log")
    (library / ".gitignore").write_text("*.log\n")
    git(library, "init", "-q")
    git(library, "add", "lib.py")
    git(library, "commit", "-qm", "x")
    shop = fill(tmp_path / "shop", "app.py")
    git(shop, "init", "-q")
    git(shop, "submodule", "add", "-q", str(library), "vendor/lib")
    assert source_files(shop) == [".gitmodules", "app.py", "vendor/lib/lib.py"]
    git(shop, "submodule", "deinit", "-q", "-f", "vendor/lib")
    with pytest.raises(SourceError, match="git submodule update --init"):
        source_files(shop)


def test_the_repository_of_a_hook_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = fill(tmp_path / "other", "wrong.py")
    git(other, "init", "-q")
    git(other, "add", ".")
    shop = fill(tmp_path / "shop", "app.py")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert source_files(shop) == ["app.py"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no files"):
        origin_of({"path": str(tmp_path)}, [])


# Identity of a source


def test_times_and_owners_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path, "app.py")
    before = digest(tmp_path)
    os.utime(tmp_path / "app.py", (1, 1))
    if os.geteuid() == 0:
        os.chown(tmp_path / "app.py", 12345, 12345)
    (tmp_path / "app.py").chmod(0o600)
    assert digest(tmp_path) == before


@pytest.mark.parametrize("change", ["content", "name", "mode", "more", "link", "target"])
def test_everything_else_counts(tmp_path: Path, change: str) -> None:
    fill(tmp_path, "app.py", "b.py")
    (tmp_path / "link").symlink_to("app.py")
    before = digest(tmp_path)
    if change == "content":
        (tmp_path / "app.py").write_text("other")
    elif change == "name":
        (tmp_path / "app.py").rename(tmp_path / "app2.py")
    elif change == "mode":
        (tmp_path / "app.py").chmod(0o755)
    elif change == "more":
        fill(tmp_path, "c.py")
    elif change == "link":
        (tmp_path / "b.py").unlink()
        (tmp_path / "b.py").symlink_to("app.py")
    else:
        (tmp_path / "link").unlink()
        (tmp_path / "link").symlink_to("b.py")
    assert digest(tmp_path) != before


def test_moving_text_from_one_file_to_the_next_counts(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    fill(one, "a", "b")
    fill(two, "a", "b")
    (one / "a").write_text("xy")
    (one / "b").write_text("")
    (two / "a").write_text("x")
    (two / "b").write_text("y")
    assert digest(one) != digest(two)


def test_only_files_that_list_dependencies_count_for_them(tmp_path: Path) -> None:
    fill(tmp_path, "app.py", "requirements.txt", "sub/uv.lock")
    (tmp_path / "requirements-dev.txt").symlink_to("nowhere")
    before = requirements_digest(tmp_path, source_files(tmp_path))
    (tmp_path / "app.py").write_text("other")
    assert requirements_digest(tmp_path, source_files(tmp_path)) == before
    (tmp_path / "sub/uv.lock").write_text("other")
    assert requirements_digest(tmp_path, source_files(tmp_path)) != before


# The archive


def test_the_archive_holds_files_links_and_the_executable_bit(tmp_path: Path) -> None:
    fill(tmp_path, "app.py", "bin/run")
    (tmp_path / "bin/run").chmod(0o4777)
    (tmp_path / "app.py").chmod(0o600)
    (tmp_path / "dangling").symlink_to("nowhere")
    os.utime(tmp_path / "app.py", (1_000_000, 1_000_000))
    with tarfile.open(fileobj=io.BytesIO(archive(tmp_path, source_files(tmp_path)))) as tar:
        found = {member.name: member for member in tar.getmembers()}
    assert sorted(found) == ["app.py", "bin/run", "dangling"]
    assert (found["app.py"].mode, found["bin/run"].mode) == (0o644, 0o755)
    assert (found["app.py"].mtime, found["app.py"].uid) == (1_000_000, 0)
    assert found["dangling"].linkname == "nowhere"


@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    if kind == "fifo":
        os.mkfifo("odd")
    else:
        socket.socket(socket.AF_UNIX).bind("odd")
    for function in (archive, fingerprint):
        with pytest.raises(SourceError, match="neither a file, a folder nor a link"):
            function(tmp_path, ["odd"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "app.py")
    (tmp_path / "app.py").chmod(0)
    with pytest.raises(SourceError, match=r"app.py can't be read: Permission denied"):
        digest(tmp_path)
