# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The likely cause and the remedy of an error that an application raises when it is imported. Pure.

The application chooses the texts, so they are only read, and never used as paths.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.known_modules import (
    LOST_NAMES,
    LOST_PARTS,
    PACKAGES,
    PYTHON_LOST,
    REPLACED,
    SYSTEM_LIBRARIES,
)

# Characters of an error that are read.
LONGEST = 500
UNWRITABLE = re.compile(
    r"unable to open database file|attempt to write a readonly database|Read-only file system|Permission denied"
)
# How libraries for settings report a variable that is missing: environs, django-environ, decouple, starlette, dynaconf.
MISSING_VARIABLE = re.compile(
    r"[Ee]nvironment variable \W?(?P<a>[A-Z][A-Z0-9_]+)\W? (?:is )?(?:not set|missing|not found|required)"
    r"|[Ss]et the (?P<b>[A-Z][A-Z0-9_]+) environment variable"
    r"|UndefinedValueError: (?P<c>[A-Za-z]\w+) not found"
    r"|Config '(?P<d>\w+)' is missing"
    r"|(?P<e>[A-Z][A-Z0-9_]{2,}) (?:is|must be|was|has) (?:not set|not defined|not configured|missing|required|set\b)"
    r"|[Mm]issing (?:required )?(?:environment )?(?:variable|setting):? \W?(?P<f>[A-Z][A-Z0-9_]+)"
)
MISSING_LIBRARY = re.compile(
    r"\b(lib[\w.+-]+?\.so[\w.]*): cannot open shared object|cannot load library '(lib[\w.+-]+)'"
    r"|failed to find (libmagic)\b"
)
# Modules of Python that have lost names.
CHANGED = re.compile(r"module '(ast|asyncio|collections|fractions|inspect|pkgutil|typing)' has no attribute '(\w+)'")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]+\Z")


@dataclass(frozen=True)
class Context:
    """The facts about a build that explain an error."""

    root: str = ""
    account: str = "the application"
    # The names of the variables in env.
    variables: frozenset[str] = frozenset()
    # The files and folders that .gitignore leaves out of the source, relative to its top.
    left_out: tuple[str, ...] = ()
    # Whether anything lists dependencies.
    lists_dependencies: bool = True


def first_error(found: dict[str, Any]) -> str:
    """The error that the others came from, and the last one where it is another."""
    errors = found.get("errors") or []
    if not errors:
        return str(found["trace"][-1]).strip().rstrip(".")
    first, last = (str(one["text"]).rstrip(".") for one in (told_first(errors), errors[-1]))
    return first if first == last else f"{first} (which led to {last})"


def told_first(errors: list[dict[str, Any]]) -> dict[str, Any]:
    """The error to name first: where the program says what came from what, the first one; else what the system said."""
    start = len(errors) - 1
    while start and errors[start - 1].get("is_cause"):
        start -= 1
    if start == len(errors) - 1:
        return next((one for one in errors if "OSError" in one["kinds"]), errors[-1])
    return errors[start]


def in_order(errors: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The errors, the one with the likeliest cause first."""
    if not errors:
        return
    first = told_first(errors)
    yield first
    yield from (one for one in reversed(errors) if one is not first)


def cause_of(found: dict[str, Any], context: Context) -> str:
    """The likely cause and the remedy; empty where none is known."""
    for given in in_order(found.get("errors") or []):
        error = {**given, "text": str(given["text"])[:LONGEST]}
        for rule in (of_module, of_name, of_variable, of_library, of_file, of_writing, of_old_python):
            remedy = rule(error, context, str(found.get("python") or ""))
            if remedy:
                return remedy
    return ""


def of_module(error: dict[str, Any], context: Context, python: str) -> str:
    """A module that is missing."""
    module = error.get("module")
    if not module or "ModuleNotFoundError" not in error["kinds"]:
        return ""
    top = module.partition(".")[0]
    if "PackageNotFoundError" in error["kinds"]:
        return (
            f"The package '{module}' is not installed, so it has no version. If that is the project itself, add '.' "
            "to python.packages; else add the package to the requirements."
        )
    if top == "pkg_resources":
        return "setuptools 82 and newer no longer have pkg_resources. Add 'setuptools<81' to python.packages."
    if top in PYTHON_LOST and is_newer(python, PYTHON_LOST[top]):
        newer = f"add '{REPLACED[top]}' to python.packages, or " if top in REPLACED else ""
        return (
            f"Python {PYTHON_LOST[top]} and newer no longer have '{top}', and this is Python {python}. To continue, "
            f"{newer}choose a newer version of the package that imports it, or an older python.interpreter."
        )
    hidden = left_out_module(module, context.left_out)
    if hidden:
        return (
            f"'{hidden}' was not deployed, because .gitignore names it. Set its values in env, or add it to "
            "source.include."
        )
    lost = next((remedy for name, remedy in LOST_PARTS.items() if f"{module}.".startswith(f"{name}.")), "")
    if "." in module and error.get("version"):
        part = module.partition(".")[2]
        older = f"Choose a version that has it, such as '{error['package']}<{error['version'].partition('.')[0]}'."
        return f"{error['package']} {error['version']} is installed, but has no '{part}'. {lost or older}"
    if not context.lists_dependencies:
        return (
            "The application root and the folders above it have none of uv.lock, pylock.toml, requirements.txt, "
            "pyproject.toml and setup.py, and python.packages is empty. So nothing is installed. Add one of them."
        )
    if error.get("elsewhere"):
        return (
            f"The source has '{error['elsewhere']}', in a folder that Python does not search. Set source.subdir to "
            "that folder, or install it as a library, such as ./libs/core in the requirements."
        )
    package = PACKAGES.get(top)
    add = f"add {package} to the requirements." if package else "add the package that has it to the requirements."
    return f"'{module}' is not among the dependencies: {add}"


def of_name(error: dict[str, Any], _context: Context, python: str) -> str:
    """A name that another version of a package has."""
    found = re.search(r"cannot import name '(\w+)' from '([\w.]+)'", error["text"])
    if not found:
        return ""
    name, module = found.groups()
    known = LOST_NAMES.get((module.partition(".")[0], name))
    if "partially initialized module" in error["text"]:
        return f"'{module}' imports itself, by way of another module. Is a file of the source called like a package?"
    if module.partition(".")[0] == "collections":
        return f"Python 3.10 and newer have '{name}' in collections.abc, and this is Python {python}."
    if not error.get("version"):
        return ""
    wanted = f"'{known}'" if known else f"an older or a newer one than {error['version']}"
    return (
        f"{error['package']} {error['version']} is installed, but has no '{name}' in '{module}'. Choose the version "
        f"that the code was written for: {wanted}."
    )


def of_variable(error: dict[str, Any], context: Context, _python: str) -> str:
    """A variable that is not set."""
    name = error.get("key") or ""
    certain = bool(error.get("of_environment"))
    if not certain:
        found = MISSING_VARIABLE.search(error["text"])
        settings = re.search(r"validation errors? for \w+\s+(\w+)\s+[Ff]ield required", error["text"])
        certain = bool(found or settings)
        name = next(filter(None, found.groups()), name) if found else name
        name = settings.group(1).upper() if settings else name
    if not name or name in context.variables or not (certain or VARIABLE.match(name)):
        return ""
    hidden = next((one for one in context.left_out if re.match(r"(.*/)?\.(flask)?env[^/]*\Z", one)), "")
    also = f" '{hidden}' was not deployed, because .gitignore names it." if hidden else ""
    if not certain:
        return f"If '{name}' comes from the environment, set it: env: {{{name}: …}}.{also}" if hidden else ""
    return f"{name} is not in the environment. Set it: env: {{{name}: …}}.{also}"


def of_library(error: dict[str, Any], _context: Context, _python: str) -> str:
    """A library of the system that a package needs at run time."""
    found = MISSING_LIBRARY.search(error["text"])
    if not found:
        return ""
    library = next(filter(None, found.groups()))
    package = next((one for start, one in SYSTEM_LIBRARIES.items() if library.startswith(start)), "")
    wanted = f"[{package}]" if package else f"the Debian package that has it (apt-file search {library})"
    return f"The host lacks the library '{library}'. Set python_packages: {wanted}."


def of_file(error: dict[str, Any], context: Context, _python: str) -> str:
    """A file that is missing."""
    name = error.get("file")
    if not name or "FileNotFoundError" not in error["kinds"]:
        return ""
    place = inside(name, context.root)
    hidden = left_out_file(place, context.left_out) if place else ""
    if hidden:
        return f"'{hidden}' was not deployed, because .gitignore names it. Add it to source.include, or to the release."
    if place:
        return (
            f"The release has no '{place}'. Add it to the source. If it holds data that outlives releases, name its "
            "folder as shared."
        )
    return ""


def of_writing(error: dict[str, Any], context: Context, _python: str) -> str:
    """A file that the application may not write."""
    if not UNWRITABLE.search(error["text"]):
        return ""
    name = error.get("file") or ""
    place = inside(name, context.root) if name else ""
    if name and not place:
        return (
            f"The account '{context.account}' may not use '{name}'. Give it access on the host, or let the application "
            "keep its files in a folder of shared."
        )
    first, _slash, rest = place.partition("/")
    is_file = "." in first and not rest
    folder = first if first and not is_file else "instance"
    move = f" Keep the file in that folder, such as {folder}/{place or 'app.db'}." if is_file or not place else ""
    return f"The application may not write into its release. Add shared: [{folder}].{move}"


def of_old_python(error: dict[str, Any], _context: Context, python: str) -> str:
    """An attribute that older versions of Python had."""
    found = CHANGED.search(error["text"])
    if not found:
        return ""
    return (
        f"This is Python {python}, where '{found.group(1)}' has no '{found.group(2)}'. A package in the traceback is "
        "too old: choose a newer version of it, or an older python.interpreter."
    )


def is_newer(python: str, lost: str) -> bool:
    """Whether a version of Python is the one that lost a module, or newer."""
    numbers = [tuple(int(part) for part in re.findall(r"\d+", text)[:2]) for text in (python, lost)]
    return bool(numbers[0]) and numbers[0] >= numbers[1]


def inside(name: str, root: str) -> str:
    """A path relative to the application root; empty where it is outside. Relative paths start there."""
    path = posixpath.normpath(posixpath.join(root, name))
    return posixpath.relpath(path, root) if root and path.startswith(f"{root}/") else ""


def left_out_module(module: str, left_out: Iterable[str]) -> str:
    """The file of a module that .gitignore leaves out; empty if there is none."""
    path = module.replace(".", "/")
    ends = {f"{path}.py", f"{path}/", f"{path}/__init__.py"}
    return next((one for one in left_out if any(one == end or one.endswith(f"/{end}") for end in ends)), "")


def left_out_file(place: str, left_out: Iterable[str]) -> str:
    """The file or folder of a path that .gitignore leaves out; else empty. The application root may be deeper."""
    for one in left_out:
        bare = one.rstrip("/")
        if bare == place or bare.endswith(f"/{place}") or f"/{place}/".find(f"/{posixpath.basename(bare)}/") >= 0:
            return one
    return ""
