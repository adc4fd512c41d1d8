# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Invalid values of a service or program are refused on the controller and never rendered."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import systemd_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.directives import directive_problem

SERVICE: dict[str, Any] = {
    "name": "w",
    "description": "The worker",
    "command": ["/bin/w", "argument"],
    "type": "oneshot",
    "user": "w",
    "group": "g",
    "working_directory": "/srv",
    "environment": {"A": "b"},
    "runtime_directory": {"path": "/run/w", "owner": "w", "group": "g", "mode": "0710"},
    "writable_paths": ["/srv/w"],
    "limits": {"memory": "1G", "cpu": "50%"},
    "stop_signal": "INT",
    "restart": "on-failure",
    "timer": {"on_calendar": ["*-*-* 02:30:00"]},
    "settings": {"Service": {"ProtectHome": "yes", "ExecStartPost": ["/bin/a", "/bin/b"]}},
}
PROGRAM: dict[str, Any] = {
    "name": "w",
    "command": ["/bin/w", "argument"],
    "user": "w",
    "group": "g",
    "directory": "/srv",
    "environment": {"A": "b"},
    "runtime_directory": {"path": "/run/w", "owner": "w", "group": "g", "mode": "0710"},
    "autorestart": "unexpected",
    "stopsignal": "INT",
    "stdout_logfile": "/var/log/w.log",
    "stdout_logfile_maxbytes": "1MB",
    "settings": {"priority": "5"},
}
BAD = ["\n", "\r", "\0", "\x1b", "\x7f", "\\", "\ud800"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all texts and keys."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in places(item, (*path, key))]
    if isinstance(value, list):
        return [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return [path]


def replaced(item: dict[str, Any], path: tuple[Any, ...], text: str) -> dict[str, Any]:
    result = copy.deepcopy(item)
    place: Any = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = text
    return result


def value_at(item: Any, path: tuple[Any, ...]) -> str:
    for key in path:
        item = item[key]
    return item


def lines(definition: dict[str, Any]) -> list[str]:
    """The lines that the template renders for a unit or a program, one entry per setting."""
    variables = definition["vars"]
    if "unit" in variables:
        return [line for section in variables["unit"]["sections"] for line in section["lines"]]
    return [variables["program"]["name"], *variables["program"]["options"]]


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("path", places(SERVICE), ids=str)
def test_text_of_a_service_is_refused_or_stays_on_its_line(path: tuple[Any, ...], bad: str) -> None:
    services, problems = systemd.checked([replaced(SERVICE, path, f"{value_at(SERVICE, path)}{bad}")])
    if problems:
        assert all(problem.startswith("systemd_services 'w") for problem in problems)
        return
    assert path[0] in ("command", "environment", "runtime_directory", "writable_paths"), "these are quoted"
    before = [len(lines(unit)) for unit in systemd.units(systemd.checked([SERVICE])[0])]
    units = systemd.units(services)
    assert [len(lines(unit)) for unit in units] == before
    for line in (line for unit in units for line in lines(unit)):
        assert line.isprintable()
        assert not line.endswith("\\")


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("path", places(PROGRAM), ids=str)
def test_text_of_a_program_is_refused_or_stays_on_its_line(path: tuple[Any, ...], bad: str) -> None:
    programs, groups, problems = supervisor.checked([replaced(PROGRAM, path, f"{value_at(PROGRAM, path)}{bad}")], [])
    if problems:
        assert all(problem.startswith("supervisor_programs 'w") for problem in problems)
        return
    assert bad == "\\", "a program file holds no control character, and a backslash means nothing there"
    (definition,) = supervisor.definitions(programs, groups)
    (before,) = supervisor.definitions(*supervisor.checked([PROGRAM], [])[:2])
    assert len(lines(definition)) == len(lines(before))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protecthome", "no"),
        ("Protect Home", "no"),
        ("ProtectHome=no\nExecStartPost", "/bin/sh"),
        ("[Unit]\nDescription", "x"),
        ("", "x"),
        ("X Own", "x"),
        (7, "x"),
        ("ProtectHome", {"x": 1}),
        ("ProtectHome", [["x"]]),
        ("ProtectHome", [{"x": 1}]),
        ("ProtectHome", "no\n"),
        ("ProtectHome", "no\nExecStartPost=/bin/sh"),
        ("ProtectHome", "no\r"),
        ("ProtectHome", "no\0"),
        ("ProtectHome", "no\x1b[0m"),
        ("ProtectHome", "no\x7f"),
        ("ProtectHome", "no\\"),
        ("ProtectHome", "no\ud800"),
        ("ExecStartPost", ["/bin/true", "/bin/false\n"]),
    ],
)
def test_bad_directive_is_refused(name: Any, value: Any) -> None:
    assert directive_problem(name, value)
    application = {"name": "shop", "source": {"path": "."}, "wsgi": "shop:app", "systemd": {name: value}}
    _apps, problems = normalised([application])
    assert problems
    assert all(problem.startswith("webapps 'shop'.systemd") for problem in problems)
    (problem, *_others) = systemd.problems([{"name": "w", "command": ["/bin/w"], "settings": {"Unit": {name: value}}}])
    assert problem.startswith("systemd_services 'w'.settings.Unit: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ProtectHome", "read-only"),
        ("ProtectHome", False),
        ("TasksMax", 100),
        ("Nice", -5),
        ("ExecStartPost", ["/bin/true", "/bin/echo %n"]),
        ("CapabilityBoundingSet", None),
        ("CapabilityBoundingSet", ""),
        ("X-Own-Note", "ü 漢字"),
    ],
)
def test_good_directive_is_accepted(name: str, value: Any) -> None:
    assert directive_problem(name, value) is None
    assert not systemd.problems([{"name": "w", "command": ["/bin/w"], "settings": {"Service": {name: value}}}])
    application = {"name": "shop", "source": {"path": "."}, "wsgi": "shop:app", "systemd": {name: value}}
    jobs = [{"name": "nightly", "command": "flask cleanup", "schedule": "daily"}]
    processes = [{"name": "worker", "command": "celery worker"}]
    services = systemd_services([{**application, "jobs": jobs, "processes": processes}], {"init": "systemd"})
    assert len(services) == 4
    assert not systemd.problems(services)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"Umask": "022"}, ".settings: 'Umask'"),
        ({"umask=1\nuser": "root"}, ".settings: "),
        ({"umask": "1\n[program:x]"}, ".settings.umask: "),
        ({"umask": "1\r"}, ".settings.umask: "),
        ({"umask": None}, ".settings.umask: None"),
        ({"umask": ["1"]}, ".settings.umask: "),
        ({"umask": {"a": 1}}, ".settings.umask: "),
    ],
)
def test_bad_option_is_refused(settings: dict[str, Any], place: str) -> None:
    (problem,) = supervisor.problems([{"name": "w", "command": ["/bin/w"], "settings": settings}])
    assert problem.startswith(f"supervisor_programs 'w'{place}")


def test_every_problem_is_told_at_once() -> None:
    told = systemd.problems(
        [
            {"name": "a/b", "command": ["web"], "environment": {"A-B": 1}, "restart_delay": -1},
            {"name": "w", "comand": ["/bin/w"]},
            {"name": "x", "command": 5, "type": "fork"},
        ]
    )
    assert [problem.split(": ")[0] for problem in told] == [
        "systemd_services 'a/b'.name",
        "systemd_services 'a/b'.command",
        "systemd_services 'a/b'.environment",
        "systemd_services 'a/b'.restart_delay",
        "systemd_services 'w'",
        "systemd_services 'x'.command",
        "systemd_services 'x'.type",
    ]


def test_value_of_a_variable_is_not_shown() -> None:
    (problem,) = supervisor.problems([{"name": "w", "command": ["/bin/w"], "environment": {"KEY": "secret\n"}}])
    assert problem.startswith("supervisor_programs 'w'.environment.KEY: ")
    assert "secret" not in problem


def test_what_yaml_reads_as_a_boolean_is_the_choice_that_was_meant() -> None:
    services, problems = systemd.checked([{"name": "w", "command": ["/bin/w"], "restart": False}])
    assert not problems
    assert "Restart=no" in lines(systemd.units(services)[0])
    programs, groups, problems = supervisor.checked([{"name": "w", "command": ["/bin/w"], "autorestart": False}], [])
    assert not problems
    assert "autorestart=false" in lines(supervisor.definitions(programs, groups)[0])


@pytest.mark.parametrize("given", [None, "w", {"name": "w"}, ["w"], [None]])
def test_what_is_no_list_of_services_is_refused(given: Any) -> None:
    assert systemd.problems(given)
    assert supervisor.problems(given)
