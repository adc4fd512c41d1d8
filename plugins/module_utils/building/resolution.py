# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Which exact packages a build installs: those of locks as they are, all others as uv resolves them once.

The resolution is recorded with the release. A later build with equal inputs uses it again. With other inputs, uv
prefers the versions of the live release. So a newer version in an index changes nothing by itself. If several hosts
deploy the application, one of them resolves, and the others install its versions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.installed import installed_packages
from ansible_collections.pyweb.stack.plugins.module_utils.building.list_folders import folder_of_lists, from_folder
from ansible_collections.pyweb.stack.plugins.module_utils.building.requirements import (
    Requirements,
    project_folder,
    selections,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import indexes_of, run_uv
from ansible_collections.pyweb.stack.plugins.module_utils.building.workspace import Workspace
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import digest
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.release.resolutions import (
    Unresolved,
    proven,
    record_list,
    recorded_list,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements import exact
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import (
    Package,
    differences,
    digest_of,
    packages_of,
    versions_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.lines import HASH, Line, content, kind
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import (
    unverified_package,
    without_login,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.poetry import lines_of_poetry
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import (
    is_complete_list,
    is_installable,
    package_name,
)
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.self_contained import is_self_contained

# The errors of build backends that find nothing to build in a folder. Such a project is run from its folder.
NOTHING_TO_BUILD = re.compile(
    r"Multiple top-level (?:packages|modules) discovered|No file/folder found for (?:package|module)"
    r"|Unable to determine which files to ship|Expected a Python module at|No (?:package|module) found",
    re.I,
)
INDEX_LINE = re.compile(r"(?:-i\s|--(?:extra-)?index-url[=\s])\s*(\S+)")
OPTION = re.compile(r"(--no-binary|--only-binary|--trusted-host)[=\s]\s*(\S+)")
# The options of pip that uv knows by another name.
NAMES = {"--trusted-host": "--allow-insecure-host"}
# The packages of a list with their versions.
Versions = list[dict[str, str]]


@dataclass(frozen=True)
class Step:
    """One list to install into an environment, without resolution.

    ``file`` is the name of a file of the source that is installed as it is. Else ``text`` is written to a file for uv.
    """

    doing: str
    text: str
    file: str = ""
    is_pylock: bool = True
    options: tuple[str, ...] = ()


@dataclass
class Resolution:
    """The steps that fill an environment, and the packages that are built from folders of the source."""

    steps: list[Step] = field(default_factory=list)
    local: list[Package] = field(default_factory=list)
    # The text to record, and the key of its inputs.
    text: str = ""
    inputs: str = ""

    def add(self, doing: str, packages: list[Package], options: tuple[str, ...] = ()) -> None:
        known = {package.folder for package in self.local}
        self.local += [one.as_copy() for one in packages if one.folder and one.folder not in known]
        others = [one for one in packages if not one.folder]
        if others:
            self.steps.append(Step(doing, exact.list_of(others), options=options))

    @property
    def may_change(self) -> bool:
        """Whether files of the source without a hash become part of the environment."""
        return any(one.may_change for step in self.steps if not step.file for one in packages_of(step.text))


def resolve(
    build: Build, wanted: Requirements, interpreter: str, inputs: dict[str, Any], work: Workspace
) -> Resolution:
    """The exact packages of a build. ``inputs`` are all that decides about them."""
    found, limits, opened = Resolution(), [], []
    named = {package_name(package) for package in wanted.packages}
    for name in wanted.files:
        if kind(name) == "lock":
            add_lock(build, wanted, found, name, work)
            limits += wanted.lines[name]
        elif kind(name) == "pylock":
            limits += add_pylock(build, found, name)
        elif options := is_complete_list(content(path_of(build, name)), wanted.lines.get(name)):
            text = "\n".join(line.text for line in wanted.lines[name])
            found.steps.append(Step(f"install what {name} lists", text, file=name, is_pylock=False, options=options))
            limits += wanted.lines[name]
        else:
            opened.append(name)
    if opened or wanted.packages:
        # The packages of a lock keep their versions, except where the inventory names them.
        bounds = [HASH.sub("", line.text) for line in limits if not line.constraint and not line.text.startswith("-")]
        kept = [one for one in bounds if package_name(one) not in named and "==" in one]
        found.inputs = digest(inputs)
        found.text = agreed_list(
            build, found.inputs, lambda seed: compiled(build, wanted, opened, kept, interpreter, work, seed)
        )
        packages = packages_of(found.text)
        found.add(f"install {listed(opened, wanted.packages)}", packages, build_options(wanted, opened))
    return found


def add_pylock(build: Build, found: Resolution, name: str) -> list[Line]:
    """Add a pylock.toml; return its pins. If uv has written it, folders of the source are built for the release."""
    path, doing = path_of(build, name), f"install what {name} lists"
    packages = packages_of(exact.without_places(content(path), os.path.dirname(path), [build.source]))
    if any(one.folder for one in packages):
        found.add(doing, packages)
    else:
        found.steps.append(Step(doing, content(path), file=name))
    return [Line(f"{one.name}=={one.version}") for one in packages if one.version]


def path_of(build: Build, name: str) -> str:
    return os.path.normpath(os.path.join(build.root, name))


def listed(files: list[str], packages: list[str]) -> str:
    return " and ".join([*files, *(f"'{package}'" for package in packages)])


def add_lock(build: Build, wanted: Requirements, found: Resolution, name: str, work: Workspace) -> None:
    """Add what uv.lock lists for this host. With a named index, the files come from there, verified by their hashes."""
    path = work.output("pylock.toml")
    options = ["--format", "pylock.toml", "--no-header", *selections(build)]
    project = project_folder(build, name, work)
    run_uv(build, ["export", "--quiet", "--frozen", *options, "--project", project, "--output-file", path],
           f"read {name}", in_source=True)  # fmt: skip
    packages = packages_of(written(build, path, [work.copy, build.source]))
    found.add(f"install what {name} lists", [one for one in packages if one.folder])
    others = [one for one in packages if not one.folder]
    named = {without_login(one) for one in indexes_of(build.spec["python"])}
    elsewhere = [one for one in others if one.index and without_login(one.index) not in named]
    if build.spec["python"].get("index_url") and elsewhere:
        package, index = unverified_package(path_of(build, name), indexes_of(build.spec["python"]))
        if package:
            raise build.error(
                f"'{name}' takes {package} from the index '{index}' without a hash, so another {package} could be "
                "installed in its place. Name the index in python.extra_index_urls, or the file itself: "
                f'[tool.uv.sources] {package} = {{path = "…"}}.'
            )
        text = "\n".join(line.text for line in wanted.lines[name])
        found.steps.append(Step(f"install what {name} lists", text, is_pylock=False, options=("--no-deps",)))
    else:
        found.add(f"install what {name} lists", others)


def written(build: Build, path: str, tops: list[str]) -> str:
    """A list that uv has written, with paths of the source alone. The build account may have put anything there."""
    try:
        text = read_untrusted(path, exact.MOST_LIST).decode(errors="replace")
    except OSError as error:
        raise build.error(f"the list of packages that uv has made can't be read: {error.strerror}.") from error
    # Without its last line end, so that a list is the same however it ends.
    return exact.without_places(text, os.path.dirname(path), tops)


def agreed_list(build: Build, inputs: str, compile_list: Callable[[Versions], str]) -> str:
    """The list for these inputs: the recorded one, else a new one, in the versions of the host that resolves.

    Raises Unresolved if the hosts of the run have to agree first.
    """
    given = build.spec.get("resolution") or {}
    own = "" if build.spec.get("upgrade") and given.get("inputs") != inputs else recorded_list(build.layout, inputs)
    if given.get("inputs") == inputs:
        text = own if own and digest_of(versions_of(own)) == digest_of(given["versions"]) else ""
        text = text or compile_list(given["versions"])
        if differing := differences(given["versions"], versions_of(text)):
            raise build.error(
                f"{given['host']} has resolved versions that do not fit here: {', '.join(differing[:5])}. None of "
                f"them is installed. Check {given['host']}. To resolve the packages again for all hosts, use "
                "-e webapp_upgrade_packages=true."
            )
        return noted(build, inputs, text)
    shared = build.spec.get("shared_inputs")
    if own and (shared is None or inputs in shared):
        return noted(build, inputs, own)
    text = own or compile_list(preferred(build))
    if shared is not None:
        offer = {"inputs": inputs, "versions": versions_of(text), "recorded": bool(own)}
        raise Unresolved(build.name, offer)
    return noted(build, inputs, text)


def noted(build: Build, inputs: str, text: str) -> str:
    """The list of a build. Its versions become part of the answer, for hosts that follow."""
    offer = {"inputs": inputs, "versions": versions_of(text), "recorded": True}
    build.spec.get("resolved", {})[build.name] = offer
    return text


def compiled(
    build: Build,
    wanted: Requirements,
    opened: list[str],
    limits: list[str],
    interpreter: str,
    work: Workspace,
    seed: Versions,
) -> str:
    """The list that uv resolves files and packages to. A project is resolved as it is installed: with all it needs."""
    try:
        return compiled_once(build, wanted, opened, limits, interpreter, work, seed, with_projects=True)
    except ReleaseError as error:
        if not NOTHING_TO_BUILD.search(error.text) or not projects_of(build, opened):
            raise
        note_unbuilt(build, error.text)
        return compiled_once(build, wanted, opened, limits, interpreter, work, seed, with_projects=False)


def projects_of(build: Build, opened: list[str]) -> list[str]:
    """The files that describe a project to install, rather than to run from its folder."""
    return [name for name in opened if is_installable(path_of(build, name))]


def note_unbuilt(build: Build, reason: str) -> None:
    found = NOTHING_TO_BUILD.search(reason)
    build.spec.setdefault("notes", []).append(
        f"webapps '{build.name}': the project itself is not installed, because its build backend finds nothing to "
        f"install ({found[0] if found else 'unknown'}). Its dependencies are installed, and it runs from its folder. "
        "To end this warning, set 'package = false' in [tool.uv] of pyproject.toml, or name the packages there."
    )


def compiled_once(
    build: Build,
    wanted: Requirements,
    opened: list[str],
    limits: list[str],
    interpreter: str,
    work: Workspace,
    seed: Versions,
    with_projects: bool,
) -> str:
    arguments, folders = [], []
    # Relative paths in python.packages start at the application root.
    texts = [line.text for name in opened for line in wanted.lines.get(name, [])]
    place = folder_of_lists(build.root, opened, texts) if all(map(is_self_contained, wanted.packages)) else build.root
    for name in opened:
        listed_by_poetry = lines_of_poetry(content(path_of(build, name))) if kind(name) == "project" else None
        if listed_by_poetry is not None:
            arguments.append(work.file("poetry.txt", "".join(f"{line}\n" for line in listed_by_poetry)))
        elif with_projects and name in projects_of(build, opened):
            folders.append(os.path.relpath(os.path.dirname(path_of(build, name)), place))
        else:
            arguments.append(from_folder(build.root, name, place))
    extras = list(build.spec["python"].get("extras") or [])
    suffix = f"[{','.join(extras)}]" if extras else ""
    lines = [*(f"{folder if folder == '.' else f'./{folder}'}{suffix}" for folder in folders), *wanted.packages]
    if lines:
        arguments.append(work.file("packages.txt", "".join(f"{line}\n" for line in lines)))
    if limits:
        arguments += ["-c", work.file("limits.txt", "".join(f"{line}\n" for line in limits))]
    if extras and len(folders) < len(opened):
        arguments += [part for one in extras for part in ("--extra", one)]
    arguments += [part for one in build.spec["python"].get("groups") or [] for part in ("--group", one)]
    path = work.output("pylock.toml", exact.seed_of(seed))
    options = ["--quiet", "--python", interpreter, "--format", "pylock.toml", "--no-header", "--no-annotate"]
    doing = f"resolve {listed(opened, wanted.packages)}"
    run_uv(build, ["pip", "compile", *options, *arguments, "-o", path], doing, work.inside(place), in_source=True)
    return written(build, path, [work.source, build.source])


def build_options(wanted: Requirements, opened: list[str]) -> tuple[str, ...]:
    """The options of requirements files that apply to installations: what is built from source, and trusted hosts."""
    lines = [line.text for name in opened for line in wanted.lines.get(name, [])]
    found = [OPTION.fullmatch(line) for line in lines]
    return tuple(part for one in found if one for part in (NAMES.get(one[1], one[1]), one[2]))


def indexes_of_lines(build: Build, wanted: Requirements) -> list[str]:
    """The indexes of requirements files that have credentials: the addresses in a list have none."""
    env = build.spec["env"]
    found = [INDEX_LINE.fullmatch(line.text) for lines in wanted.lines.values() for line in lines]
    texts = [one[1] for one in found if one and "@" in one[1]]
    return [re.sub(r"\$\{([A-Z0-9_]+)\}", lambda name: str(env.get(name[1], name[0])), text) for text in texts]


def preferred(build: Build) -> Versions:
    """The versions that uv keeps if they still fit: those of the live release, else of the newest one."""
    if build.spec.get("upgrade"):
        return []
    for manifest in proven(build.layout):
        if manifest.venv:
            installed = installed_packages(os.path.join(build.layout.venvs, manifest.venv))
            return [{"name": name, "version": version} for name, version in installed.items()]
    return []


def record_resolution(build: Build, found: Resolution) -> None:
    """Record a resolution with its release."""
    if found.text:
        record_list(build.release, found.inputs, found.text)
