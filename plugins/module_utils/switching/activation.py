# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Activate the releases of a host's applications, side by side, and remove applications."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.faults import unexpected
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, read_manifest
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional import guard
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.settlement import settle
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.switch import ProvisionalSwitch
from ansible_collections.pyweb.stack.plugins.module_utils.switching.removal import remove, warnings_of
from ansible_collections.pyweb.stack.plugins.module_utils.switching.resume import resume
from ansible_collections.pyweb.stack.plugins.module_utils.switching.stop_first import StopFirst, uninterrupted
from ansible_collections.pyweb.stack.plugins.module_utils.switching.switch import Switch

__all__ = ["activate", "resume", "settle", "warnings_of"]

# The number of applications that switch at a time: their starts share the processors, and each is polled repeatedly.
MOST_AT_A_TIME = 8

# The settings of an application for its switch, and its folders.
Pair = tuple[dict[str, Any], Layout]


def activate(specs: list[dict[str, Any]], root: str, run: Run, owner: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Activate all applications: all releases start, then each one takes over. Return results and problems."""
    results: list[dict[str, Any]] = []
    started = []
    # An application that the inventory does not know may have another root.
    pairs = [(spec, Layout(spec["name"], spec.get("root") or root)) for spec in specs]
    pairs, problems = guarded(pairs, run)
    bringing = {spec["name"] for spec, layout in pairs if brings_exclusive(spec, layout)}
    stuck: list[str] = []
    if bringing:
        # A renamed application may bring the exclusive processes of one that is removed.
        pairs.sort(key=lambda one: one[0]["state"] != "absent")
    for spec, layout in pairs:
        known = len(problems)
        try:
            if spec["state"] == "absent":
                results.append(remove(spec, layout, run, owner))
            elif stuck and spec["name"] in bringing:
                raise ReleaseError(
                    spec["name"],
                    f"its exclusive processes could run beside those of {', '.join(stuck)}, which was not removed. "
                    "Correct that, then run again.",
                )
            else:
                started.append(start(kind_of_switch(spec)(spec, layout, run, owner)))
        except (ReleaseError, ProcessManagerError) as error:
            problems.append(str(error))
        except OSError as error:
            # For example a full disk. The other applications still finish their switch.
            problems.append(
                f"webapps '{spec['name']}': starting its release failed: {error}. Remove the cause and run again."
            )
        except Exception as error:
            problems.append(unexpected(spec["name"], "its start or removal", error))
        if spec["state"] == "absent" and len(problems) > known:
            stuck.append(spec["name"])
    # Side by side, because a switch mostly waits: for the boot, the probation, the last requests of the old release.
    with ThreadPoolExecutor(MOST_AT_A_TIME) as pool:
        # Those that stop first come last: they are without service, so nothing else may take their processors.
        for stops_first in (False, True):
            due = [switch for switch in started if isinstance(switch, StopFirst) == stops_first]
            with uninterrupted() if stops_first and due else nullcontext():
                for result, problem in pool.map(finish, due):
                    results += [result] if result else []
                    problems += [problem] if problem else []
    return results, problems


def brings_exclusive(spec: dict[str, Any], layout: Layout) -> bool:
    """Whether a new release has exclusive processes that the live one does not have."""

    def exclusive(release: str | None) -> set[str]:
        manifest = read_manifest(layout, release) if release else None
        return {one["service"] for one in manifest.processes if one["exclusive"]} if manifest else set()

    return bool(exclusive(spec.get("candidate")) - exclusive(layout.current_release()))


def kind_of_switch(spec: dict[str, Any]) -> type[Switch]:
    if spec.get("stop_first"):
        return StopFirst
    return ProvisionalSwitch if spec.get("provisional") else Switch


def guarded(pairs: list[Pair], run: Run) -> tuple[list[Pair], list[str]]:
    """Start the guard of the provisional switches. Without it, leave them out; return the others and the problems."""
    due = [(spec, layout) for spec, layout in pairs if kind_of_switch(spec) is ProvisionalSwitch]
    if not due:
        return pairs, []
    try:
        process = guard.start([layout for _spec, layout in due], due[0][0]["lease"]["run"], run)
    except (guard.GuardError, OSError) as error:
        problems = [f"webapps '{spec['name']}': {error} Nothing was switched." for spec, _layout in due]
        return [pair for pair in pairs if pair not in due], problems
    for spec, _layout in due:
        spec["lease"] = {**spec["lease"], "guard": asdict(process)}
    return pairs, []


def start(switch: Switch) -> Switch:
    """Start the release of a switch; give the lock back where that fails."""
    try:
        switch.start()
    except BaseException:
        switch.close()
        raise
    return switch


def finish(switch: Switch) -> tuple[dict[str, Any] | None, str | None]:
    """The result of a switch that has started, or what went wrong; the lock is given back."""
    try:
        return switch.finish(), None
    except (ReleaseError, ProcessManagerError) as error:
        return None, str(error)
    except OSError as error:
        return None, f"webapps '{switch.name}': the switch failed: {error}. Remove the cause and run again."
    except Exception as error:
        return None, unexpected(switch.name, "the switch", error)
    finally:
        switch.close()
