# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Units of supervisor, which it starts, stops and replaces as a whole: a single program, or a group of programs.

To supervisord, each of them is a group: a program outside of any ``[group:x]`` is the only member of its own.
"""

from __future__ import annotations

import configparser
import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import LIVE, read_parser

# Sections that share one namespace: each becomes a group of the daemon.
KINDS = ("program", "fcgi-program", "eventlistener", "group")


class GroupError(HostError):
    """A conflict: its cause, the file and the remedy."""


@dataclass(frozen=True)
class Section:
    """A section of an installed file."""

    path: str
    ours: bool
    kind: str
    name: str
    programs: tuple[str, ...] = ()


def read_sections(path: str, text: str, *, ours: bool) -> list[Section]:
    """The programs and groups of a file. A file that can't be parsed has none; the daemon reports it."""
    try:
        parser = read_parser(text)
    except configparser.Error:
        return []
    found = []
    for section in parser.sections():
        kind, _colon, name = section.partition(":")
        if kind in KINDS:
            programs = parser.get(section, "programs", fallback="") if kind == "group" else ""
            members = tuple(word.strip() for word in programs.split(",") if word.strip())
            found.append(Section(path, ours, kind, name.strip(), members))
    return found


@dataclass(frozen=True)
class Unit:
    """One group of the daemon with its programs."""

    name: str
    programs: list[dict[str, Any]]
    path: str
    is_group: bool

    def label(self, program: dict[str, Any]) -> str:
        """The name of one of its programs in supervisorctl."""
        return f"{self.name}:{program['name']}" if self.is_group else program["name"]

    def processes(self, program: dict[str, Any], infos: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The daemon's processes of one program in this unit."""
        return processes_of(program, self.name, infos) if self.is_group else infos.get(self.name, [])


def processes_of(program: dict[str, Any], group: str, infos: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The daemon's processes of one program in a group."""
    pattern = process_name(program, group)
    return [info for info in infos.get(group, []) if pattern.fullmatch(info["name"])]


def process_name(program: dict[str, Any], group: str) -> re.Pattern[str]:
    """The names of a program's processes: the program's own, unless its file sets process_name."""
    known = {"program_name": re.escape(program["name"]), "group_name": re.escape(group), "process_num": r"\d+"}
    template = "%(program_name)s"
    with contextlib.suppress(configparser.Error):  # the daemon reports what can't be parsed
        template = read_parser(program["content"]).get(f"program:{program['name']}", "process_name", fallback=template)
    words = re.split(r"%\((\w+)\)[-#0 +]*\d*[a-z]", template)
    return re.compile("".join(known.get(word, ".+") if odd % 2 else re.escape(word) for odd, word in enumerate(words)))


@dataclass
class Comparison:
    """The daemon's groups before any change, and what of them has to end."""

    infos: dict[str, list[dict[str, Any]]]
    stale: set[str]  # units whose definition differs from the one that the daemon runs
    gone: dict[str, float]  # groups to remove from the daemon, with the seconds that they get to end
    lost: dict[str, list[dict[str, Any]]]  # processes that leave a [group:x], by its name

    def elsewhere(self, program: dict[str, Any], unit: Unit) -> list[dict[str, Any]]:
        """The processes of a program that joins or leaves a group, in the unit where they are now."""
        found = list(self.infos.get(program["name"], [])) if unit.is_group else []
        for group in self.lost.keys() - {unit.name}:
            found += processes_of(program, group, self.lost)
        return found

    def ended(self, units: list[Unit]) -> list[str]:
        """The programs that end and do not continue in another unit."""
        moved = [id(info) for unit in units for program in unit.programs for info in self.elsewhere(program, unit)]
        ended = list(self.gone)
        for group in sorted(self.lost.keys() - self.gone.keys()):
            left = [info for info in self.lost[group] if info["statename"] in LIVE and id(info) not in moved]
            ended += [f"{group}:{info['name']}" for info in left]
        return ended


def check_sections(
    programs: list[dict[str, Any]], groups: list[dict[str, Any]], removed: set[str], others: Iterable[Section]
) -> None:
    """Refuse what would conflict with sections that stay as they are, or make them unreadable. Raises GroupError.

    ``programs`` are those that supervisor runs, ``removed`` those whose file is removed, ``others`` the sections that
    stay.
    """
    present = {one["name"] for one in programs if one["state"] == "present"}
    wanted = {one["name"]: one for one in groups if one["state"] == "present"}
    grouped = {member: name for name, one in wanted.items() for member in one["members"]}
    for section in others:
        there = f"{section.path} has [{section.kind}:{section.name}]"
        if section.name in present | wanted.keys():
            kind = "group" if section.name in wanted else "program"
            raise GroupError(
                f"Installing the {kind} {section.name}: {there} already, and supervisor would merge the two. "
                "Rename one of them, or remove that section."
            )
        remedy = (
            "Take the program out of that section"
            if not section.ours
            else "The group is no longer in supervisor_groups, so it stays as it is. List it again without the "
            "program, or with state absent"
        )
        for member in section.programs:
            if member in removed:
                raise GroupError(
                    f"Removing the program {member}: {there}, which names it, so supervisor could no longer read its "
                    f"configuration. {remedy}, and run again."
                )
            if member in grouped or (member in present and not section.ours):
                wish = f"a member of the group {grouped[member]}" if member in grouped else "a program of its own"
                raise GroupError(
                    f"Installing the program {member} as {wish}: {there}, which names it too. {remedy}, and run again."
                )
