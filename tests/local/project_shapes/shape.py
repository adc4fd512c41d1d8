# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One project, small, and what is right for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"

# Prints the versions of packages as the application sees them.
VERSIONS = "from importlib.metadata import version; print(*[version(one) for one in {names!r}])"


def versions(*names: str) -> str:
    return VERSIONS.format(names=list(names))


@dataclass(frozen=True)
class Shape:
    """A project, and what is right for it.

    ``probe`` is a program of Python that runs in the release, and ``says`` is its output. ``command`` is a command of
    the release, and ``told`` its output. ``change`` is a file, a text in it and its replacement: with that change, the
    probe says ``then``. ``author`` are commands of uv that the author runs in the source. ``refused`` is a pattern that
    the message of a refusal contains. @INDEX@ and @PRIVATE@ stand for the addresses of the local indexes.
    """

    name: str
    files: dict[str, str]
    probe: str = ""
    says: str = ""
    command: tuple[str, ...] = ()
    told: str = ""
    change: tuple[str, str, str] = ("", "", "")
    then: str = ""
    refused: str = ""
    python: dict[str, Any] = field(default_factory=dict)
    author: tuple[tuple[str, ...], ...] = ()
    subdir: str = ""
    server: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    wsgi: str = "app:app"
    # Whether it is built once only, unless all deployments are tested: it differs little from another shape.
    brief: bool = False
    # The encodings of files that are not UTF-8.
    encodings: dict[str, str] = field(default_factory=dict)
    # The tag of the source in git; empty if it is in no repository.
    tag: str = ""

    @property
    def all_files(self) -> dict[str, str]:
        """The files, with a small application unless there is one."""
        name = f"{self.subdir}/app.py".lstrip("/")
        return self.files if self.wsgi != "app:app" or name in self.files else {**self.files, name: APP}

    @property
    def changes_packages(self) -> bool:
        """Whether the change concerns what is installed from an index, or a version."""
        return bool(self.change[0]) and not self.change[0].endswith((".py", "terms.txt"))

    def __str__(self) -> str:
        return self.name
