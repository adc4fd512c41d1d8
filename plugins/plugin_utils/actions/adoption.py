# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The first switch from a manual deployment, as far as later stages of a run take part in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def later_for_nginx(nginx: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the stage switch needs of the answer of the part nginx.

    ``certificates`` says that the part is applied again, ``waiting`` which sites nginx does not serve before that.
    """
    waiting = nginx.get("waiting")
    names = [str(name) for name in waiting] if isinstance(waiting, list) else []
    return {"certificates": bool(nginx.get("due") or names or nginx.get("retiring")), "waiting": names}


def without_front(spec: dict[str, Any], pending: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a switch, without the question through nginx if nginx does not serve the site yet."""
    return {**spec, "front_port": None} if spec["name"] in pending["waiting"] else spec
