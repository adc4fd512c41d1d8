# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sockets of applications belong to root, and no application can change them."""

from __future__ import annotations

import json

import pytest
from conftest import PATHS
from test_30_kills import master_of, processes

pytestmark = pytest.mark.alone

# As the application's account: its socket, another application's socket, a folder of its own.
ATTEMPTS = {
    "replace by a link": "os.unlink(mine); os.symlink(other, mine)",
    "rename over it": "os.symlink(other, own + '/link'); os.rename(own + '/link', mine)",
    "put a folder there": "os.unlink(mine); os.mkdir(mine)",
    "replace the folder": "os.rename(os.path.dirname(mine), own + '/away')",
    "bind another one": "socket.socket(socket.AF_UNIX).bind(mine + '.new')",
    "hard link": "os.link(mine, own + '/hard.sock')",
    "chmod": "os.chmod(mine, 0o777)",
    "connect to the other's": "socket.socket(socket.AF_UNIX).connect(other)",
}
# Each in a process of its own, and all of them by one command, because each way to the host takes a third of a second.
TRY = """
import json, os, socket, sys
attempts, mine, other, own = sys.argv[1:]
for attempt in json.loads(attempts):
    if os.fork() == 0:
        try:
            exec(attempt)
        except OSError as error:
            print(type(error).__name__, flush=True)
        else:
            print("it worked", flush=True)
        os._exit(0)
    os.wait()
"""
LOOK = "stat -c '%n %i %U %G %a %F' /run/webapps /run/webapps/*.sockets /run/webapps/*.sockets/*"


@pytest.mark.attack("13.6", "An application replaces its live socket, or connects to another's, on a real host")
@pytest.mark.parametrize("app", PATHS)
def test_an_application_can_not_change_its_socket(host, visit, app):
    others = [one for one in PATHS if one != app]
    mine, other = (host.check_output(f"readlink /srv/webapps/{one}/current.sock") for one in (app, others[0]))
    before = host.check_output(LOOK)
    assert f"{mine} " in before
    drop = f"setpriv --reuid {app} --regid {app} --init-groups"
    attempts = json.dumps(list(ATTEMPTS.values()))
    said = host.check_output(f"cd / && {drop} python3 -I -c %s %s %s %s /run/webapps/{app}", TRY, attempts, mine, other)
    assert dict(zip(ATTEMPTS, said.splitlines(), strict=True)) == dict.fromkeys(ATTEMPTS, "PermissionError")
    assert host.check_output(LOOK) == before
    assert visit(app).status_code == 200


def test_sockets_belong_to_root(host):
    for line in host.check_output(LOOK).splitlines()[1:]:
        _path, _inode, owner, group, mode, *kind = line.split()
        assert (owner, kind) == ("root", ["socket"] if group == "www-data" else ["directory"]), line
        assert mode == ("660" if kind == ["socket"] else "711"), line


@pytest.mark.parametrize("app", PATHS)
def test_its_process_has_no_privileges_to_gain(host, app):
    status = host.check_output(f"cat /proc/{master_of(processes(host, app))}/status")
    found = dict(line.split(":\t") for line in status.splitlines())
    assert found["NoNewPrivs"] == "1"
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
