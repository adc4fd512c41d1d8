# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The versions of Python that an inventory or a source asks for.

Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import content, table
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.poetry import Inexpressible, clauses_of_poetry
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.versions import CLAUSE, fits

VERSION_FILE = ".python-version"
VERSION = re.compile(r"3\.\d{1,2}(?:\.\d{1,3})?")
# As pyenv and uv write versions of CPython.
LISTED = re.compile(r"(?:c?python[-@]?)?(3\.\d{1,2}(?:\.\d{1,3})?)")
# Words of a version file that leave the choice to the host.
FREE = ("", "system", "3")
# The minor versions of CPython that the tested uv can provide.
PROVIDED_MINORS = range(8, 16)
# The archives of python-build-standalone.
ARCHIVE = re.compile(
    r"cpython-(?P<version>3\.\d{1,2}\.\d{1,3})(?:\+|%2B)(?P<build>\d{8})-(?P<arch>[a-z0-9_]+)-unknown-linux-"
    r"(?P<libc>gnu|musl)-install_only(?:_stripped)?\.tar\.(?:gz|zst)"
)


@dataclass(frozen=True)
class Request:
    """The Python that is asked for: a version such as 3.12 or 3.12.4, and clauses such as ``>=3.11``.

    An ``exact`` version with a patch level means no other patch level. ``unknown`` is the text of a version file that
    names no version of CPython.
    """

    version: str = ""
    requires: str = ""
    exact: bool = False
    unknown: str = ""

    @property
    def minor(self) -> str:
        """The version without its patch level."""
        return minor_of(self.version)

    def is_met_by(self, version: str) -> bool:
        """Whether a full version, such as 3.12.4, is what is asked for."""
        if self.version and (minor_of(version) != self.minor or (self.exact and not starts(version, self.version))):
            return False
        return fits(version, self.requires)

    def __str__(self) -> str:
        listed = [f"{VERSION_FILE} says {self.version}"] if self.version and not self.exact else []
        return " and ".join(listed + ([f"requires-python is '{self.requires}'"] if self.requires else []))


def is_version(text: str) -> bool:
    """Whether an interpreter is given by its version, rather than by its name or path."""
    return bool(VERSION.fullmatch(text))


def minor_of(version: str) -> str:
    return ".".join(version.split(".")[:2])


def starts(version: str, prefix: str) -> bool:
    return version == prefix or version.startswith(f"{prefix}.")


def archive_version(name: str) -> str:
    """The version in the name of an archive of python-build-standalone; empty for another name."""
    found = ARCHIVE.fullmatch(name)
    return found["version"] if found else ""


def request_of(root: str, top: str) -> Request:
    """The Python that a source asks for. ``root`` is the application root in the folder ``top`` of the source.

    Raises RequirementsError for a file that is too large.
    """
    text = version_text(root, top)
    listed = LISTED.fullmatch(text)
    return Request(
        version=listed[1] if listed else "",
        requires=requires_python(root, top),
        unknown="" if listed or text in FREE else text,
    )


def version_text(root: str, top: str) -> str:
    """The first version in the nearest version file, in the application root or in a folder above it."""
    here, end = os.path.realpath(root), os.path.realpath(top)
    while here == end or here.startswith(f"{end}/"):
        path = os.path.join(here, VERSION_FILE)
        if os.path.isfile(path) and is_within(path, end):
            lines = (line.partition("#")[0].strip() for line in content(path).split("\n"))
            return next(filter(None, lines), "")[:80]
        here = os.path.dirname(here)
    return ""


def requires_python(root: str, top: str) -> str:
    """The versions of Python that the project in a folder allows, as clauses; empty if no file names any.

    setup.py is read as text: what it computes is not known.
    """
    end = os.path.realpath(top)
    texts = {
        name: content(os.path.join(root, name)) if is_within(os.path.join(root, name), end) else ""
        for name in ("pyproject.toml", "setup.cfg", "setup.py")
    }
    found = of_pyproject(texts["pyproject.toml"])
    if found:
        return found
    options = re.search(r"(?m)^\[options\]\s*$((?:\n(?!\[).*)*)", texts["setup.cfg"])
    line = re.search(r"(?m)^python[_-]requires\s*[=:]\s*(?P<given>\S.*)$", options[1]) if options else None
    line = line or re.search(r"\bpython_requires\s*=\s*([\"'])(?P<given>[^\"'\n]*)\1", texts["setup.py"])
    # Old tools accept clauses such as ``>=3.7.*``. A clause of another form decides nothing here.
    clauses = [re.sub(r"^(\s*[<>]=?.*)\.\*\s*$", r"\1", one) for one in line["given"].split(",")] if line else []
    return ",".join(one.strip() for one in clauses if CLAUSE.fullmatch(one))


def of_pyproject(text: str) -> str:
    """``requires-python`` of a pyproject.toml, or what Poetry has instead; empty if there is none."""
    found = table(text)
    if found is None:
        # A Python without a parser for TOML, or a file that is broken, which the installation reports.
        line = re.search(r"(?m)^requires-python\s*=\s*([\"'])([^\"'\n]*)\1", text)
        return line[2].strip() if line else ""
    project = found.get("project", {})
    given = str(project.get("requires-python", "")).strip() if isinstance(project, dict) else ""
    for name in ("tool", "poetry", "dependencies"):
        found = found.get(name, {}) if isinstance(found, dict) else {}
    python = found.get("python") if isinstance(found, dict) else None
    return given or (python_of_poetry(python) if isinstance(python, str) else "")


def python_of_poetry(text: str) -> str:
    """The clauses of ``python`` as Poetry writes it; empty for alternatives and for any version.

    Unlike a package, ``3.11`` means each of its patch levels.
    """
    text = re.sub(r"^(\d+(?:\.\d+)?)$", r"~\1", text.strip())
    try:
        return ",".join(clauses_of_poetry(text))
    except Inexpressible:
        return ""


def is_within(path: str, top: str) -> bool:
    real = os.path.realpath(path)
    return real.startswith(f"{top}/")
