# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run instances of services as systemd units."""

from __future__ import annotations

import contextlib
import glob
import os
import re

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, atomic_symlink, read, sweep, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.instances import (
    ProcessManagerError,
    check_instance,
    check_service,
    family_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import Systemctl

PROPERTIES = "LoadState,ActiveState,SubState,Result,NRestarts,Job,LoadError,MainPID"


class Systemd:
    """Instances ``SERVICE@INSTANCE.service`` of the template units that the role systemd writes."""

    name = "systemd"

    def __init__(self, run: Run, unit_directory: str = "/etc/systemd/system") -> None:
        self._systemctl = Systemctl(run, ProcessManagerError)
        self._unit_directory = unit_directory

    def _unit(self, service: str, instance: str) -> str:
        check_instance(service, instance)
        return f"{service}@{instance}.service"

    def _sockets(self, service: str, instance: str) -> list[str]:
        """The socket unit of an instance, if its service has one. It ends with the instance, but a little later."""
        has_sockets = os.path.exists(f"{self._unit_directory}/{service}@.socket")
        return [f"{service}@{instance}.socket"] if has_sockets else []

    def _links(self, pattern: str) -> list[str]:
        """The links that enable units, in the folders of the targets that [Install] names."""
        return glob.glob(os.path.join(self._unit_directory, "*.wants", pattern))

    def _show(self, unit: str) -> dict[str, str]:
        return self._systemctl.show(unit, PROPERTIES)

    def start(self, service: str, instance: str) -> None:
        unit = self._unit(service, instance)
        shown = self._show(unit)
        if shown["LoadState"] != "loaded":
            raise ProcessManagerError(
                f"Starting {unit}: its template {self._unit_directory}/{service}@.service is not usable "
                f"({shown['LoadState']}: {shown.get('LoadError', '')}). Run the systemd role for it first."
            )
        if shown["ActiveState"] == "failed":
            # Otherwise this start would count against the start limit together with earlier attempts.
            self._systemctl.try_to("reset-failed", unit, *self._sockets(service, instance))
        remedy = f"Look at `systemctl status {unit}` on the host."
        self._systemctl.must(f"Starting {unit}", "start", "--no-block", unit, remedy=remedy)

    def state(self, service: str, instance: str) -> str:
        unit = self._unit(service, instance)
        return unit_state(self._show(unit), enabled=bool(self._links(unit)))

    def restarts(self, service: str, instance: str) -> int:
        return int(self._show(self._unit(service, instance)).get("NRestarts") or 0)

    def pid(self, service: str, instance: str) -> int:
        return int(self._show(self._unit(service, instance)).get("MainPID") or 0)

    def enable(self, service: str, instance: str) -> None:
        unit = self._unit(service, instance)
        if self._links(unit):
            return
        # Make the links directly. `systemctl enable` would reload systemd, which takes a second on a busy host. With
        # --no-reload, systemd 257 calls every unit outdated until the next reload. Links are read at the next boot.
        template = f"{self._unit_directory}/{service}@.service"
        data = read(template)
        if data is None:
            raise ProcessManagerError(
                f"Enabling {unit}: its template {template} is missing. Run the systemd role for it first."
            )
        for target in wanted_by(data.decode()):
            folder = os.path.join(self._unit_directory, f"{target}.wants")
            os.makedirs(folder, mode=0o755, exist_ok=True)
            atomic_symlink(template, os.path.join(folder, unit))

    def disable(self, service: str, instance: str) -> None:
        unit = self._unit(service, instance)
        # Remove the links directly: systemctl refuses if the template is gone already, and leaves the link.
        for link in self._links(unit):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)

    def stop(self, service: str, instance: str, timeout: float) -> None:
        self._stop(self._unit(service, instance), timeout)
        # This waits until they are gone, and does nothing else.
        sockets = self._sockets(service, instance)
        if sockets:
            self._systemctl.try_to("stop", *sockets)

    def _stop(self, unit: str, timeout: float) -> None:
        if self._show(unit)["ActiveState"] in ("inactive", "failed"):
            # This also cancels a start that has not begun.
            self._systemctl.try_to("stop", "--no-block", unit)
            return
        status, out, err = self._systemctl.run(["timeout", f"{max(timeout, 0.1):.3f}", "systemctl", "stop", unit])
        if status == 124:
            self._systemctl.try_to("kill", "--signal=SIGKILL", unit)
            # This returns at once, except with cgroups of version 1 in containers. They don't report that they are
            # empty, so systemd waits for the unit's own timeout.
            argv = ["timeout", "60", "systemctl", "stop", unit]
            remedy = "A process in state D can't be killed."
            must(self._systemctl.run, f"Killing {unit}", argv, remedy, ProcessManagerError)
        elif status != 0 and self._show(unit)["ActiveState"] not in ("inactive", "failed"):
            raise ProcessManagerError(
                f"Stopping {unit}: `systemctl stop` failed with {status}: {(err or out).strip()}. "
                f"Look at `systemctl status {unit}` on the host."
            )

    def begin_stop(self, service: str, instance: str) -> None:
        self.disable(service, instance)
        self._systemctl.try_to("stop", "--no-block", self._unit(service, instance))

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        unit = self._unit(service, instance)
        self.disable(service, instance)
        self.stop(service, instance, timeout)
        if self._show(unit)["ActiveState"] == "failed":
            self._systemctl.try_to("reset-failed", unit, *self._sockets(service, instance))

    def tidy(self, service: str) -> None:
        sweep(self._links(f"{service}@*.new"))
        sweep(self._links(f"{service}.*@*.new"))

    def instances(self, service: str) -> list[str]:
        return [instance for one, instance in self.family(service) if one == service]

    def family(self, service: str) -> list[tuple[str, str]]:
        check_service(service)
        units = self.listed([service])
        units += [os.path.basename(link) for pattern in patterns_of(service) for link in self._links(pattern)]
        return family_of(service, units, separator="@", suffix=".service")

    def listed(self, services: list[str]) -> list[str]:
        """The units of services and of their parts that are active, failed or about to start. One command lists all."""
        patterns = [pattern for service in services for pattern in patterns_of(service)]
        options = ["--all", "--full", "--plain", "--no-legend", "--no-pager"]
        doing = f"Listing the instances of {', '.join(services)}"
        out = self._systemctl.must(doing, "list-units", *options, *patterns)
        # UNIT LOAD ACTIVE SUB DESCRIPTION. A unit that is only loaded, neither active nor failed, is no instance.
        lines = [line.split() for line in lines_of(out)]
        return [words[0] for words in lines if len(words) >= 4 and words[2] != "inactive"]

    def parts(self, service: str) -> list[str]:
        paths = glob.glob(os.path.join(self._unit_directory, f"{service}.*@.service"))
        return sorted(os.path.basename(path).removesuffix("@.service") for path in paths)

    def undefine(self, services: list[str]) -> None:
        for service in services:
            for kind in ("service", "socket"):
                write(File(f"{self._unit_directory}/{service}@.{kind}", None))
        if services:
            self._systemctl.reload()

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        return self._systemctl.last_output(self._unit(service, instance), lines)


def unit_state(shown: dict[str, str], *, enabled: bool) -> str:
    """The state of a unit in the words of ProcessManager."""
    active = shown.get("ActiveState", "inactive")
    if active in ("active", "reloading", "refreshing"):
        return "running"
    if active in ("activating", "maintenance"):
        return "starting"
    if active == "deactivating":
        return "stopping"
    if active == "failed":
        return "failed"
    # A start is queued, but has not begun.
    if shown.get("Job", "0") not in ("", "0"):
        return "starting"
    return "stopped" if enabled else "absent"


def patterns_of(service: str) -> tuple[str, str]:
    """The patterns of the units of a service, and of its parts."""
    return f"{service}@*.service", f"{service}.*@*.service"


def wanted_by(definition: str) -> list[str]:
    """The targets that a unit file names in WantedBy."""
    lines = re.findall(r"(?m)^WantedBy\s*=(.*)$", definition)
    return [target for line in lines for target in line.split()]
