# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The text of a module of this collection, for a program that runs without the collection."""

from __future__ import annotations

import inspect
import threading
from types import ModuleType

_lock = threading.Lock()
_texts: dict[str, str] = {}


def source_text(module: ModuleType) -> str:
    """The text of a module.

    Modules are in an archive, and Python's cache of lines removes the lines of files that it does not find. So two
    threads at once could get nothing.
    """
    with _lock:
        if module.__name__ not in _texts:
            _texts[module.__name__] = inspect.getsource(module)
        return _texts[module.__name__]
