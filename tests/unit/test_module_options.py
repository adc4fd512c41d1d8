# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The documentation of each module names every option that it takes, and no other."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
# The others are actions of the controller alone.
NAMES = sorted(path.stem for path in MODULES.glob("*.py") if "AnsibleModule(" in path.read_text(encoding="utf-8"))


class Asked(Exception):
    """The module has named its options."""


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_a_module_is_documented(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ansible_collections.pyweb.stack.plugins.modules.{name}")

    def ask(argument_spec: dict[str, Any], **_more: Any) -> None:
        raise Asked([*argument_spec])

    monkeypatch.setattr(module, "AnsibleModule", ask)
    with pytest.raises(Asked) as asked:
        module.main()
    documented = yaml.safe_load(module.DOCUMENTATION).get("options") or {}
    assert set(documented) == set(asked.value.args[0])
