# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The sandboxes of the programs of a deployment, and the account of builds."""

from __future__ import annotations

import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release import programs, releases, sandbox
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    ReleaseError,
    accounts_of,
    build_account,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import sandboxes, systemd_services
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.directives import LISTS

SHOP: dict[str, Any] = {"name": "shop", "source": {"path": "/shop"}, "wsgi": "app:app"}
FACTS = {"init": "systemd"}


def given(**more: Any) -> dict[str, Any]:
    return applications([{**SHOP, **more}])[0]


def lines_of_unit(app: dict[str, Any]) -> list[str]:
    services, problems = systemd.checked(systemd_services([app], FACTS)[:1])
    assert problems == []
    sections = {section["name"]: section["lines"] for section in systemd.units(services)[0]["vars"]["unit"]["sections"]}
    return sections["Service"]


def test_commands_have_every_directive_of_the_web_process_except_its_life() -> None:
    app = given(systemd={"ProtectHome": "read-only", "MemoryMax": "1G", "Restart": "no"}, limits={"cpu": "50%"})
    run = sandboxes(app, "/srv/webapps", "www-data")["run"]
    rest = [line for line in lines_of_unit(app) if line not in run]
    assert {line.partition("=")[0] for line in rest} == {
        *("Type", "ExecStartPre", "ExecStart", "Restart", "RestartSec", "TimeoutStartSec", "TimeoutStopSec"),
        *("KillMode", "SyslogIdentifier"),
    }
    assert {"User=shop", "ProtectHome=read-only", "MemoryMax=1G", "CPUQuota=50%", "UMask=0027"} <= set(run)
    assert "RestrictNamespaces=yes" in run, "it only looks like Restart="
    assert [line for line in lines_of_unit(app) if line in run] == run, "the order counts for filters"


# A list of an inventory, and all lines of that directive in the unit
ADDED = [
    (
        {"ReadWritePaths": "/srv/scans"},
        ["/srv/webapps/shop/shared /srv/webapps/shop/cache -/run/webapps/shop", "/srv/scans"],
    ),
    ({"ReadWritePaths": ["", "/srv/scans"]}, ["", "/srv/scans"]),
    ({"RestrictAddressFamilies": "AF_VSOCK"}, ["AF_UNIX AF_INET AF_INET6 AF_NETLINK", "AF_VSOCK"]),
    ({"RestrictAddressFamilies": ["", "AF_UNIX"]}, ["", "AF_UNIX"]),
    ({"RestrictAddressFamilies": ["AF_VSOCK", "", "AF_UNIX"]}, ["", "AF_UNIX"]),
    ({"SystemCallFilter": "@mount"}, ["@system-service", "~@privileged @resources", "@chown @setuid", "@mount"]),
    ({"CapabilityBoundingSet": "~CAP_SYS_ADMIN"}, ["~CAP_SYS_ADMIN"]),
    ({"SystemCallFilter": []}, ["@system-service", "~@privileged @resources", "@chown @setuid"]),
    ({"SystemCallArchitectures": ["x86"]}, ["native", "x86"]),
    ({"SupplementaryGroups": ["redis", "adm"]}, ["redis", "adm"]),
    ({"LoadCredential": ["a:/etc/a", "b:/etc/b"]}, ["a:/etc/a", "b:/etc/b"]),
    ({"ProtectHome": "read-only"}, ["read-only"]),
    ({"UMask": "0022"}, ["0022"]),
]


@pytest.mark.parametrize(("settings", "wanted"), ADDED)
def test_a_list_of_the_inventory_adds_to_ours_in_units_and_in_commands(
    settings: dict[str, Any], wanted: list[str]
) -> None:
    app = given(systemd=settings)
    (name,) = settings
    for lines in (lines_of_unit(app), sandboxes(app, "/srv/webapps", "www-data")["run"]):
        assert [line.partition("=")[2] for line in lines if line.partition("=")[0] == name] == wanted


def test_a_command_before_the_start_comes_after_the_one_that_makes_the_folder() -> None:
    lines = [line for line in lines_of_unit(given(systemd={"ExecStartPre": "/bin/true"})) if "ExecStartPre" in line]
    assert len(lines) == 2
    assert lines[1] == "ExecStartPre=/bin/true"


def test_systemd_run_sends_the_last_value_of_some_lists_so_commands_get_one() -> None:
    app = given(systemd={"CapabilityBoundingSet": ["CAP_NET_RAW", "CAP_CHOWN"], "RestrictNamespaces": ["user", "mnt"]})
    run = sandboxes(app, "/srv/webapps", "www-data")["run"]
    assert {"CapabilityBoundingSet=CAP_NET_RAW CAP_CHOWN", "RestrictNamespaces=user mnt"} <= set(run)
    assert "CapabilityBoundingSet=CAP_NET_RAW" in lines_of_unit(app)


# The directives of our units that hold one value.
SINGLE = {
    *("Description", "StartLimitIntervalSec", "StartLimitBurst", "Type", "User", "Group", "RemainAfterExit"),
    *("WorkingDirectory", "ExecStart", "Restart", "RestartSec", "TimeoutStartSec", "TimeoutStopSec", "KillSignal"),
    *("KillMode", "SyslogIdentifier", "OOMPolicy", "MemoryMax", "CPUQuota", "TasksMax", "NoNewPrivileges", "UMask"),
    *("ProtectSystem", "ProtectHome", "ProtectProc", "PrivateTmp", "PrivateDevices", "ProtectClock", "KeyringMode"),
    *("ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "LockPersonality"),
    *("ProtectKernelTunables", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallErrorNumber"),
    # Lists, but ours is a boolean or empty.
    *("RestrictNamespaces", "CapabilityBoundingSet"),
}


def test_every_directive_of_our_units_is_known_as_a_list_or_as_one_value() -> None:
    """Otherwise a list of an inventory would silently replace ours."""
    app = given(
        limits={"memory": "1G", "cpu": "10%", "tasks": 5}, jobs=[{"name": "a", "command": "b", "schedule": "daily"}]
    )
    services, problems = systemd.checked(systemd_services([app], FACTS)[:-1])
    assert problems == []
    found = {name for one in services for section in systemd.service_sections(one).values() for name in section}
    assert found - SINGLE - {"ConditionPathExists"} <= LISTS
    assert set() == SINGLE & LISTS


def test_builds_have_the_sandbox_without_the_limits_of_the_application() -> None:
    app = given(systemd={"ProcSubset": "pid", "MemoryMax": "1G", "UMask": "0077"}, limits={"memory": "512M"})
    build = build_of(app)
    assert build == build_of(given())
    assert {f"User={build_account('shop')}", "Group=shop", "NoNewPrivileges=yes", "ProtectHome=yes"} <= set(build)
    assert {"TasksMax=4096", "ReadWritePaths=/srv/webapps/shop", "ReadOnlyPaths=/srv/webapps/shop/shared"} <= set(build)


def build_of(app: dict[str, Any]) -> list[str]:
    return sandboxes(app, "/srv/webapps", "www-data")["build"]


RELAXED = [
    ({"ProtectSystem": False, "PrivateDevices": "no"}, ["ProtectSystem=no", "PrivateDevices=no"]),
    ({"ProtectHome": "read-only"}, ["ProtectHome=read-only"]),
    ({"PrivateTmp": []}, ["PrivateTmp="]),
    ({"BindReadOnlyPaths": "/home/shop/ca.pem", "ProtectHome": "tmpfs"}, ["BindReadOnlyPaths=/home/shop/ca.pem"]),
    ({"SystemCallFilter": ""}, ["SystemCallFilter="]),
    ({"SystemCallFilter": ["", "~@mount"]}, ["SystemCallFilter=~@mount"]),
    ({"SystemCallFilter": "@mount"}, ["SystemCallFilter=@system-service", "SystemCallFilter=@mount"]),
    ({"RestrictAddressFamilies": ["none"]}, ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"]),
    ({"RestrictAddressFamilies": "AF_VSOCK"}, ["RestrictAddressFamilies=AF_VSOCK"]),
    ({"SystemCallFilter": "~@clock"}, ["SystemCallFilter=@system-service"]),
    ({"SystemCallArchitectures": "x86"}, ["SystemCallArchitectures=native", "SystemCallArchitectures=x86"]),
    ({"RestrictNamespaces": False}, ["RestrictNamespaces=no"]),
]


@pytest.mark.parametrize(("settings", "wanted"), RELAXED)
def test_what_relaxes_the_sandbox_of_services_relaxes_that_of_builds(
    settings: dict[str, Any], wanted: list[str]
) -> None:
    """Where systemd can't make namespaces, builds would end like services: with 226/NAMESPACE."""
    build, usual = build_of(given(systemd=settings)), build_of(given())
    for line in wanted:
        name, _, value = line.partition("=")
        assert line in build if value else not [one for one in build if one.partition("=")[0] == name and one != line]
    others = [line for line in usual if line.partition("=")[0] not in settings]
    assert [line for line in build if line.partition("=")[0] not in settings] == others


def test_the_end_of_a_command_removes_nothing_that_the_service_uses() -> None:
    own = {"RuntimeDirectory": "shop-live", "RuntimeDirectoryMode": "0700", "RuntimeDirectoryPreserve": "no"}
    app = given(systemd={**own, "RemoveIPC": True, "StateDirectory": "shop", "ExecPaths": "/opt", "NoExecPaths": "/"})
    run = sandboxes(app, "/srv/webapps", "www-data")["run"]
    assert not [line for line in run if line.startswith(("RuntimeDirectory", "RemoveIPC"))]
    # systemd keeps a state directory at the end.
    assert {"StateDirectory=shop", "ExecPaths=/opt", "NoExecPaths=/"} <= set(run)


def test_specifiers_have_their_values_in_transient_units() -> None:
    values = sandbox.specifiers(Layout("shop"), "ID")
    line = "Environment=A=%i B=%%i C=%n D=%p E=%h F=%q"
    assert sandbox.expanded(line, values) == "Environment=A=ID B=%i C=shop@ID.service D=shop E=/srv/webapps/shop F=%q"


def test_no_secret_and_no_variable_is_in_the_command_line_of_systemd() -> None:
    with sandbox.environment_file({"PASSWORD": 'a"b$c\\d`e'}) as path:
        assert Path(path).read_text() == 'PASSWORD="a\\"b\\$c\\\\d\\`e"\n'
        assert Path(path).stat().st_mode & 0o777 == 0o600
        words = sandbox.command_line("u.service", ["User=shop"], "/", path, ["/bin/sh", "-c", "echo $HOME $$"])
    assert words[-3:] == ["/bin/sh", "-c", "echo $$HOME $$$$"]
    assert not [word for word in words if 'a"b' in word]
    assert words[words.index("User=shop") - 1] == "-p"


class OldSystemd:
    """systemd-run of a version that lacks some properties. It refuses them before it starts the program."""

    def __init__(self, *lacks: str) -> None:
        self.lacks = lacks
        self.ran: list[list[str]] = []

    def __call__(self, argv: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        given = [argv[place + 1] for place, word in enumerate(argv) if word == "-p"]
        for line in given:
            if line.partition("=")[0] in self.lacks:
                return subprocess.CompletedProcess(argv, 1, "", f"Unknown assignment: {line}")
        self.ran.append(given)
        return subprocess.CompletedProcess(argv, 0, "", "")


LINES = ["User=shop", "Group=shop", "NoNewPrivileges=yes", "Sleep=yes", "UMask=0027"]


def test_a_directive_that_systemd_does_not_know_is_left_out_as_in_a_unit_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.subprocess, "run", OldSystemd("Sleep"))
    wanted = [line for line in LINES if line != "Sleep=yes"]
    assert sandbox.known_properties(Layout("shop"), "x.service", LINES) == wanted


@pytest.mark.attack("9", "systemd of the host lacks a property of the sandbox that protects other accounts")
@pytest.mark.parametrize("name", sorted(sandbox.ESSENTIAL))
def test_no_command_runs_without_the_essential_properties(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.subprocess, "run", OldSystemd(name))
    with pytest.raises(ReleaseError, match=f"has no property {name}"):
        sandbox.known_properties(Layout("shop"), "x.service", [f"{name}=x", *LINES])


@pytest.mark.attack("9", "A command prints systemd's message about an unknown property, to run again as root")
@pytest.mark.parametrize("name", ["User", "Group", "NoNewPrivileges", "Sleep"])
def test_the_output_of_a_command_drops_no_property(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe, runs = OldSystemd(), []

    def captured(argv: list[str], *_more: Any) -> subprocess.CompletedProcess[str]:
        runs.append(argv)
        return subprocess.CompletedProcess(argv, 1, "", f"Unknown assignment: {name}=x")

    monkeypatch.setattr(sandbox.subprocess, "run", probe)
    monkeypatch.setattr(sandbox, "properties", lambda _layout, _world: LINES)
    monkeypatch.setattr(programs, "captured", captured)
    owner = pwd.struct_passwd(("shop", "x", 1, 1, "", "/", "/"))
    program = programs.Program(["/bin/false"], "/", {}, None)
    answer = programs.run(Layout("shop"), "run", owner, program, "x.service", "")
    assert (answer.returncode, len(runs)) == (1, 1)
    assert all(line in runs[0] for line in LINES)


@pytest.mark.parametrize("name", ["a", "shop-build", "a" * 31])
def test_the_name_of_a_build_account_fits_and_is_no_application_s(name: str) -> None:
    assert len(build_account(name)) == 20
    assert build_account(name) != build_account(f"{name}x")


def test_the_own_account_of_an_application_is_removed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    homes = {"shop": "/srv/webapps/shop", build_account("shop"): "/srv/webapps/shop/build"}
    known = {name: pwd.struct_passwd((name, "x", 1, 1, "", home, "/")) for name, home in homes.items()}
    monkeypatch.setattr(releases, "account", known.get)
    assert [entry.pw_name for entry in accounts_of("shop")] == [build_account("shop"), "shop"]
    assert accounts_of("blog") == []


@pytest.mark.attack("13.9", "An account of another program has the name of a build account, and all its processes end")
@pytest.mark.parametrize(("uid", "home"), [(0, "/srv/webapps/shop/build"), (5, "/home/build-agent")])
def test_an_account_of_others_is_no_build_account(uid: int, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pwd.struct_passwd((build_account("shop"), "x", uid, 1, "", home, "/"))
    monkeypatch.setattr(releases, "account", {build_account("shop"): found}.get)
    assert releases.builder_of("shop") is None
    assert accounts_of("shop") == []
