# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Archives as sources, the cache, and credentials in messages."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives import archive_file, unpack
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder
from source_archives import Entry, checksum_of, good, hardlink, symlink, tar_of, zip_of

SECRET = "hunter2-correct-horse"
pytestmark = pytest.mark.usefixtures("home")


def message(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(SourceError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("value", ["", "relative/cache"])
def test_without_a_usable_xdg_the_cache_is_in_the_home(home, monkeypatch, value):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == home / ".cache/pyweb.stack"


def test_a_cache_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "XDG_CACHE_HOME" in message(cache_folder)


# Git: credentials


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("https://me:pw@forge.example/x.git", "https://***@forge.example/x.git"),
        ("https://token@forge.example/x.git", "https://***@forge.example/x.git"),
        (f"https://me:{SECRET}@p/w@forge.example/x.git", "https://***@forge.example/x.git"),
        (f"https://me:a/{SECRET}@forge.example/x.git", "https://***@forge.example/x.git"),
        ("https://forge.example:8443/x@1.git", "https://forge.example:8443/x@1.git"),
        ("git@forge.example:team/x.git", "git@forge.example:team/x.git"),
        (f"fatal: unable to access 'https://me:{SECRET}@h/x/': no", "fatal: unable to access 'https://***@h/x/': no"),
        (f"https://store.example/x.zip?X-Signature={SECRET}", "https://store.example/x.zip?***"),
    ],
)
def test_credentials_are_not_shown(text, safe):
    assert redacted(text) == safe


# Archives: what they hold


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "scratch"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
def test_each_format_is_unpacked_without_its_single_top_folder(tmp_path, scratch, kind):
    folder = unpack(good(tmp_path, kind), scratch)
    assert sorted(path.name for path in folder.iterdir()) == ["app.py", "bin"]
    assert (folder / "app.py").read_text() == "code"
    assert os.readlink(folder / "bin/app") == "../app.py"
    assert (folder / "app.py").stat().st_mtime == 1_600_000_000


def test_several_entries_at_the_top_are_the_source(tmp_path, scratch):
    assert unpack(tar_of(tmp_path / "a.tgz", [("app.py", "x"), ("lib/b.py", "y")]), scratch) == scratch


def test_executables_stay_executable_and_no_other_right_is_kept(tmp_path, scratch):
    entries = [("run", {"mode": 0o6777}), ("data", {"mode": 0o666})]
    tarred = unpack(tar_of(tmp_path / "a.tgz", entries), scratch)
    assert [stat.S_IMODE((tarred / name).stat().st_mode) for name in ("run", "data")] == [0o755, 0o644]
    zipped = zip_of(tmp_path / "a.zip", [("run", ("", stat.S_IFREG | 0o4755)), ("data", ("", 0))])
    (scratch / "zip").mkdir()
    folder = unpack(zipped, scratch / "zip")
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in ("run", "data")] == [0o755, 0o644]


def test_a_hard_link_inside_becomes_a_file(tmp_path, scratch):
    folder = unpack(tar_of(tmp_path / "a.tgz", [("a/one", "text"), ("a/two", hardlink("a/one"))]), scratch)
    assert (folder / "two").read_text() == "text"


def test_a_zip_with_the_separators_of_windows_is_unpacked(tmp_path, scratch):
    folder = unpack(zip_of(tmp_path / "a.zip", [("shop\\lib\\app.py", "code"), ("shop\\wsgi.py", "x")]), scratch)
    assert (folder / "lib/app.py").read_text() == "code"


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path, scratch):
    inner = zip_of(tmp_path / "wheel.zip", [("wheel.py", "x")]).read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("app.py", b"code"), ("wheel.whl", inner)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert (unpack(tmp_path / "a.tar", scratch) / "app.py").exists()


# Archives: hostile ones

HOSTILE_TARS: dict[str, list[Entry]] = {
    "absolute": [("/tmp/evil", "x")],
    "up": [("../evil", "x")],
    "up in the middle": [("a/../../evil", "x")],
    "up by backslashes": [("..\\..\\evil", "x")],
    "drive": [("C:\\evil", "x")],
    "drive without separator": [("c:evil", "x")],
    "device": [("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3})],
    "block device": [("disk", {"type": tarfile.BLKTYPE})],
    "pipe": [("pipe", {"type": tarfile.FIFOTYPE})],
    "link to an absolute path": [("a", "x"), ("link", symlink("/etc/passwd"))],
    "link up": [("a/x", "x"), ("link", symlink("../evil"))],
    "link out of the top folder": [("shop/app.py", "x"), ("shop/link", symlink("../other"))],
    "member below a link": [("dir", symlink("..")), ("dir/evil", "x")],
    "member below a link inside": [("real/a", "x"), ("dir", symlink("real")), ("dir/evil", "x")],
    "member over a link": [("a", symlink("../evil")), ("a", "x")],
    "link through a link": [("s/a", "x"), ("s/l", symlink("..")), ("out", symlink("s/l/.."))],
    "member below a link through a link": [
        ("s/l", symlink("..")),
        ("out", symlink("s/l/..")),
        ("out/evil", "x"),
    ],
    "hard link to an absolute path": [("passwd", hardlink("/etc/passwd"))],
    "hard link up": [("passwd", hardlink("../../secret"))],
    "hard link to what is not there": [("passwd", hardlink("none"))],
    "hard link through a link": [("l", symlink("/etc")), ("passwd", hardlink("l/passwd"))],
}

HOSTILE_ZIPS: dict[str, list[Entry]] = {
    "absolute": [("/tmp/evil", "x")],
    "up": [("../evil", "x")],
    "up by backslashes": [("..\\..\\evil", "x")],
    "drive": [("C:\\evil", "x")],
    "drive with slash": [("C:/evil", "x")],
    "device": [("null", ("", stat.S_IFCHR | 0o666))],
    "link out": [("a", "x"), ("link", ("/etc/passwd", stat.S_IFLNK | 0o777))],
    "link up": [("a/x", "x"), ("link", ("../evil", stat.S_IFLNK | 0o777))],
    "member below a link": [("dir", ("..", stat.S_IFLNK | 0o777)), ("dir/evil", "x")],
    "member over a link": [("a", ("../evil", stat.S_IFLNK | 0o777)), ("a", "x")],
    "link through a link": [
        ("s/a", "x"),
        ("s/l", ("..", stat.S_IFLNK | 0o777)),
        ("out", ("s/l/..", stat.S_IFLNK | 0o777)),
    ],
}


@pytest.mark.attack("2", "An archive names files outside its folder, devices and pipes")
@pytest.mark.parametrize(
    ("kind", "entries"),
    [pytest.param("tgz", entries, id=f"tar {name}") for name, entries in HOSTILE_TARS.items()]
    + [pytest.param("zip", entries, id=f"zip {name}") for name, entries in HOSTILE_ZIPS.items()],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_archive_is_refused_and_writes_nothing_outside(tmp_path, scratch, kind, entries):
    path = (zip_of if kind == "zip" else tar_of)(tmp_path / f"shop.{kind}", entries)
    before = sorted(path for path in tmp_path.rglob("*") if scratch not in path.parents)
    assert f"shop.{kind}" in message(unpack, path, scratch)
    assert sorted(path for path in tmp_path.rglob("*") if scratch not in path.parents) == before
    assert not os.path.lexists("/tmp/evil")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4 nearly", gzip.compress(b"no tar", mtime=0)])
def test_what_is_no_archive_is_told(tmp_path, scratch, content):
    (tmp_path / "shop.tgz").write_bytes(content)
    assert "neither a tar nor a zip archive" in message(unpack, tmp_path / "shop.tgz", scratch)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip"])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_an_archive_that_is_cut_off_is_refused(tmp_path, scratch, kind, part):
    path = good(tmp_path, kind)
    whole = path.read_bytes()
    if kind == "tar":
        whole = whole[: whole.rindex(b"../app.py") + 300]
    path.write_bytes(whole[: int(len(whole) * part)])
    assert path.name in message(unpack, path, scratch)


def test_a_tar_that_is_cut_off_between_two_members_is_refused(tmp_path, scratch):
    path = good(tmp_path, "tar")
    path.write_bytes(path.read_bytes()[: 512 * 4])
    assert "cut off" in message(unpack, path, scratch)


def test_a_damaged_archive_is_told(tmp_path, scratch):
    path = zip_of(tmp_path / "shop.zip", [("app.py", "code" * 1000)])
    data = bytearray(path.read_bytes())
    data[40:50] = b"\xff" * 10
    path.write_bytes(data)
    assert "may be damaged" in message(unpack, path, scratch)


# Archives: checksums and downloads


@pytest.mark.parametrize("kind", ["sha256", "sha384", "sha512"])
def test_the_right_checksum_lets_an_archive_through(tmp_path, kind):
    path = good(tmp_path, "tar.gz")
    checksum = checksum_of(path, kind)
    loud = f"{kind}:{checksum.partition(':')[2].upper()}"
    assert archive_file({"archive": "shop.tar.gz", "checksum": checksum}, ["/none", str(tmp_path)]) == path
    assert archive_file({"archive": str(path), "checksum": loud}, []) == path


@pytest.mark.parametrize(
    ("checksum", "words"),
    [
        ("sha256:" + "0" * 64, "not the expected file"),
        ("sha256:abc", "has 3 digits"),
        ("sha512:" + "0" * 64, "has 64 digits"),
        ("0" * 64, "is not a checksum"),
        ("md5:" + "0" * 32, "is not a checksum"),
    ],
)
def test_a_wrong_or_malformed_checksum_is_told(tmp_path, checksum, words):
    good(tmp_path, "zip")
    assert words in message(archive_file, {"archive": "shop.zip", "checksum": checksum}, [str(tmp_path)])


def test_an_archive_that_is_not_there_is_told_with_the_places_looked_in(tmp_path):
    told = message(archive_file, {"archive": "dist/shop.zip"}, [str(tmp_path), "/other"])
    assert f"{tmp_path}/dist/shop.zip, /other/dist/shop.zip" in told
