# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""End a run after any of its steps, as a kill does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def end_after(
    moment: int, steps: Iterable[tuple[Any, str]], patch: pytest.MonkeyPatch, killed: type[BaseException]
) -> list[str]:
    """Raise ``killed`` after the given step, counted from 1; return the steps that were reached.

    ``steps`` are objects, and the names of their functions.
    """
    reached: list[str] = []

    def bombed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            reached.append(name)
            if len(reached) == moment:
                raise killed
            return result

        return step

    for place, name in steps:
        patch.setattr(place, name, bombed(name, getattr(place, name)))
    return reached
