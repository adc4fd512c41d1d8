# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of webapp_release: look at the sources here, send what the host lacks."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, answer_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.people import deployer
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.stamped import SPARED, borne, stamp_key, without
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of

# Up to this size (bytes, compressed) a source travels with the module's arguments, which saves a trip to the host; 256
# KiB more than a
# typical application of templates and code needs, and small beside the module itself.
INLINE = 256 * 1024


class ActionModule(HostAction):
    """Fingerprint the sources on the controller, then run the module of the same name, once or twice.

    Unless the host bears a stamp for the same wish: then not at all.
    """

    returns = frozenset({"apps", "activated", "missing_sources", "stamp"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        # No part of what is wanted: it says when, not what.
        activations = arguments.pop("activations", [])
        secrets: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        apps, problems = [], []
        for app in arguments.pop("apps"):
            spec = {key: value for key, value in app.items() if key != "env"}
            if spec["state"] == "present":
                secrets[spec["name"]] = take_secrets(app, spec)
                try:
                    origins[spec["name"]] = origin = origin_of(spec["source"], self.bases(task_vars))
                except SourceError as error:
                    problems.append(f"webapps '{spec['name']}': {error}")
                    continue
                wanted = origin.pack is not None or (origin.packed is not None and len(origin.packed) > INLINE)
                spec["source"] = {**origin.description, "wanted": wanted}
            apps.append(spec)
        if problems:
            raise AnsibleActionFail("\n".join([*problems, "Nothing on the host has changed."]))
        arguments["secrets"] = secret_json(secrets)
        arguments["stamp"] = stamp_key({**arguments, "secrets": None, "apps": apps}, arguments["secrets"])
        arguments.setdefault("owner", deployer())
        stamps = borne(task_vars, "webapp_release")
        if arguments["stamp"] in stamps:
            return {
                "changed": False,
                "msg": SPARED,
                "missing_sources": [],
                **answer_of(stamps[arguments["stamp"]], self.returns),
            }
        inline = {
            app["name"]: base64.b64encode(origins[app["name"]].packed).decode()
            for app in apps
            if self.travels(app, origins)
        }
        result = self.call(
            {**arguments, "apps": apps, "sources": secret_json(inline), "activations": activations}, task_vars
        )
        if not (result.get("failed") or not result.get("missing_sources") or self._task.check_mode):
            result = self.send(apps, arguments, origins, result, task_vars)
        if stamps:
            result["ansible_facts"] = without(task_vars, "webapp_release")
        return result

    def bases(self, task_vars: dict[str, Any]) -> list[str]:
        """Where relative paths of sources are looked for."""
        return [str(base) for base in (task_vars.get("inventory_dir"), self._loader.get_basedir(), os.getcwd()) if base]

    @staticmethod
    def travels(app: dict[str, Any], origins: dict[str, Origin]) -> bool:
        """Whether an application's source goes along with the first call."""
        return app["state"] == "present" and not app["source"]["wanted"] and origins[app["name"]].packed is not None

    def call(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        return self._execute_module(
            module_name="pyweb.stack.webapp_release", module_args=arguments, task_vars=task_vars
        )

    def send(
        self,
        apps: list[dict[str, Any]],
        arguments: dict[str, Any],
        origins: dict[str, Origin],
        first: dict[str, Any],
        task_vars: dict[str, Any],
    ) -> dict[str, Any]:
        """Send the sources that the host asked for, and have those applications built."""
        remote_folder = self._make_tmp_path()
        again = []
        try:
            with tempfile.TemporaryDirectory() as folder:
                for spec in (spec for spec in apps if spec["name"] in first["missing_sources"]):
                    local = os.path.join(folder, f"{spec['name']}.tar.gz")
                    try:
                        Path(local).write_bytes(origins[spec["name"]].bytes())
                    except SourceError as error:
                        raise AnsibleActionFail(
                            f"webapps '{spec['name']}': {error} What was live before is still live."
                        ) from error
                    remote = self._connection._shell.join_path(remote_folder, os.path.basename(local))
                    self._transfer_file(local, remote)
                    again.append({**spec, "source": {**spec["source"], "wanted": False, "upload": remote}})
            second = self.call({**arguments, "apps": again, "stamp": None}, task_vars)
        finally:
            self._remove_tmp_path(remote_folder)
        built = {app["name"]: app for app in second.get("apps", [])}
        second["apps"] = [built.get(app["name"], app) for app in first["apps"]]
        second["changed"] = bool(first.get("changed") or second.get("changed"))
        second["diff"] = first.get("diff")
        live = {name: app["candidate"] for name, app in built.items()}
        second["stamp"] = {**first["stamp"], "releases": {**first["stamp"]["releases"], **live}}
        return second


def secret_json(found: dict[str, Any]) -> str:
    """As JSON; empty where there is nothing, for Ansible hides what a secret argument says wherever it occurs."""
    return json.dumps(found) if found else ""


def take_secrets(app: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Move what no log may show out of the application."""
    python = dict(spec["python"])
    hidden = {key: python.pop(key) for key in ("index_url", "extra_index_urls") if python.get(key)}
    spec["python"] = python
    return {"env": {key: str(value) for key, value in (app.get("env") or {}).items()}, "python": hidden}
