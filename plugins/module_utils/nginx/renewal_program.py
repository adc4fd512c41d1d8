# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that renews the certificates of a host. A timer runs it there, without Ansible.

The module nginx_config packs this file, and the files that it imports, into one (see renewal.py).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, run_command
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import processes
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.lock import locked
from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import Authority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.module_utils.tls.files import read, write
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store, Wanted

TEST_TIMEOUT = 60.0  # seconds for nginx's test of its configuration
RELOAD_TIMEOUT = 30.0  # seconds until nginx must serve the certificates on the disk


def renew(plan: dict[str, Any], now: float, say: Callable[[str], None]) -> list[str]:
    """Renew the certificates that are due, and have nginx serve them. Returns what went wrong."""
    store = Store(plan["folder"], plan["state_folder"], Authority(**plan["authority"]))
    everything = [Wanted(**{**item, "names": tuple(item["names"])}) for item in plan["certificates"]]
    wrong: list[str] = []
    before: dict[str, str | None] = {}
    for wanted in everything:
        try:
            state = store.look(wanted, now)
            # A first order needs a run of the playbook, which also enables https for the site.
            if state.due and wanted.mode != "provided" and (state.found or wanted.mode != "acme"):
                text = store.obtain(wanted)
                before[store.path(wanted)] = read(store.path(wanted))
                write(store.path(wanted), text)
                say(f"{wanted.name}: renewed, because {state.due}")
        except (HostError, OSError) as error:
            wrong.append(f"{wanted.name}: {error}")
    stale = [wanted for wanted in everything if store.path(wanted) in before or store.is_stale(wanted)]
    if stale:
        try:
            reload_nginx(plan, lambda: all(store.is_served(one) for one in stale))
            for one in stale:
                store.mark_as_used(one)
            say(f"nginx serves the new certificates of {', '.join(one.name for one in stale)}")
        except HostError as error:
            for path, previous in before.items():
                if previous is not None:
                    write(path, previous)
            wrong.append(f"{error}{after_refusal(store, stale, before)}")
    return wrong


def after_refusal(store: Store, stale: list[Wanted], before: dict[str, str | None]) -> str:
    """The certificates that were put back, and those that were not because this program has not written them."""
    back = [one.name for one in stale if before.get(store.path(one)) is not None]
    others = [one for one in stale if store.path(one) not in before]
    told = [f"The previous certificates are back: {', '.join(back)}"] if back else []
    for one in others:
        paths = " and ".join(dict.fromkeys([one.certificate_path, one.key_path])) or store.path(one)
        told.append(
            f"{one.name}: {paths} changed, and nothing was put back. nginx serves what it loaded before, until it is "
            "started again. Put a certificate there with the key that belongs to it"
        )
    return "".join(f". {text}" for text in told)


def reload_nginx(plan: dict[str, Any], is_done: Callable[[], bool]) -> None:
    """Have nginx load its certificates again, and wait until it serves them."""
    status, _out, err = run_command([plan["nginx"], "-t", "-q", "-c", plan["entry"]], TEST_TIMEOUT)
    if status:
        raise CertificateError(f"nginx refuses its configuration: {err.strip()}")
    master = processes.master(plan["pid_file"])
    if master is None:
        raise CertificateError("nginx does not run")
    before = processes.workers(master)
    try:
        os.kill(master, signal.SIGHUP)
    except ProcessLookupError:
        raise CertificateError("nginx does not run") from None
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while before & processes.workers(master) or not is_done():
        if time.monotonic() > deadline:
            raise CertificateError(f"nginx still serves the old certificates {RELOAD_TIMEOUT:.0f} s after its reload")
        time.sleep(0.2)


def main(arguments: list[str]) -> int:
    """Run the program. Its argument is the plan, the JSON file that nginx_config writes."""
    with open(arguments[0], encoding="utf-8") as stream:
        plan = json.load(stream)
    # A run of nginx_config holds the same lock.
    with locked(plan["lock"]):
        wrong = renew(plan, time.time(), print)
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0
