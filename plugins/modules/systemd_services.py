# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)

from __future__ import annotations

DOCUMENTATION = """
module: systemd_services
short_description: Install unit files and bring their services to their state
version_added: 0.1.0
description:
  - Handles all services in one call, so its cost does not grow with their number.
  - A changed unit file is checked by C(systemd-analyze verify) on a copy before it is installed. What systemd would
    ignore is told as a warning, what it would refuse is an error that changes nothing.
  - systemd reads its files again when one changed, and also when an earlier run owed it that.
  - An ordinary service is started, stopped, enabled, disabled, and restarted when its file is newer than its process.
    Instances of templates are never restarted; only the removal of a template ends its instances.
  - A unit file that does not carry the mark C(Managed by pyweb.stack) is never overwritten or removed.
author: The pyweb.stack contributors
extends_documentation_fragment: [pyweb.stack.stamped]
options:
  services:
    description: The services.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the unit without C(.service), or with C(.timer). A trailing C(@) makes it a template.
          - With O(services[].state=absent), C(NAME.*) stands for every unit with the mark that begins so and is not in
            the list, C(NAME.*@) for every such template.
        type: str
        required: true
      state:
        description: V(absent) stops and disables it, with its timer and all its instances, and removes its unit file.
        type: str
        choices: [present, absent]
        default: present
      content:
        description: The unit file. Required unless the service is absent.
        type: str
      started:
        description: Whether it runs. Ignored for templates.
        type: bool
        default: true
      enabled:
        description: Whether it starts with the host. Ignored for templates.
        type: bool
        default: true
      triggered:
        description: Whether a timer starts it. Then it is neither started, stopped nor enabled here.
        type: bool
        default: false
  unit_directory:
    description: The folder of the unit files.
    type: path
    default: /etc/systemd/system
attributes:
  check_mode: {support: full, description: Predicts all changes without one.}
  diff_mode: {support: full, description: Shows the unit files before and after.}
"""

EXAMPLES = """
- name: Install a template and an ordinary service
  pyweb.stack.systemd_services:
    services: "{{ query('pyweb.stack.templates', *(systemd_services | pyweb.stack.systemd_units)) }}"

- name: Remove a service
  pyweb.stack.systemd_services:
    services:
      - {name: mailer, state: absent}
"""

RETURN = """
files:
  description: Unit files that were written or removed.
  type: list
  elements: str
  returned: success
started:
  description: Units that were started.
  type: list
  elements: str
  returned: success
restarted:
  description: Units that were restarted because their definition changed.
  type: list
  elements: str
  returned: success
stopped:
  description: Units that were stopped.
  type: list
  elements: str
  returned: success
enabled:
  description: Units that were enabled.
  type: list
  elements: str
  returned: success
disabled:
  description: Units that were disabled.
  type: list
  elements: str
  returned: success
reloaded:
  description: Whether systemd read its files again.
  type: bool
  returned: success
settled:
  description: Whether the host is known to be as wanted.
  type: bool
  returned: with O(foresee)
"""

import calendar  # the documentation stands first in a module
import glob
import os
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import (
    File,
    apply_files,
    differs,
    read,
)

Run = Callable[[list[str]], tuple[int, str, str]]

MARK = "Managed by pyweb.stack"
PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,ExecMainStartTimestamp,NRestarts,ExecMainStatus"
)
# A program that exits at once is caught this long after its start; systemd calls it started as soon as it is executed.
SETTLE = 0.4
# A service that systemd has restarted this many seconds ago is watched as a new one is: it may crash on and on.
YOUNG = 5.0


class ServiceError(Exception):
    """What was being done, to which service, what came back, and the remedy."""


@dataclass
class Plan:
    """What is to be done, decided from what is wanted and what was found."""

    files: list[File] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    enable: list[str] = field(default_factory=list)
    disable: list[str] = field(default_factory=list)
    reset: list[str] = field(default_factory=list)
    watch: list[str] = field(default_factory=list)  # running, but restarted so lately that it may be a crash loop
    reload: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        return bool(
            self.files
            or self.start
            or self.restart
            or self.stop
            or self.enable
            or self.disable
            or self.reset
            or self.reload
        )


def parse_show(text: str) -> dict[str, dict[str, str]]:
    """The output of `systemctl show`, by the unit's Id."""
    units = {}
    for block in text.strip().split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if properties.get("Id"):
            units[properties["Id"]] = properties
    return units


def timestamp(text: str) -> float | None:
    """Seconds since the epoch of a time as `systemctl show --timestamp=us+utc` prints it, None where there is none."""
    match = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? UTC", text)
    if not match:
        return None
    return calendar.timegm(time.strptime(match.group(1), "%Y-%m-%d %H:%M:%S")) + float(match.group(2) or 0)


def crashing(unit: dict[str, str]) -> bool:
    """Whether a unit has died and is on its way to the next automatic attempt."""
    if unit.get("ActiveState") != "activating":
        return False
    return unit.get("SubState", "").startswith("auto-restart") or int(unit.get("NRestarts") or 0) > 0


def runs(unit: dict[str, str]) -> bool:
    """Whether a unit runs. One that crashes on and on does not."""
    active = ("active", "reloading", "refreshing", "activating", "deactivating")
    return unit.get("ActiveState") in active and not crashing(unit)


def unit_of(name: str) -> str:
    """The whole name of a unit."""
    return name if name.endswith(".timer") else f"{name}.service"


def expanded(services: list[dict[str, Any]], directory: str) -> list[dict[str, Any]]:
    """The list with patterns and timers of what is to be removed put as names of units that are there."""
    listed = {service["name"] for service in services}
    result = []
    for service in services:
        name = service["name"]
        if service["state"] == "present":
            result.append(service)
            continue
        if "*" not in name:
            result.append(service)
        template = name.endswith("@")
        for suffix in (".service",) if template else (".service", ".timer"):
            for path in sorted(glob.glob(os.path.join(directory, f"{name}{suffix}"))):
                found = os.path.basename(path).removesuffix(".service")
                if found not in listed and found.endswith("@") == template and MARK.encode() in (read(path) or b""):
                    listed.add(found)
                    result.append({**service, "name": found})
    return result


def plan(
    services: list[dict[str, Any]],
    directory: str,
    units: dict[str, dict[str, str]],
    links: Callable[[str], list[str]],
    mtime: Callable[[str], float | None],
    now: float,
) -> Plan:
    """Decide what is to be done. ``links`` finds what enables a unit, ``mtime`` when a file was written."""
    result = Plan()
    for service in services:
        name = service["name"]
        unit = unit_of(name)
        path = os.path.join(directory, unit)
        template = name.endswith("@")
        before = read(path)
        if before is not None and MARK.encode() not in before:
            if service["state"] == "present":
                raise ServiceError(
                    f"Installing {path}: there is a unit file without the mark '{MARK}', so it is somebody else's. "
                    "Give the service another name, or remove that file."
                )
            result.warnings.append(f"{path} does not carry the mark '{MARK}', so it was left alone.")
            continue
        mine = {
            one: properties
            for one, properties in units.items()
            if one == unit or (template and one.startswith(name) and one.endswith(".service"))
        }
        if service["state"] == "absent":
            _plan_removal(
                result,
                File(path, None),
                mine,
                links(f"{name}*.service" if template else unit),
            )
            continue
        file = File(path, service["content"])
        changed = differs(file)
        if changed:
            result.files.append(file)
        if any(properties.get("NeedDaemonReload") == "yes" for properties in mine.values()):
            result.reload = True
        if not template and not service.get("triggered"):
            _plan_service(result, service, unit, mine.get(unit, {}), changed, mtime(path), now)
    result.reload = result.reload or bool(result.files)
    return result


def _plan_removal(result: Plan, file: File, units: dict[str, dict[str, str]], links: list[str]) -> None:
    exists = differs(file)
    if not exists and not links:
        # Without file and links there is nothing that says the unit is ours.
        return
    result.stop += [
        unit for unit, properties in units.items() if properties.get("ActiveState") not in ("inactive", "failed")
    ]
    result.reset += [unit for unit, properties in units.items() if properties.get("ActiveState") == "failed"]
    result.disable += links
    if exists:
        result.files.append(file)


def _plan_service(
    result: Plan,
    service: dict[str, Any],
    unit: str,
    found: dict[str, str],
    changed: bool,
    written: float | None,
    now: float,
) -> None:
    began = timestamp(found.get("ExecMainStartTimestamp", ""))
    # An interrupted run may have written the file, but not restarted the process.
    stale = changed or (began is not None and written is not None and began < written)
    if service["started"]:
        if not runs(found):
            result.start.append(unit)
            if found.get("ActiveState") == "failed" or crashing(found):
                result.reset.append(unit)
        elif stale:
            result.restart.append(unit)
        elif int(found.get("NRestarts") or 0) > 0 and began is not None and now - began < YOUNG:
            result.watch.append(unit)
    elif runs(found) or crashing(found):
        result.stop.append(unit)
    enabled = found.get("UnitFileState") in ("enabled", "enabled-runtime")
    if service["enabled"] and not enabled:
        result.enable.append(unit)
    elif not service["enabled"] and enabled:
        result.disable.append(unit)


def judge_verification(output: str) -> tuple[bool, list[str]]:
    """Whether systemd would refuse a unit, and what it says. A program that is missing yet is no finding."""
    lines = [
        line.strip() for line in output.splitlines() if line.strip() and "is not executable: No such file" not in line
    ]
    refused = any("bad unit file setting" in line or "fatal error" in line or "Refusing" in line for line in lines)
    return refused, lines


def verify(run: Run, files: list[File]) -> list[str]:
    """Check new unit files on staged copies; return warnings, raise for what systemd would refuse."""
    present = [file for file in files if file.content is not None]
    if not present:
        return []
    with tempfile.TemporaryDirectory(prefix="pyweb-units-") as folder:
        staged = []
        for file in present:
            staged.append(os.path.join(folder, os.path.basename(file.path)))
            with open(staged[-1], "w", encoding="utf-8") as stream:
                stream.write(file.content or "")
        rc, out, err = run(["systemd-analyze", "--man=no", "--recursive-errors=no", "verify", *staged])
        refused, lines = judge_verification((out + err).replace(f"{folder}/", ""))
    # Other units of the host have findings of their own.
    names = [os.path.basename(file.path).rpartition(".")[0] for file in present]
    own = [line for line in lines if any(name in line for name in names)]
    if rc != 0 and refused:
        raise ServiceError(
            "Checking the unit files by systemd-analyze verify, before any was installed: "
            + "; ".join(own or lines).rstrip(".")
            + ". "
            "Mend the service's settings."
        )
    return [f"systemd: {line}" for line in own]


class Host:
    """The running systemd."""

    def __init__(self, run: Run, directory: str) -> None:
        self.run = run
        self.directory = directory

    def look(self, services: list[dict[str, Any]]) -> Plan:
        """What is to be done about the services, as they are now."""
        found = self.show([service["name"] for service in services])
        return plan(services, self.directory, found, self.links, _mtime, time.time())

    def show(self, names: list[str]) -> dict[str, dict[str, str]]:
        patterns = [f"{name}*.service" if name.endswith("@") else unit_of(name) for name in names]
        return self.show_units(patterns)

    def show_units(self, patterns: list[str]) -> dict[str, dict[str, str]]:
        if not patterns:
            return {}
        # --all: a pattern also matches what has failed or is about to be restarted.
        argv = [
            "systemctl",
            "show",
            "--all",
            "--timestamp=us+utc",
            f"--property={PROPERTIES}",
            *patterns,
        ]
        return parse_show(self.must("Looking at the units", argv))

    def links(self, pattern: str) -> list[str]:
        """Units that a link to a unit file of this folder enables; those of other folders are the distribution's."""
        found = []
        for link in glob.glob(os.path.join(self.directory, "*.wants", pattern)):
            target = os.path.join(os.path.dirname(link), os.readlink(link)) if os.path.islink(link) else ""
            if os.path.dirname(os.path.normpath(target)) == self.directory:
                found.append(os.path.basename(link))
        return sorted(set(found))

    def must(
        self,
        doing: str,
        argv: list[str],
        remedy: str = "Look at systemctl status on the host.",
    ) -> str:
        rc, out, err = self.run(argv)
        if rc != 0:
            raise ServiceError(f"{doing}: `{' '.join(argv)}` failed with {rc}: {(err or out).strip()}. {remedy}")
        return out

    def act(self, todo: Plan) -> None:
        if todo.stop:
            self.must("Stopping", ["systemctl", "stop", *todo.stop])
        removed = {os.path.basename(file.path) for file in todo.files if file.content is None}
        for unit in todo.disable:
            # By hand: systemctl refuses to disable an instance whose template has gone.
            for link in glob.glob(os.path.join(self.directory, "*.wants", unit)):
                os.unlink(link)
        apply_files(todo.files)
        if todo.reload or removed or todo.disable:
            self.must("Letting systemd read its files again", ["systemctl", "daemon-reload"])
        if todo.reset:
            # Fails for units that have gone meanwhile, which is what is wanted.
            self.run(["systemctl", "reset-failed", *todo.reset])
        if todo.enable:
            self.must(
                "Enabling",
                ["systemctl", "enable", *todo.enable],
                "Look at [Install] in the service's settings.",
            )
        self._begin("Restarting", "restart", todo.restart)
        self._begin("Starting", "start", todo.start)
        self._settle(todo.restart + todo.start + todo.watch)

    def _begin(self, doing: str, verb: str, units: list[str]) -> None:
        if not units:
            return
        rc, out, err = self.run(["systemctl", verb, *units])
        if rc != 0:
            shown = self.show_units(units)
            bad = [unit for unit in units if shown.get(unit, {}).get("ActiveState") != "active"] or units
            raise ServiceError(
                f"{doing} {', '.join(bad)} failed: {(err or out).strip().splitlines()[0]} "
                f"Its last output: {self.log(bad[0])}. Mend the service and run again."
            )

    def _settle(self, units: list[str]) -> None:
        if not units:
            return
        before = self.show_units(units)
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline:
            time.sleep(0.05)
            for unit, found in self.show_units(units).items():
                restarts = int(found.get("NRestarts") or 0) - int(before.get(unit, {}).get("NRestarts") or 0)
                if found.get("ActiveState") == "failed" or restarts > 0 or found.get("SubState") == "auto-restart":
                    raise ServiceError(
                        f"Starting {unit}: it exited at once with status {found.get('ExecMainStatus', '?')}. "
                        f"Its last output: {self.log(unit)}. Mend the service and run again."
                    )

    def log(self, unit: str) -> str:
        fields = [f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout", "_TRANSPORT=syslog"]
        _rc, out, _err = self.run(["journalctl", *fields, "-n", "10", "-o", "cat", "--no-pager", "--quiet"])
        return out.strip() or "(none)"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "services": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "state": {
                        "type": "str",
                        "choices": ["present", "absent"],
                        "default": "present",
                    },
                    "content": {"type": "str"},
                    "started": {"type": "bool", "default": True},
                    "enabled": {"type": "bool", "default": True},
                    "triggered": {"type": "bool", "default": False},
                },
                "required_if": [("state", "present", ["content"])],
            },
            "unit_directory": {"type": "path", "default": "/etc/systemd/system"},
            **stamps.OPTIONS,
        },
        supports_check_mode=True,
    )
    wanted, directory = module.params["services"], module.params["unit_directory"]
    if not os.path.isdir("/run/systemd/system"):
        module.fail_json(
            msg="Looking for systemd: it is not PID 1 of this host, so it keeps no service alive. "
            "Use the supervisor role here (webapp_process_manager: supervisor)."
        )
    # Its words are parsed, so they must not be translated.
    module.run_command_environ_update = {"LC_ALL": "C.UTF-8"}
    host = Host(lambda argv: module.run_command(argv), directory)
    try:
        seen = witnesses(wanted, directory)
        services = expanded(wanted, directory)
        todo = host.look(services)
        _changed, diffs = apply_files(todo.files, check_mode=True)
        try:
            warnings = verify(host.run, todo.files)
        except ServiceError as error:
            if not module.check_mode:
                raise
            warnings = [str(error)]
        if not module.check_mode:
            host.act(todo)
            if module.params["stamp"] and passive(wanted) and not todo.warnings:
                if todo.changes:
                    seen = witnesses(wanted, directory)
                if not (todo.changes and host.look(expanded(wanted, directory)).changes):
                    stamps.leave("systemd_services", module.params["stamp"], seen)
    except (ServiceError, OSError, KeyError) as error:
        module.fail_json(msg=str(error))
    for warning in todo.warnings + warnings:
        module.warn(warning)
    module.exit_json(
        changed=todo.changes,
        diff=diffs,
        files=[file.path for file in todo.files],
        started=todo.start,
        restarted=todo.restart,
        stopped=todo.stop,
        enabled=todo.enable,
        disabled=todo.disable,
        reloaded=todo.reload,
    )


def passive(services: list[dict[str, Any]]) -> bool:
    """Whether all that is wanted is in files: an ordinary service may also have died since."""
    return all(
        service["name"].endswith("@") or service["state"] == "absent" or service["triggered"] for service in services
    )


def witnesses(services: list[dict[str, Any]], directory: str) -> dict[str, Any]:
    """The unit files, and the drop-ins that somebody may have added to them; for a pattern, all that match it."""
    paths, patterns = [], []
    for folder in (directory, "/run/systemd/system"):
        paths.append(f"{folder}/service.d")
        for service in services:
            unit = f"{folder}/{unit_of(service['name'])}"
            found = [unit, f"{unit}.d", f"{folder}/{service['name']}.timer"]
            if "*" in service["name"]:
                patterns += found
                found = [path for pattern in found for path in glob.glob(pattern)]
            paths += found
            paths += [path for drop_ins in found for path in glob.glob(f"{glob.escape(drop_ins)}/*")]
    return stamps.witnesses(paths, patterns=patterns)


def _mtime(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    main()
