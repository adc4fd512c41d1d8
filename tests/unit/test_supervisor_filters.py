# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""supervisor_quote and supervisor_definitions: what supervisor's own parser reads back is what was given."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.supervisor_definitions import supervisor_definitions
from ansible_collections.pyweb.stack.plugins.filter.supervisor_quote import supervisor_quote
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import instantiate
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.supervisor import RESTRICTED
from supervisor_files import NASTY, read_groups, read_programs, rendered

datatypes = pytest.importorskip("supervisor.datatypes")

INSTANCE = "20261121T010735Z-ab12cd34"


def test_command_is_read_back(tmp_path: Path) -> None:
    command = ["/usr/bin/printf", *NASTY]
    programs = read_programs(tmp_path, f"[program:x]\ncommand={supervisor_quote(command)}\n")
    assert shlex.split(programs["x"].command) == command


@pytest.mark.parametrize("value", ["line\nbreak", "return\r", "nul\0", "\x1b[0m"])
def test_what_no_file_can_hold_is_refused(value: str) -> None:
    with pytest.raises(AnsibleFilterError, match="control character"):
        supervisor_quote(value)


def test_instance_takes_the_place_of_i_alone(render: Any, tmp_path: Path) -> None:
    item = {"name": "shop@", "command": ["/srv/%i/web", "%%i", "100%", "%n"]}
    programs = read_programs(tmp_path, instantiate(rendered(render, tmp_path, item), INSTANCE))
    words = shlex.split(programs[f"shop-{INSTANCE}"].command)
    assert words == [f"/srv/{INSTANCE}/web", f"%{INSTANCE}", "100%", "%n"]


def test_runtime_directory_is_made_by_root_and_the_program_runs_as_its_account(render: Any, tmp_path: Path) -> None:
    folder = {"path": "/run/webapps/shop", "group": "www-data", "mode": "0710"}
    item = {"name": "shop@", "command": ["/srv/%i/web"], "user": "daemon", "runtime_directory": folder}
    programs = read_programs(tmp_path, instantiate(rendered(render, tmp_path, item), INSTANCE))
    program = programs[f"shop-{INSTANCE}"]
    words = shlex.split(program.command)
    assert words[2].startswith("/usr/bin/install -d -o daemon -g www-data -m 0710 /run/webapps/shop && ")
    drop = ["/usr/bin/setpriv", "--reuid=daemon", "--regid=daemon", "--init-groups", *RESTRICTED]
    assert words[4:] == [*drop, f"/srv/{INSTANCE}/web"]
    assert program.uid == 0


def test_root_makes_the_sockets_before_the_program_loses_its_privileges(render: Any, tmp_path: Path) -> None:
    sockets = {"paths": ["/run/shop/%i.sock"], "condition_path": "/srv/%i/sockets"}
    item = {"name": "shop@", "command": ["/srv/%i/web"], "user": "daemon", "sockets": sockets}
    programs = read_programs(tmp_path, instantiate(rendered(render, tmp_path, item), INSTANCE))
    words = shlex.split(programs[f"shop-{INSTANCE}"].command)
    assert words[4:] == [
        *("/usr/bin/python3", "-I", "-S", "/usr/local/lib/pyweb/with_sockets.py"),
        *("--group", "www-data", "--mode", "0660", "--if-exists", f"/srv/{INSTANCE}/sockets"),
        *("--socket", f"/run/shop/{INSTANCE}.sock", "--"),
        *("/usr/bin/setpriv", "--reuid=daemon", "--regid=daemon", "--init-groups", *RESTRICTED),
        f"/srv/{INSTANCE}/web",
    ]


def test_every_program_of_an_account_loses_its_privileges(render: Any, tmp_path: Path) -> None:
    item = {"name": "w", "command": ["/bin/w"], "user": "daemon"}
    program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    assert program.uid == 0
    assert shlex.split(program.command)[4:9] == [
        "/usr/bin/setpriv",
        "--reuid=daemon",
        "--regid=daemon",
        "--init-groups",
        "--no-new-privs",
    ]


def test_stop_reaches_the_master_and_the_kill_reaches_all(render: Any, tmp_path: Path) -> None:
    program = read_programs(tmp_path, rendered(render, tmp_path, {"name": "w", "command": ["/bin/w"]}))["w"]
    assert (program.stopasgroup, program.killasgroup, program.stopwaitsecs) == (False, True, 30)


def test_program_that_ends_is_started_again_whatever_its_status(render: Any, tmp_path: Path) -> None:
    item = {"name": "w", "command": ["/bin/w"]}
    program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    assert program.autorestart is datatypes.RestartUnconditionally
    item["autorestart"] = "unexpected"
    kept = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    assert kept.autorestart is datatypes.RestartWhenExitUnexpected


def test_settings_replace_the_roles_own(render: Any, tmp_path: Path) -> None:
    item = {"name": "w", "command": ["/bin/w"], "settings": {"priority": 5, "redirect_stderr": False, "umask": "022"}}
    program = read_programs(tmp_path, rendered(render, tmp_path, item))["w"]
    assert (program.priority, program.redirect_stderr, program.umask) == (5, False, 0o22)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a:b"}, "not the name of a program"),
        ({"command": []}, "command: it is missing"),
        ({"command": ["web"]}, "not an absolute path"),
        ({"environment": {"A-B": "x"}}, "not the name of an environment variable"),
        ({"environment": {"A": "x\ny"}}, "control character"),
        ({"user": "a b"}, "not the name of an account"),
        ({"directory": "/srv/a ;b"}, "begins a comment"),
        ({"settings": {"a b": 1}}, "not the name of an option"),
        ({"settings": {"user": "daemon"}}, "Give user outside of settings"),
        ({"sockets": {"paths": ["/run/w.sock"]}, "schedule": "1 2 * * *"}, "cron passes no sockets"),
        ({"settings": {"umask": "1\n[program:x]"}}, "one line"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        supervisor_definitions([{"name": "w", "command": ["/bin/w"], **change}])


def test_same_name_twice_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="twice"):
        supervisor_definitions([{"name": "w", "command": ["/bin/w"]}] * 2)


JOB: dict[str, Any] = {
    "name": "shop.nightly",
    "command": ["/bin/echo", *NASTY],
    "user": "root",
    "schedule": "0 4 * * 1",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "daily"}, "five fields"),
        ({"schedule": "0 4 * * 1 root rm"}, "five fields"),
        ({"schedule": "0 4 * *\n1"}, "five fields"),
        ({"name": "shop@"}, "template has no schedule"),
        ({"name": "shop.*"}, "not the name of a program"),
    ],
)
def test_bad_schedule_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        supervisor_definitions([{**JOB, **change}])


@pytest.mark.attack("21", "A schedule takes the crontab by which the host renews its certificates, or another's")
@pytest.mark.parametrize(
    ("names", "owner"),
    [
        (["certificates"], "the timer that renews certificates"),
        (["shop.nightly", "shop_nightly"], "the program 'shop.nightly'"),
    ],
)
def test_two_crontabs_are_never_one_file(names: list[str], owner: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"which is that of {owner}. Rename it."):
        supervisor_definitions([{**JOB, "name": name} for name in names])
    supervisor_definitions([{**JOB, "name": "certificates.x"}, {"name": "certificates", "command": ["/bin/x"]}])


# Groups

PROGRAMS: list[dict[str, Any]] = [
    {"name": "one", "command": ["/bin/one"]},
    {"name": "two", "command": ["/bin/two"]},
    {"name": "shop@", "command": ["/bin/shop"]},
    {"name": "old", "state": "absent"},
    {"name": "nightly", "command": ["/bin/nightly"], "schedule": "0 4 * * 1"},
]


def test_group_is_read_back(render: Any, tmp_path: Path) -> None:
    programs = [{**program, "stdout_logfile": f"{tmp_path}/x.log"} for program in PROGRAMS[:2]]
    groups = [{"name": "mail.all_1-a", "programs": ["two", "one"], "priority": 5}]
    files = render("supervisor", supervisor_definitions(programs, groups))
    content = "\n".join(file["content"] for file in files)
    found = read_groups(tmp_path, content)
    assert [(one.name, one.priority, [p.name for p in one.process_configs]) for one in found] == [
        ("mail.all_1-a", 5, ["one", "two"])
    ]
    assert "Managed by pyweb.stack" in files[-1]["content"]


def test_order_of_a_groups_programs_is_no_change(render: Any) -> None:
    def content(*members: str) -> str:
        return render("supervisor", supervisor_definitions(PROGRAMS, [{"name": "g", "programs": list(members)}]))[-1]

    assert content("one", "two") == content("two", "one")


def test_absent_group_needs_no_programs() -> None:
    definition = supervisor_definitions(PROGRAMS, [{"name": "g", "state": "absent"}])[-1]
    assert definition == {"kind": "group", "name": "g", "state": "absent"}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"name": "a:b", "programs": ["one"]}], r"supervisor_groups 'a:b'.*not the name of a group"),
        ([{"name": "a b", "programs": ["one"]}], "not the name of a group"),
        ([{"name": "a@", "programs": ["one"]}], "not the name of a group"),
        ([{"name": "a\n", "programs": ["one"]}], "not the name of a group"),
        ([{"name": "g", "programs": []}], "there is none"),
        ([{"name": "g"}], "there is none"),
        ([{"name": "g", "programs": "one"}], "it must be a list"),
        ([{"name": "g", "programs": ["three"]}], r"supervisor_groups 'g'.*'three' is not in supervisor_programs"),
        ([{"name": "g", "programs": ["shop@"]}], "'shop@' is a template"),
        ([{"name": "g", "programs": ["old"]}], "'old' is absent"),
        ([{"name": "g", "programs": ["nightly"]}], "'nightly' has a schedule"),
        ([{"name": "g", "programs": ["one", "one"]}], "'one' is twice in this group"),
        (
            [{"name": "g", "programs": ["one"]}, {"name": "h", "programs": ["one"]}],
            "supervisor_groups 'h'.*'one' is in the group 'g'",
        ),
        ([{"name": "g", "programs": ["one"]}, {"name": "g", "state": "absent"}], "twice"),
        ([{"name": "two", "programs": ["one"]}], "a program in supervisor_programs has this name"),
        ([{"name": "old", "state": "absent"}], "a program in supervisor_programs has this name"),
        ([{"name": "g", "programs": ["one"], "priority": "first"}], "'first'.*must be a whole number"),
    ],
)
def test_bad_group_is_named(groups: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        supervisor_definitions(PROGRAMS, groups)
