# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Make this checkout importable as the collection pyweb.stack; fixtures of tests/unit and tests/local."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
COLLECTIONS = CHECKOUT / ".collections"

# The checkout is what gets packed: no bytecode in its plugin folders.
sys.dont_write_bytecode = True
# Before Ansible is imported, because it reads its settings then. The settings of the tester do not count.
os.environ["ANSIBLE_CONFIG"] = str(CHECKOUT / "ansible.cfg")
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COLLECTIONS)
# The tests of both folders import the pure helpers in tests/unit.
sys.path[:0] = [str(COLLECTIONS), str(CHECKOUT / "tests/unit")]

from ansible.plugins.loader import init_plugin_loader  # noqa: E402  # see above

init_plugin_loader([str(COLLECTIONS)])


@pytest.fixture(autouse=True)
def own_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test finds or leaves a stamp of this machine."""
    from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps

    monkeypatch.setattr(stamps, "STAMP", str(tmp_path / "stamp.json"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own: its git settings and its cache."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".gitconfig").write_text(
        "[user]\n\tname = Test\n\temail = test@example.com\n[init]\n\tdefaultBranch = main\n"
    )
    return folder


@pytest.fixture(scope="session")
def render() -> Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Render a role's files by the lookup that the role itself uses: ``render("nginx", terms)``."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import lookup_loader
    from ansible.template import Templar

    def run(role: str, terms: list[dict[str, Any]]) -> list[dict[str, Any]]:
        loader = DataLoader()
        folder = CHECKOUT / "roles" / role
        loader.set_basedir(str(folder))
        lookup = lookup_loader.get("pyweb.stack.templates", loader=loader, templar=Templar(loader=loader))
        assert lookup is not None, "the lookup pyweb.stack.templates is not found"
        return lookup.run(terms, variables={"ansible_search_path": [str(folder)]})

    return run
