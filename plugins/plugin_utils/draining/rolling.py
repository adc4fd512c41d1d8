# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The course of a play that goes through hosts in batches: which are done, failed and not touched. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line, redacted

DONE, FAILED, LOST, UNTOUCHED = "done", "FAILED", "LOST", "not touched"
MOST_REASON = 200
STAYS = "stays drained, because an operator had drained it before"


@dataclass(frozen=True)
class Course:
    """The result of one host."""

    host: str
    state: str
    reason: str = ""


def course(hosts: list[str], batch: Collection[str], results: Mapping[str, Mapping[str, str]]) -> list[Course]:
    """The result of every host of the play. A host of an earlier batch without a result has left the play."""
    last = max((position for position, host in enumerate(hosts) if host in batch), default=-1)
    found = []
    for position, host in enumerate(hosts):
        result = results.get(host)
        if result:
            found.append(Course(host, result["state"], result.get("reason", "")))
        elif position <= last:
            found.append(Course(host, LOST, "it could not be reached, or a task outside of this playbook failed"))
        else:
            found.append(Course(host, UNTOUCHED))
    return found


def earlier_problem(hosts: list[str], batch: Collection[str], results: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a host of an earlier batch is not done."""
    first = min((position for position, host in enumerate(hosts) if host in batch), default=0)
    return any(results.get(host, {}).get("state") != DONE for host in hosts[:first])


def table(rows: list[Course]) -> list[str]:
    """A line for each host."""
    width = max((len(row.host) for row in rows), default=0)
    state = max((len(row.state) for row in rows), default=0)
    return [f"{row.host:<{width}}  {row.state:<{state}}  {row.reason}".rstrip() for row in rows]


def stopped(rows: list[Course]) -> str:
    """The message of a run that stops; empty if no host has failed."""
    wrong = [row.host for row in rows if row.state in (FAILED, LOST)]
    if not wrong:
        return ""
    left = [row.host for row in rows if row.state == UNTOUCHED]
    again = ":".join([*wrong, *left])
    return (
        f"Stopped at {', '.join(wrong)}. status.yml shows whether a host is drained. Repair the cause, then run again "
        f"for the hosts that are not done: --limit '{again}'. To end a drain: drain.yml --limit HOST -e drain=off"
    )


def reason_of(task: str, result: Mapping[str, object]) -> str:
    """Why a task failed, in one line."""
    if sick := unhealthy(result.get("apps")):
        return one_line(redacted(f"{task}: {sick}"))[:MOST_REASON]
    said = (
        str(result.get("stderr") or "").strip()
        or str(result.get("msg") or "").strip()
        or str(result.get("stdout") or "")
    )
    last = said.strip().split("\n")[-1]
    code = f", code {result['rc']}" if isinstance(result.get("rc"), int) and result.get("rc") else ""
    return one_line(redacted(f"{task}{code}: {last}"))[:MOST_REASON]


def unhealthy(apps: object) -> str:
    """The applications that webapp_inspect found unhealthy, each with its answer."""
    statuses = [app.get("status") for app in apps if isinstance(app, dict)] if isinstance(apps, list) else []
    return "; ".join(
        f"{one.get('application')}: {one.get('health')}"
        for one in statuses
        if isinstance(one, dict) and one.get("in_inventory") and not one.get("healthy")
    )


def option_problems(command: str, roles: object, tasks: str, reboot: bool) -> list[str]:
    """Every problem with the variables of the playbook."""
    problems = []
    if not (command or roles or tasks or reboot):
        problems.append(
            "there is nothing to do on the hosts. Set -e command='COMMAND', -e roles=ROLE,ROLE, -e tasks=FILE or "
            "-e reboot=true."
        )
    if not isinstance(roles, (list, str)):
        problems.append(f"roles is {roles!r}. Use names of roles, separated by commas.")
    return problems


def names_of(roles: str | list[object]) -> list[str]:
    """The names in the variable roles."""
    names = roles.split(",") if isinstance(roles, str) else map(str, roles)
    return [name.strip() for name in names if name.strip()]


def lone_text(lone: Mapping[str, list[str]], drains: bool) -> str:
    """The applications that no other host serves; empty without any."""
    if not lone:
        return ""
    each = "; ".join(
        f"{', '.join(hosts)} alone {'serve' if len(hosts) > 1 else 'serves'} {app}" for app, hosts in lone.items()
    )
    while_ = "while its host is drained" if drains else "while its host restarts or is stopped"
    return f"{each}. Such an application does not respond {while_}."
