# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A requirement in a git repository: the host gets git by itself, and nothing of the first attempt is left."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building import variables
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import Deployment
from ansible_collections.pyweb.stack.plugins.module_utils.release import programs
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    MissingPackages,
    build_account,
    manifests,
)
from repositories import git
from test_building import APP, ID, NAME, Bench, account, bench, needs_root, public, uv

__all__ = ["account", "bench", "public", "uv"]

PROJECT = """
[project]
name = "theme"
version = "1.5"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# A build backend of its own, because this test is about git and asks no index.
BACKEND = """
import os, zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "theme-1.5-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("theme.py", "COLOUR = 'blue'\\n")
        wheel.writestr("theme-1.5.dist-info/METADATA", "Metadata-Version: 2.1\\nName: theme\\nVersion: 1.5\\n")
        wheel.writestr("theme-1.5.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("theme-1.5.dist-info/RECORD", "")
    return name
"""


@pytest.fixture
def theme(public: Path, bench: Bench) -> str:
    """The address of a repository with a package, which every account can read."""
    folder = bench.folder / "theme"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    # Git reads no repository of another account.
    subprocess.run(["chown", "-R", build_account(NAME), folder], check=True)
    return f"git+file://{folder}"


@pytest.fixture
def without_git(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose search path has every program except git."""
    folder = bench.folder / "programs"
    folder.mkdir(mode=0o755)
    for place in programs.SYSTEM_PATH.split(":"):
        for entry in os.scandir(place) if os.path.isdir(place) else ():
            if entry.name != "git" and not os.path.lexists(folder / entry.name):
                os.symlink(entry.path, folder / entry.name)
    assert shutil.which("git", path=str(folder)) is None
    for module in (programs, variables):
        monkeypatch.setattr(module, "SYSTEM_PATH", str(folder))


@needs_root
@pytest.mark.usefixtures("without_git")
def test_a_host_without_git_asks_for_it_and_keeps_nothing_of_the_attempt(bench: Bench, theme: str) -> None:
    spec = bench.spec({"app.py": APP, "requirements.txt": f"theme @ {theme}\n"})
    spec |= {"process_manager": "systemd", "processes": []}
    deployment = Deployment(bench.layout.root, bench.uv, "", "alice@desk", run_on_host)
    wanted: dict[str, Any] = {"code": "code", "dependencies": "x", "settings": "y", "secrets": "z"}
    with pytest.raises(MissingPackages, match=r"it needs git, which is not on the host. Run apt install git") as caught:
        deploy.build(deployment, spec, bench.layout, wanted)
    assert caught.value.packages == ["git"]
    assert manifests(bench.layout) == []
    assert os.listdir(bench.layout.releases) == []
    assert os.listdir(bench.layout.venvs) == []
    # It was no failed deployment.
    assert not os.path.exists(bench.layout.history)


@needs_root
def test_a_host_with_git_installs_the_requirement(bench: Bench, theme: str) -> None:
    spec = bench.spec({"app.py": APP, "requirements.txt": f"theme @ {theme}\n"})
    bench.build_spec(spec)
    assert bench.run("python", "-c", "import theme; print(theme.COLOUR)", identity=ID) == "blue\n"
