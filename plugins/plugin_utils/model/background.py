# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for the background processes and jobs of an application, and for its systemd directives."""

from __future__ import annotations

import re
import zoneinfo
from functools import cache
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.names import NAME, suggest_name
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import ScheduleError
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.schedule import parse as parse_schedule
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.values import check_command, check_limits, check_range
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.directives import directive_problem
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, label

# Programs in bin/ of every release, besides the programs of its processes and jobs.
LAUNCHERS = frozenset({"run", "web", "job"})
# The numbers of a process and of a job, with their lowest and highest values.
NUMBERS = {
    "processes": (("count", 0, 100), ("stop_timeout", 1, 86400), ("start_seconds", 1, 300)),
    "jobs": (("timeout", 1, 604800),),
}
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
EXAMPLE = "celery -A shop worker"


def check_background(checker: Checker, app: dict[str, Any], where: str) -> None:
    """Processes and jobs share one set of names, because each name becomes a service and a launcher."""
    taken: set[str] = set()
    for key, numbers in NUMBERS.items():
        for index, item in enumerate(app[key]):
            place = f"{where}.{key} {label(item, index)}"
            check_name(checker, item["name"], place, taken)
            taken.add(item["name"])
            check_command(checker, item["command"], f"{place}.command", EXAMPLE)
            check_limits(checker, item["limits"], f"{place}.limits")
            for number, low, high in numbers:
                check_range(checker, item[number], f"{place}.{number}", low, high)
            if key == "jobs":
                check_schedule(checker, item["schedule"], f"{place}.schedule")
                check_timezone(checker, item["timezone"], f"{place}.timezone")
    for directive, value in app["systemd"].items():
        if problem := directive_problem(directive, value):
            checker.problem(f"{where}.systemd", problem)


def check_name(checker: Checker, name: str, where: str, taken: set[str]) -> None:
    if not NAME.match(name):
        checker.problem(
            f"{where}.name",
            f"'{name}' can't be the name of a service. Use lower-case letters, digits and '-', beginning with a "
            f"letter, 31 characters at most, such as '{suggest_name(name)}'.",
        )
    elif name in LAUNCHERS:
        checker.problem(f"{where}.name", f"'{name}' is a program of every release. Choose another name.")
    elif name in taken:
        checker.problem(f"{where}.name", f"another process or job has the name '{name}' already. Choose another name.")


@cache
def known_zones() -> frozenset[str]:
    """The zones that the controller knows; none if it has no list of them."""
    return frozenset(zoneinfo.available_timezones())


def check_timezone(checker: Checker, zone: str | None, where: str) -> None:
    """The name of a time zone. A controller without a list of zones checks its form alone."""
    if zone is None:
        return
    known = known_zones()
    if not ZONE.fullmatch(zone) or (known and zone not in known):
        checker.problem(
            where, f"'{zone}' is not a time zone. Use a name of the tz database, such as Europe/Berlin or UTC."
        )


def check_schedule(checker: Checker, schedule: str, where: str) -> None:
    try:
        parse_schedule(schedule)
    except ScheduleError as error:
        checker.problem(where, f"'{schedule}' {error}")
