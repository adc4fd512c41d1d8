# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install Debian packages with the stock apt module."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.busy import APT_TIMEOUT
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.platforms import package_hint

# Messages of apt when its lists are fresh by their date, but empty (an image that was cleaned up), or older than the
# packages of the mirror.
OUTDATED = ("No package matching", "Failed to fetch", "404  Not Found")


class PackagesAction(HostAction):
    """An action that may install packages."""

    returns = frozenset(
        {"cache_updated", "cache_update_time", "stdout", "stderr", "stdout_lines", "stderr_lines", "rc"}
    )

    def install(self, names: list[str], start_services: bool, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Install the packages; a check run on a host without package lists predicts it."""
        options: dict[str, Any] = {
            "name": names,
            "install_recommends": False,
            "update_cache": True,
            # Seconds; a list of packages that is an hour old still names what the mirror has.
            "cache_valid_time": 3600,
            # Seconds; unattended upgrades of a fresh machine hold the lock for a minute or two.
            "lock_timeout": APT_TIMEOUT,
        }
        if not start_services:
            options["policy_rc_d"] = 101
        given = self._task.environment
        own = given if isinstance(given, list) else [given] if given else []
        # needrestart then lists services. Otherwise it asks, or restarts applications while they are deployed.
        self._task.environment = [*own, {"NEEDRESTART_MODE": "l"}]
        try:
            return self.installed(names, options, task_vars)
        finally:
            self._task.environment = given

    def installed(self, names: list[str], options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """The result of apt. After a failure because of old lists of packages, apt runs again with new ones."""
        result = self.apt(options, task_vars)
        check_mode = self._task.check_mode
        if not check_mode and result.get("failed") and any(mark in result.get("msg", "") for mark in OUTDATED):
            del options["cache_valid_time"]
            result = self.apt(options, task_vars)
        if result.get("failed") and (hint := package_hint(f"{result.get('msg', '')}\n{result.get('stderr', '')}")):
            result["msg"] = f"{result['msg']}\n{hint}"
        if check_mode and result.get("failed") and "No package matching" in result.get("msg", ""):
            # A check run may not update apt's lists, and on a host that never did there are none to look into.
            return {
                "changed": True,
                "msg": f"Would install {', '.join(names)}. apt has no package lists yet, so the names are unchecked.",
            }
        return result

    def apt(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return self._execute_module(module_name="ansible.builtin.apt", module_args=options, task_vars=task_vars)
