# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What a host is told of a source, what is sent to it, and that neither holds a credential."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of, pin

SECRET = "hunter2-correct-horse"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".gitconfig").write_text(
        "[user]\n\tname = Test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n"
    )
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


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


def test_a_git_source_is_its_commit_and_is_fetched_only_when_wanted(repository, home):
    origin = origin_of({"git": f"file://{repository}", "version": "main", "subdir": "backend"}, [])
    head = git(repository, "rev-parse", "HEAD")
    assert origin.description["revision"] == head
    assert head in origin.description["digest"]
    assert origin.description["subdir"] == "backend"
    assert not (home / ".cache/pyweb.stack/git").exists()
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


def test_a_key_that_is_not_there_is_told_with_the_places_looked_in(tmp_path):
    told = message({"git": "git@forge.example:team/shop.git", "key": "keys/none"}, tmp_path)
    assert "source.key 'keys/none'" in told
    assert f"{tmp_path}/keys/none" in told


def test_nothing_that_the_host_is_told_holds_a_credential_or_a_key(tmp_path, monkeypatch):
    (tmp_path / "deploy-key").write_text("key")
    monkeypatch.setattr(Repository, "commit_of", lambda *_: "0" * 40)
    source = {"git": f"https://me:{SECRET}@forge.example/shop.git", "key": "deploy-key"}
    told = json.dumps(origin_of(source, [str(tmp_path)]).description)
    assert SECRET not in told
    assert "deploy-key" not in told


def test_a_repository_without_files_is_told(tmp_path):
    git(tmp_path, "init", "-q", "bare")
    git(tmp_path / "bare", "commit", "-q", "--allow-empty", "-m", "nothing")
    assert "has no files" in message({"git": str(tmp_path / "bare")})


def test_an_archive_is_its_content_under_whatever_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as packed:
        packed.writestr("shop/app.py", "code")
    (tmp_path / "two.zip").write_bytes((tmp_path / "one.zip").read_bytes())
    one, two = (origin_of({"archive": f"{name}.zip"}, [str(tmp_path)]) for name in ("one", "two"))
    digest = hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()
    assert one.description["digest"] == two.description["digest"] == digest
    assert one.description["revision"] == f"one.zip {digest[:12]}"
    assert names(one) == ["app.py"]


def test_an_archive_without_files_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "empty.zip has no files" in message({"archive": "empty.zip"}, tmp_path)


def test_the_revision_of_a_download_holds_nothing_of_its_address_but_the_name(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "kept", "w") as packed:
        packed.writestr("app.py", "code")
    monkeypatch.setattr(
        "ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives.downloaded", lambda *_: tmp_path / "kept"
    )
    for address in (f"https://store.example/shop.zip?X-Signature={SECRET}", f"https://me:{SECRET}@store.example"):
        told = origin_of({"archive": address, "checksum": "sha256:" + "0" * 64}, []).description
        assert SECRET not in json.dumps(told)
    assert told["revision"].startswith("archive ")


def test_a_folder_is_its_files_without_what_gitignore_names(tmp_path):
    (tmp_path / "shop").mkdir()
    for name, text in ((".gitignore", "*.log\n"), ("app.py", "code"), ("debug.log", "noise")):
        (tmp_path / "shop" / name).write_text(text)
    origin = origin_of({"path": "shop"}, [str(tmp_path)])
    assert names(origin) == [".gitignore", "app.py"]
    (tmp_path / "shop/debug.log").write_text("more noise")
    assert origin_of({"path": "shop"}, [str(tmp_path)]).description == origin.description


def test_a_package_is_fetched_by_the_host():
    origin = origin_of({"package": "shop==1.4.2"}, [])
    assert origin.description["revision"] == "shop==1.4.2"
    assert origin.pack is None


def test_what_the_preflight_settles_is_what_is_deployed(repository, monkeypatch):
    source = {"git": str(repository)}
    settled = pin(source, [])
    assert settled["commit"] == origin_of(source, []).description["revision"]
    (repository / "later").write_text("more")
    git(repository, "add", "later")
    git(repository, "commit", "-q", "-m", "later")
    # Nor is the repository asked again.
    monkeypatch.setattr(Repository, "commit_of", None)
    assert origin_of({**source, **settled}, []).description["revision"] == settled["commit"]


def test_a_repository_or_version_that_is_not_there_is_told_before_a_host_is_asked(repository, tmp_path):
    with pytest.raises(SourceError, match="'v9' is no branch or tag of"):
        pin({"git": str(repository), "version": "v9"}, [])
    with pytest.raises(SourceError, match="none"):
        pin({"git": str(tmp_path / "none")}, [])


def test_an_archive_is_unpacked_once_before_a_host_is_asked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as packed:
        packed.writestr("app.py", "code")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../evil", "code")
    assert pin({"archive": "good.zip"}, [str(tmp_path)]) == {}
    for _ in range(2):
        with pytest.raises(SourceError, match=r"evil\.zip"):
            pin({"archive": "evil.zip"}, [str(tmp_path)])
    monkeypatch.setattr("ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins.unpack", None)
    assert pin({"archive": "good.zip"}, [str(tmp_path)]) == {}


@pytest.mark.parametrize("source", [{"path": "shop"}, {"package": "shop==1"}])
def test_other_sources_have_nothing_to_pin(source):
    assert pin(source, []) == {}
