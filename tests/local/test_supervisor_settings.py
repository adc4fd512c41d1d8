# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Settings of supervisord itself, against a real supervisord: when it restarts, and what keeps running."""

from __future__ import annotations

import base64
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.processes import supervisor_settings
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_daemon import running_daemon
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_plan import ProgramError
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.supervisor_settings import checked, settings_file
from supervising import Lab, needs_supervisord

pytestmark = needs_supervisord


def text(given: dict[str, Any]) -> str:
    found, problems = checked(given)
    assert problems == []
    return settings_file(found)


def bring(lab: Lab, given: dict[str, Any], restart: bool = False, check: bool = False) -> dict[str, Any]:
    defaults = {name: spec["default"] for name, spec in supervisor_settings.ARGUMENTS.items()}
    places = {key: value for key, value in lab.arguments().items() if key in defaults}
    params = {**defaults, **places, "content": text(given), "minfds": given.get("minfds", 0), "restart": restart}
    return supervisor_settings.apply(params, run_on_host, check)


def status(port: int, password: str = "") -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/")
    if password:
        token = base64.b64encode(f"ops:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_daemon_without_programs_restarts_with_its_settings(lab: Lab) -> None:
    lab.run()
    first, port = running_daemon(lab.daemon), free_port()
    server = {"port": f"127.0.0.1:{port}", "username": "ops", "password": "50% of it"}
    given = {"minfds": 512, "loglevel": "debug", "inet_http_server": server}
    assert bring(lab, given, check=True)["restarted"]
    assert running_daemon(lab.daemon) == first
    done = bring(lab, given)
    assert (done["changed"], done["restarted"], done["warnings"]) == (True, True, [])
    assert running_daemon(lab.daemon) != first
    assert (status(port), status(port, "wrong"), status(port, "50% of it")) == (401, 401, 200)
    path = Path(done["files"][0])
    assert path.stat().st_mode & 0o777 == 0o600
    assert not bring(lab, given)["changed"]
    # The programs and their files are no concern of it.
    lab.run(lab.program("web"))
    assert not bring(lab, given)["changed"]


def test_programs_are_not_restarted_without_being_asked(lab: Lab) -> None:
    lab.run(lab.program("web"))
    daemon, web = running_daemon(lab.daemon), lab.pid("web")
    for _again in range(2):
        done = bring(lab, {"loglevel": "debug"})
        assert not done["restarted"]
        assert "restart web" in done["warnings"][0]
        assert "supervisor_restart_daemon=true" in done["warnings"][0]
    assert (running_daemon(lab.daemon), lab.pid("web")) == (daemon, web)
    assert bring(lab, {"loglevel": "debug"}, restart=True)["restarted"]
    assert running_daemon(lab.daemon) != daemon
    assert lab.pid("web") not in (0, web)
    assert not bring(lab, {"loglevel": "debug"})["changed"]
    # Back to the package's settings.
    assert bring(lab, {}, restart=True)["restarted"]
    assert bring(lab, {}) == {"changed": False, "files": [], "restarted": False, "warnings": []}


def test_a_host_that_forbids_the_number_of_files_keeps_its_daemon(lab: Lab) -> None:
    lab.run()
    daemon = running_daemon(lab.daemon)
    with pytest.raises(ProgramError, match="minfds is 99999999999, but this host allows"):
        bring(lab, {"minfds": 99999999999})
    assert running_daemon(lab.daemon) == daemon
    assert not (lab.folder / "conf.d" / supervisor_settings.NAME).exists()


def test_a_daemon_that_does_not_start_gets_its_former_settings_back(lab: Lab) -> None:
    lab.run()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = {"port": f"127.0.0.1:{port}", "username": "ops", "password": "x"}
        with pytest.raises(ProgramError, match="The former settings are back"):
            bring(lab, {"inet_http_server": server})
    assert running_daemon(lab.daemon)
    assert lab.rpc.alive()
    assert os.path.exists(lab.folder / "conf.d" / supervisor_settings.NAME)
