# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Decide what each application needs, build it, and report it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.builder import build_release
from ansible_collections.pyweb.stack.plugins.module_utils.building.folders import (
    check_account,
    open_shared,
    prepare,
    remove_unfinished,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.plan.held import held_elsewhere, held_text, result_of_held
from ansible_collections.pyweb.stack.plugins.module_utils.plan.live import needs_repair
from ansible_collections.pyweb.stack.plugins.module_utils.processes.instances import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import choose
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import doing
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import fingerprint, new_identity
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import Lease, read_lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.locking import Busy, holder_of, lock
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import check_known_releases
from ansible_collections.pyweb.stack.plugins.module_utils.release.pruning import prune_waiting
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    Layout,
    Manifest,
    MissingPackages,
    ReleaseError,
    accounts_of,
    has_environment,
    manifests,
    now,
    read_manifest,
    record,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import Unresolved
from ansible_collections.pyweb.stack.plugins.module_utils.release.revisions import (
    is_revision,
    known_packages,
    log_fields,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.sandbox import keep_properties


@dataclass(frozen=True)
class Deployment:
    """The settings that all applications of one call share."""

    root: str
    uv: str
    nginx_group: str
    owner: str
    run: Run
    check_mode: bool = False
    # The ID of the run of Ansible.
    run_id: str = ""


def release(deployment: Deployment, spec: dict[str, Any], versions: InterpreterVersions) -> dict[str, Any]:
    """Decide what one application needs, build a release if necessary, and return the result."""
    layout = Layout(spec["name"], deployment.root)
    if spec["state"] == "absent":
        return result_of_absent(layout, spec["purge"])
    check_account(layout)
    if not deployment.check_mode and (lease := read_lease(layout)):
        # One that has expired ends first, because this run decides by the live release.
        with suppress(Busy), lock(layout, deployment.owner, patience=0):
            follow_end(layout, lease, spec)
    bring_back(deployment, spec, layout)
    check_mode, owner, nginx_group = deployment.check_mode, deployment.owner, deployment.nginx_group
    changed = prepare(layout, deployment.run, spec["jobs"], nginx_group, check_mode)
    if os.path.isdir(layout.home):
        changed = keep_properties(layout, spec.get("sandbox") or {}, check_mode) or changed
    if not check_mode:
        changed = remove_unfinished(layout, owner) or changed
    changed = open_shared(layout, spec.get("served") or [], nginx_group, owner, check_mode) or changed
    changed = check_known_releases(layout, owner, check_mode) or changed
    wanted = fingerprint(spec, layout, versions, check_mode)
    current = layout.current_release()
    if not check_mode and not holder_of(layout):
        changed = defined_again(layout, current, spec, deployment.run) or changed
    if held := held_text(layout, spec, wanted, owner, check_mode) or held_elsewhere(layout, spec, wanted):
        spec.get("notes", []).append(held)
        return {**result_of_held(layout, held), "activate": needs_repair(layout, deployment.run), "changed": changed}
    known = [manifest for manifest in manifests(layout) if manifest.id == current or has_environment(layout, manifest)]
    action, reused, reasons = choose_intact(layout, spec, wanted, known)
    result = {
        "name": spec["name"],
        "state": "present",
        "current": current or "",
        "candidate": reused or "",
        "action": action,
        "reasons": reasons,
    }
    if action == "none":
        if busy := holder_of(layout):
            spec.get("notes", []).append(
                f"webapps '{layout.name}': this run has no change for it, and skips it: {busy}"
            )
        activate = needs_repair(layout, deployment.run)
        return {**result, **told(layout, current), "busy": bool(busy), "activate": activate, "changed": changed}
    if (current or "") != spec.get("seen", current or "") and not check_mode:
        raise ReleaseError(layout.name, overtaken(layout, current))
    environment = spec["source"].get("environment") or {}
    if action == "build" and not (check_mode or spec["source"].get("wanted") or environment.get("wanted")):
        with lock(layout, owner):
            result["candidate"] = build(deployment, spec, layout, wanted)
    return {**result, **told(layout, result["candidate"]), "activate": True, "changed": True}


def follow_end(layout: Layout, lease: Lease, spec: dict[str, Any]) -> None:
    """Accept the release that is live after the end of a lease. Else it would look like one of another run."""
    both = (lease.before or "", lease.release)
    current = layout.current_release() or ""
    if current in both and spec.get("seen") in both:
        spec["seen"] = current


def defined_again(layout: Layout, live: str | None, spec: dict[str, Any], run: Run) -> bool:
    """Define the services of a live release in its image; return whether a drop-in was missing or changed.

    The units of jobs come later in the run. One that exists before its drop-in could start on the host.
    """
    manifest = read_manifest(layout, live or "")
    if manifest is None or not manifest.image:
        return False
    from ansible_collections.pyweb.stack.plugins.module_utils.switching import live_image

    is_new = live_image.define(layout, manifest, run)
    jobs = (spec.get("container") or {}).get("jobs") or ()
    return live_image.follow_live_release(layout, run, jobs) or is_new


def told(layout: Layout, release: str | None) -> dict[str, Any]:
    """The revision of a release, and whether its packages are new here, for a run with several hosts."""
    manifest = read_manifest(layout, release) if release else None
    if manifest is None or not is_revision(manifest.revision):
        return {"revision": "", "new_packages": False}
    return {"revision": manifest.revision, "new_packages": not known_packages(layout, manifest.id)}


def overtaken(layout: Layout, current: str | None) -> str:
    """Why this run does not deploy an application that another run has deployed meanwhile."""
    return (
        f"another run has switched to the release {current or 'none'} since this run began, so this run does not "
        "replace it. Run again to deploy what the inventory describes now."
    )


def choose_intact(
    layout: Layout, spec: dict[str, Any], wanted: dict[str, str], known: list[Manifest]
) -> tuple[str, str | None, list[str]]:
    """Choose a release as ``choose`` does, but none whose environment has changed since it was installed."""
    current = layout.current_release()
    if spec.get("upgrade") and any(one.id == spec.get("built") for one in known):
        # An earlier call of this run has upgraded it.
        return "reuse", spec["built"], ["dependencies"]
    action, reused, reasons = choose(wanted, current, known, bool(spec.get("upgrade")))
    while action != "build":
        chosen = reused or current
        manifest = next(one for one in known if one.id == chosen)
        fault = fault_of(layout, manifest, is_quick=chosen == current)
        if fault is None:
            break
        spec.get("notes", []).append(f"webapps '{layout.name}': {fault.text}. A new environment replaces it.")
        known = [one for one in known if one.id != chosen]
        action, reused, _parts = choose(wanted, current, known)
        reasons = ["environment"]
    return action, reused, reasons


def result_of_failed(name: str, root: str) -> dict[str, Any]:
    """The result of an application that could not be built. Its live release stays."""
    return {
        "name": name,
        "state": "present",
        "current": Layout(name, root).current_release() or "",
        "candidate": "",
        "action": "failed",
        "reasons": [],
        "activate": False,
        "changed": False,
    }


def bring_back(deployment: Deployment, spec: dict[str, Any], layout: Layout) -> None:
    """Start the live release again if its switch was interrupted. The build that follows may take long, or fail."""
    if deployment.check_mode or not spec.get("stop_first") or not os.path.exists(layout.path(".activating")):
        return
    try:
        if activation().resume(layout, deployment.run, deployment.owner):
            spec["notes"].append(
                f"webapps '{spec['name']}': an interrupted run had stopped it. Its live release was started again."
            )
    except Busy:
        # It is being switched by another run.
        return
    except ProcessManagerError as error:
        # The switch of this run tries it again.
        spec["notes"].append(f"webapps '{spec['name']}': its live release could not be started again: {error}")


def result_of_absent(layout: Layout, purge: bool) -> dict[str, Any]:
    """The result of an application that is to be removed: ``activate`` says whether there is anything to remove."""
    if os.path.isdir(layout.home):
        there = purge or os.listdir(layout.home) not in ([], ["shared"])
    else:
        there = purge and any(entry.pw_dir == layout.home for entry in accounts_of(layout.name))
    return {
        "name": layout.name,
        "state": "absent",
        "current": "",
        "candidate": "",
        "action": "none",
        "reasons": [],
        "activate": there,
        "changed": False,
    }


def build(deployment: Deployment, spec: dict[str, Any], layout: Layout, wanted: dict[str, str]) -> str:
    """Build a release and return its ID. A failure is recorded in the log of deployments."""
    began, tried, reason = time.monotonic(), True, ""
    # Read under the lock, because another run may just have finished a release.
    taken = [manifest.id for manifest in manifests(layout)]
    manifest = Manifest(
        id=new_identity(wanted, now(), taken),
        fingerprint=wanted,
        source=spec["source"].get("revision") or wanted["code"][:12],
        run=deployment.run_id,
        by=deployment.owner,
        process_manager=spec["process_manager"],
        processes=spec["processes"],
        created=f"{now():%Y-%m-%dT%H:%M:%SZ}",
    )
    try:
        with doing(layout, f"the build of the release {manifest.id}"):
            build_release(Build(spec, layout, deployment.uv, wanted["code"], manifest.id), manifest)
    except (MissingPackages, Unresolved):
        tried = False
        raise
    except ReleaseError as error:
        reason = error.text.partition("\n")[0]
        raise
    except OSError as error:
        reason = f"building the release {manifest.id} failed: {error_text(error)}."
        raise ReleaseError(spec["name"], reason) from error
    finally:
        if tried and manifest.state != BUILT:
            record(
                layout,
                action="build",
                release=manifest.id,
                **log_fields(manifest, deployment.run_id),
                by=deployment.owner,
                result="failed",
                seconds=round(time.monotonic() - began, 2),
                **({"reason": reason} if reason else {}),
            )
    prune_waiting(layout)
    return manifest.id


@functools.cache
def activation() -> Any:
    """The code that activates releases. Most runs don't need it, and the host compiles every import."""
    from ansible_collections.pyweb.stack.plugins.module_utils.switching import activation as found

    return found


def activate_at_once(
    deployment: Deployment, activations: list[dict[str, Any]], results: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """Activate the new releases of the applications in ``activations``.

    Return the additions to the answer, and the problems. If there are none, clear ``activate`` in the ``results``.
    """
    due = {result["name"]: result for result in results if result["activate"]}
    specs = [
        {
            **spec,
            "candidate": due[spec["name"]]["candidate"],
            "expected": due[spec["name"]]["current"],
            "lease": {"run": deployment.run_id},
        }
        for spec in activations
        if spec["name"] in due
    ]
    if not specs:
        return {}, []
    activated, problems = activation().activate(specs, deployment.root, deployment.run, deployment.owner)
    done = {result["name"] for result in activated}
    for spec in specs:
        if not problems or spec["name"] in done:
            due[spec["name"]]["activate"] = False
    warnings = [warning for result in activated for warning in result.pop("warnings", [])]
    warnings += activation().warnings_of(activated)
    added = {"activated": activated, "changed": True}
    return {**added, "warnings": warnings} if warnings else added, problems


def diff_of(results: list[dict[str, Any]], stopping: Collection[str] = ()) -> dict[str, Any]:
    """The releases that change, and the names of the parts that differ.

    ``stopping`` are the applications whose live release stops before the new one starts.
    """
    after_stop = ", which starts after the live one has stopped"
    changing = [result for result in results if result["action"] not in ("none", "failed")]
    return {
        "before": "".join(f"{result['name']}: {result['current'] or 'no release'}\n" for result in changing),
        "after": "".join(
            f"{result['name']}: {result['candidate'] or 'a new release'} "
            f"({', '.join(result['reasons']) if result['current'] else 'the first'})"
            f"{after_stop if result['current'] and result['name'] in stopping else ''}\n"
            for result in changing
        ),
        "before_header": "releases",
        "after_header": "releases",
    }


def error_text(error: OSError) -> str:
    """The system's message about an error, with the file if the error has one."""
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror or error)
