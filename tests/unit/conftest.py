# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Make this checkout importable as the collection pyweb.stack, wherever it lies."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTIONS = CHECKOUT / ".collections"

# The checkout is what gets packed: no bytecode in its plugin folders.
sys.dont_write_bytecode = True
# Before Ansible is imported, for it reads its settings then; and only ours count, not those of whoever runs the tests.
os.environ["ANSIBLE_CONFIG"] = str(CHECKOUT / "ansible.cfg")
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COLLECTIONS)
sys.path.insert(0, str(COLLECTIONS))

from ansible.plugins.loader import init_plugin_loader  # noqa: E402  # see above
from serving import serve  # noqa: E402, F401  # a fixture

init_plugin_loader([str(COLLECTIONS)])

from supervising import lab  # noqa: E402, F401  # a fixture, and it needs the collection


@pytest.fixture(autouse=True)
def own_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves a stamp on this machine, nor finds one."""
    from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps

    monkeypatch.setattr(stamps, "STAMP", str(tmp_path / "stamp.json"))


@pytest.fixture
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
