# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Inputs of each role that is used alone: text where a list belongs, commands as text, root, and the rule that each
role checks its inputs first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import requirements
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.role_inputs import ITEMS, role_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.server_settings import with_settings
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor, supervisor_settings, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import services
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import input_problems, role_names
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.words import COMMANDS, split_command

ROLES = Path(__file__).resolve().parents[2] / "roles"
TEXT = "/opt/shop one"


def lists(options: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of every list in a specification, however deep."""
    for name, spec in options.items():
        if spec.get("type") == "list":
            yield (*path, name)
        yield from lists(spec.get("options") or {}, (*path, name))


def given(options: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The value of an input in which the list at this place is text."""
    name, *rest = path
    if not rest:
        return TEXT
    inner = {"name": "shop", rest[0]: given(options[name]["options"], tuple(rest))}
    if "name" not in options[name]["options"]:
        del inner["name"]
    return [inner] if options[name]["type"] == "list" else inner


def problems_of(role: str, path: tuple[str, ...]) -> list[str]:
    value = given(role_options(role), path)
    if role != "webapp":
        return role_problems(role, {path[0]: value})
    if path[0] == "webapps":
        return checked_inventory(value).problems
    return input_problems({path[0]: value})


LISTS = [(role, path) for role in role_names() for path in lists(role_options(role))]


@pytest.mark.parametrize(("role", "path"), LISTS, ids=[".".join(path) for _role, path in LISTS])
def test_text_where_a_list_belongs_is_refused_or_is_a_command(role: str, path: tuple[str, ...]) -> None:
    problems = [problem for problem in problems_of(role, path) if "must be a list" in problem]
    assert bool(problems) is not (path[-1] in COMMANDS), problems
    assert all(f"{path[-1]}: this is a string" in problem for problem in problems)


def test_the_rule_sees_every_kind_of_list() -> None:
    found = {".".join(path) for _role, path in LISTS}
    assert {"gunicorn_services.program", "systemd_services.writable_paths", "nginx_packages", "python_archives"} < found
    assert {"webapps", "webapps.site.domains", "nginx_sites.locations.allow", "supervisor_groups.programs"} < found


SERVICE = {"name": "shop", "directory": "/opt/shop", "program": "/opt/shop/bin/x  '--a b' \"c d\"\n--e\\ f"}
WORDS = ["/opt/shop/bin/x", "--a b", "c d", "--e f"]


@pytest.mark.parametrize(
    ("server", "more"),
    [
        ("gunicorn", {"wsgi_app": "a:b", "bind": "unix:/run/a.sock"}),
        ("uwsgi", {"module": "a:b", "socket": "/run/a.sock"}),
        ("granian", {"target": "a:b", "bind": "unix:/run/a.sock"}),
    ],
)
def test_the_program_of_an_app_server_can_be_text(server: str, more: dict[str, Any]) -> None:
    found, problems = services.checked(server, [{**SERVICE, **more}])
    assert problems == []
    assert found[0]["program"] == WORDS
    listed, _problems = services.checked(server, [{**SERVICE, **more, "program": WORDS}])
    assert listed == found
    assert "program: it is empty" in services.checked(server, [{**SERVICE, **more, "program": []}])[1][0]
    assert services.checked(server, "shop")[1] == [
        f"{server}_services: this is a string, but it must be a list; write it as [shop]"
    ]
    assert "'opt' is not an absolute path" in services.checked(server, [{**SERVICE, **more, "directory": "opt"}])[1][0]


def test_the_command_of_a_process_can_be_text() -> None:
    item = {"name": "shop", "command": SERVICE["program"]}
    assert systemd.checked([item])[0][0]["command"] == WORDS
    assert supervisor.checked([item], [])[0][0]["command"] == WORDS
    assert systemd.problems([{"name": "shop", "command": "shop --serve"}]) == [
        "systemd_services 'shop'.command: 'shop' is not an absolute path. Begin it with '/'."
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/bin/x -w 3 --bind=unix:/run/a.sock app:create_app()", 5),
        ("/bin/x --allow=* '#a' b#c %n 100%", 6),
        ("/bin/x '$HOME' '`id`' 'a|b' \"a;b\" \\$HOME", 6),
        ("/bin/x \\\n  --one \\\n  --two", 3),
        ('/bin/x \'it\'"\'"\'s\' "\\$HOME" ""', 4),
    ],
)
def test_a_plain_command_is_split(text: str, words: int) -> None:
    found, problem = split_command(text)
    assert problem == ""
    assert len(found) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/bin/x 'open", "a quote is not closed"),
        ("  ", "it is empty"),
        ("cd /srv && /bin/x", "'&' needs a shell"),
        ("/bin/x | tee log", "'|' needs a shell"),
        ("/bin/x > log", "'>' needs a shell"),
        ("/bin/x; /bin/y", "';' needs a shell"),
        ("/bin/x $HOME", "'$HOME' needs a shell"),
        ('/bin/x "${HOME}/a"', "'${HOME' needs a shell"),
        ("/bin/x $(id)", "'$(id' needs a shell"),
        ('/bin/x "`id`"', "'`' needs a shell"),
        ("/bin/x %(program_name)s", "'%(program_name)' is not replaced"),
    ],
)
def test_a_command_that_needs_a_shell_is_refused(text: str, words: str) -> None:
    found, problem = split_command(text)
    assert found == []
    assert problem.startswith(words)
    assert problem.endswith(".")


def tasks(role: str, file: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = yaml.safe_load((ROLES / role / "tasks" / file).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("role", role_names())
def test_every_role_checks_its_inputs_first(role: str) -> None:
    assert tasks(role, "main.yml")[0]["pyweb.stack.role_inputs"] == {"role": role}
    # The action apply checks the inputs of the role webapp.
    assert set(ITEMS) == set(role_names()) - {"webapp"}


# Root


class Action:
    """An action with a connection, and the answer of its host."""

    def __init__(self, answer: str = "1000\ndeploy\n", become: str = "", user: str = "") -> None:
        self._connection = SimpleNamespace(become=become or None, transport="ssh")
        self.user, self.answer, self.asked = user, answer, False

    def get_become_option(self, _name: str) -> Any:
        return self._connection.become

    def _get_remote_user(self) -> Any:
        return self.user

    def _low_level_execute_command(self, _command: str) -> dict[str, Any]:
        self.asked = True
        return {"stdout": self.answer, "rc": 0}


def problem(action: Any) -> str:
    return requirements.root_problem(action, "web1")


@pytest.mark.parametrize("action", [Action(become="root"), Action(user="root")], ids=["become", "account"])
def test_root_by_the_settings_costs_no_question(action: Action) -> None:
    assert problem(action) == ""
    assert not action.asked


def test_an_account_that_is_not_root_is_told_the_remedy() -> None:
    found = problem(Action(user="deploy"))
    assert found.startswith("the tasks don't run as root on web1, but as 'deploy'. Set become: true")
    assert "Remove become_user" in problem(Action(become="deploy"))
    # The name comes from the host.
    assert "\x1b" not in problem(Action(answer="1000\n\x1b[31mx\n"))


def test_root_by_another_name_and_an_answer_of_nothing_are_no_problem() -> None:
    assert problem(Action(answer="welcome to web1\n0\ntoor\n")) == ""
    assert problem(Action(answer="")) == ""


# supervisord's own settings

INET = {"port": "127.0.0.1:9001", "username": "ops", "password": "x"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inet_http_server": {**INET, "password": ""}}, "inet_http_server.password: it is empty"),
        ({"inet_http_server": {"port": "9001"}}, "the key 'password' is missing"),
        ({"inet_http_server": {**INET, "port": "9001"}}, "'9001' is not an address with a port"),
        ({"inet_http_server": {**INET, "port": ":9001"}}, "':9001' is not an address with a port"),
        ({"inet_http_server": {**INET, "password": "sesame ;x"}}, "can't read it"),
        ({"loglevel": "verbose"}, "'verbose' is not one of"),
        ({"minfd": 5}, "Did you mean 'minfds'?"),
        ({"minfds": -1}, "-1 is not a number from 0 on"),
        ({"logfile_maxbytes": "big"}, "'big' is not a size"),
    ],
)
def test_settings_of_supervisord_are_checked(given: dict[str, Any], words: str) -> None:
    problems = role_problems("supervisor", {"supervisor_daemon": given})
    assert words in "\n".join(problems)
    assert "sesame" not in "\n".join(problems)


def test_settings_of_supervisord_are_a_file() -> None:
    found, problems = supervisor_settings.checked({"minfds": "4096", "inet_http_server": {**INET, "password": "5%"}})
    assert problems == []
    assert supervisor_settings.settings_file(found).splitlines()[1:] == [
        "[supervisord]",
        "minfds=4096",
        "",
        "[inet_http_server]",
        "port=127.0.0.1:9001",
        "username=ops",
        "password=5%%",
    ]
    assert supervisor_settings.settings_file(supervisor_settings.checked({})[0]) == ""


# Settings of app servers that reach their processes

GUNICORN = {
    "name": "shop",
    "directory": "/opt/shop/",
    "program": "/opt/g",
    "wsgi_app": "a:b",
    "bind": "unix:/run/a.sock",
}


def hash_of(change: dict[str, Any], command: Any = "/opt/shop/bin/web --flag") -> str | None:
    service = {"name": "shop", "command": command, "environment": {"A": "b"}}
    (found,) = with_settings([service], {"gunicorn": [{**GUNICORN, **change}], "uwsgi": [], "granian": []})
    assert found["environment"]["A"] == "b"
    assert service["environment"] == {"A": "b"}
    return found["environment"].get("SETTINGS_HASH")


@pytest.mark.parametrize("change", [{"workers": 5}, {"settings": {"max_requests": 5}}, {"program": "/opt/h"}], ids=str)
def test_a_changed_setting_changes_the_definition_of_its_process(change: dict[str, Any]) -> None:
    assert hash_of({}) == hash_of({}, ["/opt/shop/bin/web"])
    assert hash_of(change) not in (hash_of({}), None)


@pytest.mark.parametrize("command", ["/opt/other/bin/web", None, [], "/opt/shop/bin/web | tee", ["/bin/x"]], ids=str)
def test_other_processes_keep_their_definition(command: Any) -> None:
    assert hash_of({}, command) is None
    # The role of the app server reports the mistake.
    assert hash_of({"workers": "many"}) is None
    assert with_settings("text", {}) == "text"
