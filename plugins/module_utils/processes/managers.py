# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The interface to process managers, which run the instances of services.

The roles write templates (``/etc/systemd/system/NAME@.service``, ``/etc/supervisor/templates/NAME@.conf``). A release
is an instance of its service; a process manager starts, watches and ends instances. Other services are never touched.
"""

from __future__ import annotations

from typing import Protocol

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.processes.instances import ProcessManagerError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import Supervisor
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd_instances import Systemd

__all__ = ["ProcessManager", "ProcessManagerError", "process_manager"]


class ProcessManager(Protocol):
    """The process manager that activation needs. A service's name has no ``@``; an instance is a release's ID.

    The web process is the service of the application's name. A background process is a part of it, ``APP.PROCESS``.
    """

    name: str

    def start(self, service: str, instance: str) -> None:
        """Begin to start, without waiting for readiness. Reset a failed instance first; leave a running one alone."""

    def state(self, service: str, instance: str) -> str:
        """One of starting, running, stopping, stopped, failed, absent.

        An instance that is about to be restarted counts as starting; see ``restarts``. ``absent`` means that nothing
        of it runs, has failed, or would come back. After a start, stopped and absent mean that it has ended by itself.
        """

    def restarts(self, service: str, instance: str) -> int:
        """How often the process manager has restarted it by itself since it was started."""

    def pid(self, service: str, instance: str) -> int:
        """The ID of its main process, 0 if none runs."""

    def enable(self, service: str, instance: str) -> None:
        """Start it when the host boots or the daemon starts."""

    def disable(self, service: str, instance: str) -> None:
        """Don't start it when the host boots or the daemon starts. A running instance continues to run."""

    def stop(self, service: str, instance: str, timeout: float) -> None:
        """Stop gracefully, wait until it is gone, and kill it after ``timeout`` seconds."""

    def begin_stop(self, service: str, instance: str) -> None:
        """Disable it and ask it to end, without waiting. ``forget`` does the rest."""

    def forget(self, service: str, instance: str, timeout: float = 30.0) -> None:
        """Stop, disable and remove it. This also cleans up after an interrupted run."""

    def tidy(self, service: str) -> None:
        """Remove half-written files of its instances, which an interrupted run leaves."""

    def instances(self, service: str) -> list[str]:
        """All instances that are running, failed, enabled or defined, sorted."""

    def family(self, service: str) -> list[tuple[str, str]]:
        """The instances of the service and of its parts, SERVICE.PART, as sorted pairs of service and instance."""

    def parts(self, service: str) -> list[str]:
        """The parts of the service, SERVICE.PART, that have a template."""

    def undefine(self, services: list[str]) -> None:
        """Remove the templates of services that have no instances."""

    def log(self, service: str, instance: str, lines: int = 20) -> str:
        """The last lines of the instance's own output."""


def process_manager(name: str, run: Run) -> ProcessManager:
    """The process manager by name; ``run`` runs its commands."""
    if name == "systemd":
        return Systemd(run)
    if name == "supervisor":
        return Supervisor()
    raise ProcessManagerError(f"There is no process manager {name!r}. Name systemd or supervisor.")
