# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""gunicorn's settings and start command, rendered as the role renders them, and then run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.webapps import gunicorn_files
from ansible_collections.pyweb.stack.plugins.module_utils.activation import worker_crashes
from ansible_collections.pyweb.stack.plugins.plugin_utils.mapping import repr_python

SERVICE: dict[str, Any] = {
    "name": "shop",
    "directory": "/srv/shop/releases/1",
    "bind": "unix:/run/shop.sock",
    "wsgi_app": "shop:create_app('a b')",
    "program": ["/srv/shop/releases/1/bin/run", "gunicorn"],
}


@pytest.fixture
def files(render: Callable[..., Any]) -> Callable[..., dict[str, dict[str, Any]]]:
    def run(**changes: Any) -> dict[str, dict[str, Any]]:
        return {file["path"]: file for file in render("gunicorn", gunicorn_files([{**SERVICE, **changes}]))}

    return run


@pytest.fixture
def settings(files: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """What gunicorn finds in the file: its names after it was run as Python."""

    def run(**changes: Any) -> dict[str, Any]:
        scope: dict[str, Any] = {}
        exec(files(**changes)["/srv/shop/releases/1/gunicorn.conf.py"]["content"], scope)
        return {key: value for key, value in scope.items() if key != "__builtins__"}

    return run


def test_one_worker_with_one_thread_is_sync(settings: Callable[..., Any]) -> None:
    found = settings()
    assert found["bind"] == "unix:/run/shop.sock"
    assert found["wsgi_app"] == "shop:create_app('a b')"
    assert (found["workers"], found["threads"], found["worker_class"]) == (1, 1, "sync")
    assert (found["timeout"], found["graceful_timeout"]) == (30, 30)
    assert found["accesslog"] is None
    assert found["errorlog"] == "-"
    assert "chdir" not in found


def test_threads_need_their_worker_class(settings: Callable[..., Any]) -> None:
    assert settings(threads=4)["worker_class"] == "gthread"
    assert settings(threads=4, settings={"worker_class": "gevent"})["worker_class"] == "gevent"


TRICKY = [
    'it\'s "quoted" \\ back',
    "line\nbreak",
    "{{ 7 * 7 }} {% raw %} {# x #}",
    "100% $HOME",
    "Grüße 😀",
    "",
    5,
    -1.5,
    True,
    ["a", ["b", 1]],
    {"k": {"x": [None, False]}},
]


@pytest.mark.parametrize("value", TRICKY)
def test_every_value_arrives_exactly(settings: Callable[..., Any], value: Any) -> None:
    assert settings(settings={"custom": value})["custom"] == value
    assert eval(repr_python(value)) == value


def test_a_value_of_none_leaves_the_setting_to_gunicorn(settings: Callable[..., Any]) -> None:
    assert "worker_tmp_dir" not in settings(settings={"worker_tmp_dir": None})


def test_what_becomes_of_workers_is_noted_beside_the_socket(settings: Callable[..., Any], tmp_path: Path) -> None:
    socket = tmp_path / "it's 1.sock"
    hooks = settings(bind=f"unix:{socket}")
    hooks["post_worker_init"](SimpleNamespace(pid=5))
    hooks["worker_exit"](None, SimpleNamespace(pid=5))
    hooks["child_exit"](None, SimpleNamespace(pid=5))
    hooks["child_exit"](None, SimpleNamespace(pid=6))
    told = (tmp_path / "it's 1.sock.ready").read_text()
    assert told == "ready 5\nleft 5\ngone 5\ngone 6\n"
    assert worker_crashes(told) == 1


def test_a_port_has_no_file_beside_it(settings: Callable[..., Any]) -> None:
    assert settings(bind="127.0.0.1:8000")["bind"] == "127.0.0.1:8000"


def test_the_start_command_keeps_every_word(files: Callable[..., Any], tmp_path: Path) -> None:
    odd = tmp_path / "it's a $HOME folder"
    odd.mkdir()
    program = odd / "run"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "$@"\n')
    program.chmod(0o755)
    file = files(directory=str(odd), program=[str(program), "a b", "", "*"])[f"{odd}/bin/web"]
    assert file["mode"] == "0755"
    web = tmp_path / "web"
    web.write_text(file["content"])
    web.chmod(0o755)
    process = subprocess.Popen([str(web)], stdout=subprocess.PIPE, text=True)
    said = process.communicate()[0].split("\n")
    # The server takes the place of the shell: the process manager's signals reach it.
    assert said == [str(process.pid), "a b", "", "*", "--config", f"{odd}/gunicorn.conf.py", ""]


def test_what_is_written_is_python_without_jinja(files: Callable[..., Any]) -> None:
    content = files()["/srv/shop/releases/1/gunicorn.conf.py"]["content"]
    compile(content, "gunicorn.conf.py", "exec")
    assert content.startswith("# Managed by Ansible")
    assert "{%" not in content
    assert content.endswith("\n")
