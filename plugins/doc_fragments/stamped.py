# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The options that all modules with a StampedAction have."""

from __future__ import annotations


class ModuleDocFragment:
    """See plugin_utils/actions/stamped.py."""

    DOCUMENTATION = """
options:
  stamp:
    description:
      - Stands for the other options. Filled by the action plugin, which spares the trip where M(pyweb.stack.preflight)
        has seen that a run with the same options found the host as wanted, and that nobody has touched it since.
    type: str
  foresee:
    description:
      - Only tell, as RV(settled), whether O(stamp) would spare the trip. Changes nothing, and makes no trip.
    type: bool
    default: false
"""
