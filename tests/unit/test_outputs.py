# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The texts about a command and about a failure, as people read them."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.host import files
from ansible_collections.pyweb.stack.plugins.module_utils.host.outputs import as_printed, ending, last_words
from ansible_collections.pyweb.stack.plugins.modules import webapp_run
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import short_failures
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import LookAction
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.short_failures import short

HOSTILE = "\x1b]0;title\x07\x1b[31mred\x1b[0m \x00\u202egnp.exe  \tend\r\nnext \ud800 line  \n\n"


def test_an_output_has_nothing_that_a_terminal_acts_on_and_yaml_prints_it_as_it_is() -> None:
    lines = as_printed(HOSTILE)
    assert len(lines) == 2
    assert not [one for line in lines for one in line if not one.isprintable()]
    text = "\n".join(lines)
    assert yaml.safe_dump({"msg": text}, width=1000, default_style="|").startswith('"msg": |-\n  \\x1b]0;')


@pytest.mark.parametrize("text", ["", "\n", "\r\n\n"])
def test_nothing_is_no_line(text: str) -> None:
    assert as_printed(text) == []


@pytest.mark.parametrize(
    ("status", "told"),
    [(3, "exit code 3: flask x"), (137, "exit code 137 (SIGKILL): flask x"), (255, "exit code 255: flask x")],
)
def test_an_end_is_told_with_its_code(status: int, told: str) -> None:
    assert ending("flask x", status) == f"The command has ended with {told}"


def test_the_words_of_a_failure_are_its_errors_first() -> None:
    assert last_words("output\n", "no database\n") == "no database"
    assert last_words("only\noutput\n", "") == "only\noutput"
    assert last_words("\n".join(map(str, range(100))), "").startswith("80\n")


def test_the_output_of_a_command_comes_before_its_errors_and_a_cut_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webapp_run, "MOST_RETURNED", 1024**2)
    answer = subprocess.CompletedProcess(["x"], 3, "a\n" * 1024 * 512, "broken \x1b[0m\n")
    found = webapp_run.result_of("x", answer)
    assert found["printed"][0] == "(The output is longer than 1 MiB. Its first part is left out.)"
    assert found["printed"][1:3] == ["a", "a"]
    assert found["printed"][-1] == "broken \\x1b[0m"
    assert (found["rc"], found["stderr_lines"]) == (3, ["broken \x1b[0m"])


WHOLE: dict[str, Any] = {
    "failed": True,
    "msg": "nginx refuses the new configuration",
    "changed": True,
    "ansible_facts": {"pyweb": {"packages": ["nginx"]}},
    "apps": [{"name": "shop"}],
    "deployment": {"names": ["shop"]},
    "parts": {"nginx": {}},
    "warnings": ["a warning"],
    "_ansible_parsed": True,
    "stdout": "words",
}


def test_a_failure_is_its_message() -> None:
    assert [*short(WHOLE, ())] == ["failed", "msg", "changed", "warnings", "_ansible_parsed"]
    assert short(WHOLE, {"stdout"})["stdout"] == "words"


def test_a_success_and_a_failure_that_is_looked_into_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    success = {**WHOLE, "failed": False}
    assert short(success, ()) == success
    monkeypatch.setattr(short_failures.display, "verbosity", 2)
    assert short(WHOLE, ()) == WHOLE


@pytest.mark.parametrize("kind", [HostAction, LookAction])
def test_every_action_fails_shortly(kind: type) -> None:
    class Failing(kind):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
            return dict(WHOLE)

    assert "ansible_facts" not in Failing().run()


PROGRAM = f"{files.PROGRAMS}with_sockets.py"
LONG = "".join(f"line {number}\n" for number in range(700))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, LONG, "new"),
        (LONG.encode(), None, "removed"),
        (LONG.encode(), LONG.replace("line 5\n", "line 5a\n"), "1 line changed"),
        (LONG.encode(), LONG + "more\nand more\n", "2 lines changed"),
        (b"PK\0", b"PK\0\1", "changed"),
    ],
)
def test_a_diff_has_no_text_of_a_program_of_ours(
    before: bytes | None, after: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "read", lambda _path: before)
    found = files.diff(files.File(PROGRAM, after))
    assert (found["before"], found["after"]) == ("", f"(a program of this collection, {told})\n")


def test_a_diff_has_the_text_of_a_program_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "read", lambda _path: None)
    assert files.diff(files.File("/etc/shop/run", "#!/bin/sh\nexec shop\n"))["after"] == "#!/bin/sh\nexec shop\n"
