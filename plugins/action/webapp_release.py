# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The controller's half of webapp_release: look at the sources here, send what the host lacks."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import SourceError, archive, fingerprint, resolve, source_files

# Up to this size (bytes, compressed) a source travels with the module's arguments, which saves a trip to the host; 256 KiB more than a
# typical application of templates and code needs, and small beside the module itself.
INLINE = 256 * 1024

REQUIREMENTS = ("uv.lock", "pylock.toml", "pyproject.toml")


class ActionModule(ActionBase):
    """Fingerprint folders on the controller, then run the module of the same name, once or twice."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = dict(self._task.args)
        secrets: dict[str, Any] = {}
        packed: dict[str, bytes] = {}
        apps = []
        for app in arguments.pop("apps"):
            spec = {key: value for key, value in app.items() if key != "env"}
            if spec["state"] == "present":
                secrets[spec["name"]] = take_secrets(app, spec)
                spec["source"] = self.source(spec, task_vars, packed)
            apps.append(spec)
        arguments["secrets"] = json.dumps(secrets)
        arguments.setdefault("owner", f"{getpass.getuser()}@{socket.gethostname()}")
        small = {name: base64.b64encode(data).decode() for name, data in packed.items() if len(data) <= INLINE}
        for spec in apps:
            if spec["name"] in packed and spec["name"] not in small:
                spec["source"]["wanted"] = True
        result = self.call({**arguments, "apps": apps, "sources": json.dumps(small)}, task_vars)
        if result.get("failed") or not result.get("missing_sources") or self._task.check_mode:
            return result
        return self.send(apps, arguments, packed, result, task_vars)

    def call(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        return self._execute_module(module_name="pyweb.stack.webapp_release", module_args=arguments, task_vars=task_vars)

    def source(self, spec: dict[str, Any], task_vars: dict[str, Any], packed: dict[str, bytes]) -> dict[str, Any]:
        """The source as the host sees it: its kind and fingerprint, without paths of the controller."""
        source = spec["source"]
        if source.get("package"):
            return {"kind": "package", "package": source["package"], "digest": source["package"], "revision": source["package"]}
        bases = [str(base) for base in (task_vars.get("inventory_dir"), self._loader.get_basedir(), os.getcwd()) if base]
        try:
            folder = resolve(source["path"], bases)
            names = source_files(folder)
            if not names:
                raise SourceError(f"source.path '{source['path']}' ({folder}) has no files that .gitignore does not leave out.")
            packed[spec["name"]] = archive(folder, names)
            return {
                "kind": "path",
                "subdir": source.get("subdir") or "",
                "digest": fingerprint(folder, names),
                "requirements_digest": requirements_digest(folder, names),
            }
        except SourceError as error:
            raise AnsibleActionFail(f"webapps '{spec['name']}': {error} Nothing on the host has changed.") from error

    def send(
        self,
        apps: list[dict[str, Any]],
        arguments: dict[str, Any],
        packed: dict[str, bytes],
        first: dict[str, Any],
        task_vars: dict[str, Any],
    ) -> dict[str, Any]:
        """Send the large sources that the host asked for, and have those applications built."""
        remote_folder = self._make_tmp_path()
        again = []
        try:
            with tempfile.TemporaryDirectory() as folder:
                for spec in (spec for spec in apps if spec["name"] in first["missing_sources"]):
                    local = os.path.join(folder, f"{spec['name']}.tar.gz")
                    Path(local).write_bytes(packed[spec["name"]])
                    remote = self._connection._shell.join_path(remote_folder, os.path.basename(local))
                    self._transfer_file(local, remote)
                    again.append({**spec, "source": {**spec["source"], "wanted": False, "upload": remote}})
            second = self.call({**arguments, "apps": again}, task_vars)
        finally:
            self._remove_tmp_path(remote_folder)
        built = {app["name"]: app for app in second.get("apps", [])}
        second["apps"] = [built.get(app["name"], app) for app in first["apps"]]
        second["changed"] = bool(first.get("changed") or second.get("changed"))
        second["diff"] = first.get("diff")
        return second


def take_secrets(app: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Move what no log may show out of the application."""
    python = dict(spec["python"])
    hidden = {key: python.pop(key) for key in ("index_url", "extra_index_urls") if python.get(key)}
    spec["python"] = python
    return {"env": {key: str(value) for key, value in (app.get("env") or {}).items()}, "python": hidden}


def requirements_digest(folder: Path, names: list[str]) -> str:
    """A fingerprint of everything in the source that may list dependencies, so that a message can tell them from other code."""
    total = hashlib.sha256()
    for name in names:
        base = os.path.basename(name)
        if base in REQUIREMENTS or (base.endswith(".txt") and ("require" in base or "constraint" in base)):
            total.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return total.hexdigest()
