# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Work that the controller does while it waits for a host.

ansible-core packs a module together with all its imports when the module is first used. It has to parse all of them to
find these imports: a seventh of a second on a fast machine, for each module and run. Connecting over SSH takes as long.
Both mostly wait for something else, so they run side by side.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any

from ansible import constants
from ansible.executor.module_common import modify_module
from ansible.plugins.loader import module_loader


class Ahead:
    """Work beside what stands in the block, whose end waits for it, and raises what it has raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        self.work = work
        # Ansible keeps in its context which task this is.
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=[self.run], daemon=True)

    def __enter__(self) -> Ahead:
        self.thread.start()
        return self

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:
            self.error = error

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        # Always: Ansible ends this process when the task has ended, whatever it holds at that moment.
        self.thread.join()
        if self.error is not None and kind is None:
            raise self.error


def pack(name: str, task_vars: dict[str, Any], templar: Any) -> None:
    """Pack a module into ansible-core's cache of this run. After an error here, ansible-core packs it later."""
    with contextlib.suppress(Exception):
        modify_module(
            module_name=name,
            module_path=module_loader.find_plugin(name, ".py"),
            module_args={},
            templar=templar,
            task_vars=task_vars,
            module_compression=constants.config.get_config_value("DEFAULT_MODULE_COMPRESSION", variables=task_vars),
        )


def connect(connection: Any) -> None:
    """Open the connection to a host, where that is one that stays open."""
    if connection.transport != "ssh":
        return
    arguments = [str(connection.get_option(name) or "") for name in ("ssh_args", "ssh_common_args", "ssh_extra_args")]
    if "controlpersist" in " ".join(arguments).lower():
        connection.exec_command("true", sudoable=False)
