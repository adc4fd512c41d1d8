# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run the release commands, such as migrations of a database: once per deployment, before any host switches."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.faults import unexpected
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.release.hints import lock_hint
from ansible_collections.pyweb.stack.plugins.module_utils.release.holders import doing
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import run_as_account, tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError, now
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import Unhealthy
from ansible_collections.pyweb.stack.plugins.module_utils.switching.switch import Switch


def run_release_commands(
    specs: list[dict[str, Any]], root: str, run: Run, owner: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Run the release commands of each application in its new release; return results and problems."""
    results: list[dict[str, Any]] = []
    problems: list[str] = []
    for spec in specs:
        switch = Switch(spec, Layout(spec["name"], root), run, owner)
        try:
            switch.prepare()
            run_commands_of(switch)
            results.append({"name": spec["name"], "release": switch.target, "replaced": ""})
        except (ReleaseError, ProcessManagerError) as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(
                f"webapps '{spec['name']}': its release commands can't run: {error}. Remove the cause and run again."
            )
        except Exception as error:
            problems.append(unexpected(spec["name"], "running its release commands", error))
        finally:
            switch.close()
    return results, problems


def run_commands_of(switch: Switch) -> None:
    """Run the release commands of one application. A command that fails makes its release a bad one."""
    with switch.undone_if_unhealthy():
        run_commands(switch)


def run_commands(switch: Switch) -> None:
    """Run the release commands of one application; raise Unhealthy for one that fails."""
    layout = switch.layout
    launcher = os.path.join(layout.release(switch.target), "bin", "run")
    for command in switch.spec["release_commands"]:
        # No time limit: a migration takes its time, and half of one is worse than none.
        with doing(layout, f"the release command '{command}' since {now():%Y-%m-%d %H:%M:%S} UTC"):
            answer = run_as_account(layout, [launcher, "/bin/sh", "-c", command], layout.home, {}, None, switch.target)
        if answer.returncode != 0:
            output = tail(answer.stdout + answer.stderr, 15)
            hint = lock_hint(output, stopped_first=bool(switch.spec.get("stop_first")))
            raise Unhealthy(
                f"the release command '{command}' failed with status {answer.returncode}. {hint}Its output:\n{output}"
            )
