# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The common parts of the definitions of systemd services and supervisor programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*@?")
# In place of a name, for removal only.
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.\*@?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_name(checker: Checker, item: dict[str, Any], where: str, kind: str) -> None:
    """The name of a unit or program (``kind``) or, if the item is absent, a pattern."""
    if not (NAME.fullmatch(item["name"]) or (item["state"] == "absent" and PATTERN.fullmatch(item["name"]))):
        checker.problem(
            f"{where}.name",
            f"it is not the name of a {kind}. Use letters, digits, '-', '_' and '.', then @ for a template. To remove "
            f"every {kind} that begins with 'NAME.', write 'NAME.*'.",
        )


def check_command(
    checker: Checker, item: dict[str, Any], where: str, word_problem: Callable[[str], str | None]
) -> None:
    """The command and the environment; ``word_problem`` says why a word can't be quoted."""
    command = item["command"] or []
    if not command:
        checker.problem(
            f"{where}.command", "it is missing. Give a list: the program's absolute path, then its arguments."
        )
    else:
        check_path(checker, command[0], f"{where}.command")
    for word in command:
        if problem := word_problem(word):
            checker.problem(f"{where}.command", f"{word!r} {problem}")
    for variable, value in item["environment"].items():
        if not VARIABLE.fullmatch(str(variable)):
            checker.problem(
                f"{where}.environment",
                f"{variable!r} is not the name of an environment variable. Use letters, digits and '_' only.",
            )
        elif problem := word_problem(str(value)):
            checker.problem(f"{where}.environment.{variable}", f"the value {problem}")


def check_path(checker: Checker, path: str, where: str) -> None:
    if not path.startswith("/"):
        checker.problem(where, f"{path!r} is not an absolute path. Begin it with '/'.")


def check_runtime_directory(
    checker: Checker, folder: dict[str, Any] | None, where: str, word_problem: Callable[[str], str | None]
) -> None:
    if not folder:
        return
    check_path(checker, folder["path"], f"{where}.runtime_directory.path")
    for key, value in folder.items():
        if value and (problem := word_problem(value)):
            checker.problem(f"{where}.runtime_directory.{key}", f"{value!r} {problem}")


# The mode of folders with sockets. Everyone may pass them; the mode of each socket decides who may connect.
SOCKETS_FOLDER_MODE = "0711"
MODE = re.compile(r"0?[0-7]{3}")
GROUP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def check_sockets(
    checker: Checker, sockets: dict[str, Any] | None, where: str, word_problem: Callable[[str], str | None]
) -> None:
    """The sockets that root makes, and that the program inherits."""
    if not sockets:
        return
    place = f"{where}.sockets"
    if not sockets["paths"]:
        checker.problem(f"{place}.paths", "the list is empty. Give one or more absolute paths.")
    for path in sockets["paths"]:
        check_path(checker, path, f"{place}.paths")
        # systemd takes these paths without quotes.
        if problem := word_problem(path) or (re.search(r"[\s\"'\\$]", path) and "needs quotes. Choose another path."):
            checker.problem(f"{place}.paths", f"{path!r} {problem}")
    if not GROUP_NAME.fullmatch(sockets["group"]):
        checker.problem(f"{place}.group", f"{sockets['group']!r} is not the name of a group.")
    if not MODE.fullmatch(sockets["mode"]):
        checker.problem(f"{place}.mode", f"{sockets['mode']!r} is not a mode. Give one such as '0660'.")
    if sockets["condition_path"]:
        check_path(checker, sockets["condition_path"], f"{place}.condition_path")
        if problem := word_problem(sockets["condition_path"]):
            checker.problem(f"{place}.condition_path", f"{sockets['condition_path']!r} {problem}")


def make_directory(folder: dict[str, Any], user: str, group: str) -> list[str]:
    """The command that makes a runtime directory."""
    owner, owning_group = folder["owner"] or user, folder["group"] or group
    return ["/usr/bin/install", "-d", "-o", owner, "-g", owning_group, "-m", folder["mode"], folder["path"]]
