# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Turn supervisor_programs and supervisor_groups into program files to render."""

from __future__ import annotations

DOCUMENTATION = """
name: supervisor_definitions
positional: _input, groups
short_description: Turn the role's programs and groups into files to render
version_added: 0.1.0
description:
  - Maps the inputs C(supervisor_programs) and C(supervisor_groups) of the role P(pyweb.stack.supervisor#role) to what
    P(pyweb.stack.templates#lookup) renders and M(pyweb.stack.supervisor_programs) installs.
  - All decisions about options are made here, so the template only prints.
  - A program with a C(schedule) becomes a script that cron runs.
author: The pyweb.stack contributors
options:
  _input:
    description: Programs, as the role's argument specification tells.
    type: list
    elements: dict
    required: true
  groups:
    description: Groups of these programs, as the role's argument specification tells.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = """
- name: Render the program files of two programs
  ansible.builtin.debug:
    msg: "{{ query('pyweb.stack.templates', *(supervisor_programs | pyweb.stack.supervisor_definitions)) }}"
  vars:
    supervisor_programs:
      - {name: "shop@", user: shop, command: ["/srv/webapps/shop/releases/%i/bin/web"]}
      - {name: mailer, user: mailer, command: [/usr/bin/mailer, --queue, /var/spool/mailer]}
"""

RETURN = """
_value:
  description:
    - For each program name, state, started and stop_timeout; for a present one C(template) and C(vars).
    - Then for each group C(kind), name, state and members; for a present one C(template) and C(vars).
  type: list
  elements: dict
"""

import re  # the documentation stands first in a plugin
import shlex
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.supervisor_quote import (
    double_percent,
    supervisor_quote,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*@?")
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# In the place of a name, for removal only.
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.\*@?")
SCHEDULE = re.compile(r"[0-9*,/-]+( [0-9*,/-]+){4}")
ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPTION = re.compile(r"[a-z][a-z0-9_]*")


def _fail(name: str, problem: str) -> None:
    raise AnsibleFilterError(f"supervisor_programs, program {name!r}: {problem}")


def _fail_group(name: str, problem: str) -> None:
    raise AnsibleFilterError(f"supervisor_groups, group {name!r}: {problem}")


def _raw(name: str, key: str, value: Any) -> str:
    """An option in supervisor's own words."""
    text = "true" if value is True else "false" if value is False else str(value)
    if any(ord(character) < 32 for character in text):
        _fail(
            name,
            f"setting {key} {text!r} does not fit on one line of a program file. Remove newlines.",
        )
    return text


def _plain(name: str, key: str, value: Any, instance: bool) -> str:
    """An option whose value supervisor takes as it is, but for % and comments."""
    text = _raw(name, key, value)
    if re.search(r"(^|\s)[;#]", text):
        _fail(
            name,
            f"{key} {text!r} has a ';' or '#' after a space, where supervisor begins a comment. Choose another.",
        )
    return double_percent(text, instance)


def _command(program: dict[str, Any]) -> tuple[str, str | None]:
    """The command line, and the account that supervisor itself shall change to.

    The program gets the HOME of its account, where supervisor alone would leave root's. A runtime directory is made by
    a root shell that then becomes the program (exec), so the process that supervisor watches is the program's.
    """
    name = program["name"]
    instance = name.endswith("@")
    command = [str(word) for word in program.get("command") or []]
    if not command:
        _fail(
            name,
            "it has no command. Give one as a list: the program's absolute path, then its arguments.",
        )
    if not command[0].startswith("/"):
        _fail(
            name,
            f"the command's program {command[0]!r} is no absolute path. Write it from / on.",
        )
    environment = program.get("environment") or {}
    for variable in environment:
        if not VARIABLE.fullmatch(str(variable)):
            _fail(
                name,
                f"{variable!r} is no name of an environment variable. Use letters, digits and '_' only.",
            )
    if environment:
        if "=" in command[0]:
            _fail(
                name,
                f"the command's program {command[0]!r} has a '=', which does not go together with environment.",
            )
        # supervisor's own environment= can hold neither both kinds of quotes nor a ; after a space.
        command = [
            "/usr/bin/env",
            *(f"{variable}={value}" for variable, value in environment.items()),
            *command,
        ]
    user = program.get("user", "root")
    group = program.get("group", user)
    folder = program.get("runtime_directory")
    for account in (user, group):
        if not ACCOUNT.fullmatch(account):
            _fail(name, f"{account!r} is no name of an account or group.")
    steps = []
    if folder:
        path = str(folder.get("path", ""))
        if not path.startswith("/"):
            _fail(
                name,
                f"runtime_directory.path {path!r} is no absolute path. Write it from / on.",
            )
        owner, owning_group = folder.get("owner", user), folder.get("group", group)
        install = [
            "/usr/bin/install",
            "-d",
            "-o",
            owner,
            "-g",
            owning_group,
            "-m",
            folder.get("mode", "0755"),
            path,
        ]
        steps.append(shlex.join(str(word) for word in install))
    if user == "root" and group == "root":
        if not steps:
            return supervisor_quote(command, instance=instance), None
        steps.append('exec "$@"')
        return supervisor_quote(["/bin/sh", "-c", " && ".join(steps), "sh", *command], instance=instance), None
    steps += [f"export HOME=~{user} USER={user} LOGNAME={user}", 'exec "$@"']
    changes_itself = not folder and group == user
    if not changes_itself:
        drop = [
            f"--reuid={user}",
            f"--regid={group}",
            "--init-groups",
            "--inh-caps=-all",
        ]
        command = ["/usr/bin/setpriv", *drop, *command]
    line = supervisor_quote(["/bin/sh", "-c", " && ".join(steps), "sh", *command], instance=instance)
    return line, user if changes_itself else None


def program_options(program: dict[str, Any]) -> tuple[str, list[str]]:
    """The section's name and the lines of one program."""
    name = program["name"]
    instance = name.endswith("@")
    section = f"{name[:-1]}-%i" if instance else name
    command, user = _command(program)
    log = f"/var/log/supervisor/{section}.log"
    options: dict[str, Any] = {
        "command": command,
        "directory": _plain(name, "directory", program.get("directory", "/"), instance),
        "user": user or "root",
        "umask": "027",
        "autostart": _raw(name, "autostart", program.get("autostart", True)),
        # App servers end with status 0 on SIGTERM, SIGINT and SIGQUIT, whoever sends it.
        "autorestart": _raw(name, "autorestart", program.get("autorestart", "true")),
        "startsecs": _raw(name, "startsecs", program.get("startsecs", 1)),
        "startretries": _raw(name, "startretries", program.get("startretries", 3)),
        # The signal to stop goes to the master alone, which drains its own workers; the kill goes to all.
        "stopsignal": _raw(name, "stopsignal", program.get("stopsignal", "TERM")),
        "stopwaitsecs": _raw(name, "stopwaitsecs", program.get("stopwaitsecs", 30)),
        "stopasgroup": "false",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _plain(name, "stdout_logfile", program.get("stdout_logfile", log), instance),
        "stdout_logfile_maxbytes": _raw(
            name,
            "stdout_logfile_maxbytes",
            program.get("stdout_logfile_maxbytes", "10MB"),
        ),
        "stdout_logfile_backups": _raw(name, "stdout_logfile_backups", program.get("stdout_logfile_backups", 5)),
    }
    for key, value in (program.get("settings") or {}).items():
        if not OPTION.fullmatch(str(key)):
            _fail(name, f"settings has {key!r}, which is no name of an option.")
        options[key] = _raw(name, f"settings.{key}", value)
    return section, [f"{key}={value}" for key, value in options.items()]


def scheduled(program: dict[str, Any]) -> dict[str, Any]:
    """The script of a program that cron runs, as the variables of its template."""
    name, schedule = program["name"], str(program["schedule"])
    if name.endswith("@"):
        _fail(name, "a template has no schedule. Change the name.")
    if not SCHEDULE.fullmatch(schedule):
        _fail(name, f"its schedule {schedule!r} is not the five fields of a crontab, in numbers, such as '30 2 * * *'.")
    command, _user = _command(program)  # for its checks
    user = program.get("user", "root")
    group = program.get("group", user)
    environment = [f"{variable}={value}" for variable, value in (program.get("environment") or {}).items()]
    command = [str(word) for word in program["command"]]
    drop = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--inh-caps=-all"]
    return {
        "program": shlex.quote(command[0]),
        "log": shlex.quote(str(program.get("stdout_logfile", f"/var/log/supervisor/{name}.log"))),
        "directory": shlex.quote(str(program.get("directory", "/"))),
        "user": user,
        "command": shlex.join([*drop, "/usr/bin/env", *environment, *command] if environment else [*drop, *command]),
    }


def _refusal(member: str, programs: dict[str, dict[str, Any]]) -> str:
    """Why a program can't be in a group, empty where it can."""
    program = programs.get(member)
    if member.endswith("@"):
        return "is a template, whose instances come and go. A group would restart with each of them; leave it out."
    if program is None:
        return "is not in supervisor_programs. Add it there, or leave it out."
    if program.get("state", "present") != "present":
        return "is absent in supervisor_programs. Leave it out."
    if program.get("schedule"):
        return "has a schedule, so cron runs it and supervisor does not. Leave it out."
    return ""


def group_definitions(groups: list[dict[str, Any]], programs: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    definitions = []
    seen: set[str] = set()
    taken: dict[str, str] = {}
    for group in groups:
        name = str(group.get("name", ""))
        present = group.get("state", "present") == "present"
        if not GROUP.fullmatch(name):
            _fail_group(name, "this is no name of a group. Use letters, digits, '-', '_' and '.'.")
        if name in seen:
            _fail_group(name, "the name stands in the list twice. Remove or rename one.")
        if name in programs:
            _fail_group(name, "a program in supervisor_programs has this name too. Rename one of them.")
        seen.add(name)
        definition: dict[str, Any] = {"kind": "group", "name": name, "state": "present" if present else "absent"}
        if present:
            members = group.get("programs") or []
            if isinstance(members, str) or not members:
                _fail_group(name, f"its programs {members!r} are no list of names. Name one program or more.")
            for member in map(str, members):
                refusal = _refusal(member, programs)
                if refusal:
                    _fail_group(name, f"its program {member!r} {refusal}")
                if member in taken:
                    where = "this group twice" if taken[member] == name else f"the group {taken[member]!r} as well"
                    _fail_group(name, f"its program {member!r} is in {where}. Remove it from one place.")
                taken[member] = name
            # supervisor compares the order too: it must not be a change.
            definition["members"] = sorted(map(str, members))
            definition["template"] = "group.conf.j2"
            priority = _priority(name, group.get("priority", 999))
            names = ",".join(definition["members"])
            definition["vars"] = {"group": {"name": name, "programs": names, "priority": priority}}
        definitions.append(definition)
    return definitions


def _priority(name: str, value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
        _fail_group(name, f"its priority {value!r} is no whole number.")
    return int(value)


def supervisor_definitions(
    programs: list[dict[str, Any]], groups: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    definitions = []
    seen: set[str] = set()
    for program in programs:
        name = str(program.get("name", ""))
        present = program.get("state", "present") == "present"
        if not NAME.fullmatch(name) and (present or not PATTERN.fullmatch(name)):
            _fail(
                name,
                "this is no name of a program. Use letters, digits, '-', '_' and '.', then @ for a template; for "
                "removal, 'NAME.*' stands for all that begin so.",
            )
        if name in seen:
            _fail(name, "the name stands in the list twice. Remove or rename one.")
        seen.add(name)
        definition: dict[str, Any] = {
            "name": name,
            "state": "present" if present else "absent",
            "stop_timeout": float(program.get("stopwaitsecs", 30)) + 10,
        }
        if present and program.get("schedule"):
            definition["schedule"] = program["schedule"]
            definition["template"] = "scheduled.sh.j2"
            definition["vars"] = {"scheduled": scheduled(program)}
        elif present:
            section, options = program_options(program)
            definition["started"] = program.get("started", True)
            definition["template"] = "program.conf.j2"
            definition["vars"] = {"program": {"name": section, "options": options}}
        definitions.append(definition)
    return definitions + group_definitions(groups or [], {str(program["name"]): program for program in programs})


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"supervisor_definitions": supervisor_definitions}
