# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The world in which the programs of an application run: the same for its services, its jobs and its commands."""

from __future__ import annotations

import hashlib
import json

import pytest
from pyweb_places import everywhere
from test_accounts import WRITE

HOME = "/srv/webapps/writer"
BUILDER = f"pyweb-b-{hashlib.sha256(b'writer').hexdigest()[:12]}"

# Variables that describe the process itself; docs/architecture.md lists them.
OWN = {"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "NOTIFY_SOCKET", "WEBAPP_DEPLOYMENT", "WEBAPP_JOB"}
OWN |= {"WEBAPP_PROCESS", "WEBAPP_PROCESS_NUMBER", "SERVER_SOFTWARE", "PWD", "OLDPWD", "SHLVL", "_", "GUNICORN_PID"}
OWN |= {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE"}
OWN |= {"CREDENTIALS_DIRECTORY", "SUPERVISOR_ENABLED", "SUPERVISOR_PROCESS_NAME", "SUPERVISOR_GROUP_NAME"}
OWN |= {"SUPERVISOR_SERVER_URL"}
# The limits of the kernel. They depend on who starts a program, unless systemd starts all of them.
SANDBOX = {"kernel", "limits", "writable", "visible", "families", "interfaces", "credentials", "nice", "ids"}
AUTHORS = ("import", "web", "worker", "tick", "command")

pytestmark = pytest.mark.usefixtures("on_site", "probed")


@pytest.fixture(scope="session")
def probed(sites, run_playbook):
    everywhere(lambda place: place.run(WRITE), sites)
    given = {"app": "writer", "command": "python probe.py command"}
    runs = everywhere(lambda place: run_playbook("pyweb.stack.run", given, "--limit", place.name), sites)
    assert [run.status for run in runs] == [0, 0, 0]


def probe(host, author: str) -> dict:
    folder = f"{HOME}/cache" if author == "import" else f"{HOME}/shared/data"
    return without_own(json.loads(host.file(f"{folder}/probe-{author}.json").content_string))


def without_own(found: dict) -> dict:
    """A probe without the variables of the process itself, and without the ID of its release."""
    found["directory"] = found["env"].get("CREDENTIALS_DIRECTORY", "").removesuffix(".service")
    found["env"] = {key: value for key, value in found["env"].items() if key not in OWN}
    return json.loads(json.dumps(found).replace(found["env"]["WEBAPP_RELEASE"], "ID"))


@pytest.fixture
def managed(host):
    if host.backend.host != "variants-mixed":
        pytest.skip("systemd runs all of it on one host alone")  # supervisor has no sandbox


@pytest.mark.parametrize("author", AUTHORS)
def test_every_program_has_the_surroundings_of_the_web_process(host, author):
    web, other = probe(host, "web"), probe(host, author)
    assert web["cwd"] == f"{HOME}/releases/ID/src"
    for one in (web, other):
        del one["unit"], one["directory"]
    if host.backend.host != "variants-mixed":
        for name in SANDBOX:
            del web[name], other[name]
    assert {*web["env"].items()} ^ {*other["env"].items()} == set()
    assert other == web


@pytest.mark.parametrize("author", AUTHORS)
def test_the_directives_of_the_application_are_for_all_of_its_programs(host, managed, author):
    found = probe(host, author)
    assert found["directory"].startswith("/run/credentials/")
    # In some containers, systemd gives none to any unit.
    given = host.check_output(
        "systemd-run --quiet --pipe --wait -p SetCredential=a:b sh -c 'ls $CREDENTIALS_DIRECTORY || :'"
    )
    assert found["credentials"] == ({"token": host.file("/etc/machine-id").content_string} if given else {})
    assert int(host.check_output("getent group adm | cut -d: -f3")) in found["ids"]
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"} <= set(found["families"])
    assert "AF_PACKET" not in found["families"]
    assert found["interfaces"] is True
    assert found["writable"] == ["/tmp", "data", f"{HOME}/cache"]


def test_the_environment_comes_first_and_variables_arrive_unchanged(host):
    found, release = probe(host, "web")["env"], f"{HOME}/releases/ID"
    assert found["PATH"].split(":")[:3] == [f"{release}/venv/bin", "/opt/tools/bin", "/usr/bin"]
    assert found["TOKEN"] == "a 'quoted' \"value\" with $HOME and %i"  # not a password
    assert found["PYTHONUNBUFFERED"] == "1"
    assert found["SETTINGS"] == f"{release}/src/config/secrets.json"
    file = host.file(f"{HOME}/current/src/config/secrets.json")
    assert (file.user, file.group, file.mode) == ("root", "writer", 0o640)
    assert json.loads(file.content_string) == {"password": "hunter2-of-the-writer"}


# Variables that uv sets for the packages that it builds, and those of the finished environment.
OF_UV = {"UV", "PYTHONIOENCODING", "XDG_CONFIG_HOME", "VIRTUAL_ENV", "PYTHONPATH", "PATH"}


def test_a_build_backend_and_a_build_command_have_one_world(host):
    current = host.check_output(f"readlink -f {HOME}/current")
    program = f"cd /; {current}/venv/bin/python -c 'import probing; print(probing.FOUND)'"
    backend = without_own(json.loads(host.check_output(program)))
    command = without_own(json.loads(host.file(f"{current}/src/built/probe-command.json").content_string))
    for one in (backend, command):
        # uv builds in a folder of its own. SigIgn differs by an internal signal of the C library.
        del one["cwd"], one["writable"], one["unit"], one["directory"], one["kernel"]["SigIgn"]
        one["env"] = {name: one["env"][name] for name in one["env"] if name not in OF_UV and not name.startswith("UV_")}
    assert {*backend["env"].items()} ^ {*command["env"].items()} == set()
    assert backend == command
    assert (command["home"], command["umask"]) == (f"{HOME}/build", 0o027)
    assert command["env"]["TOKEN"].startswith("a 'quoted'")
    assert command["credentials"] == {}


@pytest.mark.parametrize("author", ["import", "command"])
def test_a_command_runs_in_a_unit_without_rights(host, facts, author):
    found = probe(host, author)
    assert found["kernel"]["NoNewPrivs"] == "1"
    assert int(found["kernel"]["CapBnd"], 16) == 0
    assert found["home"] == f"{HOME}/cache"
    assert found["umask"] == 0o027
    if host.backend.host != "variants-noinit":
        assert found["unit"].startswith("pyweb-")
        assert found["unit"].endswith(".writer.service")
        assert found["writable"] == ["/tmp", "data", f"{HOME}/cache"]


ATTACKS = {
    # The command, and the words of its failure
    "write into the system": ("echo evil >/etc/evil", "ead-only file system"),
    "write into the release": ("echo evil >>writer.py", "denied|ead-only"),
    "read the folder of the build": (f"ls {HOME}/build", "denied"),
    "gain rights": ("/usr/bin/setpriv --reuid=0 true", "not permitted|denied"),
}


@pytest.mark.attack(
    "13.9", "A command of run.yml writes outside of its folders, reads those of builds, or gains rights"
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_command_by_hand_is_sandboxed(host, managed, run_playbook, attack):
    command, words = ATTACKS[attack]
    run = run_playbook(
        "pyweb.stack.run", {"app": "writer", "command": f"{command} 2>&1; true"}, "--limit", "variants-mixed"
    )
    assert run.status == 0
    assert any(word in run.output for word in words.split("|"))
    assert not host.file("/etc/evil").exists


@pytest.mark.attack("13.9", "A command of run.yml leaves a process that has left its session")
def test_what_a_command_by_hand_leaves_ends_with_it(host, run_playbook):
    name = host.backend.host
    command = "(setsid sleep 4321 >/dev/null 2>&1 &) & setsid sleep 4322 & sleep 0.2; echo said"
    run = run_playbook("pyweb.stack.run", {"app": "writer", "command": command}, "--limit", name)
    assert run.status == 0
    assert host.run("pgrep -f 'sleep 432[12]'").rc == 1


@pytest.mark.attack("13.7", "The service writes into the HOME and the caches of its builds")
def test_the_application_reaches_nothing_that_builds_trust(host):
    drop = "setpriv --reuid writer --regid writer --init-groups"
    for command in ("ls {0}", "touch {0}/.netrc", "mkdir -p {0}/.config/pip", "touch {0}/uv/x"):
        assert host.run(f"{drop} {command.format(f'{HOME}/build')}").rc != 0
    folder = host.file(f"{HOME}/build")
    assert (folder.user, folder.mode) == (BUILDER, 0o700)
    assert host.run(f"pgrep -u {BUILDER}").rc == 1


TRICK = "sh -c 'id -u >> data/ids; echo Unknown assignment: User=x >&2; exit 1'"


@pytest.mark.attack("9", "A command prints systemd's message about an unknown property, to run again as root")
def test_the_output_of_a_command_does_not_change_its_sandbox(host, facts, run_playbook):
    given = {"app": "writer", "command": TRICK}
    assert run_playbook("pyweb.stack.run", given, "--limit", facts.name).status != 0
    ids = host.file(f"{HOME}/shared/data/ids").content_string.split()
    assert ids == [host.check_output("id -u writer")]
    host.run(f"rm {HOME}/shared/data/ids")
