# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The description of a source and the files that a host receives; neither contains a credential."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of, pin
from repositories import git

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "backend").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / "backend/app.py").write_text("one")
    (folder / "README").write_text("shop")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def names(origin: Origin) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(origin.pack())) as tar:
        return sorted(tar.getnames())


def message(source: dict[str, Any], *bases: Path) -> str:
    with pytest.raises(SourceError) as caught:
        origin_of(source, [str(base) for base in bases]).pack()
    return str(caught.value)


def test_a_git_source_is_its_commit(repository):
    origin = origin_of({"git": f"file://{repository}", "version": "main", "subdir": "backend"}, [])
    head = git(repository, "rev-parse", "HEAD")
    assert origin.description["revision"] == head
    assert head in origin.description["digest"]
    assert origin.description["subdir"] == "backend"
    assert names(origin) == ["README", "backend/app.py"]


def test_a_branch_that_moves_on_is_another_source_and_one_that_does_not_is_the_same(repository):
    source = {"git": str(repository), "version": "main"}
    first, again = origin_of(source, []), origin_of(source, [])
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    assert first.description == again.description
    assert origin_of(source, []).description["digest"] != first.description["digest"]


def test_without_a_version_the_default_branch_is_taken(repository):
    assert origin_of({"git": str(repository)}, []).description["revision"] == git(repository, "rev-parse", "HEAD")


def test_what_was_resolved_is_sent_even_if_the_branch_moves_on_meanwhile(repository):
    origin = origin_of({"git": f"file://{repository}", "version": "main"}, [])
    (repository / "later.py").write_text("two")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "two")
    assert "later.py" not in names(origin)


def test_the_same_commit_is_packed_to_the_same_bytes(repository):
    source = {"git": str(repository)}
    assert origin_of(source, []).pack() == origin_of(source, []).pack()


def test_relative_repositories_and_keys_are_looked_for_below_the_bases(repository, tmp_path, monkeypatch):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/deploy").write_text("key")
    monkeypatch.chdir("/")
    source = {"git": "shop", "key": "keys/deploy"}
    assert names(origin_of(source, ["/nowhere", str(tmp_path)])) == ["README", "backend/app.py"]
    assert f"{tmp_path}/none" in message({"git": "none"}, tmp_path)


def test_a_repository_without_files_is_told(tmp_path):
    git(tmp_path, "init", "-q", "bare")
    git(tmp_path / "bare", "commit", "-q", "--allow-empty", "-m", "nothing")
    assert "has no files" in message({"git": str(tmp_path / "bare")})


def test_a_folder_is_its_files_without_what_gitignore_names(tmp_path):
    (tmp_path / "shop").mkdir()
    for name, text in ((".gitignore", "*.log\n"), ("app.py", "code"), ("debug.log", "noise")):
        (tmp_path / "shop" / name).write_text(text)
    origin = origin_of({"path": "shop"}, [str(tmp_path)])
    assert names(origin) == [".gitignore", "app.py"]
    (tmp_path / "shop/debug.log").write_text("more noise")
    assert origin_of({"path": "shop"}, [str(tmp_path)]).description == origin.description


def test_what_the_preflight_settles_is_what_is_deployed(repository, monkeypatch):
    source = {"git": str(repository)}
    settled = pin(source, [])
    assert settled["commit"] == origin_of(source, []).description["revision"]
    (repository / "later").write_text("more")
    git(repository, "add", "later")
    git(repository, "commit", "-q", "-m", "later")
    # The repository is not queried a second time either.
    monkeypatch.setattr(Repository, "commit_of", None)
    assert origin_of({**source, **settled}, []).description["revision"] == settled["commit"]


def test_a_repository_or_version_that_is_not_there_is_told_before_a_host_is_asked(repository, tmp_path):
    with pytest.raises(SourceError, match="'v9' is no branch or tag of"):
        pin({"git": str(repository), "version": "v9"}, [])
    with pytest.raises(SourceError, match="none"):
        pin({"git": str(tmp_path / "none")}, [])


# --- versions that a repository gives to its project ------------------------------------------------------------------

SCM = '[build-system]\nrequires = ["setuptools", "setuptools-scm"]\n'


@pytest.mark.parametrize("subdir", ["", "backend"])
def test_a_new_tag_on_a_deployed_commit_is_another_release_of_a_project_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subdir: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "upstream" / subdir
    folder.mkdir(parents=True)
    top = tmp_path / "upstream"
    git(top, "init", "-q")
    (folder / "pyproject.toml").write_text(SCM)
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "first")
    commit = git(top, "rev-parse", "HEAD")
    source = {"git": f"file://{top}", "version": commit, "subdir": subdir}
    first = origin_of(source, [])
    git(top, "tag", "v1.0")
    tagged = origin_of(source, [])
    assert tagged.description["digest"] == f"{first.description['digest']} v1.0-0-g{commit[:7]}"
    assert origin_of(source, []).description == tagged.description
    assert tagged.pack is not None
    with tarfile.open(fileobj=io.BytesIO(tagged.pack())) as archive:
        names = [name.removeprefix("./") for name in archive.getnames()]
        assert f"{subdir}/.git_archival.txt".lstrip("/") in names
    # The repository moves the tag: it is gone from the mirror too.
    git(top, "tag", "-d", "v1.0")
    assert origin_of(source, []).description == first.description


def test_a_tag_is_no_input_of_another_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    top = tmp_path / "upstream"
    top.mkdir()
    git(top, "init", "-q")
    (top / "app.py").write_text("app = None\n")
    git(top, "add", "-A")
    git(top, "commit", "-q", "-m", "first")
    source = {"git": f"file://{top}", "version": git(top, "rev-parse", "HEAD")}
    first = origin_of(source, [])
    git(top, "tag", "v1.0")
    top.rename(tmp_path / "gone")
    assert origin_of(source, []).description == first.description, "a full commit needs no request"
