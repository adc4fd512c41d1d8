# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A Containerfile is built by podman and by docker: the archive, the cache of steps, and a failed build."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.given_images import archives
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import builds
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of, pin
from compose_folder import Engine, docker, make_image, missing, podman_settings

CONTAINERFILE = 'FROM scratch\nCOPY . /app/\nWORKDIR /app\nENV A=b\nCMD ["gunicorn", "shop:app"]\n'


@pytest.fixture(params=["podman", pytest.param("docker", marks=pytest.mark.matrix)])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name: str = request.param
    lacking = ["podman"] * (shutil.which("podman") is None) if name == "podman" else missing(name)
    if lacking:
        pytest.skip(f"{', '.join(lacking)} not installed")  # reason: engines are no requirement of these tests
    # Docker's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="pyweb-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        settings = podman_settings(folder)
        for key, value in settings.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setattr(builds, "ENGINES", {name: builds.ENGINES[name]})
        if name == "podman":
            yield name
            return
        podman = Engine(["podman-compose"], ["podman"], settings)
        make_image(podman, folder)
        with docker(podman, folder) as found:
            for key, value in found.environment.items():
                monkeypatch.setenv(key, value)
            yield name


@pytest.fixture
def source(engine: str, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "Containerfile").write_text(CONTAINERFILE)
    (folder / "shop.py").write_text("app = 1\n")
    (folder / ".dockerignore").write_text("secret\n")
    (folder / "secret").write_text("x")
    yield folder
    tag = builds.order_of({"path": str(folder), "containerfile": "Containerfile"}, []).tag
    subprocess.run([engine, "rmi", "--force", tag], check=False, capture_output=True)


def files(path: Path) -> dict[str, str]:
    """The files of the image in an archive, and its configuration."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch, archives.opened(str(path), "the image", scratch) as archive:
        ((config, layers),) = archive.images.values()
        assert (config.folder, list(config.command), config.env["A"]) == ("/app", ["gunicorn", "shop:app"], "b")
        for name in layers:
            with archive.opened(name) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
                found |= {one.name: tar.extractfile(one).read().decode() for one in tar if one.isfile()}  # type: ignore[union-attr]
    return found


def test_an_image_is_built_from_its_folder(source: Path) -> None:
    given = {"path": str(source), "containerfile": "Containerfile"}
    first = pin(given, [])
    origin = origin_of({**given, **first}, [])
    assert origin.file
    found = files(origin.file)
    assert found["app/shop.py"] == "app = 1\n"
    assert "app/secret" not in found
    # The engine has all steps in its cache, so this is the same image.
    os.utime(source)
    (source / "secret").write_text("y")
    assert pin(given, []) == first
    (source / "shop.py").write_text("app = 2\n")
    second = pin(given, [])
    assert second["digest"] != first["digest"]
    again = origin_of({**given, **second}, [])
    assert again.file
    assert files(again.file)["app/shop.py"] == "app = 2\n"
    # A run that began before still finds its own.
    assert files(origin.file)["app/shop.py"] == "app = 1\n"


def test_a_step_that_fails_shows_the_words_of_the_engine(source: Path) -> None:
    given = {"path": str(source), "containerfile": "Containerfile"}
    first = pin(given, [])
    (source / "Containerfile").write_text(f"{CONTAINERFILE}COPY nothing /app/\n")
    with pytest.raises(SourceError, match=r"building Containerfile of 'shop' failed\. .* says: .*nothing"):
        pin(given, [])
    (source / "Containerfile").write_text(CONTAINERFILE)
    assert pin(given, []) == first


def test_a_build_after_an_upgrade_has_the_upgraded_steps(source: Path) -> None:
    """podman takes the oldest of equal steps from its cache."""
    given = {"path": str(source), "containerfile": "Containerfile"}
    steps = CONTAINERFILE.replace("COPY . /app/", "COPY fixed /fixed\nCOPY . /app/")
    (source / "Containerfile").write_text(steps)
    (source / "fixed").write_text("x")
    found = []
    for number, run in enumerate(
        (builds.RunOfBuilds("a"), builds.RunOfBuilds("b", renews=True), builds.RunOfBuilds("c"))
    ):
        (source / "shop.py").write_text(f"app = {number}\n")
        image = origin_of({**given, **pin(given, [], run)}, [])
        assert image.file
        found.append(history(image.file))
    assert ["upgraded=b" in one for one in found] == [False, True, True]


def history(path: Path) -> str:
    with tarfile.open(path) as tar:
        return "".join(tar.extractfile(one).read().decode() for one in tar if one.name.endswith(".json"))  # type: ignore[union-attr]
