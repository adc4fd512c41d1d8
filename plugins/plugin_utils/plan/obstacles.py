# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Conflicts between the applications and their host, found before anything on it is changed. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import container_problems, is_container
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.interpreters import interpreter_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.platforms import platform_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.resources import (
    memory_bytes,
    resolved_process_manager,
    worker_count,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.build_sandbox import hidden_by
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import server_of

# Bytes of memory of one process of a minimal Flask application under gunicorn. Measured: 20 to 30 MiB, of which the
# master and its workers share a part.
PROCESS_MEMORY = 20 * 1024**2
# Minimum bytes for a first environment, its cache and a release.
DISK_NEEDED = 64 * 1024**2
# Seconds by which the clocks of host and controller may differ. TLS and apt refuse files that are not valid yet.
CLOCK = 600.0


@dataclass(frozen=True)
class Wanted:
    """The settings of a run that may conflict with the host."""

    apps: list[dict[str, Any]]
    process_manager: str = "auto"
    packages: list[str] = field(default_factory=list)
    # Whether the run builds releases. A rollback must not fail because of conflicts that affect only builds.
    builds: bool = True
    # requires-python of the applications' sources, by application.
    requires_python: dict[str, str] = field(default_factory=dict)
    # The versions in their .python-version.
    python_versions: dict[str, str] = field(default_factory=dict)


def host_problems(wanted: Wanted, facts: dict[str, Any]) -> list[str]:
    """Every conflict, with its remedy."""
    if not facts["root"]:
        # The other facts are not reliable without root.
        return ["the tasks don't run as root on the host. Set become: true, and give the account sudo."]
    problems = [*platform_problems(facts), *facts.get("certificate_problems", [])]
    if wanted.builds:
        problems += [*disk_problems(facts), *clock_problems(facts)]
    for app in wanted.apps:
        where = f"webapps '{app['name']}'"
        if resolved_process_manager(app, wanted.process_manager, facts) == "systemd" and facts["init"] != "systemd":
            problems.append(
                f"{where}.process_manager: systemd is set, but it is not PID 1 on this host. Use supervisor or auto."
            )
        problems += [f"{where}{problem}" for problem in job_problems(app, facts)]
        if not wanted.builds:
            continue
        problems += [
            f"{where}.name: {clash} Choose another name, such as '{app['name'][:27]}-app'."
            for clash in facts["clashes"].get(app["name"], [])
        ]
        problems += [
            f"{where}{problem}"
            for check in (port_problems, memory_problems, worker_problems, python_problems, hidden_problems)
            for problem in check(app, facts, wanted)
        ]
    return problems


def disk_problems(facts: dict[str, Any]) -> Iterator[str]:
    for disk in facts["disks"]:
        left = f"the disk of {disk['path']} has {disk['free'] // 1024**2} of {disk['size'] // 1024**2} MiB free"
        find = f"Free some space. To find the largest folders: du -xh {disk['path']} | sort -h | tail"
        if disk["size"] and disk["free"] < DISK_NEEDED:
            yield f"{left}, but a deployment needs at least {DISK_NEEDED // 1024**2} MiB. {find}"
        elif disk["files"] and not disk["files_free"]:
            yield f"the disk of {disk['path']} has free space, but no free inodes for more files. {find}"


def clock_problems(facts: dict[str, Any]) -> Iterator[str]:
    ahead = facts["ahead"]
    if abs(ahead) > CLOCK:
        yield (
            f"the clocks of the host and of the controller differ by {abs(ahead):.0f} seconds (the host is "
            f"{'ahead' if ahead > 0 else 'behind'}). TLS and apt would reject valid files. Correct the clock that is "
            "wrong, and keep it synchronised: apt install systemd-timesyncd"
        )


def ports_of(app: dict[str, Any]) -> dict[str, int]:
    """The ports that an application needs, by their keys in the model."""
    site = app["site"]
    tls = {"site.tls.port": site["tls"]["port"]} if has_tls(site) else {}
    return {"site.port": site["port"]} | tls | uwsgi_ports(app)


def uwsgi_ports(app: dict[str, Any]) -> dict[str, int]:
    """The ports on which uWSGI itself listens, by their keys in the model."""
    return {f"uwsgi.{key}": port for key, port in uwsgi.ports(app["uwsgi"]).items()} if app["server"] == "uwsgi" else {}


def port_problems(app: dict[str, Any], facts: dict[str, Any], _wanted: Wanted) -> Iterator[str]:
    own = uwsgi_ports(app)
    for where, port in ports_of(app).items():
        others = [
            one
            for one in facts["listeners"]
            if one["port"] == port
            # During a switch, two releases of an application listen on its ports.
            and (one.get("account") != app["name"] if where in own else one["program"] != "nginx")
        ]
        if not others:
            continue
        holder = others[0]
        process = f"process {holder['pid']}, " if holder["pid"] else ""
        yield (
            f".{where}: port {port} is taken by {holder['program'] or 'another program'} ({process}on "
            f"{holder['address']}). {stop_of(holder['program'])}, or choose another port."
        )


# Programs that packages of Debian start at boot, and their services.
SERVICES = {
    **{name: name for name in ("apache2", "caddy", "haproxy", "lighttpd", "traefik", "varnish", "tomcat9", "tomcat10")},
    "httpd": "apache2",
    "varnishd": "varnish",
    "squid": "squid",
    "gunicorn": "gunicorn",
}


def stop_of(program: str) -> str:
    """How to stop a program that has a port, now and at the next boot."""
    service = SERVICES.get(program)
    return f"Stop it (systemctl disable --now {service})" if service else "Stop it"


def job_problems(app: dict[str, Any], facts: dict[str, Any]) -> Iterator[str]:
    if facts["init"] == "systemd":
        return
    for job in app["jobs"]:
        if job["catch_up"]:
            yield (
                f".jobs '{job['name']}'.catch_up: cron, which runs jobs on this host, does not catch up missed runs. "
                "Set it to false on this host; only systemd supports it."
            )


def memory_problems(app: dict[str, Any], facts: dict[str, Any], _wanted: Wanted) -> Iterator[str]:
    limit = app["limits"]["memory"]
    if not limit:
        return
    workers = worker_count(app, facts)
    needed = (workers + 1) * PROCESS_MEMORY
    if memory_bytes(limit) < needed:
        yield (
            f".limits.memory: {limit} can't hold {workers} workers and their master: a minimal Flask "
            f"application takes {PROCESS_MEMORY // 1024**2} MiB in each. Set at least {needed // 1024**2}M; "
            f"{workers * 128}M is recommended. Or lower workers."
        )


def worker_problems(app: dict[str, Any], facts: dict[str, Any], _wanted: Wanted) -> Iterator[str]:
    """Settings of an app server that depend on the number of workers; ``auto`` depends on the host."""
    return server_of(app).problems(app, worker_count(app, facts))


def python_problems(app: dict[str, Any], facts: dict[str, Any], wanted: Wanted) -> Iterator[str]:
    requires = wanted.requires_python.get(app["name"], "")
    asked = Request(version=wanted.python_versions.get(app["name"], ""), requires=requires)
    if is_container(app):
        return container_problems(app, facts, asked)
    return interpreter_problems(app, facts, asked, wanted.packages)


def hidden_problems(app: dict[str, Any], facts: dict[str, Any], _wanted: Wanted) -> Iterator[str]:
    """Files of the host that a build needs, and that its sandbox hides."""
    if facts["init"] != "systemd":
        return
    for key, path in files_of_builds(app, facts):
        hidden = hidden_by(app["systemd"], path)
        if hidden:
            name, value = hidden
            yield (
                f".{key}: '{path}' can't be used, because {name}= hides its folder from builds and commands. Move it "
                f"to another folder, such as /etc or /opt, or set systemd: {{{name}: {value}}} for this application."
            )


def files_of_builds(app: dict[str, Any], facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys that name files of the host for a build, and the paths."""
    python = app["python"]
    interpreter = {} if is_container(app) else facts["interpreters"].get(python["interpreter"] or "python3", {})
    # A link in a visible folder may lead to a hidden one.
    for path in dict.fromkeys(str(interpreter.get(key) or "") for key in ("path", "real")):
        # A home that is closed has a better remedy.
        if path and not interpreter.get("closed"):
            yield "python.interpreter", path
    if python["ca_bundle"]:
        yield "python.ca_bundle", python["ca_bundle"]
    addresses = {
        "python.index_url": [python["index_url"]],
        "python.extra_index_urls": python["extra_index_urls"],
        "python.packages": python["packages"],
        "source.package": [app["source"].get("package")],
    }
    for key, texts in addresses.items():
        for text in texts or []:
            for path in re.findall(r"\bfile://(?:localhost)?(/[^\s;#?]*)", text or ""):
                yield key, urllib.parse.unquote(path)
