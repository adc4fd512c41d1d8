# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Variables for runs: changes of an inventory, and one run that does something else on each host."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any


def merged(base: Any, change: Any) -> Any:
    """A mapping with the changes made, at every depth; anything else gives way to the change."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def each(variables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The variables of one run that does something else on each host: by host, then by name."""
    names = {name for own in variables.values() for name in own}
    return {"by_host": variables, **{name: f"{{{{ by_host[inventory_hostname].{name} }}}}" for name in names}}
