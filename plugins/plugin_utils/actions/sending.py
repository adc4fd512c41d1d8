# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Send the parts of a plan to the host, with the sources and packages that the host asks for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ansible.utils.display import Display
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.packages import PackagesAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.progress import progress
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import host as plan
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import parts as sending
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin

# The Debian packages that a host may ask for: programs that uv runs for some requirements.
TOOLS = frozenset({"git"})

display = Display()

Due = list[tuple[plan.Part, str]]


class SendingAction(PackagesAction):
    """An action that applies parts of a plan."""

    task_vars: dict[str, Any]

    def send(self, due: Due, origins: dict[str, Origin], finish: bool) -> dict[str, Any]:
        """Apply the parts. If the host asks for sources or packages, provide them and apply again."""
        shipment = sending.Shipment(origins if any(part.role == "webapp" for part, _key in due) else {})
        due = with_webapp(due, shipment.load)
        answer = self.call(due, finish)
        folder = ""
        try:
            # The second call may build until it needs a package: the host asks for each only once.
            for _attempt in range(2):
                webapp = answer.get("parts", {}).get("webapp", {})
                sources = [*(webapp.get("missing_sources") or []), *(webapp.get("missing_images") or [])]
                if answer.get("failed") or self._task.check_mode or not (sources or webapp.get("missing_packages")):
                    break
                folder = folder or (self._make_tmp_path() if sources else "")
                due = self.provide(due, webapp, shipment, folder)
                answer = both(answer, self.call(due, finish))
        finally:
            if folder:
                self._remove_tmp_path(folder)
        return answer

    def provide(self, due: Due, webapp: dict[str, Any], shipment: sending.Shipment, folder: str) -> Due:
        """Provide what the host asks for; the parts with it. An application that has failed is not tried again."""
        problems = problems_of(webapp.get("failures"))
        paths: dict[str, str] = {}
        images: dict[str, str] = {}
        for name in webapp.get("missing_sources") or []:
            if name in shipment.origins:
                try:
                    paths[name] = self.upload(name, shipment, folder)
                except SourceError as error:
                    problems[name] = str(error)
        for name in webapp.get("missing_images") or []:
            if name in shipment.origins and (image := shipment.origins[name].image):
                images[name] = self.transfer(f"sending the image of {name}", image, folder, f"{name}.image.tar")
        tools = sorted(TOOLS & {*(webapp.get("missing_packages") or [])})
        if tools:
            result = self.install(tools, False, self.task_vars)
            if result.get("failed"):
                display.warning(f"Installing {', '.join(tools)} failed: {result.get('msg')}")

        more: dict[str, Any] = {"installed": tools} if tools else {}
        if built := built_in(webapp):
            more["built"] = built

        def provided(part: plan.Part) -> plan.Part:
            part = sending.with_problems(sending.uploaded(part, paths, images), problems)
            return plan.Part(part.role, {**part.inputs, **more}, part.secrets)

        return with_webapp(due, provided)

    def upload(self, name: str, shipment: sending.Shipment, folder: str) -> str:
        """Upload the source of an application; return its path on the host. Raises SourceError."""
        doing, file_name = f"fetching and sending the source of {name}", f"{name}.tar.gz"
        if given := shipment.origins[name].file:
            return self.transfer(doing, given, folder, file_name)
        with progress(self.shown_host, doing), tempfile.TemporaryDirectory() as local_folder:
            local = Path(local_folder, file_name)
            local.write_bytes(shipment.bytes_of(name))
            return self.transfer("", local, folder, file_name)

    def transfer(self, doing: str, local: Path, folder: str, name: str) -> str:
        """Send a file to a folder of the host; return its path there."""
        with progress(self.shown_host, doing):
            remote = self._connection._shell.join_path(folder, name)
            self._transfer_file(str(local), remote)
            return str(remote)

    @property
    def shown_host(self) -> str:
        return str(self.task_vars.get("inventory_hostname", "the host"))

    def call(self, due: Due, finish: bool = True) -> dict[str, Any]:
        """Run the module apply."""
        secrets = {part.role: part.secrets for part, _key in due if part.secrets}
        arguments = {
            "parts": [{"role": part.role, "inputs": part.inputs, "key": key} for part, key in due],
            "finish": finish,
            "secrets": sending.secret_json(secrets),
        }
        return self._execute_module("pyweb.stack.apply", module_args=arguments, task_vars=self.task_vars)


def with_webapp(due: Due, change: Any) -> Due:
    """The parts, with the part webapp changed."""
    return [(change(part) if part.role == "webapp" else part, key) for part, key in due]


def built_in(webapp: dict[str, Any]) -> dict[str, str]:
    """The new releases by their applications. Another call with an upgrade of packages builds no second one."""
    apps = [one for one in webapp.get("apps") or [] if isinstance(one, dict) and one.get("action") == "build"]
    return {str(one.get("name")): str(one["candidate"]) for one in apps if one.get("candidate")}


def problems_of(failures: Any) -> dict[str, str]:
    """The message of each application that failed to build, without its name in front."""
    if not isinstance(failures, dict):
        return {}
    names, problems = failures.get("names") or [], failures.get("problems") or []
    return {name: str(text).removeprefix(f"webapps '{name}': ") for name, text in zip(names, problems, strict=False)}


def both(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """The combined answer of two calls with the same parts."""
    parts = {
        role: {**result, "changed": bool(result.get("changed") or first.get("parts", {}).get(role, {}).get("changed"))}
        for role, result in second.get("parts", {}).items()
    }
    known = first.get("diff") or []
    return {
        **second,
        "changed": bool(first.get("changed") or second.get("changed")),
        "parts": parts,
        "diff": [*known, *(diff for diff in second.get("diff") or [] if diff not in known)],
        "warnings": [*(first.get("warnings") or []), *(second.get("warnings") or [])],
    }
