# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write the inventory of the applications that were deployed by hand to files of the controller."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import printable_data
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.inventory import inventory_of


class ActionModule(HostAction):
    """Run the module of the same name, and translate its answer. The texts of the host are not part of the result."""

    returns = frozenset({"found", "report"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "root": {"type": "path", "default": "/srv/webapps"},
                "folder": {"type": "str", "default": "adopted"},
            }
        )
        host = str((task_vars or {}).get("inventory_hostname", "host"))
        folder = os.path.abspath(arguments["folder"])
        paths = {kind: os.path.join(folder, f"{host}{kind}") for kind in (".yml", ".secrets.yml")}
        if taken := [path for path in paths.values() if os.path.lexists(path)]:
            raise AnsibleActionFail(
                f"{taken[0]} exists already. Move it away, or choose another folder: -e folder=NAME. Nothing was read."
            )
        answer = self._execute_module("pyweb.stack.webapp_survey", module_args=arguments, task_vars=task_vars)
        if answer.get("failed"):
            return answer
        found = answer.get("found")
        written = inventory_of(host, printable_data(found if isinstance(found, dict) else {}), f"{host}.secrets.yml")
        texts = {".yml": (written.inventory, 0o644), ".secrets.yml": (written.secrets, 0o600)}
        report = list(written.report)
        for kind, (text, mode) in texts.items():
            if text:
                report.append(f"{'Would write' if self._task.check_mode else 'Wrote'} {paths[kind]}.")
                if not self._task.check_mode:
                    os.makedirs(folder, mode=0o700, exist_ok=True)
                    write(paths[kind], text, mode)
        return {"changed": True, "report": report}


def write(path: str, text: str, mode: int) -> None:
    """Write a new file with this mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
