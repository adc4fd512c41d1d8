# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Where the files of supervisor programs are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File


def program_file(path: str, text: str) -> File:
    """The file of a program. Only root can read it if it has variables, because they may be secret."""
    return File(path, text, mode=0o600 if "\nenvironment=" in text else 0o644)


@dataclass
class Paths:
    """The folders beside the daemon's configuration, and cron's folder."""

    config_file: str
    cron: str = "/etc/cron.d"

    @property
    def base(self) -> str:
        return os.path.dirname(self.config_file)

    @property
    def programs(self) -> str:
        return os.path.join(self.base, "conf.d")

    @property
    def templates(self) -> str:
        return os.path.join(self.base, "templates")

    @property
    def scripts(self) -> str:
        return os.path.join(self.base, "scheduled")

    def program(self, name: str) -> str:
        """The file of a program or, for a name with @, of a template."""
        return os.path.join(self.templates if name.endswith("@") else self.programs, f"{name}.conf")

    def group(self, name: str) -> str:
        """The file of a group. No program's file has an @ inside its name."""
        return os.path.join(self.programs, f"group@{name}.conf")

    def definition(self, item: dict[str, Any]) -> str:
        """The file of a program, template or group."""
        return self.group(item["name"]) if item["kind"] == "group" else self.program(item["name"])

    def script(self, name: str) -> str:
        """The script of a program that cron runs."""
        return os.path.join(self.scripts, name)

    def table(self, name: str) -> str:
        """The crontab of a program. cron ignores files with a dot in their name."""
        return os.path.join(self.cron, f"pyweb-{name.replace('.', '_')}")
