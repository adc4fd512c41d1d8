# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Whether a web host may leave the balancers, and whether it has left or come back. Pure.

Balancers and web hosts answer with data that is not trusted: an answer of another shape is a problem of its host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import drained_text

STATES = ("up", "draining", "down", "unknown")
MOST_REASON = 160


@dataclass(frozen=True)
class Server:
    """An application on a web host, as a balancer sees it."""

    app: str
    host: str
    state: str
    sessions: int
    check: str = ""


@dataclass(frozen=True)
class Seen:
    """The answer of one balancer. ``problem`` says why there is none."""

    balancer: str
    servers: list[Server] = field(default_factory=list)
    problem: str = ""

    def state(self, app: str, host: str) -> str:
        """The state of an application on a host; empty if the balancer does not send it there."""
        return next((one.state for one in self.servers if (one.app, one.host) == (app, host)), "")


def problem_of(result: Mapping[str, Any]) -> str:
    """Why a result of a task can't be used; empty if it can."""
    if result.get("unreachable"):
        return "it can't be reached"
    if result.get("failed"):
        return one_line(str(result.get("msg") or "its task failed"))[:MOST_REASON]
    return one_line(str(result["problem"]))[:MOST_REASON] if result.get("problem") else ""


def seen_by(results: Any, host: str = "") -> list[Seen]:
    """The answers of balancers, from a loop over them: of balancer_state, or of balancer_wait about this ``host``."""
    found = []
    for result in results if isinstance(results, list) else []:
        balancer = str(result.get("item", "a balancer"))
        problem = problem_of(result)
        servers: list[Server] = []
        try:
            if not problem and "apps" in result:
                servers = [server_of(one, app["name"], one["host"]) for app in result["apps"] for one in app["servers"]]
            elif not problem:
                servers = [server_of(one, one["app"], host) for one in result["servers"]]
        except (KeyError, TypeError, ValueError):
            problem = "it answered with data of another kind"
        found.append(Seen(balancer, [] if problem else servers, problem))
    return found


def server_of(given: Mapping[str, Any], app: Any, host: Any) -> Server:
    state, sessions = given["state"], given["sessions"]
    if state not in STATES or isinstance(sessions, bool) or not isinstance(sessions, int) or sessions < 0:
        raise ValueError(given)
    return Server(one_line(str(app)), str(host), state, sessions, one_line(str(given.get("check", "")))[:MOST_REASON])


# Before

REFUSED = (
    "Nothing has changed. End the drain of other hosts first (drain.yml -e drain=off), or continue with -e force=true."
)


def away_by(results: Any) -> dict[str, str]:
    """The hosts that get no requests and why, from a loop over hosts with the state look of webapp_drain."""
    found = {}
    for result in results if isinstance(results, list) else []:
        problem = problem_of(result)
        if problem:
            found[str(result.get("item"))] = f"does not count: {problem}"
        elif result.get("drained"):
            found[str(result.get("item"))] = "is drained"
    return found


def refusal(
    leaving: Collection[str],
    serving: Mapping[str, Collection[str]],
    seen: list[Seen],
    away: Mapping[str, str],
    labels: Mapping[str, str],
) -> str:
    """Why these hosts must not be drained; empty if they may.

    ``serving`` are the applications of every web host of the inventory. ``away`` are the hosts that get no requests,
    and why, where there is no balancer to ask. ``labels`` are the names of hosts for HAProxy.
    """
    silent = [one for one in seen if one.problem]
    problems = [f"{one.balancer}: {one.problem}. So it may continue to send requests." for one in silent]
    reasons: dict[str, str] = {}
    for app, own in lone(leaving, serving, seen, away, labels).items():
        others = [host for host in serving if app in serving[host] and host not in leaving]
        told = "; ".join(f"{host} {why_away(app, host, seen, away, labels)}" for host in others)
        reasons[app] = f"No other host would serve {app} without {', '.join(own)}{f' ({told})' if told else ''}."
    problems += reasons.values()
    if not problems:
        return ""
    return " ".join([*problems, REFUSED])


def lone(
    leaving: Collection[str],
    serving: Mapping[str, Collection[str]],
    seen: list[Seen],
    away: Mapping[str, str],
    labels: Mapping[str, str],
) -> dict[str, list[str]]:
    """The applications that no host would serve, each with the hosts among the leaving ones that serve it."""
    found: dict[str, list[str]] = {}
    for app in dict.fromkeys(app for host in leaving for app in serving.get(host, ())):
        others = [host for host in serving if app in serving[host] and host not in leaving]
        if all(why_away(app, host, seen, away, labels) for host in others):
            found[app] = [host for host in leaving if app in serving.get(host, ())]
    return found


def why_away(app: str, host: str, seen: list[Seen], away: Mapping[str, str], labels: Mapping[str, str]) -> str:
    """Why a host gets no requests for an application; empty if it gets some from every balancer."""
    for one in seen:
        state = "" if one.problem else one.state(app, labels.get(host, host))
        if not one.problem and state != "up":
            return f"is {state or 'unknown'} for {one.balancer}"
    return away.get(host, "")


def drained_notice(host: str, drained: Any) -> str:
    """The notice of a run that deploys to a drained host; empty if it is not drained."""
    text = drained_text(drained)
    return text and (
        f"{host} is {text}. This run deploys to it and leaves it drained. To end its drain: "
        f"drain.yml --limit {host} -e drain=off"
    )


# After


def not_drained(host: str, seen: list[Seen], idle: Mapping[str, Any]) -> str:
    """Why a host is not drained: balancers that still send requests, and open requests; empty if it is drained."""
    problems = [f"{one.balancer}: {one.problem}" for one in seen if one.problem]
    for one in seen:
        sending = sorted({server.app for server in one.servers if server.state not in ("draining", "down")})
        if sending:
            problems.append(f"{one.balancer} still sends requests for {', '.join(sending)}")
    through: dict[str, int] = {}
    for one in seen:
        for server in one.servers:
            through[server.app] = through.get(server.app, 0) + server.sessions
    if problem := problem_of(idle):
        problems.append(f"{host}: {problem}")
    own = idle.get("open")
    left = {
        one_line(str(app)): count
        for app, count in (own.items() if isinstance(own, dict) else ())
        if isinstance(count, int) and not isinstance(count, bool) and count > 0
    }
    for app, count in through.items():
        if count > left.get(app, 0):
            left[app] = count
    if left:
        told = ", ".join(f"{count} {f'of {app}' if app else 'of nginx (downloads)'}" for app, count in left.items())
        problems.append(f"requests are still open: {told}")
    return "; ".join(problems)


REMEDY = (
    "{host} stays drained. Requests that last longer than {timeout} seconds are often WebSockets, streams or long "
    "polls. Wait for them with a longer -e timeout=SECONDS, or continue without them: they break when their process "
    "stops, and the clients must connect again. To end its drain: drain.yml --limit {host} -e drain=off"
)


def not_up(host: str, seen: list[Seen], has_applications: bool = True) -> str:
    """Which balancers do not send requests to a host, and why; empty if all do."""
    problems = [f"{one.balancer}: {one.problem}" for one in seen if one.problem]
    if has_applications:
        # A host that is new, or that has another name since the balancer was configured.
        unknown = [one.balancer for one in seen if not one.problem and not one.servers]
        problems += [f"{balancer} does not know {host}: run site.yml, which configures it" for balancer in unknown]
    for one in seen:
        for server in one.servers:
            if server.state != "up":
                check = f" ({server.check})" if server.check else ""
                problems.append(f"{one.balancer} sees {server.app} on {host} as {server.state}{check}")
    return "; ".join(problems)


def gone(host: str, seen: list[Seen], idle: Mapping[str, Any]) -> str:
    """The message of a host that is drained."""
    if seen:
        return f"{host} is drained for {', '.join(one.balancer for one in seen)}, and no request is open."
    if idle.get("answers_checks"):
        return (
            f"{host} is drained, and no request is open. The inventory has no group balancer. An outer balancer that "
            "asks http://ADDRESS/.well-known/pyweb/health gets status 404."
        )
    return (
        f"{host} is marked as drained, and no request is open. But it does not answer health checks, because the "
        "inventory has neither a group balancer nor nginx_balancers. So no balancer sees the mark."
    )


def back(host: str, seen: list[Seen]) -> str:
    """The message of a host that is no longer drained."""
    if seen:
        return f"{host} is no longer drained, and gets requests from {', '.join(one.balancer for one in seen)}."
    return f"{host} is no longer drained. The inventory has no group balancer, so no balancer was asked."
