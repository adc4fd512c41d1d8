# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""gunicorn's settings and start command, rendered as the role renders them, and then run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.webapps import FilterModule
from ansible_collections.pyweb.stack.plugins.module_utils.switching.workers import worker_crashes
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.gunicorn import repr_python
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.translations import GUNICORN_NAMES, GUNICORN_SENTENCES
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker
from gunicorn.config import KNOWN_SETTINGS, Config

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

gunicorn_files = FilterModule().filters()["gunicorn_files"]

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
    """The settings that gunicorn reads from the file: its names after running it as Python."""

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
    assert settings(settings={"logconfig_dict": {"x": value}})["logconfig_dict"] == {"x": value}
    assert eval(repr_python(value)) == value


def test_a_value_of_none_leaves_the_setting_to_gunicorn(settings: Callable[..., Any]) -> None:
    assert "worker_tmp_dir" not in settings(settings={"worker_tmp_dir": None})


def test_what_becomes_of_workers_is_noted_beside_the_socket(settings: Callable[..., Any], tmp_path: Path) -> None:
    socket = tmp_path / "it's 1.sock"
    hooks = settings(bind=f"unix:{socket}")
    hooks["post_worker_init"](SimpleNamespace(pid=5))
    hooks["worker_exit"](None, SimpleNamespace(pid=5))
    hooks["child_exit"](None, SimpleNamespace(pid=5, aborted=False))
    hooks["child_exit"](None, SimpleNamespace(pid=6, aborted=True))
    told = (tmp_path / "it's 1.sock.ready").read_text()
    assert [line.rpartition(" ")[0] for line in told.strip().split("\n")] == [
        "ready 5",
        "left 5",
        "gone 5",
        "aborted 6",
    ]
    assert worker_crashes(told) == 1


def test_own_hooks_are_called_without_notes_too(settings: Callable[..., Any]) -> None:
    hooks = settings(bind="127.0.0.1:8000", settings={"child_exit": "fnmatch.fnmatch"})
    assert hooks["child_exit"]("a", "b") is None
    assert hooks["own_child_exit"]("a", "a") is True


@pytest.mark.parametrize("wsgi_app", ["shop:dash.server", "shop:make().server", "shop:[]"])
def test_a_callable_that_gunicorn_can_not_load_is_refused(wsgi_app: str) -> None:
    with pytest.raises(AnsibleFilterError, match="Assign anything else to a name in the module"):
        gunicorn_files([{**SERVICE, "wsgi_app": wsgi_app}])


def test_a_port_has_no_file_beside_it(settings: Callable[..., Any]) -> None:
    assert settings(bind="127.0.0.1:8000")["bind"] == "127.0.0.1:8000"


def test_what_is_written_is_python_without_jinja(files: Callable[..., Any]) -> None:
    content = files()["/srv/shop/releases/1/gunicorn.conf.py"]["content"]
    compile(content, "gunicorn.conf.py", "exec")
    assert content.startswith("# Managed by Ansible")
    assert "{%" not in content
    assert content.endswith("\n")


# Its settings


def test_the_table_is_that_of_the_locked_gunicorn() -> None:
    """After a renewal of the locks: python scripts/gunicorn_settings.py"""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import gunicorn_settings
    finally:
        sys.path.remove(str(SCRIPTS))
    assert gunicorn_settings.table() == gunicorn_settings.TABLE.read_text()


@pytest.mark.parametrize(
    ("given", "found", "remedy"),
    [
        ({"max_request": 5}, "'max_request'", "Did you mean 'max_requests'?"),
        ({"worker_connectons": 5}, "'worker_connectons'", "Did you mean 'worker_connections'?"),
        ({"max-requests": 5}, "'max-requests'", "Did you mean 'max_requests'?"),
        ({"zzz": 5}, "'zzz'", "Leave it out"),
        ({"max_requests": "many"}, "'many'", "a whole number"),
        ({"max_requests": -1}, "-1", "from 0"),
        ({"preload_app": "perhaps"}, "'perhaps'", "true or false"),
        ({"asgi_lifespan": False}, "a boolean", "quotes"),
        ({"asgi_loop": "uvlop"}, "'uvlop'", "Did you mean 'uvloop'?"),
        ({"loglevel": "verbose"}, "'verbose'", "info"),
        ({"dirty_apps": "a:b"}, "a string", "[a:b]"),
        ({"post_fork": "fork"}, "a string", "dotted name"),
        ({"worker_class": "gthreads"}, "'gthreads'", "Did you mean 'gthread'?"),
        ({"worker_class": "uvicorn"}, "'uvicorn'", "uvicorn_worker.UvicornWorker"),
        ({"worker_class": "eventlet"}, "'eventlet'", "gevent"),
        ({"worker_class": "none"}, "'none'", "It has: sync, gthread"),
        ({"bind": "0.0.0.0:80"}, "bind", "outside of settings"),
        ({"-w": 4}, "'-w'", "Did you mean 'workers'? There, give it as workers, outside of settings."),
        ({"--bind": ":80"}, "'--bind'", "Did you mean 'bind'? There, give it as bind"),
        ({"logfile": "/x"}, "'logfile'", "Did you mean 'errorlog'?"),
        ({"log-level": "debug"}, "'log-level'", "Did you mean 'loglevel'?"),
        ({"access_logfile": "-"}, "'access_logfile'", "Did you mean 'accesslog'?"),
        ({"debug": True}, "'debug'", "gunicorn 19 dropped it. Use loglevel: debug"),
        ({"django_settings": "shop.settings"}, "'django_settings'", "env: {DJANGO_SETTINGS_MODULE: shop.settings}"),
        ({"environment": {}}, "'environment'", "Set variables as env"),
        ({"monkey": "x"}, "'monkey'", "The worker class gevent patches the standard library by itself"),
        ({"worker_class": "egg:gunicorn#gevent"}, "'egg:gunicorn#gevent'", "Write it as 'gevent'."),
        ({"worker_class": "egg:gunicorn#eventlet"}, "'egg:gunicorn#eventlet'", "gunicorn 26 dropped it"),
    ],
)
def test_what_gunicorn_would_not_understand_is_refused(given: dict[str, Any], found: str, remedy: str) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        gunicorn_files([{**SERVICE, "settings": given}])
    assert found in str(error.value)
    assert remedy in str(error.value)


def test_every_option_of_the_command_line_is_translated() -> None:
    translator = gunicorn.translator(gunicorn.OWN)
    for one in KNOWN_SETTINGS:
        for flag in one.cli or []:
            assert translator.remedy(flag).startswith(f" Did you mean '{one.name}'?"), flag


def test_every_translation_names_a_setting() -> None:
    assert set(GUNICORN_NAMES.values()) <= set(gunicorn.SETTINGS)
    assert not set(GUNICORN_NAMES) & set(gunicorn.SETTINGS)
    assert not set(GUNICORN_NAMES) & set(GUNICORN_SENTENCES)


PYTHON_FILE = """
from gevent import monkey; monkey.patch_all()
import multiprocessing

bind = "127.0.0.1:8000"
workers = multiprocessing.cpu_count() * 2 + 1   # as the tutorial says
worker_class = "egg:gunicorn#gevent"
max_requests = 1000
debug = True
logfile = "/var/log/gunicorn.log"
pythonpath = "/srv"
"""


def test_a_settings_file_is_translated_line_by_line() -> None:
    said = gunicorn.translator(gunicorn.OWN).text_problem(PYTHON_FILE)
    for words in (
        "this is a text, but settings are a mapping, such as gunicorn: {max_requests: 1000}",
        "monkey: The worker class gevent patches the standard library by itself",
        "bind: a release listens on its own socket",
        "workers: auto is twice the number of cores plus one",
        "max_requests: write max_requests: 1000",
        "debug: gunicorn 19 dropped it",
        "logfile: Did you mean 'errorlog'?",
        "pythonpath: write pythonpath:",
    ):
        assert words in said
    assert "multiprocessing" not in said


def test_a_command_line_is_translated() -> None:
    said = gunicorn.translator(gunicorn.OWN).text_problem(
        "-w 4 --max-requests=100 --preload -b :8000 --log-level debug"
    )
    assert "-w: Did you mean 'workers'? There, give it as workers, outside of gunicorn" in said
    assert "--max-requests: write max_requests: 100" in said
    assert "--preload: Did you mean 'preload_app'?" in said
    assert "--log-level: Did you mean 'loglevel'?" in said


def test_values_get_the_type_that_gunicorn_wants() -> None:
    checker = Checker()
    given = {"max_requests": "100", "preload_app": "yes", "umask": "0o27", "statsd_prefix": 7, "keepalive": None}
    found = gunicorn.checked(checker, given, "gunicorn")
    assert found == {"max_requests": 100, "preload_app": True, "umask": 0o27, "statsd_prefix": "7", "keepalive": None}
    assert checker.problems == []


def test_workers_are_not_all_replaced_at_once(settings: Callable[..., Any]) -> None:
    assert settings(settings={"max_requests": 1000})["max_requests_jitter"] == 100
    assert settings(settings={"max_requests": 1000, "max_requests_jitter": 5})["max_requests_jitter"] == 5
    assert "max_requests_jitter" not in settings()


def test_trust_is_said_on_purpose(settings: Callable[..., Any]) -> None:
    assert settings()["forwarded_allow_ips"] == "*"
    assert settings(bind="127.0.0.1:8000")["forwarded_allow_ips"] == "127.0.0.1,::1"
    assert settings()["secure_scheme_headers"] == {"X-FORWARDED-PROTO": "https"}


def test_sync_has_one_thread(settings: Callable[..., Any]) -> None:
    found = settings(threads=4, settings={"worker_class": "sync"})
    assert (found["worker_class"], found["threads"]) == ("sync", 1)


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({}, ["gunicorn>=22.0"]),
        ({"worker_class": "gthread"}, ["gunicorn>=22.0"]),
        ({"worker_class": "gevent"}, ["gunicorn>=22.0", "gevent>=24.10.1", "packaging"]),
        ({"worker_class": "asgi"}, ["gunicorn>=22.0,>=26.2.2"]),
        ({"worker_class": "asgi", "asgi_loop": "uvloop"}, ["gunicorn>=22.0,>=26.2.2", "uvloop>=0.19.0"]),
        ({"worker_class": "uvicorn_worker.UvicornWorker"}, ["gunicorn>=22.0", "uvicorn-worker"]),
        ({"worker_class": "shop.workers.Own"}, ["gunicorn>=22.0"]),
    ],
)
def test_what_a_worker_class_needs_is_installed(given: dict[str, Any], needed: list[str]) -> None:
    assert gunicorn.requirements("gunicorn>=22.0", given) == needed


def test_uvicorn_gets_what_it_needs_for_websockets() -> None:
    given = {"worker_class": "uvicorn_worker.UvicornWorker"}
    assert gunicorn.requirements("gunicorn", given, websocket=True) == ["gunicorn", "uvicorn-worker", "websockets"]


# Values of every type that an inventory may have by mistake.
ODD = ["x", "", "0", "a.b", "http://x", "/tmp", "10.0.0.1/8", "h1,h9", 0, 1, 7, 10**9, [], ["x"], {}, True, 1.5]


# Checked only on the host: modules of hooks, watched files. gunicorn itself checks the address of statsd.
ON_THE_HOST = {"reload_extra_files", "statsd_host"} | {
    name for name, (kind, _choices) in gunicorn.SETTINGS.items() if kind == "hook"
}


@pytest.mark.parametrize("name", sorted(set(gunicorn.SETTINGS) - set(gunicorn.OWN) - ON_THE_HOST))
def test_a_value_that_gunicorn_refuses_is_refused_before(name: str) -> None:
    for value in ODD:
        checker = Checker()
        found = gunicorn.checked(checker, {name: value}, "gunicorn")
        if not checker.problems:
            Config().set(name, found[name])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("forwarded_allow_ips", "10.0.0.1/8", "'10.0.0.1/8' is not an address or network"),
        ("http_protocols", "h1,h9", "'h9' is not one of: h1, h2"),
        ("http2_max_frame_size", 1, "1 is out of range. Give a whole number from 16384 to 16777215."),
        ("backlog", -1, "-1 is out of range. Give a whole number from 0 on."),
    ],
)
def test_a_value_out_of_range_is_told_with_the_remedy(name: str, value: Any, words: str) -> None:
    checker = Checker()
    gunicorn.checked(checker, {name: value}, "gunicorn")
    (problem,) = checker.problems
    assert problem.startswith(f"gunicorn.{name}: {words}")


@pytest.mark.parametrize("value", ["*", "10.0.0.0/8, 192.0.2.1", "::1", ""])
def test_addresses_that_gunicorn_trusts(value: str) -> None:
    checker = Checker()
    assert gunicorn.checked(checker, {"forwarded_allow_ips": value}, "g") == {"forwarded_allow_ips": value}
    assert checker.problems == []
