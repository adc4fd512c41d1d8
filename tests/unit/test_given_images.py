# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Images that are given: how they are unpacked, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.given_images import archives, layers, making
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import digest_of
from ansible_collections.pyweb.stack.plugins.module_utils.images import inside
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError, description, folder_of
from given_images import ARCHITECTURE, PYTHON, config_of, docker_archive, layer, layout_archive, write_tar

ARCHIVES = [docker_archive, layout_archive]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / ".images").mkdir(mode=0o700)
    return tmp_path


def wanted(path: Path) -> making.Wanted:
    with archives.opened(str(path), "the image 'shop.tar'", str(path.parent)) as archive:
        return making.Wanted(archive.identity, "the image 'shop.tar'", archive=str(path))


def provided(store: Path, path: Path) -> Path:
    """The root file system of an image in the store."""
    return Path(folder_of(str(store)), making.provide(str(store), wanted(path), list), "root")


def unpacked(folder: Path, *given: list[Any]) -> Path:
    """A folder with these layers."""
    with inside.opened(str(folder)) as top:
        unpacking = layers.Unpacking(top, "the image 'shop'")
        for entries in given:
            content = layer(entries)
            unpacking.add(io.BytesIO(content), digest_of(content))
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


@pytest.mark.parametrize("make", ARCHIVES)
@pytest.mark.parametrize("is_packed", [False, True])
def test_an_archive_becomes_an_image_of_the_store(store: Path, make: Any, is_packed: bool) -> None:
    path = make(
        store / "shop.tar", [PYTHON, ["app/", ("app/shop.py", b"app = 1", 0o644)]], Env=["PATH=/usr/local/bin", "A=b=c"]
    )
    if is_packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    root = provided(store, path)
    assert (root / "app/shop.py").read_text() == "app = 1"
    known = description(str(store), root.parent.name)
    assert (known["python"], known["interpreter"], known["folder"]) == ("3.12", "/usr/local/bin/python3", "/app")
    assert (known["env"], known["command"]) == ({"A": "b=c"}, ["gunicorn", "shop:app"])
    assert all((root / name).is_dir() for name in ("dev", "proc", "run", "srv", "tmp", "etc/ssl/certs"))
    assert (root / "etc/resolv.conf").is_file()
    # The next release needs no archive.
    there = wanted(path)
    path.unlink()
    assert making.provide(str(store), there, list) == root.parent.name


def test_an_image_has_the_same_name_however_often_it_is_saved(tmp_path: Path) -> None:
    one = wanted(docker_archive(tmp_path / "one.tar", [PYTHON]))
    two = docker_archive(tmp_path / "two.tar", [PYTHON])
    two.write_bytes(gzip.compress(two.read_bytes()))
    other = docker_archive(tmp_path / "other.tar", [PYTHON], Env=["A=b"])
    assert one.name == wanted(two).name != wanted(other).name


def test_an_upper_layer_replaces_and_removes_files_of_lower_ones(tmp_path: Path) -> None:
    lower = [
        "a/",
        ("a/one", b"1", 0o644),
        ("a/two", b"2", 0o644),
        "b/",
        ("b/old", b"", 0o644),
        ("c", b"file", 0o644),
        "d/",
    ]
    lower += [("d/deep/old", b"", 0o644), ("lib", "->", "usr/lib")]
    upper = [("a/.wh.one", b"", 0), ("a/two", b"new", 0o644), ("b/new", b"", 0o644), ("b/.wh..wh..opq", b"", 0), "c/"]
    upper += [
        ("d/deep/new", b"", 0o644),
        ("d/.wh..wh..opq", b"", 0),
        ("lib/libpq.so", b"", 0o644),
        ("x/.wh.none", b"", 0),
    ]
    found = unpacked(tmp_path, lower, upper)
    assert files(found) == ["a/two", "b/new", "d/deep/new", "lib", "usr/lib/libpq.so"]
    assert (found / "a/two").read_text() == "new"
    assert (found / "c").is_dir()


@pytest.mark.attack("2", "An image has programs that run as root")
def test_root_owns_all_files_and_none_has_special_rights(tmp_path: Path) -> None:
    foreign, secret = tarfile.TarInfo("app.py"), tarfile.TarInfo("shadow")
    foreign.uid, foreign.mode, secret.mode = 1000, 0o4700, 0o600
    found = unpacked(tmp_path, [("su", b"", 0o6755), foreign, secret, ("wide", b"", 0o666), ("again", "=", "su")])
    modes = {name: stat.S_IMODE((found / name).stat().st_mode) for name in files(found)}
    assert modes == {"su": 0o755, "again": 0o755, "app.py": 0o755, "shadow": 0o600, "wide": 0o644}
    assert {(found / name).stat().st_uid for name in modes} == {os.geteuid()}
    assert (found / "su").stat().st_ino == (found / "again").stat().st_ino
    assert (found / "wide").stat().st_mtime == 1_700_000_000


HOSTILE = [
    ([("../evil", b"", 0o644)], "'../evil', which is outside"),
    ([("a/../../evil", b"", 0o644)], "which is outside"),
    ([("/etc/evil", b"", 0o644)], "'/etc/evil', which is outside"),
    ([("evil", "=", "../../etc/passwd")], "'../../etc/passwd', which is outside"),
    ([("evil", "=", "/etc/passwd")], "which is outside"),
    ([("out", "->", "/etc"), ("evil", "=", "out/passwd")], "a hard link to 'out/passwd', which is no file"),
    ([("evil", "=", "missing")], "a hard link to 'missing', which is no file"),
    ([("evil", "dev", None)], "neither a file, a folder nor a link"),
    ([("dev", "->", "x"), ("x/null", "dev", None)], "neither a file, a folder nor a link"),
    ([("evil", "fifo", None)], "neither a file, a folder nor a link"),
    ([("a", b"", 0o644), ("a/b", b"", 0o644)], "a folder and a file"),
    ([("/".join("d" * 150), b"", 0o644)], "more than 100 folders deep"),
    ([("a", "->", "b"), ("b", "->", "a"), ("a/evil", b"", 0o644)], "a circle of links"),
    ([(".wh...", b"", 0)], "removes no file"),
    ([("x\x1b[31m/../..", b"", 0)], "'x\\x1b[31m/../..'"),
]


@pytest.mark.attack("2", "A layer of an image has paths, hard links and devices outside of it")
@pytest.mark.parametrize(("entries", "says"), HOSTILE)
def test_a_hostile_layer_is_refused_and_nothing_of_it_stays(store: Path, entries: list[Any], says: str) -> None:
    path = docker_archive(store / "shop.tar", [PYTHON, entries])
    with pytest.raises(ImageError) as error:
        provided(store, path)
    assert says in str(error.value)
    assert "Remove it from the image" in str(error.value)
    assert os.listdir(store / ".images") == []


@pytest.mark.attack("2", "A layer of an image writes and removes files through links of a lower layer")
def test_links_of_an_image_lead_to_places_inside_of_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    image = tmp_path / "image"
    image.mkdir()
    way = f"../../../../..{outside}"
    lower = [("abs", "->", str(outside)), ("up", "->", way), ("run", "->", str(outside)), ("etc", "->", str(outside))]
    unpacked(
        image,
        lower,
        [("abs/one", b"", 0o644), ("up/two", b"", 0o644), ("abs/.wh.kept", b"", 0), ("up/.wh..wh..opq", b"", 0)],
    )
    assert (image / f".{outside}" / "one").is_file()
    making.complete(str(image))
    with inside.opened(str(image)) as top:
        inside.make_folder(top, "/etc/below")
        inside.make_file(top, "/abs/file")
    assert os.listdir(outside) == ["kept"]
    assert (image / f".{outside}" / "below").is_dir()


def test_devices_of_an_image_are_left_out(tmp_path: Path) -> None:
    assert files(unpacked(tmp_path, ["dev/", ("dev/null", "dev", None), ("dev/fd", "->", "/proc/self/fd")])) == []


# The content of a file, and the message
BROKEN: list[tuple[dict[str, bytes], str]] = [
    ({"a": b""}, "neither manifest.json nor index.json"),
    ({"manifest.json": b"{"}, "not a list of images"),
    ({"manifest.json": b"[{}, {}]"}, "has 2 images, and one is needed"),
    ({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": b"{}"}, "it has 0 layers"),
    ({"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]'}, "'c' is missing"),
    (
        {"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]', "c": b'{"os": "windows"}'},
        "for 'windows/None', not for linux",
    ),
    ({"index.json": b'{"manifests": [{"digest": "sha256:../../x"}]}'}, "is not a digest"),
    ({"index.json": b'{"manifests": [{}, {}]}'}, "several images"),
    ({"index.json": b'{"manifests": 7}'}, "several images"),
    ({"index.json": b'{"manifests": [{"platform": [1]}, 5, null]}'}, "several images"),
]


@pytest.mark.parametrize(("content", "says"), BROKEN)
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: dict[str, bytes], says: str) -> None:
    with pytest.raises(ImageError, match=says.replace("[", r"\[")):
        wanted(write_tar(tmp_path / "x.tar", content))


@pytest.mark.parametrize("content", [b"", b"no tar", gzip.compress(b"no tar", mtime=0), b"\x1f\x8bdamaged"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ImageError, match=r"no tar archive|neither manifest\.json"):
        wanted(tmp_path / "x.tar")
    assert os.listdir(tmp_path) == ["x.tar"]


def damaged(path: Path, change: Any) -> Path:
    with tarfile.open(path) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
    return write_tar(path, {name: change(name, content) for name, content in found.items()})


def test_a_layer_with_other_content_than_the_image_says_is_refused(store: Path) -> None:
    other = layer([("bin/sh", b"other", 0o755)])
    path = damaged(
        docker_archive(store / "s.tar", [PYTHON]), lambda name, content: other if "layer" in name else content
    )
    with pytest.raises(ImageError, match="does not have the digest sha256:"):
        provided(store, path)
    assert os.listdir(store / ".images") == []


@pytest.mark.parametrize("content", [b"\x28\xb5\x2f\xfdzstd", gzip.compress(layer(PYTHON), mtime=0)[:-20], b"x" * 1024])
def test_a_layer_that_cannot_be_read_is_refused(store: Path, content: bytes) -> None:
    path = damaged(docker_archive(store / "s.tar", [PYTHON]), lambda name, old: content if "layer" in name else old)
    with pytest.raises(ImageError, match=r"not packed with gzip|damaged"):
        provided(store, path)
    assert os.listdir(store / ".images") == []


def test_an_image_for_other_processors_is_refused(store: Path) -> None:
    path = docker_archive(store / "shop.tar", [PYTHON], architecture="mips")
    with pytest.raises(ImageError, match=rf"is for mips, but the host has {ARCHITECTURE}\. Build the image for"):
        provided(store, path)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (PYTHON[2:], "has no /bin/sh"),
        (
            [*PYTHON[:2], ("usr/local/bin/python3.8", b"", 0o755), ("usr/local/bin/python3", "->", "python3.8")],
            "has Python 3.8",
        ),
    ],
)
def test_an_image_in_which_no_application_can_run_is_refused(store: Path, entries: list[Any], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        provided(store, docker_archive(store / "shop.tar", [entries]))
    assert os.listdir(store / ".images") == []


def test_a_full_disk_leaves_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = docker_archive(store / "shop.tar", [PYTHON, [("big", b"0" * 20 * 1024**2, 0o644)]])
    monkeypatch.setattr(layers, "RESERVE", 2**60)
    with pytest.raises(ImageError, match=r"disk is almost full while the image 'shop\.tar' is unpacked\. Make room"):
        provided(store, path)
    assert os.listdir(store / ".images") == []


def test_an_interrupted_run_leaves_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_words: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "complete", stop)
    path = docker_archive(store / "shop.tar", [PYTHON])
    with pytest.raises(KeyboardInterrupt):
        provided(store, path)
    assert os.listdir(store / ".images") == []


def test_an_archive_that_changes_during_a_run_is_refused(store: Path) -> None:
    first = wanted(docker_archive(store / "shop.tar", [PYTHON]))
    docker_archive(store / "shop.tar", [PYTHON], Env=["A=other"])
    with pytest.raises(ImageError, match=r"has changed since this run began\. Run again"):
        making.make(str(store), first)


def test_an_image_has_no_more_layers_than_its_configuration(store: Path) -> None:
    packed = layer(PYTHON)
    manifest = json.dumps([{"Config": "c", "Layers": ["l", "l"]}]).encode()
    path = write_tar(store / "x.tar", {"manifest.json": manifest, "c": config_of([packed]), "l": packed})
    with pytest.raises(ImageError, match="has 2 layers, but its configuration names 1"):
        provided(store, path)


def test_a_layer_that_two_images_share_may_be_a_link(store: Path) -> None:
    path = store / "x.tar"
    packed = layer(PYTHON)
    write_tar(
        path,
        {
            "c": config_of([packed]),
            "other/layer.tar": packed,
            "manifest.json": b'[{"Config": "c", "Layers": ["l/layer.tar"]}]',
        },
    )
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("l/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../other/layer.tar"
        tar.addfile(link)
    with contextlib.nullcontext(provided(store, path)) as root:
        assert (root / "usr/local/bin/python3.12").is_file()


@pytest.mark.attack("16", "The header of a layer fills the memory")
@pytest.mark.parametrize("make", [docker_archive, layout_archive])
def test_a_header_that_would_fill_the_memory_is_refused(store: Path, make: Any) -> None:
    long = tarfile.TarInfo("x")
    long.pax_headers = {"comment": "x" * 2 * 1024**2}
    with pytest.raises(ImageError, match=r"a header has 2\d+ bytes, and 1048576 are allowed"):
        provided(store, make(store / "shop.tar", [[*PYTHON, long]]))
    assert os.listdir(store / ".images") == []


@pytest.mark.attack("16", "A small layer unpacks without end")
def test_a_layer_without_end_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = docker_archive(store / "shop.tar", [PYTHON])
    monkeypatch.setattr(layers, "LARGEST", 2048)
    with pytest.raises(ImageError, match="a layer has more than 0 GiB"):
        provided(store, path)


def test_a_search_path_has_plain_folders_alone(store: Path) -> None:
    path = docker_archive(store / "shop.tar", [PYTHON], Env=["PATH=.:x:/a b:/a\nb:/usr/local/bin:/bin"])
    root = provided(store, path)
    assert description(str(store), root.parent.name)["path"] == "/usr/local/bin:/bin"
