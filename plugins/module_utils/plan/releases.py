# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The releases of a plan: build the releases that differ, switch to them later, and record the live ones."""

from __future__ import annotations

import os
import threading
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.faults import unexpected
from ansible_collections.pyweb.stack.plugins.module_utils.plan.deploy import (
    Deployment,
    activate_at_once,
    activation,
    diff_of,
    error_text,
    release,
    result_of_failed,
)
from ansible_collections.pyweb.stack.plugins.module_utils.plan.failures import Failures
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import unchanged, verified
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import settings
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import Unresolved


class Releases:
    """The applications of one plan on one host. One that fails holds up no other.

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
            run_id=str(inputs.get("run") or ""),
        )
        self.activations: list[dict[str, Any]] = inputs.get("activations") or []
        self.versions = InterpreterVersions(inputs["root"])
        self.answer: dict[str, Any] = {"changed": False, "apps": [], "diff": []}
        self.failures = Failures()

    def build(self) -> dict[str, Any]:
        """Build the releases that differ, beside the live ones.

        The applications of ``missing_sources`` and ``missing_images`` need an upload first. ``missing_packages`` are
        Debian packages to install first. ``unresolved`` are the applications that wait for other hosts, each with the
        versions that this host has found, and ``resolved`` those of new releases.
        """
        os.umask(0o022)
        if self.activations and not self.deployment.check_mode:
            # Import the activation in a thread. The checks and the build mostly wait for subprocesses.
            threading.Thread(target=activation, daemon=True).start()
        results = []
        missing: dict[str, list[str]] = {"missing_sources": [], "missing_images": []}
        packages: set[str] = set()
        unresolved: dict[str, Any] = {}
        resolved: dict[str, Any] = {}
        # A build adds its warnings to the notes.
        notes: list[str] = []
        shared = {
            "nginx_group": self.deployment.nginx_group,
            "server_lock": self.inputs.get("server_lock"),
            "notes": notes,
            "pythons": self.inputs.get("pythons"),
            "resolved": resolved,
        }
        settings.end_lost = bool(self.inputs.get("end_lost_command"))
        settings.ended_runs = self.inputs.get("ended_runs") or []
        settings.settle = lambda layout, lease: str(activation().settle(layout, lease, self.deployment.run))
        seen = self.seen()
        for spec in self.inputs["apps"]:
            try:
                if spec.get("problem"):
                    raise ReleaseError(spec["name"], spec["problem"])
                given = {**spec, **shared, **self.of_run(spec), "seen": seen[spec["name"]]}
                result = release(self.deployment, given, self.versions)
            except Unresolved as error:
                unresolved[spec["name"]] = error.offer
                results.append(result_of_failed(spec["name"], self.deployment.root))
                continue
            except Exception as error:
                # A package that an installation did not provide is not asked for again.
                needed = {*getattr(error, "packages", ())} - {*(self.inputs.get("installed") or ())}
                packages |= needed
                if not needed:
                    self.failures.add(spec["name"], message_of(spec["name"], error, self.deployment.root))
                results.append(result_of_failed(spec["name"], self.deployment.root))
                continue
            for key in wanted_of(given) if result["action"] == "build" else ():
                missing[key].append(spec["name"])
            results.append(result)
        changed = [result.pop("changed") for result in results]
        stopping = {spec["name"] for spec in self.inputs["apps"] if spec.get("stop_first")}
        self.answer = {
            "changed": any(changed),
            "apps": results,
            "diff": diff_of(results, stopping),
            **self.failures.answer,
        }
        wanted = {**missing, "missing_packages": sorted(packages), "unresolved": unresolved, "resolved": resolved}
        return {**self.answer, **wanted, "warnings": [*notes, *settings.take_notes()]}

    def seen(self) -> dict[str, str]:
        """The live releases of the applications as the look saw them. Another run may switch some of them meanwhile."""
        names = [spec["name"] for spec in self.inputs["apps"]]
        found = {name: Layout(name, self.deployment.root).current_release() or "" for name in names}
        return {**found, **{name: live for name, live in (self.inputs.get("seen") or {}).items() if name in found}}

    def of_run(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The state of an application in this run: its new release, and the versions that all hosts install."""
        name = spec["name"]
        kinds = {"built": "built", "resolution": "resolutions", "shared_inputs": "shared_inputs"}
        kinds |= {"revision": "revisions", "held_on": "held_on"}
        is_held = self.inputs.get("release_hold", True) and name not in (self.inputs.get("lift_hold") or [])
        found = {key: (self.inputs.get(kind) or {}).get(name) for key, kind in kinds.items()}
        found["upgrade"] = self.upgrades(spec)
        return {**found, "release_hold": is_held, **needed_source(spec, self.deployment.root)}

    @property
    def held(self) -> list[str]:
        """The applications that failed and have a live release. Their processes and sites stay as they are."""
        return [one["name"] for one in self.answer["apps"] if one["name"] in self.failures.names and one["current"]]

    def skip_front(self, names: list[str]) -> None:
        """Do not verify the switches of these applications through nginx."""
        self.activations = [{**one, "front_port": None} if one["name"] in names else one for one in self.activations]

    def switch(self) -> dict[str, Any]:
        """Switch to the releases that were built. In check mode, only predict it."""
        if self.deployment.check_mode:
            self.answer["changed"] = self.answer["changed"] or any(app["activate"] for app in self.answer["apps"])
            return self.answer
        if not self.activations:
            return self.answer
        added, problems = activate_at_once(self.deployment, self.activations, self.answer["apps"])
        left = [app["name"] for app in self.answer["apps"] if app["activate"]] if problems else []
        self.failures.extend(left, problems)
        self.answer |= {**added, **self.failures.answer}
        return self.answer

    @property
    def wanted(self) -> dict[str, str]:
        """The release of each application that should be live; empty for an application to remove."""
        return {result["name"]: result["candidate"] or result["current"] for result in self.answer["apps"]}

    def witnesses(self) -> dict[str, Any] | None:
        """The witnesses for a stamp of these releases; None if an application failed or an activation is pending."""
        pending = any(result["activate"] for result in self.answer["apps"])
        if self.deployment.check_mode or pending or not self.may_be_stamped:
            return None
        return with_versions(self.versions.seen, verified(self.wanted, self.deployment.root, self.deployment.run))

    def stamp(self) -> dict[str, Any]:
        """The values that a later call needs to record these releases, once it has switched to them.

        Empty if none may be recorded.
        """
        return {"seen": self.versions.seen, "releases": self.wanted} if self.may_be_stamped else {}

    def upgrades(self, spec: dict[str, Any]) -> bool:
        """Whether the run upgrades the packages of an application. Those of a given image are part of it."""
        source = spec.get("source") or {}
        return bool(self.inputs.get("upgrade")) and source.get("kind") != "image" and not source.get("environment")

    @property
    def may_be_stamped(self) -> bool:
        """Whether the next run may skip these releases.

        It must try those that failed again, upgrade again, and show again which applications are held. An
        application that another run works on is not verified.
        """
        is_left = any(app.get("held") or app.get("busy") for app in self.answer["apps"])
        return not (self.failures.problems or self.inputs.get("upgrade") or is_left)


def message_of(name: str, error: Exception, root: str) -> str:
    """The message for an application that failed."""
    if isinstance(error, ReleaseError):
        return str(error)
    if isinstance(error, OSError):
        return f"webapps '{name}': preparing its folders below {root} failed: {error_text(error)}."
    if isinstance(error, HostError):
        return f"webapps '{name}': {error}"
    return unexpected(name, "its build", error)


def with_versions(versions: dict[str, Any], seen: dict[str, Any] | None) -> dict[str, Any] | None:
    """The witnesses of releases and of the interpreters that decided about them."""
    if seen is None:
        return None
    return {kind: {**found, **versions.get(kind, {})} for kind, found in seen.items()}


def report(releases: dict[str, str]) -> dict[str, Any]:
    """The result of the applications, for a run that finds the stamp valid."""
    return {"apps": unchanged(releases)}


def wanted_of(spec: dict[str, Any]) -> list[str]:
    """The uploads that a release needs before it can be built, as keys of the answer."""
    source = spec.get("source") or {}
    wanted = {"missing_sources": source, "missing_images": source.get("environment") or {}}
    return [key for key, one in wanted.items() if one.get("wanted")]


def needed_source(spec: dict[str, Any], root: str) -> dict[str, Any]:
    """The source of an application that comes with an image. The archive of one that the host has is not needed."""
    source = spec.get("source") or {}
    image = source if source.get("kind") == "image" else source.get("environment") or {}
    if not image.get("wanted"):
        return {}
    # Few applications need this code, and the host compiles every import.
    from ansible_collections.pyweb.stack.plugins.module_utils.building.given_image import has_image

    needed = {**image, "wanted": not has_image(image, root)}
    return {"source": needed if image is source else {**source, "environment": needed}}
