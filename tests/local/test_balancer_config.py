# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Changes of a balancer: each is a transaction, and no visitor notices one."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.haproxy import BalancerError
from ansible_collections.pyweb.stack.plugins.module_utils.balancing.transaction import Transaction
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from balancing import HAPROXY, Fleet, needs_haproxy
from nginx_instance import needs_nginx

pytestmark = [needs_nginx, needs_haproxy]


@pytest.fixture
def fleet(short_path: Path, render: Callable[..., Any]) -> Iterator[Fleet]:
    found = Fleet(short_path, render)
    yield found
    found.end()


def change(fleet: Fleet, units: list[dict[str, str]], check: bool = False, **options: Any) -> dict[str, Any]:
    return Transaction(fleet.edge.params_of(units, **options), HAPROXY, run_on_host).run(check)


def unit(name: str, *lines: str) -> dict[str, str]:
    return {"name": name, "content": "".join(f"{line}\n" for line in lines)}


ADMIN = unit(
    "main", "global", "    stats socket /run/pyweb-balancer/_admin.sock mode 600 level admin expose-fd listeners"
)
DEFAULTS = unit(
    "defaults", "defaults", "    mode http", *(f"    timeout {name} 5s" for name in ("connect", "client", "server"))
)


def test_a_second_run_changes_nothing_and_check_mode_predicts(fleet: Fleet) -> None:
    units = [ADMIN, DEFAULTS]
    assert change(fleet, units, check=True)["actions"] == ["install haproxy.cfg", "start"]
    assert not (fleet.edge.folder / "haproxy.cfg").exists()
    assert change(fleet, units)["changed"]
    assert change(fleet, units) == {"changed": False, "actions": [], "surplus": [], "diff": [], "warnings": []}
    more = [*units, unit("more", "backend shop", "    server web1 127.0.0.1:9")]
    assert change(fleet, more, check=True)["actions"] == ["install haproxy.cfg", "reload"]


def test_what_nginx_still_needs_stays_until_it_is_no_longer_kept(fleet: Fleet) -> None:
    more = unit("app:shop", "backend shop", "    server web1 127.0.0.1:9")
    change(fleet, [ADMIN, DEFAULTS, more])
    kept = change(fleet, [ADMIN, DEFAULTS], keep=True)
    assert (kept["changed"], kept["surplus"]) == (False, ["app:shop"])
    assert "backend shop" in (fleet.edge.folder / "haproxy.cfg").read_text()
    assert change(fleet, [ADMIN, DEFAULTS])["actions"] == ["install haproxy.cfg", "reload"]
    assert "backend shop" not in (fleet.edge.folder / "haproxy.cfg").read_text()


def test_an_application_without_a_web_host_is_told(fleet: Fleet) -> None:
    fleet.serve()
    assert fleet.edge.spread(fleet.apps, fleet.hosts)["warnings"] == []
    for web in fleet.webs:
        web.signal(9)
    assert wait_for(lambda: set(fleet.edge.state().values()) == {"down"}, 5)
    (warning,) = fleet.edge.spread(fleet.apps, fleet.hosts)["warnings"]
    assert "no web host for shop: web1 (L4CON" in warning
    assert ", web2 (" in warning


def test_a_refused_configuration_changes_nothing(fleet: Fleet) -> None:
    change(fleet, [ADMIN, DEFAULTS])
    before = (fleet.edge.folder / "haproxy.cfg").read_text()
    with pytest.raises(BalancerError, match=r"(?s)refuses the new configuration.*unknown keyword.*Nothing was changed"):
        change(fleet, [ADMIN, DEFAULTS, unit("wrong", "backend shop", "    serve web1")])
    assert (fleet.edge.folder / "haproxy.cfg").read_text() == before
    assert change(fleet, [ADMIN, DEFAULTS])["changed"] is False
    assert sorted(os.listdir(fleet.edge.folder)).count("haproxy.cfg.pyweb-new") == 0


def test_a_configuration_that_can_not_be_loaded_is_taken_back(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    change(fleet, [ADMIN, DEFAULTS])
    before = (fleet.edge.folder / "haproxy.cfg").read_text()
    monkeypatch.setattr("ansible_collections.pyweb.stack.plugins.module_utils.balancing.haproxy.RELOAD_TIMEOUT", 2.0)
    # HAProxy's own test does not notice that it can't bind here.
    taken = unit("taken", "frontend f", "    bind unix@/nowhere/at/all.sock")
    with pytest.raises(BalancerError, match="The previous configuration is back"):
        change(fleet, [ADMIN, DEFAULTS, taken])
    assert (fleet.edge.folder / "haproxy.cfg").read_text() == before
    assert change(fleet, [ADMIN, DEFAULTS])["actions"] == []


def test_a_configuration_of_other_people_is_refused(fleet: Fleet) -> None:
    path = fleet.edge.folder / "haproxy.cfg"
    path.write_text("# mine\nglobal\n")
    with pytest.raises(BalancerError, match=r"haproxy.cfg is neither .*mv .*haproxy.cfg .*haproxy.cfg.old"):
        change(fleet, [ADMIN, DEFAULTS])
    assert path.read_text() == "# mine\nglobal\n"


def test_a_host_without_systemd_is_refused(fleet: Fleet) -> None:
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("this machine has systemd")  # reason: the refusal is for machines without it
    with pytest.raises(BalancerError, match="A balancer needs systemd"):
        change(fleet, [ADMIN, DEFAULTS], init="auto")


@pytest.mark.attack("17.3", "An account of the balancer reads the configuration, or uses a socket of HAProxy.")
def test_only_root_and_nginx_reach_haproxy(fleet: Fleet) -> None:
    fleet.serve()
    modes = {}
    for name in ("_admin.sock", "_health.sock", "shop.sock"):
        modes[name] = stat.S_IMODE(os.stat(f"{fleet.edge.run_dir}/{name}").st_mode)
    assert modes == {"_admin.sock": 0o600, "_health.sock": 0o660, "shop.sock": 0o660}
    assert stat.S_IMODE((fleet.edge.folder / "haproxy.cfg").stat().st_mode) == 0o600


def test_web_hosts_come_and_go_without_a_failed_request(fleet: Fleet) -> None:
    fleet.serve()
    one, both = fleet.hosts[:1], fleet.hosts
    failed, stopped = [], threading.Event()

    def load(method: str) -> None:
        while not stopped.wait(0.01):
            status = fleet.edge.ask("/", method).status
            if status != 200:
                failed.append((method, status))

    threads = [threading.Thread(target=load, args=(method,), daemon=True) for method in ("GET", "POST", "GET", "POST")]
    for thread in threads:
        thread.start()
    for hosts in (one, both, one, both):
        fleet.edge.spread(fleet.apps, hosts)
        time.sleep(0.2)
    # A host that is in the inventory, but does not serve yet.
    fleet.webs[1].signal(9)
    fleet.edge.spread(fleet.apps, one)
    del failed[:]
    fleet.edge.spread(fleet.apps, both)
    time.sleep(0.5)
    stopped.set()
    for thread in threads:
        thread.join(10)
    assert not failed
    assert fleet.edge.state() == {"web1": "up", "web2": "down"}
