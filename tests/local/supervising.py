# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A separate supervisord for a test, and runs of the module supervisor_programs against it."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_daemon import exists, running_daemon
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import Supervisor
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import Rpc, kill_group, read_daemon
from ansible_collections.pyweb.stack.plugins.modules import supervisor_programs as module

SUPERVISORD = Path(sys.executable).parent / "supervisord"
SLEEP = "exec sleep 1000"
needs_supervisord = [
    pytest.mark.skipif(not SUPERVISORD.exists(), reason="the package supervisor is not installed beside pytest"),
    pytest.mark.skipif(os.geteuid() != 0, reason="program files belong to root"),
]


class Lab:
    """A separate supervisord in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.startsecs = 0  # seconds that a program must run to count as started; few tests need any
        self.config = folder / "supervisord.conf"
        (folder / "conf.d").mkdir()
        (folder / "templates").mkdir()
        (folder / "cron.d").mkdir()
        self.config.write_text(
            f"[unix_http_server]\nfile={folder}/s.sock\nchmod=0700\n"
            f"[supervisord]\nlogfile={folder}/supervisord.log\npidfile={folder}/supervisord.pid\nchildlogdir={folder}\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            "[include]\nfiles = conf.d/*.conf\n"
        )
        self.daemon = read_daemon(str(self.config))
        self.rpc = Rpc(self.daemon)
        self.provider = Supervisor(config_file=str(self.config))

    def program(self, name: str, script: str = SLEEP, **more: Any) -> dict[str, Any]:
        section = name.replace("@", "-%i")
        content = (
            f"; {MARK}\n[program:{section}]\ncommand=/bin/sh -c '{script}'\nautostart=true\n"
            f"startsecs={self.startsecs}\nstartretries=1\nautorestart=unexpected\nkillasgroup=true\nstopwaitsecs=3\nredirect_stderr=true\n"
            f"stdout_logfile={self.folder}/{section}.log\n"
        )
        return {"name": name, "state": "present", "content": content, "stop_timeout": 5, **more}

    def own(self, name: str, script: str = SLEEP) -> None:
        """A program that the user has written, not this collection."""
        path = self.folder / "conf.d" / f"{name}.conf"
        path.write_text(f"[program:{name}]\ncommand=/bin/sh -c '{script}'\nstdout_logfile=NONE\nstderr_logfile=NONE\n")

    def arguments(self, *programs: dict[str, Any]) -> dict[str, Any]:
        return {
            "programs": list(programs),
            "config_file": str(self.config),
            "cron_directory": str(self.folder / "cron.d"),
            "cron_pam_file": str(self.folder / "pam"),
            "supervisord": str(SUPERVISORD),
            "start_program": str(self.folder / "pyweb-start"),
            "service": "",
        }

    def run(self, *programs: dict[str, Any], check: bool = False) -> dict[str, Any]:
        arguments = {**self.arguments(*programs), "_ansible_check_mode": check, "_ansible_diff": True}
        with tempfile.TemporaryFile("w+") as output, patch_module_args(arguments):
            before, sys.stdout = sys.stdout, output
            try:
                with pytest.raises(SystemExit):
                    module.main()
            finally:
                sys.stdout = before
            output.seek(0)
            return json.loads(output.read())

    def pid(self, name: str) -> int:
        info = self.rpc.info(name)
        return info["pid"] if info else 0

    def end(self) -> None:
        """Kill the daemon and its programs, because a normal shutdown takes three seconds."""
        pid = running_daemon(self.daemon)
        if not pid:
            return
        programs = [info["pid"] for infos in self.rpc.infos().values() for info in infos]
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not [kill_group(one) for one in programs if runs(one)] and not runs(pid), 20)


def runs(pid: int) -> bool:
    """Whether a process runs and is not a zombie; init may take long to collect its exit status."""
    try:
        return exists(pid) and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def lab(short_path: Path) -> Iterator[Lab]:
    one = Lab(short_path)
    yield one
    one.end()


def both(lab: Lab, *programs: dict[str, Any]) -> list[bool]:
    results = [lab.run(*programs, check=check) for check in (True, False, True, False)]
    assert not [result["msg"] for result in results if result.get("failed")]
    return [result["changed"] for result in results]
