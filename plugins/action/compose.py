# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Write a folder that runs an application in containers. Runs on the controller only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import listed
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import (
    UNCHANGED,
    LookAction,
    Refused,
    nginx_settings,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.making import ComposeError, make
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import Order, default_port
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import is_container
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, role_options

UNWRITTEN = "Nothing was written."


class ActionModule(LookAction):
    """Check the inventory as the site playbook does, and write the folder."""

    _requires_connection = False
    returns = frozenset({"files", "report"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "app": {"type": "str", "default": ""},
                "to": {"type": "str", "default": ""},
                "base": {"type": "str", "default": ""},
                "front": {"type": "str", "default": "nginx:stable"},
                "port": {"type": "int", "default": 0},
            }
        )
        try:
            order = self.order(arguments)
            if not arguments["to"]:
                raise ComposeError(["to is not set. Name the folder to write: -e to=FOLDER."])
            to = Path(arguments["to"]).expanduser().absolute()
            files, report = make(order, to, self.bases(), self.render, writes=not self._task.check_mode)
        except Refused as refused:
            return {**refused.answer, "msg": refused.answer["msg"].replace(UNCHANGED, UNWRITTEN)}
        except ComposeError as error:
            message = f"{listed(error.problems, 'found before anything was written')}\n{UNWRITTEN}"
            return {"failed": True, "msg": message}
        return {"changed": bool(files), "files": files, "report": report}

    def order(self, arguments: dict[str, Any]) -> Order:
        """The application and the inputs of the roles, checked; raises Refused and ComposeError."""
        inputs = self.given_inputs()
        # Its containers have no balancer in front of them.
        inputs["nginx"] = {**inputs["nginx"], "nginx_balancers": []}
        webapp, python = (complete(role, inputs[role]) for role in ("webapp", "python"))
        root = str(webapp["webapp_root"]).rstrip("/")
        look = self.check_inventory({"app": arguments["app"], "app_required": True, "root": root}, inputs)
        app = next(one for one in look.apps if one["name"] == arguments["app"])
        if app["state"] != "present":
            raise ComposeError([f"webapps '{app['name']}'.state is absent. Choose an application that is present."])
        return Order(
            app,
            root,
            base=arguments["base"],
            front=arguments["front"],
            port=arguments["port"] or default_port(app["site"]["port"]),
            settings=nginx_settings(inputs["nginx"]),
            packages=(*(python["python_packages"] or ()), *(app["container"]["packages"] if is_container(app) else ())),
            servers=dict(webapp["webapp_server_requirements"]),
            uv=python["python_uv_version"],
        )

    def render(self, role: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The templates of a role, rendered with their own variables only."""
        lookup = lookup_loader.get("pyweb.stack.templates", loader=self._loader, templar=self._templar)
        rendered: list[dict[str, Any]] = lookup.run(items, {"ansible_search_path": [str(ROLES / role)]})
        return rendered


def complete(role: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs of a role. Missing inputs get the role's defaults."""
    return {**{name: option.get("default") for name, option in role_options(role).items()}, **inputs}
