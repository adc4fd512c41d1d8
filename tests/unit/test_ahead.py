# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Work that starts while a host is still busy: it runs in parallel, and a failure has the same effect as later."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.executor import module_common
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import ahead

VARS = {"ansible_python_interpreter": "/usr/bin/python3"}


class Connection:
    def __init__(self, transport: str, error: Exception | None = None, ssh_args: str = "-o ControlPersist=60s") -> None:
        self.transport = transport
        self.error = error
        self.ssh_args = ssh_args
        self.commands: list[str] = []

    def get_option(self, name: str) -> str | None:
        return self.ssh_args if name == "ssh_args" else None

    def exec_command(self, command: str, sudoable: bool = True) -> None:
        assert not sudoable, "a password may not be known yet"
        self.commands.append(command)
        if self.error:
            raise self.error


def test_work_goes_on_beside_whoever_began_it() -> None:
    meet = threading.Barrier(2)
    with ahead.Ahead(lambda: meet.wait(10)):
        meet.wait(10)


def test_what_it_raised_is_raised_where_it_is_waited_for() -> None:
    unreachable = Connection("ssh", AnsibleConnectionFailure("no route to host"))
    reached = []
    with pytest.raises(AnsibleConnectionFailure, match="no route"), ahead.Ahead(lambda: ahead.connect(unreachable)):
        reached.append("the end of the block")
    assert reached


def test_it_is_waited_for_even_where_the_rest_fails_and_that_is_what_is_told() -> None:
    over = threading.Event()
    done = []

    def work() -> None:
        over.wait(10)
        done.append(1)
        raise ValueError("later")

    def fail() -> None:
        over.set()
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"), ahead.Ahead(work):
        fail()
    assert done == [1]


@pytest.mark.parametrize(
    ("transport", "arguments", "commands"),
    [
        ("ssh", "-o ControlMaster=auto -o ControlPersist=60s", ["true"]),
        ("ssh", "-o controlpersist=yes", ["true"]),
        ("ssh", "-C", []),
        ("local", "-o ControlPersist=60s", []),
    ],
)
def test_only_a_connection_that_stays_open_is_opened_ahead(transport: str, arguments: str, commands: list[str]) -> None:
    connection = Connection(transport, ssh_args=arguments)
    ahead.connect(connection)
    assert connection.commands == commands


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The modules whose imports ansible-core has looked for; its cache is empty at first."""
    names: list[str] = []
    real = module_common.recursive_finder

    def finder(name: str, *arguments: Any) -> Any:
        names.append(name)
        return real(name, *arguments)

    monkeypatch.setattr(module_common, "recursive_finder", finder)
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return names


def test_a_module_that_was_packed_is_not_packed_again(parsed: list[str]) -> None:
    templar = Templar(loader=DataLoader(), variables=VARS)
    ahead.pack("pyweb.stack.webapp_activate", VARS, templar)
    assert parsed == ["pyweb.stack.webapp_activate"]
    # As the task itself does it.
    path = ahead.module_loader.find_plugin("pyweb.stack.webapp_activate", ".py")
    compression = constants.config.get_config_value("DEFAULT_MODULE_COMPRESSION", variables=VARS)
    built = module_common.modify_module(
        module_name="pyweb.stack.webapp_activate",
        module_path=path,
        module_args={"apps": []},
        templar=templar,
        task_vars=VARS,
        module_compression=compression,
    )
    assert b"webapp_activate" in built.b_module_data
    assert parsed == ["pyweb.stack.webapp_activate"]


def test_an_interpreter_that_is_still_to_be_found_out_is_no_obstacle(parsed: list[str]) -> None:
    ahead.pack("pyweb.stack.webapp_activate", {}, Templar(loader=DataLoader(), variables={}))
    assert parsed == ["pyweb.stack.webapp_activate"]
    assert [path for path in Path(constants.DEFAULT_LOCAL_TMP).rglob("*webapp_activate*") if path.suffix != ".lock"]


def test_a_module_that_can_not_be_packed_is_left_to_the_task(parsed: list[str]) -> None:
    ahead.pack("pyweb.stack.no_such_module", VARS, Templar(loader=DataLoader(), variables=VARS))
    assert parsed == []
