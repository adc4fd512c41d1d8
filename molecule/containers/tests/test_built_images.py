# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications with a Containerfile: podman of the controller builds the image, and the hosts run it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyweb_places import Place, everywhere
from test_given_images import BOXED, archive, deploy, load, state, succeeded, version

CODE = Path(__file__).resolve().parents[3] / "tests" / "apps" / "boxed"
BASE = "localhost/pyweb-given-test:base"
CONTAINERFILE = f"""FROM {BASE}
COPY requirements.txt /app/
# A step that takes the programs of the image.
RUN python3 -c "import flask, sys; print(sys.version)" >/app/seen.txt
COPY . /app/
"""


def podman(*words: str, check: bool = True) -> str:
    return subprocess.run(["podman", *words], check=check, capture_output=True, text=True, timeout=300).stdout


def images() -> set[str]:
    return {*podman("images", "--quiet", "--no-trunc", "--all").split()}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The podman that runs the test hosts. Its usual runtime and cgroup manager don't work everywhere."""
    lines = ["[engine]"] + ['runtime = "runc"'] * bool(shutil.which("runc"))
    if not os.path.isdir("/run/systemd/system"):
        lines += ['cgroup_manager = "cgroupfs"', 'events_logger = "file"']
    lines += ["[containers]", "default_ulimits = []", 'netns = "host"']
    settings = tmp_path / "containers.conf"
    settings.write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("CONTAINERS_CONF", str(settings))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = images()
    yield
    podman("rmi", "--force", *(images() - before), check=False)


@pytest.fixture
def source(places: list[Place], tmp_path: Path, engine: None) -> Path:
    """The code with a Containerfile. Its base has the system and the packages of the hosts' releases."""
    loaded = podman("load", "--quiet", "--input", str(archive(places[0], tmp_path, "base"))).split()[-1]
    podman("tag", loaded.removeprefix("sha256:"), BASE)
    folder = tmp_path / "boxed"
    shutil.copytree(CODE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "Containerfile").write_text(CONTAINERFILE)
    return folder


def change(folder: Path, old: str, new: str) -> None:
    code = (folder / "boxed.py").read_text()
    assert f'"{old}\\n"' in code
    (folder / "boxed.py").write_text(code.replace(f'"{old}\\n"', f'"{new}\\n"'))


def built(folder: Path, **more: Any) -> dict[str, Any]:
    source = {"path": str(folder), "containerfile": "Containerfile"}
    return {"boxed_source": source, "boxed_container": {}, "greeting": "given", "release_hold": False, **more}


def built_for(folder: Path) -> dict[str, Any]:
    """The code is not in the image."""
    container = {"containerfile": "Containerfile"}
    return {**built(folder), "boxed_source": {"path": str(folder)}, "boxed_container": container}


@pytest.mark.matrix(whole=True)
def test_a_containerfile_is_built_once_and_deployed_without_a_lost_request(
    places: list[Place], run_playbook: Callable[..., Any], source: Path
) -> None:
    succeeded(deploy(run_playbook, {"release_hold": False}))
    change(source, "slow", "first")
    with load(places):
        succeeded(deploy(run_playbook, built(source)))
        assert everywhere(version, places) == ["first", "first"]
        for place in places:
            assert place.run("cat /srv/webapps/boxed/current/src/seen.txt").startswith("3.")
            assert "given1-" in place.run("ls /srv/webapps/.images")
            assert place.run("command -v podman docker || true") == ""
        again = deploy(run_playbook, built(source))
        succeeded(again)
        assert [again.counts(place.name)["changed"] for place in places] == [0, 0]

        change(source, "first", "second")
        succeeded(deploy(run_playbook, built(source)))
        assert everywhere(version, places) == ["second", "second"]
        succeeded(run_playbook("pyweb.stack.verify", built(source)))
        succeeded(run_playbook("pyweb.stack.rollback", {"app": "boxed", "confirm": "boxed"}))
        assert everywhere(version, places) == ["first", "first"]
        # The command of the image, with a socket that it inherits.
        (source / "Containerfile").write_text(f'{CONTAINERFILE}CMD ["gunicorn", "--bind", "0.0.0.0:80", "boxed:app"]\n')
        succeeded(deploy(run_playbook, built(source, boxed_server="image")))
        assert everywhere(version, places) == ["second", "second"]

        before = everywhere(state, places)
        (source / "Containerfile").write_text(f"{CONTAINERFILE}RUN echo no room for this >&2; false\n")
        run = deploy(run_playbook, built(source))
        assert run.status != 0
        for place in places:
            assert "building Containerfile of 'boxed' failed" in run.failure(place.name), run.output[-3000:]
            assert "no room for this" in run.failure(place.name)
            assert "Nothing on the host has changed" in run.failure(place.name)
        assert everywhere(state, places) == before
    succeeded(deploy(run_playbook, {"release_hold": False}))


@pytest.mark.matrix(whole=True)
def test_a_change_of_code_outside_of_the_image_needs_no_new_image(
    places: list[Place], run_playbook: Callable[..., Any], source: Path
) -> None:
    succeeded(deploy(run_playbook, {"release_hold": False}))
    (source / "Containerfile").write_text(f"FROM {BASE}\nRUN rm -r /app\nCOPY requirements.txt /\n")
    change(source, "slow", "first")
    with load(places):
        succeeded(deploy(run_playbook, built_for(source)))
        assert everywhere(version, places) == ["first", "first"]
        images = [place.run("ls /srv/webapps/.images") for place in places]
        for place in places:
            assert place.ask("/seen", headers=BOXED).json()["writable"] == ["data", "/tmp"]
            place.run("systemctl start boxed.tick.service")
        again = deploy(run_playbook, built_for(source))
        succeeded(again)
        assert [again.counts(place.name)["changed"] for place in places] == [0, 0]
        change(source, "first", "second")
        succeeded(deploy(run_playbook, built_for(source)))
        assert everywhere(version, places) == ["second", "second"]
        assert [place.run("ls /srv/webapps/.images") for place in places] == images
        # Another image is another release, although the code is the same.
        with (source / "Containerfile").open("a") as stream:
            stream.write("RUN touch /new\n")
        succeeded(deploy(run_playbook, built_for(source)))
        assert [place.run("ls /srv/webapps/.images") for place in places] != images
        succeeded(run_playbook("pyweb.stack.verify", built_for(source)))
        succeeded(run_playbook("pyweb.stack.rollback", {"app": "boxed", "confirm": "boxed"}))
        assert everywhere(version, places) == ["second", "second"]
        for place in places:
            assert (
                place.run("test -e /srv/webapps/boxed/current/image/root/new && echo new || echo old").strip() == "old"
            )
    succeeded(deploy(run_playbook, {"release_hold": False}))
