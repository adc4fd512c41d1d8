# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Decide which files supervisor programs need, and which units the daemon has to have."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, differs, read
from ansible_collections.pyweb.stack.plugins.module_utils.host.instances import INSTANCE
from ansible_collections.pyweb.stack.plugins.module_utils.host.source_text import source_text
from ansible_collections.pyweb.stack.plugins.module_utils.processes import due, with_sockets
from ansible_collections.pyweb.stack.plugins.module_utils.processes.instances import instances_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import (
    MARK,
    foreign_file_error,
    foreign_file_warning,
    is_foreign,
    is_ours,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_cron import (
    cron_program,
    foreign_table,
    plan_schedule,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_groups import (
    Section,
    Unit,
    check_sections,
    read_sections,
)
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import Paths, program_file


class ProgramError(HostError):
    """An error about a program: the action, the program, the response and the remedy."""


@dataclass
class Plan:
    """The changes that the files and the daemon need."""

    files: list[File] = field(default_factory=list)
    absent: dict[str, float] = field(default_factory=dict)  # groups to remove from the daemon, with their stop timeout
    units: list[Unit] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def is_template(item: dict[str, Any]) -> bool:
    return bool(item["name"].endswith("@"))


def is_kept_running(item: dict[str, Any]) -> bool:
    """Whether supervisor itself keeps it running: it is no template, no group, and has no schedule."""
    return item["kind"] == "program" and not is_template(item) and not item.get("schedule")


def text_of(path: str) -> str | None:
    """The text of a file, None if there is none."""
    data = read(path)
    return None if data is None else data.decode()


def resolve_removals(programs: list[dict[str, Any]], paths: Paths) -> list[dict[str, Any]]:
    """The list with every pattern replaced by the programs that match it, and with cron if it is needed."""
    listed = {program["name"] for program in programs if program["kind"] == "program"}
    result = []
    for program in programs:
        if "*" not in program["name"]:
            result.append(program)
            continue
        found = glob.glob(paths.program(program["name"]))
        found += [] if is_template(program) else glob.glob(paths.script(program["name"]))
        for path in sorted(found):
            name = os.path.basename(path).removesuffix(".conf")
            # An instance is removed together with its template.
            is_instance = re.search(rf"-{INSTANCE.pattern}\Z", name)
            if name not in listed and not is_instance and is_ours(path):
                listed.add(name)
                result.append({**program, "name": name})
    return [*result, *cron_program(result, paths)]


def plan_files(programs: list[dict[str, Any]], paths: Paths, groups: list[str]) -> Plan:
    """Compare the files with the desired state. ``groups`` are those that the daemon knows."""
    result = Plan()
    for program in programs:
        if program["kind"] == "program" and not is_template(program):
            if table := foreign_table(program, paths):
                raise ProgramError(
                    f"Installing {table}: another file is there already, which this role has not made. Give the "
                    f"program '{program['name']}' another name, or remove that file."
                )
            result.files += plan_schedule(program, paths)
        # A program with a schedule has no file of supervisor's, even if it had one before.
        wanted = program["state"] == "present" and not program.get("schedule")
        path = paths.definition(program)
        if is_foreign(path):
            if wanted:
                raise ProgramError(foreign_file_error(path, program["kind"]))
            result.warnings.append(foreign_file_warning(path))
        elif wanted:
            file = program_file(path, program["content"])
            if differs(file):
                result.files.append(file)
        elif is_ours(path):
            # Only its file shows that a program of this name is ours.
            _plan_removal(result, program, paths, groups)
    result.files += plan_launchers(programs, paths, {file.path for file in result.files if file.content is None})
    result.units = plan_units(programs, paths, {file.path for file in result.files if file.content is None})
    return result


def plan_launchers(programs: list[dict[str, Any]], paths: Paths, removed: set[str]) -> list[File]:
    """The programs that make sockets and that check schedules, while a file of this collection names them.

    After that, they are removed.
    """
    found = [path for folder in (paths.programs, paths.templates) for path in glob.glob(f"{folder}/*.conf")]
    found += glob.glob(paths.script("*"))
    kept = [path for path in found if path not in removed and is_ours(path)]
    files = []
    for module in (with_sockets, due):
        wanted = any(module.PROGRAM in (program.get("content") or "") for program in programs)
        wanted = wanted or any(module.PROGRAM in (text_of(path) or "") for path in kept)
        source = f"# {MARK} (role supervisor).\n{source_text(module)}"
        file = File(module.PROGRAM, source if wanted else None)
        files += [file] if differs(file) and (wanted or is_ours(file.path)) else []
    return files


def _plan_removal(result: Plan, program: dict[str, Any], paths: Paths, groups: list[str]) -> None:
    """Remove a program, template or group with its file, a template with its instances."""
    name = program["name"]
    removed = [name]
    if is_template(program):
        known = [f"{group}.conf" for group in groups]
        with contextlib.suppress(FileNotFoundError):
            known += os.listdir(paths.programs)
        removed = [f"{name[:-1]}-{instance}" for instance in instances_of(name[:-1], known, "-", ".conf")]
        result.files += [File(paths.program(one), None) for one in removed if read(paths.program(one)) is not None]
    result.absent |= {one: program["stop_timeout"] for one in removed if one in groups}
    result.files.append(File(paths.definition(program), None))


def installed_sections(paths: Paths) -> list[Section]:
    """The sections of all files that supervisor reads now."""
    found = []
    for path in [paths.config_file, *sorted(glob.glob(os.path.join(paths.programs, "*.conf")))]:
        with contextlib.suppress(UnicodeDecodeError):
            found += read_sections(path, text_of(path) or "", ours=is_ours(path))
    return found


def unlisted_program(name: str, paths: Paths) -> dict[str, Any] | None:
    """A program of this collection that is not in the list, as its file says; None if there is none."""
    path = paths.program(name)
    if not is_ours(path):
        return None
    content = text_of(path) or ""
    stopwaitsecs = re.search(r"(?m)^stopwaitsecs=(\d+)", content)
    # The same margin over supervisor's own timeout as listed programs have.
    timeout = float(stopwaitsecs[1] if stopwaitsecs else 30) + 10
    return {"name": name, "state": "present", "content": content, "stop_timeout": timeout, "listed": False}


def plan_units(programs: list[dict[str, Any]], paths: Paths, removed: set[str]) -> list[Unit]:
    """The units of the list that the daemon has to have; groups come first. Raises GroupError.

    A group of this collection that is not in the list stays as it is, so its programs stay in it. A program that leaves
    a group, in the list or not, continues as a program of its own.
    """
    groups = [item for item in programs if item["kind"] == "group"]
    singles = [item for item in programs if is_kept_running(item)]
    sections = installed_sections(paths)
    written = {paths.definition(item) for item in programs if item["state"] == "present"} | removed
    others = [section for section in sections if section.path not in written]
    # A foreign file stays, whatever the list says of its program.
    gone = {item["name"] for item in programs if item["kind"] == "program" and paths.program(item["name"]) in removed}
    check_sections(singles, groups, gone, others)

    present = {item["name"]: item for item in singles if item["state"] == "present"}
    members = {item["name"]: item["members"] for item in groups if item["state"] == "present"}
    for section in others:
        if section.ours and section.kind == "group" and present.keys() & set(section.programs):
            members[section.name] = list(section.programs)
    grouped = {name for names in members.values() for name in names}
    listed = {item["name"] for item in singles}
    for item in groups:
        path = paths.group(item["name"])
        before = {name for section in sections if section.path == path and section.ours for name in section.programs}
        for name in before - grouped - listed:
            left = unlisted_program(name, paths)
            if left:
                present[name] = left
    units = []
    for group, names in members.items():
        found = [present.get(name) or unlisted_program(name, paths) for name in names]
        units.append(Unit(group, [one for one in found if one], paths.group(group), is_group=True))
    return units + [
        Unit(name, [item], paths.program(name), is_group=False) for name, item in present.items() if name not in grouped
    ]
