# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A small fleet for one test: web hosts with an nginx and an application each, and a balancer with nginx and HAProxy.

All of them are on loopback. Each web host has an address of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.balancing import paths, stats
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.transaction import ARGUMENTS, Transaction
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.processes import processes
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing import fleet, haproxy
from ansible_collections.pyweb.stack.plugins.plugin_utils.balancing.sites import edge_sites
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tree import tree_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from nginx_instance import App, Front, Request, free_port, ok

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# As for nginx, the environment of `make test` has it, unless the machine has no apt.
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed here: apt-get install haproxy")

Render = Callable[..., Any]


def inventory(port: int, site: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """An application as an inventory has it."""
    site = {"domains": ["shop.example.com"], "port": port, **site}
    return {"name": "shop", "source": {"path": "."}, "wsgi": "shop:app", "site": site, **keys}


class WebHost(Front):
    """A web host behind a balancer, with the application shop."""

    def __init__(self, folder: Path, render: Render, name: str, address: str, port: int) -> None:
        folder.mkdir()
        super().__init__(folder, render)
        self.name, self.address, self.port = name, address, port
        self.calls: list[str] = []
        self.app = App(self.socket, self.answer, keep=True)
        self.release = lambda _request: ok(self.name)

    def answer(self, request: Request) -> Any:
        self.calls.append(request.line)
        return self.release(request)

    def serve_app(self, app: dict[str, Any]) -> None:
        # The balancer of a test connects from this address.
        found = checked_inventory([app], "/srv/webapps", {"balancers": ["127.0.0.1"]}, [])
        assert not found.problems
        self.install(tree_files(found.sites, found.settings), owners=["webapps"])

    def here(self, content: str) -> str:
        content = content.replace(paths.DRAINED, f"{self.folder}/drained")
        content = content.replace("/srv/webapps/shop/current.sock", self.socket)
        return (
            super()
            .here(content)
            .replace("listen 127.0.0.1:", f"listen {self.address}:")
            .replace("listen [::1]:", "#listen ")
        )

    def signal(self, number: int) -> None:
        """Send a signal to all processes of this nginx."""
        master = self.master
        family = [process.pid for process in processes().values() if master in (process.pid, process.parent)]
        # A killed master must not start new workers.
        for pid in sorted(family, key=lambda pid: pid != master):
            os.kill(pid, number)

    def executions(self, beginning: str) -> int:
        return len([line for line in self.calls if line.startswith(beginning)])

    def end(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.signal(signal.SIGCONT)
        self.stop()
        self.app.close()


class Balancer(Front):
    """The balancer."""

    def __init__(self, folder: Path, render: Render) -> None:
        folder.mkdir()
        super().__init__(folder, render)
        self.run_dir = str(folder / "run")
        self.pid_file = folder / "haproxy.pid"
        self.peers: list[str] = []

    def params_of(self, units: list[dict[str, str]], **options: Any) -> dict[str, Any]:
        defaults = {name: spec.get("default") for name, spec in ARGUMENTS.items()}
        own = {"conf": str(self.folder / "haproxy.cfg"), "pid_file": str(self.pid_file), "run_dir": self.run_dir}
        return {**defaults, **own, "units": units, "init": "none", **options}

    def spread(self, apps: list[dict[str, Any]], hosts: list[fleet.WebHost], **options: Any) -> dict[str, Any]:
        """Have HAProxy spread the applications over these hosts."""
        units = haproxy.units(apps, hosts, 500, 500)
        # It runs as the account of the test, and without its package there is no account for it.
        for line in ("user haproxy", "group haproxy", "chroot /var/lib/haproxy"):
            units[0]["content"] = units[0]["content"].replace(f"    {line}\n", "")
        return Transaction(self.params_of(units, **options), HAPROXY, run_on_host).run(False)

    def serve_apps(self, apps: list[dict[str, Any]], **given: Any) -> None:
        sites, settings, problems = edge_sites(apps, [], given)
        assert not problems
        settings["edge"] = {"health": paths.HEALTH_SOCKET, "peers": self.peers}
        self.install(tree_files(sites, settings), owners=["webapps"])

    def here(self, content: str) -> str:
        return super().here(content.replace(paths.RUN, self.run_dir))

    def state(self) -> dict[str, str]:
        """The state of each web host."""
        (app,) = stats.applications(f"{self.run_dir}/_admin.sock")
        return {server["host"]: server["state"] for server in app["servers"]}

    def end(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(self.pid_file.read_text()), signal.SIGTERM)
        self.stop()


class Fleet:
    """Two web hosts and a balancer, which serve the application shop."""

    def __init__(self, folder: Path, render: Render) -> None:
        folder.chmod(0o755)
        self.edge = Balancer(folder / "edge", render)
        self.port = free_port()
        self.webs = [
            WebHost(folder / name, render, name, address, self.port)
            for name, address in (("web1", "127.0.0.11"), ("web2", "127.0.0.12"))
        ]

    @property
    def hosts(self) -> list[fleet.WebHost]:
        return [fleet.WebHost(web.name, web.address, self.port, apps=self.apps) for web in self.webs]

    def serve(self, site: dict[str, Any] | None = None, **keys: Any) -> Fleet:
        given = inventory(self.edge.port, site or {}, **keys)
        self.apps, problems = normalised([given])
        assert not problems
        for web in self.webs:
            web.serve_app({**given, "site": {**given["site"], "port": self.port}})
        self.edge.spread(self.apps, self.hosts)
        self.edge.serve_apps(self.apps)
        return self

    def await_state(self, web: str, state: str, timeout: float = 10) -> float:
        """Wait until the balancer sees a web host in a state; return the seconds that it took."""
        begun = time.monotonic()
        assert wait_for(lambda: self.edge.state()[web] == state, timeout), self.edge.state()
        return time.monotonic() - begun

    def end(self) -> None:
        for one in (self.edge, *self.webs):
            one.end()
