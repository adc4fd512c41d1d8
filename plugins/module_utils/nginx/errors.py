# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The error of this package."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError


class NginxError(HostError):
    """A failure of nginx or of its configuration, in words for the user."""

    # Further messages for the user about a run that failed.
    warnings: tuple[str, ...] = ()
