# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Projects of every shape, built with a real uv, real build backends and a local index.

For each: what it imports and runs; a second build has the same packages, also if the index has newer versions; each
byte of an input makes another release; and a change is seen by the release that is built from it.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import fingerprint
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    Manifest,
    ReleaseError,
    build_account,
    read_manifest,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of
from project_shapes import SHAPES, Shape, reports
from project_shapes.backends import HATCHLING
from project_shapes.index import USER, Index, serving
from repositories import git
from test_building import NAME, Bench, account, needs_root, public, uv

__all__ = ["account", "public", "uv"]

pytestmark = needs_root

PACKAGES = (
    ("shapes-left", "1.0", ()),
    ("shapes-left", "1.1", ()),
    ("shapes-right", "1.0", ("shapes-left",)),
    ("shapes-extra", "1.0", ()),
    ("shapes-dev", "1.0", ()),
    ("shapes-strict", "1.0", ("shapes-left==1.0",)),
    ("shapes-plugin", "1.0", ("shop",)),
)
# The versions that are published after the first build.
NEWER = (("shapes-left", "9.0", ()), ("shapes-right", "9.0", ()), ("shapes-extra", "9.0", ()))
# All packages except the project itself, whose version may change with its code.
FREEZE = (
    "from importlib.metadata import distributions as d; "
    "print(*sorted({f'{x.name}=={x.version}' for x in d() if x.name != 'shop'}))"
)


@dataclass
class Yard:
    """One application that is built in all shapes, and the local indexes."""

    bench: Bench
    index: Index
    private: Index
    git: Path
    uv: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.usual = {**self.bench.spec({}), "processes": [], "limits": {}, "process_manager": "systemd"}

    def filled(self, value: Any) -> Any:
        """The value with the addresses of the indexes."""
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.filled(item) for item in value]
        if not isinstance(value, str):
            return value
        value = value.replace("@INDEX@", self.index.url).replace("@PRIVATE@", self.private.url)
        return value.replace("@PRIVATE_PORT@", str(self.private.port)).replace("@GIT@", str(self.git))

    def source(self, shape: Shape) -> Path:
        """The folder of the source, as its author leaves it."""
        folder = self.bench.folder / f"shape-{next(self.numbers)}"
        for name, text in shape.all_files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.filled(text).encode(shape.encodings.get(name, "utf-8")))
        if "wheels/" in str(shape.files) or "find-links" in str(shape.files):
            Index(folder / "wheels", 0).folder.mkdir()
            Index(folder / "wheels", 0).publish("shapes-local", "1.0")
        environment = {**os.environ, "UV_INDEX": self.index.url, "UV_NO_CONFIG": "1"}
        # The repository belongs to the build account, and git of the author may read it.
        home = self.bench.folder / "author"
        home.mkdir(exist_ok=True)
        (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
        environment |= {"HOME": str(home)}
        for command in shape.author:
            words = list(command) if command[0] == "rm" else [self.uv, *command]
            answer = subprocess.run(words, cwd=folder, env=environment, check=False, capture_output=True)
            assert answer.returncode == 0, answer.stderr.decode()
        shutil.rmtree(folder / ".venv", ignore_errors=True)
        if shape.tag:
            git(folder, "init", "-q")
            git(folder, "add", "-A")
            git(folder, "commit", "-q", "-m", "first")
            git(folder, "tag", shape.tag)
        return folder

    def spec(self, shape: Shape, folder: Path, pack: bool = True) -> dict[str, Any]:
        """The specification of a release, as the controller sends it."""
        origin = origin_of({"path": str(folder), "subdir": shape.subdir}, [])
        assert origin.pack is not None
        source = {**origin.description, "subdir": shape.subdir}
        if pack:
            source["data"] = base64.b64encode(origin.pack()).decode()
        python = {"interpreter": "python3", "packages": [], "extra_index_urls": [self.index.url]}
        self.check(shape)
        return {
            **self.usual,
            "source": source,
            "python": {**python, **self.filled(shape.python)},
            "server_packages": list(shape.server),
            "wsgi": shape.wsgi,
            "env": shape.env,
        }

    def check(self, shape: Shape) -> None:
        """The inventory of a shape is one that the checks accept."""
        app = {"name": NAME, "wsgi": shape.wsgi, "env": shape.env, "python": self.filled(shape.python)}
        _apps, problems = normalised([{**app, "source": {"path": "shop", "subdir": shape.subdir}}])
        assert problems == []

    def print_of(self, spec: dict[str, Any]) -> dict[str, str]:
        return fingerprint(spec, self.bench.layout, InterpreterVersions(self.bench.layout.root), False)

    def first(self, spec: dict[str, Any]) -> Manifest:
        """Build the first release of an application: no live release has versions that are preferred."""
        Path(self.bench.layout.current).unlink(missing_ok=True)
        return self.build(spec)

    def build(self, spec: dict[str, Any]) -> Manifest:
        """Build a release, and make it the live one."""
        identity = f"20261121T{next(self.numbers):06d}Z-ab12cd34"
        manifest = self.bench.build_spec(spec, identity, self.print_of(spec)["code"])
        assert manifest.state == BUILT
        current = Path(self.bench.layout.current)
        current.unlink(missing_ok=True)
        current.symlink_to(f"releases/{identity}")
        found = read_manifest(self.bench.layout, identity)
        assert found is not None
        return found

    def run(self, manifest: Manifest, *command: str) -> str:
        return self.bench.run(*command, identity=manifest.id).strip()

    @contextmanager
    def newer(self) -> Iterator[None]:
        """Newer versions are on the index for a while."""
        paths = [self.index.publish(*package) for package in NEWER]
        try:
            yield
        finally:
            for path in paths:
                path.unlink()

    def remove(self, *built: Manifest) -> None:
        for manifest in built:
            shutil.rmtree(self.bench.layout.release(manifest.id))


@pytest.fixture(scope="module")
def yard(public: Path, account: Any, uv: str) -> Iterator[Yard]:
    root = public / f"yard-{time.monotonic_ns()}"
    root.mkdir(mode=0o755)
    with serving(root / "index") as index, serving(root / "private", private=True) as private:
        for name, version, requires in PACKAGES:
            index.publish(name, version, requires)
        index.publish("shapes-resources", "1.0", text="import pkg_resources\n")
        path = index.publish("shapes-many", "1.0", ("shapes-right ; extra == 'big'",))
        assert path.exists()
        private.publish("shapes-private", "1.0")
        assert private.url.startswith(f"http://{USER}:")
        yield Yard(Bench(root, account, uv), index, private, repository(root / "git"), uv)
    shutil.rmtree(root)


def repository(folder: Path) -> Path:
    """A repository with a package, which the build account can read."""
    (folder / "src" / "shapes_git").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(f'{HATCHLING}[project]\nname = "shapes-git"\nversion = "1.0"\n')
    (folder / "src" / "shapes_git" / "__init__.py").write_text("")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    subprocess.run(["chown", "-R", build_account(NAME), folder], check=True)
    return folder


# Shares of the projects that `make test` builds: of those from reports, and of all others. `make test-all` builds all.
REPORTS, OTHERS = 6, 2


def is_sample(shape: Shape) -> bool:
    """Whether `make test` builds this project."""
    if shape in reports.SHAPES:
        return reports.SHAPES.index(shape) % REPORTS == 0
    return [one for one in SHAPES if one not in reports.SHAPES].index(shape) % OTHERS == 0


@pytest.mark.sampled(by=is_sample)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if not shape.refused], ids=str)
def test_a_project_has_what_its_author_has_and_keeps_it(yard: Yard, shape: Shape) -> None:
    folder = yard.source(shape)
    spec = yard.spec(shape, folder)
    first = yard.first(spec)
    assert yard.run(first, "python", "-c", shape.probe) == shape.says
    if shape.command:
        assert yard.run(first, *shape.command) == shape.told
    packages = yard.run(first, "python", "-c", FREEZE)
    assert yard.print_of(yard.spec(shape, folder)) == yard.print_of(spec)

    if shape.brief and os.environ.get("PYWEB_MATRIX") != "all":
        yard.remove(first)
        return
    # The source changes, and newer versions are on the index.
    name, before, after = shape.change
    if name:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))
    changed = yard.spec(shape, folder)
    assert (yard.print_of(changed) != yard.print_of(spec)) is bool(name)
    with yard.newer():
        second = yard.build(changed)
    assert yard.run(second, "python", "-c", shape.probe) == (shape.then if name else shape.says)
    if not shape.changes_packages:
        assert yard.run(second, "python", "-c", FREEZE) == packages
        assert second.venv == first.venv
    yard.remove(first, second)


@pytest.mark.sampled(by=is_sample)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_byte_of_an_input_makes_another_release(yard: Yard, shape: Shape) -> None:
    folder = yard.source(shape)
    spec = yard.spec(shape, folder, pack=False)
    wanted = yard.print_of(spec)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and ".git" not in path.parts and path.read_bytes():
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            assert yard.print_of(yard.spec(shape, folder, pack=False)) != wanted, path
            path.write_bytes(data)
    assert yard.print_of(yard.spec(shape, folder, pack=False)) == wanted
    for key, value in spec["python"].items():
        other = [*value, "shapes-dev"] if isinstance(value, list) else value.replace("simple", "other")
        if key != "interpreter":
            assert yard.print_of({**spec, "python": {**spec["python"], key: other}}) != wanted, key


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.refused], ids=str)
def test_a_project_that_cannot_be_deployed_is_refused(yard: Yard, shape: Shape) -> None:
    spec = yard.spec(shape, yard.source(shape))
    with pytest.raises(ReleaseError) as caught:
        yard.first(spec)
    assert re.search(shape.refused, str(caught.value)), caught.value


def test_a_new_application_gets_the_newest_versions(yard: Yard) -> None:
    """So the test above shows that a newer version on the index is seen by uv."""
    shape = Shape("new", {"requirements.txt": "shapes-left>=1.0.0.0\n"})
    with yard.newer():
        built = yard.first(yard.spec(shape, yard.source(shape)))
    assert yard.run(built, "python", "-c", "import shapes_left; print(shapes_left.VERSION)") == "9.0"


def test_there_are_as_many_shapes_as_the_documents_say() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 40
