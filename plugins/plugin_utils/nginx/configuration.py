# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""nginx's whole configuration for a host, from one check of its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked_with_applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files


@dataclass(frozen=True)
class Configuration:
    """The configuration of nginx on a host. Where there are problems, there are no files."""

    # Dictionaries of path, template and vars, or of path, content and secret.
    files: list[dict[str, Any]] = field(default_factory=list)
    # The input ``certificates`` of the module nginx_config. Given ones are still a path or a text.
    certificates: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def configuration(
    sites: Any, settings: dict[str, Any] | None = None, applications: list[dict[str, Any]] | None = None
) -> Configuration:
    """Check ``nginx_sites``, the role's other inputs (without their prefix) and the sites of applications, once."""
    present, filled, problems = checked_with_applications(sites, settings or {}, applications or [])
    files = [] if problems else tree_files(present, filled)
    return Configuration(files, certificates(present), problems)
