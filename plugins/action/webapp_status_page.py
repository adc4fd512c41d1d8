# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write the status page on the controller, from what earlier tasks have registered on all hosts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.module_utils.status.hosts import Answers
from ansible_collections.pyweb.stack.plugins.module_utils.status.page import page
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stages import registered
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import ModelError, present
from ansible_collections.pyweb.stack.plugins.plugin_utils.status_page import writing

OPTIONS: dict[str, dict[str, Any]] = {
    "format": {"type": "str", "default": "html"},
    "to": {"type": "str", "default": ""},
    "hours": {"type": "str", "default": "6"},
    "hosts": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(HostAction):
    """Check the variables of status.yml; with ``hosts``, write the page."""

    _requires_connection = False
    returns = frozenset({"path"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(argument_spec=OPTIONS)
        if problem := writing.problem(given["format"], given["to"], given["hours"]):
            return {"failed": True, "changed": False, "msg": problem}
        if not given["hosts"]:
            return {"changed": False}
        answers = [answers_of((task_vars or {})["hostvars"], name) for name in given["hosts"]]
        text = page(answers, time.time(), int(given["hours"]))
        if self._task.check_mode:
            return {"changed": False, "msg": f"In check mode, no page is written to {given['to']}."}
        try:
            path = writing.write(given["to"], text)
        except writing.PageError as error:
            return {"failed": True, "changed": False, "msg": f"{error}"}
        return {"changed": False, "path": path, "msg": f"The page is in {path}."}


def answers_of(hostvars: Any, name: str) -> Answers:
    """The results of a host. A task that did not run on it has registered none."""
    found = registered(hostvars, name)
    results = [found.get(variable) for variable in ("__status", "__traffic", "__releases")]
    status, traffic, releases = (result if isinstance(result, Mapping) else {} for result in results)
    answers = Answers(name, status, traffic, releases)
    return replace(answers, expected=expected(hostvars, name)) if answers.problem else answers


def expected(hostvars: Any, name: str) -> tuple[str, ...]:
    """The applications that the inventory has for a host; none if it has errors."""
    try:
        return tuple(app["name"] for app in present(hostvars[name]["webapps"]))
    except (AnsibleError, KeyError, ModelError):
        return ()
