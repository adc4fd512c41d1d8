# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The applications of a host. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import Applications, normalised


class ModelError(ValueError):
    """The application model has problems; the message lists them all."""


def applications(webapps: Any) -> Applications:
    """The applications, checked only once; raises ModelError with every problem."""
    apps, problems = normalised(webapps)
    if problems:
        raise ModelError("\n".join(problems))
    return Applications(apps)


def unknown_app(name: str, names: list[str]) -> str:
    """The message for a missing or unknown application name."""
    problem = f"'{name}' is not an application on this host" if name else "no application is given"
    return f"{problem}. Set -e app=NAME. Available applications: {', '.join(names) or 'none'}."


def present(webapps: Any) -> Applications:
    return applications(webapps).present
