# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Let the host keep the compiled code of our modules."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import bytecode

# The line that the program of a module begins with, apart from comments. Only other lines of the kind may precede ours.
FIRST = b"from __future__ import annotations\n"


@cache
def prelude() -> bytes:
    return inspect.getsource(bytecode).replace(FIRST.decode(), "").encode() + b"\n\ninstall()\n"


def with_bytecode(built: Any) -> Any:
    """The program of a module, as ansible-core has built it, with ours before its first import.

    A program of another form stays as it is: it only runs longer.
    """
    data = getattr(built, "b_module_data", None)
    if getattr(built, "module_style", None) != "new" or not isinstance(data, bytes) or data.count(FIRST) != 1:
        return built
    return replace(built, b_module_data=data.replace(FIRST, FIRST + prelude()))
