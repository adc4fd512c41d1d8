# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The applications that each web host of the inventory serves, and the name of each web host for balancers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.fleet import WebHost


def serving(hosts: Iterable[str], variables: Mapping[str, Any], template: Callable[[Any], Any]) -> dict[str, list[str]]:
    """The names of the applications of these hosts. Raises AnsibleActionFail if a list can't be read."""
    found = {}
    for host in hosts:
        try:
            webapps = template(variables["hostvars"][host].get("webapps") or [])
        except AnsibleError as error:
            raise AnsibleActionFail(f"webapps of {host} can't be read: {error}") from error
        found[host] = [
            str(app["name"])
            for app in (webapps if isinstance(webapps, list) else [])
            if isinstance(app, dict) and "name" in app and app.get("state", "present") != "absent"
        ]
    return found


def label_of(host: str) -> str:
    """The name of a web host for HAProxy."""
    return WebHost(host, "").label
