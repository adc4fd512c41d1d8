# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Debian packages by the stock apt module: no trip when they are known to be there, a prediction on a virgin host."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction

# What apt says when its lists are fresh by their date, but empty (an image that was cleaned up), or older than what the
# mirror has.
OUTDATED = ("No package matching", "Failed to fetch", "404  Not Found")


class ActionModule(HostAction):
    """Decides on the controller whether apt has to be asked at all."""

    returns = frozenset(
        {"cache_updated", "cache_update_time", "stdout", "stderr", "stdout_lines", "stderr_lines", "rc"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "list", "elements": "str", "required": True},
                "start_services": {"type": "bool", "default": True},
            }
        )
        wanted = arguments["name"]
        facts = (task_vars or {}).get("ansible_facts", {}).get("pyweb", {})
        known = facts.get("packages", [])
        if set(wanted) <= set(known):
            return {"changed": False, "msg": "Installed already."}
        options: dict[str, Any] = {
            "name": wanted,
            "install_recommends": False,
            "update_cache": True,
            # Seconds; a list of packages that is an hour old still names what the mirror has.
            "cache_valid_time": 3600,
            # Seconds; unattended upgrades of a fresh machine hold the lock for a minute or two.
            "lock_timeout": 300,
        }
        if not arguments["start_services"]:
            options["policy_rc_d"] = 101
        result = self.apt(options, task_vars)
        if (
            not self._task.check_mode
            and result.get("failed")
            and any(mark in result.get("msg", "") for mark in OUTDATED)
        ):
            del options["cache_valid_time"]
            result = self.apt(options, task_vars)
        if self._task.check_mode and result.get("failed") and "No package matching" in result.get("msg", ""):
            # A check run may not update apt's lists, and on a host that never did there are none to look into.
            names = ", ".join(wanted)
            return {
                "changed": True,
                "msg": f"Would install {names}. apt has no list of packages yet, so the names are unchecked.",
            }
        if facts and not result.get("failed") and not self._task.check_mode:
            # So that the next role that wants one of them needs no trip to find it there.
            result["ansible_facts"] = {"pyweb": {**facts, "packages": sorted({*known, *wanted})}}
        return result

    def apt(self, options: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return self._execute_module(module_name="ansible.builtin.apt", module_args=options, task_vars=task_vars)
