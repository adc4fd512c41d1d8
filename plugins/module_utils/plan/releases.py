# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The releases of a plan: build the releases that differ, switch to them later, and record the live ones."""

from __future__ import annotations

import os
import threading
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import (
    Deployment,
    activate_at_once,
    activation,
    diff_of,
    error_text,
    release,
)
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import unchanged, verified
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError

UNCHANGED = "The releases that were live before are still live."


class DeploymentFailed(HostError):
    """Some applications failed. ``answer`` is the result of the others."""

    def __init__(self, problems: list[str], answer: dict[str, Any]) -> None:
        super().__init__("\n\n".join(problems))
        self.answer = {key: value for key, value in answer.items() if value}


class Releases:
    """The applications of one plan on one host.

    ``inputs`` has ``apps``, each with its settings, its secrets and its source. The module apply documents ``root``,
    ``uv``, ``nginx_group`` and ``owner``. ``activations`` holds the settings for switching each application; if it is
    empty, nothing is switched.
    """

    def __init__(self, inputs: dict[str, Any], run: Run, check_mode: bool) -> None:
        self.inputs = inputs
        self.deployment = Deployment(
            root=inputs["root"],
            uv=inputs["uv"],
            nginx_group=inputs["nginx_group"],
            owner=inputs["owner"],
            run=run,
            check_mode=check_mode,
        )
        self.activations: list[dict[str, Any]] = inputs.get("activations") or []
        self.versions = InterpreterVersions(inputs["root"])
        self.answer: dict[str, Any] = {"changed": False, "apps": [], "diff": []}

    def build(self) -> dict[str, Any]:
        """Build the releases that differ, beside the live ones; raises DeploymentFailed.

        ``missing_sources`` in the answer lists the applications whose source must be uploaded first.
        """
        os.umask(0o022)
        if self.activations and not self.deployment.check_mode:
            # Import the activation in a thread. The checks and the build mostly wait for subprocesses.
            threading.Thread(target=activation, daemon=True).start()
        results, problems, missing = [], [], []
        # A build adds its warnings to the notes.
        notes: list[str] = []
        shared = {
            "nginx_group": self.deployment.nginx_group,
            "server_lock": self.inputs.get("server_lock"),
            "notes": notes,
            "upgrade": bool(self.inputs.get("upgrade")),
            "pythons": self.inputs.get("pythons"),
        }
        for spec in self.inputs["apps"]:
            try:
                result = release(self.deployment, {**spec, **shared}, self.versions)
            except ReleaseError as error:
                problems.append(str(error))
                continue
            except OSError as error:
                where = f"webapps '{spec['name']}': preparing its folders below {self.deployment.root} failed"
                problems.append(f"{where}: {error_text(error)}.")
                continue
            if result["action"] == "build" and spec.get("source", {}).get("wanted"):
                missing.append(spec["name"])
            results.append(result)
        changed = [result.pop("changed") for result in results]
        stopping = {spec["name"] for spec in self.inputs["apps"] if spec.get("stop_first")}
        self.answer = {"changed": any(changed), "apps": results, "diff": diff_of(results, stopping)}
        if problems:
            raise DeploymentFailed([*problems, UNCHANGED], self.answer)
        return {**self.answer, "missing_sources": missing, "warnings": notes}

    def switch(self) -> dict[str, Any]:
        """Switch to the releases that were built; raises DeploymentFailed. In check mode, only predict it."""
        if self.deployment.check_mode:
            self.answer["changed"] = self.answer["changed"] or any(app["activate"] for app in self.answer["apps"])
            return self.answer
        if not self.activations:
            return self.answer
        added, problems = activate_at_once(self.deployment, self.activations, self.answer["apps"])
        self.answer |= added
        if problems:
            raise DeploymentFailed(problems, self.answer)
        return self.answer

    @property
    def wanted(self) -> dict[str, str]:
        """The release of each application that should be live; empty for an application to remove."""
        return {result["name"]: result["candidate"] or result["current"] for result in self.answer["apps"]}

    def witnesses(self) -> dict[str, Any] | None:
        """The witnesses for a stamp of these releases; None if an activation is pending."""
        if self.deployment.check_mode or any(result["activate"] for result in self.answer["apps"]):
            return None
        return with_versions(self.versions.seen, verified(self.wanted, self.deployment.root, self.deployment.run))

    def stamp(self) -> dict[str, Any]:
        """The values that a later call needs to record these releases, once it has switched to them."""
        return {"seen": self.versions.seen, "releases": self.wanted}


def with_versions(versions: dict[str, Any], seen: dict[str, Any] | None) -> dict[str, Any] | None:
    """The witnesses of releases and of the interpreters that decided about them."""
    if seen is None:
        return None
    return {kind: {**found, **versions.get(kind, {})} for kind, found in seen.items()}


def report(releases: dict[str, str]) -> dict[str, Any]:
    """The result of the applications, for a run that finds the stamp valid."""
    return {"apps": unchanged(releases)}
