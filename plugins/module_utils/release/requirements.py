# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Read the files that list dependencies: which count, what they pin, and whether they need more of the source.

Reads files, runs nothing. Used on the controller and on the host, so the standard library is enough.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from dataclasses import dataclass
from typing import Any

try:
    import tomllib
except ImportError:  # Python 3.10 and older
    tomllib = None

# The files that list dependencies, the most exact first.
REQUIREMENT_FILES = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")

# Locks that uv can't read, or that nothing names, by how they become files that it reads.
IGNORED_LOCKS = {
    "poetry.lock": "Run: poetry export -f requirements.txt -o requirements.txt",
    "pdm.lock": "Run: pdm export --prod -o requirements.txt",
    "Pipfile.lock": "Run: pipenv requirements > requirements.txt",
    "Pipfile": "Run: pipenv lock && pipenv requirements > requirements.txt",
    "pixi.lock": "List the versions in a requirements.txt",
    "conda-lock.yml": "List the versions in a requirements.txt",
}
# Locks that uv can read if they are named.
UNNAMED_LOCKS = ("pylock.*.toml", "requirements.lock", "requirements-lock.txt", "requirements.lock.txt")

# Packages that bring the same program as another does.
SAME_PROGRAM = {"pyuwsgi": ("uwsgi",)}

# A line of a requirements file that names a package of an index, an address or nothing: no other file of the source.
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
EXTRAS = rf"(?:\s*\[\s*(?:{NAME}(?:\s*,\s*{NAME})*)?\s*\])?"
CLAUSE = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
CLAUSES = rf"{CLAUSE}(?:\s*,\s*{CLAUSE})*"
MARKER = r"""(?:\s*;[A-Za-z0-9_.\s()'"<>=!~,*+-]*)?"""
ADDRESS = r"(?:https?|git\+https?|git\+ssh)://\S+"
PACKAGE = re.compile(rf"(?P<name>{NAME}){EXTRAS}\s*(?:{CLAUSES}|\(\s*{CLAUSES}\s*\))?{MARKER}")
DIRECT = re.compile(rf"(?:{NAME}{EXTRAS}\s*@\s*)?{ADDRESS}(?:\s+;.*)?")
HASH = re.compile(r"\s+--hash[=\s]\s*[a-z0-9]+:[0-9a-fA-F]+")
OPTION = re.compile(
    rf"--pre|--no-index|--prefer-binary|--require-hashes|--(?:no-binary|only-binary|trusted-host)[=\s]\s*\S+"
    rf"|(?:-i\s|-f\s|--(?:index-url|extra-index-url|find-links)[=\s])\s*{ADDRESS}"
)
# uv takes a name that ends like this for a file.
ARCHIVE = re.compile(r"\.(?:whl|egg|zip|tar|tgz|tbz2?|txz|tlz|gz|bz2|xz|lz|lzma|zst)", re.IGNORECASE)
NESTED = re.compile(r"(?P<option>-r|--requirement|-c|--constraint)(?:[=\s]\s*|(?=[^-\s]))(?P<file>\S.*)")
# A requirement whose code stays where it is: the environment then belongs to one release, because it points into it.
EDITABLE_LINE = re.compile(r"(?:-e|--editable)(?![a-z-])")
EDITABLE_TABLE = re.compile(r"""\{[^}\n]*(\b(path|directory|editable)\s*=\s*["'](?!\.?["'])|\bworkspace\s*=\s*true)""")
EDITABLE_SWITCH = re.compile(r"""^\s*(?:editable|workspace)\s*=\s*true""", re.MULTILINE)

# The keys of [tool.uv] that name no file.
HARMLESS_UV = frozenset(
    {
        "cache-keys",
        "conflicts",
        "default-groups",
        "dependency-groups",
        "environments",
        "exclude-newer",
        "exclude-newer-package",
        "managed",
        "no-binary",
        "no-binary-package",
        "no-build",
        "no-build-package",
        "package",
        "prerelease",
        "required-environments",
        "required-version",
        "resolution",
    }
)
REMOTE_SOURCE = frozenset(
    {"git", "url", "index", "rev", "tag", "branch", "subdirectory", "marker", "extra", "group", "lfs"}
)


@dataclass(frozen=True)
class Line:
    """A line of a requirements file as one text, without its comment and with what continues it."""

    text: str
    # Whether it stands in a file of constraints, which install nothing.
    constraint: bool = False
    # Whether it refers to a file whose lines follow.
    followed: bool = False


def kind(name: str) -> str:
    """How a file lists dependencies: ``lock`` (of uv), ``pylock``, ``project``, ``program`` or ``text``."""
    base = os.path.basename(name)
    if base == "uv.lock":
        return "lock"
    if base.startswith("pylock.") and base.endswith(".toml"):
        return "pylock"
    if base.endswith("pyproject.toml"):
        return "project"
    return "program" if base.endswith((".py", ".cfg", ".toml")) else "text"


def content(path: str) -> str:
    """The text of a file; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def table(text: str) -> dict[str, Any] | None:
    """What a TOML file says; None where that can't be told."""
    if tomllib is None:
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


# Which files count


def automatic(root: str, top: str) -> str:
    """The file that counts where none is named, relative to the application root; empty where the source has none.

    The lock of a workspace lies above its members, at most at the top of the source.
    """
    found = next((name for name in REQUIREMENT_FILES if os.path.isfile(os.path.join(root, name))), "")
    if found not in ("", "pyproject.toml"):
        return found
    if found and not lists_dependencies(root):
        found = ""
    folder = os.path.realpath(root)
    while folder != os.path.realpath(top) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        lock = os.path.join(folder, "uv.lock")
        if os.path.isfile(lock):
            return os.path.relpath(lock, os.path.realpath(root)) if member(lock, root) else found
    return found


def tools(found: dict[str, Any]) -> dict[str, Any]:
    """The settings of tools in a pyproject.toml, each a table."""
    given = found.get("tool")
    return {name: one for name, one in given.items() if isinstance(one, dict)} if isinstance(given, dict) else {}


def lists_dependencies(root: str) -> bool:
    """Whether a pyproject.toml is more than settings of other tools."""
    found = table(content(os.path.join(root, "pyproject.toml")))
    if found is None or "project" in found or "build-system" in found or "poetry" in tools(found):
        return True
    return any(os.path.exists(os.path.join(root, name)) for name in ("setup.py", "setup.cfg"))


def member(lock: str, root: str) -> str:
    """The name of the package in the application root by the lock of a workspace; empty where it is no member."""
    place = os.path.relpath(os.path.realpath(root), os.path.dirname(os.path.realpath(lock)))
    for package in (table(content(lock)) or {}).get("package", []):
        source = package.get("source", {})
        places = [source[key] for key in ("editable", "virtual", "directory") if key in source]
        if any(os.path.normpath(str(one)) == place for one in places):
            return str(package.get("name", ""))
    return ""


def ignored(root: str, top: str, named: list[str] | None) -> str:
    """Why the dependencies would not be installed as the source locks them; empty where they are."""
    for name in named or []:
        if os.path.basename(name) in IGNORED_LOCKS:
            remedy = IGNORED_LOCKS[os.path.basename(name)]
            return f"python.requirements names '{name}', which uv can't read. {remedy}, and name that file."
    if named is not None or automatic(root, top) not in ("", "pyproject.toml"):
        return ""
    explicit = "To install something else, name its files as python.requirements ([] for none)."
    for name, remedy in IGNORED_LOCKS.items():
        if os.path.isfile(os.path.join(root, name)):
            return f"'{name}' lists the versions to install, but uv can't read it. {remedy}. {explicit}"
    for name in sorted(os.listdir(root)):
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in UNNAMED_LOCKS):
            return (
                f"'{name}' lists the versions to install, but it is not read by default. Set "
                f"python: {{requirements: [{name}]}}. {explicit}"
            )
    found = table(content(os.path.join(root, "pyproject.toml"))) or {}
    poetry = tools(found).get("poetry", {})
    if poetry.get("package-mode") is False and "project" not in found:
        return f"'pyproject.toml' lists dependencies for Poetry alone. {IGNORED_LOCKS['poetry.lock']}. {explicit}"
    return ""


# What the lines say


def logical_lines(text: str) -> list[str]:
    """The lines of a requirements file, with what continues them, without comments."""
    lines, pending = [], ""
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if line.endswith("\\"):
            pending += f"{line[:-1].strip()} "
            continue
        lines.append(pending + line)
        pending = ""
    return [line.strip() for line in [*lines, pending] if line.strip()]


def lines_of(root: str, name: str) -> list[Line]:
    """The lines of a requirements file and of those it refers to, whatever these are called."""
    return lines_below(os.path.normpath(os.path.join(root, name)), False, {})


def text_of(root: str, name: str) -> str:
    """The text of a requirements file and of those it refers to."""
    seen: dict[tuple[str, bool], str] = {}
    lines_below(os.path.normpath(os.path.join(root, name)), False, seen)
    return "\n".join(seen.values())


def lines_below(path: str, constraint: bool, seen: dict[tuple[str, bool], str]) -> list[Line]:
    """The lines of a file and of those it refers to; ``seen`` receives their texts, and ends a circle."""
    text_here = seen[(path, constraint)] = content(path)
    found: list[Line] = []
    for text in logical_lines(text_here):
        nested = NESTED.fullmatch(text)
        if not nested:
            found.append(Line(text, constraint))
            continue
        inner = os.path.normpath(os.path.join(os.path.dirname(path), nested["file"].strip("\"'")))
        follows = kind(inner) == "text" and os.path.isfile(inner)
        found.append(Line(text, constraint, follows))
        mark = (inner, constraint or nested["option"] in ("-c", "--constraint"))
        if follows and mark not in seen:
            found += lines_below(*mark, seen)
    return found


def constraint_files(root: str, name: str) -> list[str]:
    """The files of constraints that a requirements file names, itself or by those it refers to."""
    found, seen, waiting = [], set(), [os.path.normpath(os.path.join(root, name))]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for text in logical_lines(content(path)):
            nested = NESTED.fullmatch(text)
            if nested:
                inner = os.path.normpath(os.path.join(os.path.dirname(path), nested["file"].strip("\"'")))
                if nested["option"] in ("-c", "--constraint"):
                    found.append(inner)
                elif inner not in seen and kind(inner) == "text":
                    waiting.append(inner)
    return list(dict.fromkeys(path for path in found if os.path.isfile(path)))


def is_plain(text: str) -> bool:
    """Whether a requirement provably needs no file of the source. What is unknown is not plain."""
    text = HASH.sub("", text).strip()
    if OPTION.fullmatch(text) or DIRECT.fullmatch(text):
        return True
    package = PACKAGE.fullmatch(text)
    return bool(package) and not ARCHIVE.fullmatch(os.path.splitext(package["name"])[1])


def plain_lines(lines: list[Line]) -> bool:
    return all(line.followed or is_plain(line.text) for line in lines)


def plain_project(text: str) -> bool:
    """Whether the dependencies of a pyproject.toml stand in it alone, and are all somebody else's packages."""
    found = table(text)
    if found is None:
        return False
    try:
        project, uv = found["project"], found.get("tool", {}).get("uv", {})
        if {"dependencies", "optional-dependencies"} & set(project.get("dynamic", [])):
            return False
        optional = project.get("optional-dependencies", {}).values()
        listed = [*project.get("dependencies", []), *(one for group in optional for one in group)]
        for key, value in uv.items():
            if key == "sources":
                listed += [source for sources in value.values() for source in sources_of(sources)]
            elif key == "index":
                listed += [f"--index-url {index['url']}" for index in value]
            elif key.endswith("dependencies"):
                listed += value
            elif key not in HARMLESS_UV:
                return False
        return all(isinstance(one, str) and is_plain(one) for one in listed)
    except (AttributeError, KeyError, TypeError):
        return False


def sources_of(given: Any) -> list[str]:
    """Each source of a package in [tool.uv.sources] as a line: its address, or one that is not plain."""
    lines = []
    for source in given if isinstance(given, list) else [given]:
        if not set(source) <= REMOTE_SOURCE:
            return ["./"]
        address = source.get("url", "")
        repository = re.sub(r"^(?!git\+)", "git+", source["git"]) if "git" in source else ""
        lines += [one for one in (address, repository) if one]
    return lines


def plain_pylock(text: str) -> bool:
    """Whether a pylock.toml lists addresses alone."""
    found = table(text)
    if found is None:
        return False
    try:
        for package in found.get("packages", []):
            if "directory" in package:
                return False
            files = [*package.get("wheels", []), *(package[key] for key in ("sdist", "archive") if key in package)]
            if any("path" in file or not is_plain(file["url"]) for file in files):
                return False
            vcs = package.get("vcs")
            if vcs and ("path" in vcs or not is_plain(re.sub(r"^(?!git\+)", "git+", vcs["url"]))):
                return False
    except (AttributeError, KeyError, TypeError):
        return False
    return True


def plain_table(root: str, top: str, name: str) -> bool:
    """Whether a file that is no requirements file provably needs no other file of the source."""
    path = os.path.normpath(os.path.join(root, name))
    if kind(name) == "project":
        return plain_project(content(path)) and not below_project(os.path.dirname(path), top)
    return kind(name) == "pylock" and plain_pylock(content(path))


def below_project(folder: str, top: str) -> bool:
    """Whether a project above a folder of the source may say where its dependencies come from."""
    folder = os.path.realpath(folder)
    while folder != os.path.realpath(top) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if os.path.isfile(os.path.join(folder, "pyproject.toml")):
            return True
    return False


def points_into_source(lines: list[Line], texts: list[str]) -> bool:
    """Whether an environment will hold links into the source rather than copies, as far as the files tell."""
    return any(EDITABLE_LINE.match(line.text) for line in lines) or any(
        EDITABLE_TABLE.search(text) or EDITABLE_SWITCH.search(text) for text in texts
    )


# Versions


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def package_name(requirement: str) -> str:
    """The name that a requirement begins with, as indexes compare it; empty where it begins with none."""
    found = re.match(rf"\s*({NAME})", requirement)
    return normal(found.group(1)) if found else ""


def numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\s*v?(?:\d+!)?(\d+(?:\.\d+)*)", version)
    parts = [int(number) for number in found.group(1).split(".")] if found else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def too_old(version: str, requirement: str) -> bool:
    """Whether a version is below what a requirement asks for at least."""
    least = [numbers(bound) for bound in re.findall(r">=\s*([^,;\s]+)", requirement)]
    return bool(numbers(version)) and any(numbers(version) < bound for bound in least)


def same_program(requirement: str) -> tuple[str, ...]:
    """The packages that bring what a requirement asks for."""
    name = package_name(requirement)
    return (name, *SAME_PROGRAM.get(name, ()))


def pins(requirement: str, lines: list[str]) -> list[tuple[str, str]]:
    """The exact versions that lines demand of what a requirement asks for, wherever the lines hold on every host."""
    found = []
    for line in lines:
        pin = re.fullmatch(rf"({NAME}){EXTRAS}\s*\(?={{2,3}}\s*([^\s,;()*]+)\)?", HASH.sub("", line).strip())
        if pin and normal(pin.group(1)) in same_program(requirement):
            found.append((pin.group(1), pin.group(2)))
    return found


def old_server(requirement: str, place: str, name: str, version: str) -> str:
    """The message for a server that is pinned to a version which this collection can't run."""
    return (
        f"{place} asks for {name} {version}, but the application is served by {requirement}. Ask for a version that "
        f"fits, or remove {name} from {place}: the server is added by itself."
    )


def pinned_too_old(root: str, files: list[str], packages: list[str], requirement: str) -> str:
    """The message for an app server that the application pins too low; empty where it does not."""
    for name in files:
        if kind(name) == "text":
            lines = [line.text for line in lines_of(root, name)]
        elif kind(name) == "project":
            lines = project_dependencies(content(os.path.join(root, name)))
        elif kind(name) in ("lock", "pylock"):
            lines = locked(root, name)
        else:
            continue
        for package, version in pins(requirement, lines):
            if too_old(version, requirement):
                return old_server(requirement, f"'{name}'", package, version)
    for package, version in pins(requirement, packages):
        if too_old(version, requirement):
            return old_server(requirement, "python.packages", package, version)
    return ""


def project_dependencies(text: str) -> list[str]:
    with contextlib.suppress(AttributeError, TypeError):
        found = (table(text) or {}).get("project", {}).get("dependencies", [])
        return [one for one in found if isinstance(one, str)]
    return []


# Locks


def locked(root: str, name: str) -> list[str]:
    """Pins of those packages that a lock installs on every host, as lines."""
    path = os.path.normpath(os.path.join(root, name))
    found = table(content(path)) or {}
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        if kind(name) == "pylock":
            pinned = [one for one in found["packages"] if "marker" not in one and "version" in one]
            return [f"{one['name']}=={one['version']}" for one in pinned]
        start = member(path, root) or member(path, os.path.dirname(path))
        packages: dict[str, list[dict[str, Any]]] = {}
        for package in found["package"]:
            packages.setdefault(package["name"], []).append(package)
        waiting, reached = [start], {""}
        while waiting:
            name = waiting.pop()
            if name in reached or len(packages.get(name, [])) != 1:
                continue
            reached.add(name)
            waiting += [one["name"] for one in packages[name][0].get("dependencies", []) if "marker" not in one]
        return [
            f"{name}=={packages[name][0]['version']}" for name in reached if "version" in packages.get(name, [{}])[0]
        ]
    return []


def unverified(lock: str, indexes: list[str]) -> tuple[str, str]:
    """A package that uv.lock takes from an index of its own without a hash, and that index; empty where there is none.

    An export leaves the index out, so another package of that name and version could be installed unnoticed.
    """
    for package in (table(content(lock)) or {}).get("package", []):
        index = package.get("source", {}).get("registry")
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        if index is None or (files and all(file.get("hash") for file in files)):
            continue
        if without_login(index) in map(without_login, indexes):
            continue
        return str(package.get("name", "")), without_login(index)
    return "", ""


# The index that uv asks where none is named.
PUBLIC_INDEX = re.compile(r"https://pypi\.[a-z]+/simple")


def lost_index(text: str, indexes: list[str]) -> str:
    """An index of a pyproject.toml that uv would not ask, because only those of the inventory count; empty for none."""
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        for index in (table(text) or {}).get("tool", {}).get("uv", {}).get("index", []):
            address = without_login(str(index["url"]))
            asked = bool(PUBLIC_INDEX.fullmatch(address)) or address in map(without_login, indexes)
            if not index.get("explicit") and not asked:
                return address
    return ""


def without_login(address: str) -> str:
    """The address of an index without credentials, so that it may be recorded."""
    return re.sub(r"^([a-z+]+://)[^/@]*@", r"\1", address.split("?")[0].split("#")[0]).rstrip("/")
