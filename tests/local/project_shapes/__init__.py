# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Small projects of every shape that people deploy. Each says what it must be able to import and run."""

from __future__ import annotations

from project_shapes import backends, libraries, locks, refused, reports, requirements, servers
from project_shapes.shape import Shape

__all__ = ["SHAPES", "Shape"]

SHAPES: list[Shape] = [
    *backends.SHAPES,
    *libraries.SHAPES,
    *locks.SHAPES,
    *requirements.SHAPES,
    *servers.SHAPES,
    *refused.SHAPES,
    *reports.SHAPES,
]
