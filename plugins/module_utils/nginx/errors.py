# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The error of this package."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError


class NginxError(HostError):
    """What went wrong with nginx, in words for the user."""

    # What else the user has to know of a run that failed.
    warnings: tuple[str, ...] = ()
