# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Variables of the command line that change one run, such as ``-e release_hold=false``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

# The variables and their defaults.
FLAGS = {
    # Whether an application stays as it is while a rollback holds the release that the inventory describes.
    "release_hold": True,
    # Whether to end a command or a build of a run that is gone.
    "end_lost_command": False,
}


def flag_problems(
    variables: Mapping[str, Any], template: Callable[[Any], Any], known: Collection[str] = ()
) -> list[str]:
    """Values that are neither true nor false, and names that are none of the ``known`` applications."""
    problems = lift_problems(variables, template, known)
    for name in FLAGS:
        value = template(variables[name]) if name in variables else None
        if name in variables and as_boolean(value) is None:
            problems.append(f"{name}: '{value}' is neither true nor false. Set -e {name}=true or -e {name}=false.")
    return problems


def lifted_holds(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> list[str]:
    """The applications of ``-e lift_hold=shop,blog``, whose holds this run lifts."""
    given = template(variables.get("lift_hold"))
    names = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else []
    return [name for one in names if (name := str(one).strip())]


def lift_problems(variables: Mapping[str, Any], template: Callable[[Any], Any], known: Collection[str]) -> list[str]:
    """The names of ``lift_hold`` that are none of an application, such as false."""
    if "lift_hold" not in variables:
        return []
    names = lifted_holds(variables, template)
    wrong = [name for name in names if name not in known]
    if names and not wrong:
        return []
    given = ", ".join(f"'{name}'" for name in wrong) or "the value"
    return [
        f"lift_hold: {given} names no application of this host. Set -e lift_hold=NAME, with commas between several "
        f"names. Applications: {', '.join(known) or 'none'}. To lift all holds, use -e release_hold=false."
    ]


def given_flags(variables: Mapping[str, Any], template: Callable[[Any], Any], *names: str) -> dict[str, bool]:
    """Those of these variables that are set to another value than their default."""
    found = {name: as_boolean(template(variables[name])) for name in names if name in variables}
    return {name: value for name, value in found.items() if value is not None and value != FLAGS[name]}


def as_boolean(value: Any) -> bool | None:
    try:
        return bool(boolean(value))
    except TypeError:
        return None
