# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From the inputs supervisor_programs and supervisor_groups to program files: what is wrong with them, and the lines of
each file. Pure."""

from __future__ import annotations

import re
import shlex
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.processes.with_sockets import PROGRAM
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.definitions import (
    check_command,
    check_name,
    check_runtime_directory,
    check_sockets,
    make_directory,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.quoting import (
    double_percent,
    supervisor_quote,
    supervisor_word_problem,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.items import checked_items
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, role_options

GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SCHEDULE = re.compile(r"[0-9*,/-]+( [0-9*,/-]+){4}")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
OPTION = re.compile(r"[a-z][a-z0-9_]*")

# Seconds that a program gets beyond supervisor's own timeout before its stop counts as failed.
STOP_MARGIN = 10


def checked(programs: Any, groups: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Programs and groups with types converted and defaults filled, and every problem found in them."""
    checker = Checker()
    options = role_options("supervisor")
    found = checked_items(
        checker, programs, options["supervisor_programs"]["options"], "supervisor_programs", check_program
    )
    members = checked_items(checker, groups, options["supervisor_groups"]["options"], "supervisor_groups", check_group)
    check_groups(checker, members, {program["name"]: program for program in found})
    check_tables(checker, found)
    return found, members, checker.problems


def problems(programs: Any, groups: Any = None) -> list[str]:
    """Every problem of the programs and groups: the place, the value found, and the remedy."""
    return checked(programs, groups or [])[2]


def check_program(checker: Checker, program: dict[str, Any], where: str) -> None:
    """Check the rules for one program that the specification can't express."""
    check_name(checker, program, where, "program")
    if program["state"] == "absent":
        return
    check_command(checker, program, where, supervisor_word_problem)
    for key in ("user", "group"):
        if program[key] is not None and not ACCOUNT.fullmatch(program[key]):
            checker.problem(f"{where}.{key}", f"{program[key]!r} is not the name of an account or group.")
    check_runtime_directory(checker, program["runtime_directory"], where, supervisor_word_problem)
    check_sockets(checker, program["sockets"], where, supervisor_word_problem)
    for key in ("directory", "stdout_logfile"):
        if program[key]:
            check_plain(checker, program[key], f"{where}.{key}")
    for key in ("stopsignal", "stdout_logfile_maxbytes"):
        check_line(checker, program[key], f"{where}.{key}")
    for name, value in program["settings"].items():
        if not OPTION.fullmatch(str(name)):
            checker.problem(f"{where}.settings", f"{name!r} is not the name of an option.")
        elif name in ("user", "command"):
            # supervisor starts every program as root, and the command drops the privileges.
            checker.problem(f"{where}.settings.{name}", f"it can't be set here. Give {name} outside of settings.")
        elif isinstance(value, (dict, list, tuple)) or value is None:
            checker.problem(f"{where}.settings.{name}", f"{value!r} is not the value of an option. Set a string.")
        else:
            check_line(checker, str(value), f"{where}.settings.{name}")
    if program["schedule"]:
        check_schedule(checker, program, where)
        if program["sockets"]:
            checker.problem(f"{where}.sockets", "cron passes no sockets to a program. Leave out sockets or schedule.")


def check_line(checker: Checker, value: str, where: str) -> None:
    if supervisor_word_problem(value):
        checker.problem(
            where,
            f"{value!r} does not fit on one line of a program file. Remove newlines and other control characters.",
        )


def check_plain(checker: Checker, value: str, where: str) -> None:
    """A value that supervisor takes without quotes."""
    check_line(checker, value, where)
    if re.search(r"(^|\s)[;#]", value):
        checker.problem(
            where, f"{value!r} has a ';' or '#' after a space, which begins a comment in supervisor. Choose another."
        )


def check_schedule(checker: Checker, program: dict[str, Any], where: str) -> None:
    if program["name"].endswith("@"):
        checker.problem(f"{where}.schedule", "a template has no schedule. Change the name.")
    if not SCHEDULE.fullmatch(program["schedule"]):
        checker.problem(
            f"{where}.schedule",
            f"{program['schedule']!r} is not the five fields of a crontab, in numbers, such as '30 2 * * *'.",
        )


def check_tables(checker: Checker, programs: list[dict[str, Any]]) -> None:
    """Each schedule has a crontab of its own. Its name has no dots, because cron ignores files with one."""
    taken = {"certificates": "the timer that renews certificates"}
    for program in programs:
        if program["state"] == "present" and program["schedule"]:
            table = program["name"].replace(".", "_")
            if table in taken:
                checker.problem(
                    f"supervisor_programs '{program['name']}'.schedule",
                    f"its crontab would be /etc/cron.d/pyweb-{table}, which is that of {taken[table]}. Rename it.",
                )
            taken[table] = f"the program '{program['name']}'"


def check_group(checker: Checker, group: dict[str, Any], where: str) -> None:
    if not GROUP.fullmatch(group["name"]):
        checker.problem(f"{where}.name", "it is not the name of a group. Use letters, digits, '-', '_' and '.'.")
    if group["state"] == "present" and not group["programs"]:
        checker.problem(f"{where}.programs", "there is none. Name one program or more.")


def check_groups(checker: Checker, groups: list[dict[str, Any]], programs: dict[str, dict[str, Any]]) -> None:
    """Check groups against the programs and against each other."""
    taken: dict[str, str] = {}
    for group in groups:
        name = group["name"]
        where = f"supervisor_groups '{name}'"
        if name in programs:
            checker.problem(
                f"{where}.name", "a program in supervisor_programs has this name too. Rename one of the two."
            )
        for member in group["programs"] or [] if group["state"] == "present" else []:
            if reason := why_no_member(member, programs):
                checker.problem(f"{where}.programs", f"{member!r} {reason}")
            if member in taken:
                place = "twice in this group" if taken[member] == name else f"in the group {taken[member]!r} too"
                checker.problem(f"{where}.programs", f"{member!r} is {place}. Remove it from one place.")
            taken[member] = name


def why_no_member(name: str, programs: dict[str, dict[str, Any]]) -> str | None:
    """Why a program can't be in a group, in words that continue a sentence."""
    program = programs.get(name)
    if name.endswith("@"):
        return "is a template. The group would restart with every instance that starts or ends; leave it out."
    if program is None:
        return "is not in supervisor_programs. Add it there, or leave it out."
    if program["state"] == "absent":
        return "is absent in supervisor_programs. Leave it out."
    if program["schedule"]:
        return "has a schedule, so cron runs it and supervisor does not. Leave it out."
    return None


def definitions(programs: list[dict[str, Any]], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The files of checked programs and groups."""
    return [program_definition(program) for program in programs] + [group_definition(group) for group in groups]


def program_definition(program: dict[str, Any]) -> dict[str, Any]:
    definition = {key: program[key] for key in ("name", "state")}
    definition["stop_timeout"] = float(program["stopwaitsecs"] + STOP_MARGIN)
    if program["state"] == "absent":
        return definition
    if program["schedule"]:
        script = {"template": "scheduled.sh.j2", "vars": {"scheduled": script_variables(program)}}
        return {**definition, "schedule": program["schedule"], **script}
    file = {"name": section_name(program), "options": option_lines(program)}
    return {**definition, "started": program["started"], "template": "program.conf.j2", "vars": {"program": file}}


def group_definition(group: dict[str, Any]) -> dict[str, Any]:
    definition = {"kind": "group", "name": group["name"], "state": group["state"]}
    if group["state"] == "absent":
        return definition
    # supervisor compares the order too, and another order must not be a change.
    members = sorted(group["programs"])
    file = {"name": group["name"], "programs": ",".join(members), "priority": group["priority"]}
    return {**definition, "members": members, "template": "group.conf.j2", "vars": {"group": file}}


def section_name(program: dict[str, Any]) -> str:
    """The name in [program:x]; that of a template has a place for the instance."""
    name = program["name"]
    return f"{name[:-1]}-%i" if name.endswith("@") else name


def log_file(program: dict[str, Any]) -> str:
    return program["stdout_logfile"] or f"/var/log/supervisor/{section_name(program)}.log"


def option_lines(program: dict[str, Any]) -> list[str]:
    """The options of one program; its own settings replace those of the role."""
    instance = program["name"].endswith("@")
    options: dict[str, Any] = {
        "command": command_line(program),
        "directory": double_percent(program["directory"], instance),
        "user": "root",
        "umask": "027",
        "autostart": program["autostart"],
        # App servers end with status 0 on SIGTERM, SIGINT and SIGQUIT from any sender.
        "autorestart": program["autorestart"],
        "startsecs": program["startsecs"],
        "startretries": program["startretries"],
        # Only the master gets the signal to stop; it drains its own workers. The kill goes to all.
        "stopsignal": program["stopsignal"],
        "stopwaitsecs": program["stopwaitsecs"],
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": double_percent(log_file(program), instance),
        "stdout_logfile_maxbytes": program["stdout_logfile_maxbytes"],
        "stdout_logfile_backups": program["stdout_logfile_backups"],
    }
    settings = {str(name): value for name, value in program["settings"].items()}
    variables = [f'{name}="{value}"' for name, value in handed_variables(program).items()]
    if variables:
        options["environment"] = ",".join(
            [*variables, *(str(one) for one in (settings.pop("environment", ""),) if one)]
        )
    options |= settings
    return [f"{name}={_raw(value)}" for name, value in options.items()]


def _raw(value: Any) -> str:
    """The value of an option in supervisor's syntax."""
    return "true" if value is True else "false" if value is False else str(value)


# The beginning of the names of variables until the program starts. Root runs commands with them before: a variable such
# as LD_PRELOAD must not have an effect there.
HANDED = "PYWEB_"


def handed_variables(program: dict[str, Any]) -> dict[str, str]:
    """The variables as root hands them to the account: under other names, and encoded."""
    instance = program["name"].endswith("@")
    return {f"{HANDED}{name}": encoded(str(value), instance) for name, value in program["environment"].items()}


def encoded(value: str, instance: bool) -> str:
    """A value without the characters that supervisor can't read inside of quotes: each is an escape of printf."""
    return re.sub(r"[\"'\\;#]|%(?!i)" if instance else r"[\"'\\;#%]", lambda found: f"\\0{ord(found[0]):03o}", value)


def with_environment(program: dict[str, Any]) -> list[str]:
    """The command with its environment. No value is in an argument, because every account can read the arguments."""
    names = list(program["environment"])
    if not names:
        return list(program["command"])
    steps = [f'export {name}="$(printf %b "${HANDED}{name}")"' for name in names]
    steps.append(f"unset {' '.join(HANDED + name for name in names)}")
    return ["/bin/sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh", *program["command"]]


# With these options, a program gains no privileges: not by a setuid program, and not by capabilities of a file.
RESTRICTED = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]


def as_account(user: str, group: str, command: list[str]) -> list[str]:
    """The command, run as an account and a group. Only a program that runs as root keeps root's privileges."""
    limits = RESTRICTED if user != "root" else ["--inh-caps=-all"]
    return ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", *limits, *command]


def with_sockets(sockets: dict[str, Any], command: list[str]) -> list[str]:
    """The command, run with the sockets that root makes for it."""
    options = ["--group", sockets["group"], "--mode", sockets["mode"]]
    if sockets["condition_path"]:
        options += ["--if-exists", sockets["condition_path"]]
    for path in sockets["paths"]:
        options += ["--socket", path]
    return ["/usr/bin/python3", "-I", "-S", PROGRAM, *options, "--", *command]


def command_line(program: dict[str, Any]) -> str:
    """The command line, which supervisor starts as root.

    A shell sets the account's HOME, because supervisor would leave root's, and makes the runtime directory. Then root
    makes the sockets, and setpriv drops all privileges. In the end the shell becomes the program (exec), so supervisor
    watches the program itself.
    """
    user, group = program["user"], program["group"] or program["user"]
    command, steps = with_environment(program), []
    if program["runtime_directory"]:
        steps.append(shlex.join(make_directory(program["runtime_directory"], user, group)))
    if (user, group) != ("root", "root"):
        steps.append(f"export HOME=~{user} USER={user} LOGNAME={user}")
        command = as_account(user, group, command)
    if program["sockets"]:
        command = with_sockets(program["sockets"], command)
    if steps:
        command = ["/bin/sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh", *command]
    return supervisor_quote(command, instance=program["name"].endswith("@"))


def script_variables(program: dict[str, Any]) -> dict[str, Any]:
    """The variables of the script of a program that cron runs."""
    user, group = program["user"], program["group"] or program["user"]
    return {
        "program": shlex.quote(program["command"][0]),
        "log": shlex.quote(log_file(program)),
        "directory": shlex.quote(program["directory"]),
        "user": user,
        "environment": [f"{name}={shlex.quote(value)}" for name, value in handed_variables(program).items()],
        "command": shlex.join(as_account(user, group, with_environment(program))),
    }
