# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Sources that attack the controller: archives that write elsewhere, repositories that run commands."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import archives
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import repository_address

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


@pytest.mark.attack("2", "An archive holds links and names that lead out of its folder")
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


@pytest.mark.attack("16", "An archive has too many files or too many bytes")
@pytest.mark.parametrize(("name", "most"), [("MOST_FILES", 2), ("MOST_BYTES", 2)])
def test_an_archive_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    monkeypatch.setattr(archives, name, most)
    entries = [("a", "file", "x"), ("b", "file", "x"), ("c", "file", "x")]
    with pytest.raises(SourceError, match="more than"):
        unpack(packed(tmp_path / "x", entries, tmp_path, "tar"), empty(tmp_path / "target"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.attack("3", "The address of a source names a command that git would run")
@pytest.mark.parametrize("address", ["ext::sh -c id", "fd::3", "foo://x/y", "-u:x", "--upload-pack=x:y", "EXT::sh"])
def test_an_address_that_runs_a_command_is_refused(address: str) -> None:
    with pytest.raises(SourceError, match=r"may not use here"):
        repository_address(address, ["/"])


@pytest.mark.parametrize("link", [None, "elsewhere"])
def test_names_that_the_disk_takes_for_one_are_told(tmp_path: Path, link: str | None) -> None:
    # As on a disk of macOS, on which Readme is there as soon as README is.
    (tmp_path / "Readme").touch()
    member = archives.Member("Readme", link=link, open=None if link else lambda: io.BytesIO(b"second"))
    with pytest.raises(SourceError, match=r"shop\.tar has 'Readme', and another name that differs only in case"):
        archives.write({("Readme",): member}, tmp_path, "shop.tar")
    assert (tmp_path / "Readme").read_bytes() == b""
