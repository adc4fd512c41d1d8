# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that only a host knows: those that the inventory leaves to another one, and the warnings of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import orphans

display = Display()


def foreign_applications(variables: dict[str, Any], template: Callable[[Any], Any]) -> list[str]:
    """The applications that another inventory deploys to the host."""
    given = template(variables.get("webapp_foreign_applications") or [])
    return [str(name) for name in given] if isinstance(given, list) else [str(given)]


def warn(facts: dict[str, Any], variables: dict[str, Any]) -> None:
    """Warn of each application that is on a host, but not in its inventory."""
    for text in orphans.warnings(facts.get("orphans", {}), str(variables.get("inventory_hostname", "the host"))):
        display.warning(text)
