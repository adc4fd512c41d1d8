# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Retire the process that served an application before its first release: stop it, disable it, and keep its files."""

from __future__ import annotations

import glob
import os
import re
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.adoption.old_services import OldService, old_service
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import foreign
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.blocks import parsed
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.processes import processes

# Seconds for an answer through nginx.
FRONT_TIMEOUT = 5.0
INTERVAL = 0.05


def retire(adopted: list[dict[str, Any]], waiting: list[str], run: Run, check_mode: bool) -> dict[str, Any]:
    """Retire the old service of each application that is live and served.

    ``waiting`` are applications whose sites nginx does not serve yet. ``retiring`` in the answer are those whose old
    service still has to be retired, and ``used`` those whose old service serves more than them. Raises HostError if
    nginx does not answer with a release.
    """
    answer: dict[str, Any] = {"retired": [], "retiring": [], "used": [], "warnings": []}
    for item in adopted:
        service = old_service(item, run)
        is_live = os.path.lexists(f"{item['root']}/{item['name']}/current.sock")
        if not service.is_there():
            if not is_live:
                answer["warnings"].append(
                    f"webapps '{item['name']}'.adopts: {service} is not on this host, or is disabled and does not run. "
                    "So nothing will be stopped. Correct the name, or remove adopts."
                )
            continue
        if item["name"] in waiting or not is_live:
            answer["retiring"].append(item["name"])
            continue
        if check_mode:
            answer["retired"].append(str(service))
            continue
        check_front(item, service)
        if users := still_used(service):
            answer["used"].append(item["name"])
            answer["warnings"].append(
                f"webapps '{item['name']}': {service} keeps running, because nginx still passes requests to it: "
                f"{'; '.join(users)}. Add these names to site.domains, or remove the server, and run again."
            )
            continue
        await_drained(item["stop_timeout"])
        service.retire(item["stop_timeout"])
        answer["retired"].append(str(service))
        answer["warnings"] += [f"webapps '{item['name']}': {text}" for text in service.remarks()]
    return answer


def check_front(item: dict[str, Any], service: OldService) -> None:
    """Ask through nginx. The old service must not stop before the new release answers there."""
    if not item.get("front"):
        return
    question = Question(**item["front"])
    answers: list[Answer] = []

    def is_well() -> bool:
        answers[:] = [ask(question, FRONT_TIMEOUT)]
        return bool(answers[0].healthy(item["statuses"]))

    if not wait_for(is_well, FRONT_TIMEOUT, INTERVAL):
        raise HostError(
            f"webapps '{item['name']}': its release is live, but does not answer through nginx, so {service} keeps "
            f"running. Asked: {question}. Came back: {answers[0]}. Look at /var/log/nginx/error.log, and run again."
        )


def still_used(service: OldService, conf_dir: str = "/etc/nginx") -> list[str]:
    """The servers of nginx that lead to an address of the service."""
    addresses = {known for address in service.addresses() for known in spellings(address)}
    if not addresses:
        return []
    try:
        with open(f"{conf_dir}/nginx.conf", encoding="utf-8", errors="replace") as stream:
            entry = stream.read()
    except OSError:
        return []
    files = foreign.sources(conf_dir, entry) + sites(conf_dir)
    upstreams = {
        block.arguments[0]: {server.arguments[0] for server in block.named("server") if server.arguments}
        for source in files
        for block in source.directives
        if block.name == "upstream" and block.arguments
    }
    found = []
    for server in foreign.servers(files):
        used = set()
        for target in foreign.targets(server.block):
            host = target.partition("://")[2] if not target.startswith("unix:") else target
            host = path_only(host or target) or (host or target).partition("/")[0]
            used |= {path_only(one) or one for one in upstreams.get(host, {host})}
        used |= {f"*:{one.rpartition(':')[2]}" for one in used if not one.startswith("unix:")}
        if used & addresses:
            found.append(f"{server.title} in {server.source.path}")
    return found


def sites(conf_dir: str) -> list[foreign.Source]:
    """The sites of this collection. Those of nginx_sites can lead to the service, too."""
    found = []
    for path in sorted(glob.glob(f"{glob.escape(conf_dir)}/pyweb/current/sites/*.conf")):
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
            found.append(foreign.Source(path, text, parsed(text)))
    return found


def path_only(address: str) -> str:
    """The address of a unix socket, without a path for the requests; empty for any other address."""
    match = re.match(r"unix:(?://)?(/[^:]*)", address)
    return f"unix:{os.path.normpath(match[1])}" if match else ""


def spellings(address: str) -> set[str]:
    """The ways in which nginx may write an address."""
    if address.startswith("/"):
        return {f"unix:{address}"}
    host, _colon, port = address.rpartition(":")
    local = {"127.0.0.1", "localhost", "[::1]"} if host in ("127.0.0.1", "0.0.0.0", "[::]", "[::1]") else set()  # noqa: S104  # names in a text
    # Every name and address of this host leads there. Those of other hosts are not told apart.
    every = {"*"} if host in ("0.0.0.0", "[::]") else set()  # noqa: S104  # names in a text
    return {f"{name}:{port}" for name in {host, *local, *every}}


def await_drained(timeout: float) -> None:
    """Wait until the workers of nginx have ended that may still have requests at the old service."""
    wait_for(lambda: not any(one.is_worker and one.is_leaving for one in processes().values()), timeout, INTERVAL)
