# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The programs in the folder of the application: those of a release, and those that containers need instead. Pure."""

from __future__ import annotations

import shlex
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Tree, text
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import HTTP, UWSGI, WORKERS, Order
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.variables import EARLY, ENCODED
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import health_question
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.servers import ENTRY, entry
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import Place, server_of

RUN = """\
#!/bin/sh
# Runs a command in the environment of the application.
for name in $(env | sed -n 's/^{encoded}\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do
    # Another value is from compose.override.yaml, and stays.
    case "$name=$(printenv "$name")" in
    {early}|"$name=see-{encoded}$name")
        # The dot keeps line breaks at the end of the value.
        value=$(printenv "{encoded}$name" | base64 -d && echo .) || exit 1
        export "$name=${{value%.}}"
        ;;
    esac
    unset "{encoded}$name"
done
umask 027
cd {folder} || exit 1
exec "$@"
"""

FIRST = """\
#!{python}
# The first process of a container: the kernel gives it no signal that it does not handle itself. So this program passes
# signals on to the command, and ends with it.
import os
import signal
import sys

child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2"):
    signal.signal(getattr(signal, f"SIG{{name}}"), lambda number, _frame: os.kill(child, number))
while True:
    ended, status = os.wait()
    if ended == child:
        code = os.waitstatus_to_exitcode(status)
        sys.exit(code if code >= 0 else 128 - code)
"""

HEALTH = """\
#!{python}
# Requests the health URL from the application, as a deployment does.
import http.client
import sys

STATUSES = {statuses!r}
connection = http.client.HTTPConnection("127.0.0.1", {port}, timeout={timeout})
try:
    connection.request("GET", {path!r}, headers={headers!r})
    status = connection.getresponse().status
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"no answer: {{error}}")
healthy = status in STATUSES if STATUSES else 200 <= status < 400 or status in (401, 403)
sys.exit(None if healthy else f"status {{status}}")
"""
# Seconds for one answer to the health check.
PATIENCE = 5

SEED = """\
if [ ! -e {target} ]; then
    mkdir -p {target}.new
    {copy}
    mv {target}.new {target}
fi
"""

PREPARE = """\
#!/bin/sh
# Runs before the application: fills new shared folders from the source, then runs the release commands.
set -e
umask 027
"""


def programs(order: Order, seeds: set[str], rendered: Tree) -> Tree:
    """All programs. The source fills the shared folders ``seeds``; ``rendered`` are the files of the app server."""
    python = f"{order.venv}/bin/python"
    found = {
        "bin/run": text(RUN.format(encoded=ENCODED, early=EARLY, folder=shlex.quote(order.application)), 0o755),
        "compose/first": text(FIRST.format(python=python), 0o755),
        "compose/health": text(health(order, python), 0o755),
        **rendered,
    }
    if tasks := entry(order.app):
        found["entry/pyweb_entry.py"] = text(entry_module(order.app["wsgi"], **tasks))
    if prepares(order.app):
        found["compose/prepare"] = text(prepare(order, seeds), 0o755)
    for file in background.launchers(order.app, order.root):
        # The launcher "job" is for schedules.
        if file["path"] != "bin/job":
            content = file["content"].replace(f"{order.home}/releases/{RELEASE}", order.release)
            found[file["path"]] = text(content, 0o755)
    return {f"current/{path}": entry for path, entry in found.items()}


def health(order: Order, python: str) -> str:
    question = health_question(order.app)
    headers = {"Host": question["host"], "X-Forwarded-Proto": question["scheme"], "X-Forwarded-For": "127.0.0.1"}
    return HEALTH.format(
        python=python,
        port=HTTP,
        timeout=PATIENCE,
        path=question["path"],
        headers=headers,
        statuses=tuple(map(int, order.app["health"]["status"])),
    )


def prepares(app: dict[str, Any]) -> bool:
    """Whether something has to run before the application."""
    return bool(app["shared"] or app["commands"]["release"])


def prepare(order: Order, seeds: set[str]) -> str:
    lines = [PREPARE]
    for folder in order.app["shared"]:
        target = shlex.quote(f"{order.shared}/{folder}")
        source = shlex.quote(f"{order.release}/seed/{folder}/.")
        copy = f"cp -R {source} {target}.new" if folder in seeds else ":"
        lines.append(SEED.format(target=target, copy=copy))
    run = shlex.quote(f"{order.release}/bin/run")
    if order.app["commands"]["release"]:
        lines.append("export WEBAPP_DEPLOYMENT=compose\n")
    for command in order.app["commands"]["release"]:
        lines.append(f"{run} /bin/sh -c {shlex.quote(background.one_program(command))}\n")
    return "".join(lines)


def server_files(order: Order) -> list[dict[str, Any]]:
    """The files of the app server, as templates of its role: its settings and its start command."""
    app, server = order.app, server_of(order.app)
    workers = WORKERS if app["workers"] == "auto" else int(app["workers"])
    callable_name = ENTRY if entry(app) else app["wsgi"]
    service = server.item(app, callable_name, workers, Place(order.release, "", ""))
    return list(server.rules.files_of([{**service, **ADDRESSES[app["server"]](service)}], shlex.quote))


def of_gunicorn(service: dict[str, Any]) -> dict[str, Any]:
    """On a port, gunicorn trusts this machine alone, and has narrower limits. Here only nginx can reach the port."""
    name = gunicorn.worker_class(service["settings"], service["threads"])
    inherited = {
        "forwarded_allow_ips": "*",
        **gunicorn.limits(gunicorn.INHERITED),
        **gunicorn.connections(gunicorn.INHERITED, name, service["threads"]),
    }
    return {"bind": f"0.0.0.0:{HTTP}", "settings": {**inherited, **service["settings"]}}


def of_uwsgi(_service: dict[str, Any]) -> dict[str, Any]:
    return {"http_socket": f"0.0.0.0:{HTTP}", "socket": f"0.0.0.0:{UWSGI}", "stats": None}


def of_granian(_service: dict[str, Any]) -> dict[str, Any]:
    return {"bind": f"0.0.0.0:{HTTP}"}


# The addresses of each app server: ports of its container instead of sockets that a process manager opens.
ADDRESSES = {"gunicorn": of_gunicorn, "uwsgi": of_uwsgi, "granian": of_granian}
