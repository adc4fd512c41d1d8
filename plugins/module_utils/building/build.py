# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The base of all steps of a build: its specification, its folders, and how programs are run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import masked
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import (
    Program,
    run_as_account,
    run_as_builder,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    ReleaseError,
    build_account,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.secret_files import values_in


@dataclass(frozen=True)
class Build:
    """The build of one release of one application."""

    spec: dict[str, Any]
    layout: Layout
    uv: str
    # The fingerprint of the code.
    code: str
    # The ID of the release.
    identity: str

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def release(self) -> str:
        """The folder of the release."""
        return self.layout.release(self.identity)

    @property
    def source(self) -> str:
        """The folder of the source."""
        return os.path.join(self.release, "src")

    @property
    def subdir(self) -> str:
        """The path from the source to the application root; empty where they are the same."""
        return str(self.spec["source"].get("subdir") or "")

    @property
    def root(self) -> str:
        """The application root: the folder in the source that ``subdir`` names, else the source itself."""
        return os.path.join(self.source, self.subdir).rstrip("/")

    def run(
        self, command: list[str], cwd: str, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the run world: as the application's account."""
        return run_as_account(self.layout, command, cwd, environment, timeout, self.identity)

    def run_in_release(self, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a program in the run world, in the environment of the release."""
        return self.run([self.launcher, *command], self.layout.home, {}, timeout)

    def build_with(
        self,
        command: list[str],
        cwd: str,
        environment: dict[str, str],
        timeout: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the build world: as the build account."""
        shown = (self.uv, *((self.spec.get("container") or {}).get("shown") or ()))
        program = Program(command, cwd, environment, timeout, self.identity, shown)
        return run_as_builder(self.layout, program)

    @property
    def launcher(self) -> str:
        return os.path.join(self.release, "bin", "run")

    @property
    def builder(self) -> str:
        """The name of the build account."""
        return build_account(self.name)

    @property
    def place_of_packages(self) -> str:
        """Where the packages of an image that has all of them are chosen; empty for other images."""
        source = self.spec["source"]
        if source.get("environment"):
            return "in the Containerfile"
        return "where the image is built" if source.get("kind") == "image" else ""

    def error(self, text: str) -> ReleaseError:
        hidden = dict(self.spec["env"])
        for number, file in enumerate(self.spec.get("files") or []):
            hidden |= values_in(file["content"], f"file {number} ")
        if self.spec.get("container"):
            # These programs don't see the packages of the host, so none of them is a remedy.
            text = text.replace("The host lacks", "The image lacks").replace("python_packages", "container.packages")
            if place := self.place_of_packages:
                text = re.sub(r"Set container\.packages: \[([^\]]*)\]", rf"Install \1 {place}", text)
        return ReleaseError(self.name, redacted(masked(text, hidden)))
