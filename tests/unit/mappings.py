# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Nested mappings, of which a test changes a part."""

from __future__ import annotations

import copy
from typing import Any


def merged(base: Any, change: Any) -> Any:
    """A copy of ``base`` with the keys of ``change``, at every depth."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}
