# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the environment of a release: its interpreter, and whether it is as it was installed. Changes nothing."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.interpreter import look_at_interpreter
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest


def look_at_environment(layout: Layout, manifest: Manifest | None) -> dict[str, Any]:
    """The version and the folder of the interpreter, whether uv provides it, and the fault of the environment."""
    fault = fault_of(layout, manifest) if manifest else None
    return {**look_at_interpreter(layout, manifest), "fault": fault.text if fault else ""}
