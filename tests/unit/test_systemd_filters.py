# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""systemd_quote and systemd_units: systemd reads back the original values."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.filter.supervisor_definitions import supervisor_definitions
from ansible_collections.pyweb.stack.plugins.filter.systemd_quote import systemd_quote
from ansible_collections.pyweb.stack.plugins.filter.systemd_units import systemd_units

INSTANCE = "20261121T010735Z-ab12cd34"
NASTY = [
    "",
    "plain",
    "a b",
    "100%",
    "%i",
    "%%i",
    "%n",
    "$HOME",
    "${HOME}",
    "$$",
    "it's",
    'say "so"',
    "back\\slash",
    "end\\",
    ";",
    "a ; b",
    "#",
    "line\nbreak",
    "tab\tand\rreturn",
    "\x01\x7f",
    "é ü 漢字",
    "-dash",
    "'\"\\$%",
    " leading",
    "trailing ",
]


def read_words(text: str, command: bool = False, instance: str | None = None) -> list[str]:
    """Split words by the rules of systemd.syntax(7), systemd.service(5) and systemd.unit(5)."""
    words: list[str] = []
    index = 0
    while index < len(text):
        if text[index] == " ":
            index += 1
            continue
        word, quote = "", ""
        while index < len(text) and (quote or text[index] != " "):
            character = text[index]
            if quote and character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            elif character == "\\":
                index += 1
                escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
                if text[index] == "x":
                    word += chr(int(text[index + 1 : index + 3], 16))
                    index += 2
                else:
                    word += escapes[text[index]]
            else:
                word += character
            index += 1
        assert not quote, f"unbalanced quotes in {text!r}"
        expanded, at = "", 0
        while at < len(word):
            if word[at] == "%":
                assert word[at + 1] in ("%", "i"), f"specifier %{word[at + 1]} in {word!r}"
                assert word[at + 1] == "%" or instance is not None, f"%i in {word!r}"
                expanded += "%" if word[at + 1] == "%" else str(instance)
                at += 2
            else:
                expanded += word[at]
                at += 1
        if command and words:
            rest = expanded.replace("$$", "")
            assert "$" not in rest, f"systemd would put a variable into {expanded!r}"
            expanded = expanded.replace("$$", "$")
        words.append(expanded)
    return words


@pytest.mark.parametrize("value", NASTY)
def test_word_is_read_back(value: str) -> None:
    assert read_words(systemd_quote(value)) == [value]


def test_command_is_read_back() -> None:
    command = ["/usr/bin/printf", *NASTY]
    assert read_words(systemd_quote(command), command=True) == command


def test_lone_semicolon_is_quoted() -> None:
    assert systemd_quote(["/bin/a", ";", "/bin/b"]) == '/bin/a ";" /bin/b'


@pytest.mark.parametrize(("value", "expected"), [("%i", INSTANCE), ("a%ib 100%", f"a{INSTANCE}b 100%"), ("%n", "%n")])
def test_only_i_stands_for_the_instance(value: str, expected: str) -> None:
    assert read_words(systemd_quote(value, instance=True), instance=INSTANCE) == [expected]


def test_nul_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="NUL"):
        systemd_quote("a\0b")


SHOP: dict[str, Any] = {
    "name": "shop@",
    "description": "The shop, 100% %i",
    "command": ["/srv/webapps/shop/releases/%i/bin/web", "50%"],
    "type": "notify",
    "user": "shop",
    "environment": {"A": "x y % %i \"'"},
    "runtime_directory": {"path": "/run/webapps/shop", "group": "www-data", "mode": "0710"},
    "writable_paths": ["/srv/webapps/shop/shared", "/srv/a b"],
    "limits": {"memory": "512M", "cpu": "150%"},
    "settings": {"Service": {"OOMPolicy": "continue", "ProtectHome": False, "ExecStartPost": ["/bin/a %n", "/bin/b"]}},
}


def directives(render: Any, service: dict[str, Any]) -> dict[str, list[str]]:
    """The rendered unit as section.directive -> values; the role's own template, found by the role's own lookup."""
    content = render("systemd", systemd_units([service]))[0]["content"]
    found: dict[str, list[str]] = {}
    section = ""
    for line in content.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def test_template_unit_is_rendered_for_its_instance(render: Any) -> None:
    unit = directives(render, SHOP)
    assert read_words(unit["Service.ExecStart"][0], command=True, instance=INSTANCE) == [
        f"/srv/webapps/shop/releases/{INSTANCE}/bin/web",
        "50%",
    ]
    assert read_words(unit["Service.Environment"][0], instance=INSTANCE) == [f"A=x y % {INSTANCE} \"'"]
    assert unit["Unit.Description"] == ["The shop, 100%% %i"]


def test_runtime_directory_is_made_as_root_before_each_start_and_writable(render: Any) -> None:
    unit = directives(render, SHOP)
    assert unit["Service.ExecStartPre"] == ["+/usr/bin/install -d -o shop -g www-data -m 0710 /run/webapps/shop"]
    assert read_words(unit["Service.ReadWritePaths"][0]) == [
        "/srv/webapps/shop/shared",
        "/srv/a b",
        "-/run/webapps/shop",
    ]


SOCKETS = {
    "paths": ["/run/webapps/shop.sockets/%i.sock", "/run/100%/%i.uwsgi.sock"],
    "condition_path": "/srv/webapps/shop/releases/%i/inherits_sockets",
}


def units_of(render: Any, service: dict[str, Any]) -> dict[str, str]:
    return {unit["name"]: unit["content"] for unit in render("systemd", systemd_units([service]))}


def test_sockets_are_made_by_root_and_live_as_long_as_the_service(render: Any) -> None:
    found = units_of(render, {**SHOP, "sockets": SOCKETS})
    lines = found["shop@.socket"].split("\n")
    assert [line for line in lines if line.startswith("ListenStream=")] == [
        "ListenStream=/run/webapps/shop.sockets/%i.sock",
        "ListenStream=/run/100%%/%i.uwsgi.sock",
    ]
    for line in ("SocketUser=root", "SocketGroup=www-data", "SocketMode=0660", "RemoveOnStop=yes"):
        assert line in lines
    assert f"ConditionPathExists={SOCKETS['condition_path']}" in lines
    # A connection must not start a service that was stopped, and a crash must not close the sockets.
    assert "StopWhenUnneeded=yes" in lines
    assert not [line for line in lines if line.startswith(("PartOf=", "WantedBy=", "[Install]"))]
    assert "Requires=shop@%i.socket" in found["shop@"].split("\n")


def test_units_that_a_service_requires_come_beside_its_sockets(render: Any) -> None:
    service = {"name": "w", "command": ["/bin/w"], "sockets": {"paths": ["/run/w/w.sock"]}}
    found = units_of(render, {**service, "settings": {"Unit": {"Requires": "redis.service"}}})
    assert "Requires=w.socket\nRequires=redis.service\n" in found["w"]


@pytest.mark.parametrize(
    ("sockets", "message"),
    [
        ({"paths": []}, "the list is empty"),
        ({"paths": ["run/a.sock"]}, "not an absolute path"),
        ({"paths": ["/run/a b.sock"]}, "needs quotes"),
        ({"paths": ["/run/a.sock"], "group": "a b"}, "not the name of a group"),
        ({"paths": ["/run/a.sock"], "mode": "rw"}, "not a mode"),
    ],
)
def test_wrong_sockets_are_named(sockets: dict[str, Any], message: str) -> None:
    for kind in (systemd_units, supervisor_definitions):
        with pytest.raises(AnsibleFilterError, match=message):
            kind([{"name": "w", "command": ["/bin/w"], "sockets": sockets}])


def test_limits_are_no_specifiers(render: Any) -> None:
    unit = directives(render, SHOP)
    assert (unit["Service.MemoryMax"], unit["Service.CPUQuota"]) == (["512M"], ["150%"])


def test_settings_replace_the_roles_own_and_stay_in_systemds_words(render: Any) -> None:
    unit = directives(render, SHOP)
    assert unit["Service.ProtectHome"] == ["no"]
    assert unit["Service.OOMPolicy"] == ["continue"]
    assert unit["Service.ExecStartPost"] == ["/bin/a %n", "/bin/b"]


def test_service_is_sandboxed_without_being_asked(render: Any) -> None:
    unit = directives(render, {"name": "w", "command": ["/bin/w"], "user": "w"})
    assert unit["Service.NoNewPrivileges"] == ["yes"]
    assert unit["Service.CapabilityBoundingSet"] == [""]
    assert unit["Service.ProtectSystem"] == ["strict"]
    assert "Service.ReadWritePaths" not in unit
    assert "Service.RemoveIPC" not in unit, "the end of one release would remove the semaphores of the next"


@pytest.mark.parametrize("kind", ["exec", "notify", "simple"])
def test_service_that_ends_is_started_again_whatever_its_status(render: Any, kind: str) -> None:
    unit = directives(render, {"name": "w", "command": ["/bin/w"], "type": kind})
    assert unit["Service.Restart"] == ["always"]
    assert unit["Unit.StartLimitBurst"] == ["5"], "a service that ends at once is not restarted forever"
    kept = directives(render, {"name": "w", "command": ["/bin/w"], "type": kind, "restart": "on-failure"})
    assert kept["Service.Restart"] == ["on-failure"]


def test_finished_oneshot_counts_as_running(render: Any) -> None:
    unit = directives(render, {"name": "w", "command": ["/bin/w"], "type": "oneshot"})
    assert (unit["Service.RemainAfterExit"], unit["Service.Restart"]) == (["yes"], ["no"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a/b"}, "not the name of a unit"),
        ({"name": "a.service"}, "leave out .service"),
        ({"command": []}, "command: it is missing"),
        ({"command": ["web"]}, "not an absolute path"),
        ({"environment": {"A-B": "x"}}, "not the name of an environment variable"),
        ({"settings": {"Servce": {}}}, "section 'Servce'"),
        ({"settings": {"Service": {"A": "x\n[Unit]"}}}, "one line"),
        ({"description": "x\nExecStart=/bin/sh"}, "one line"),
        ({"writable_paths": ["shared"]}, "not an absolute path"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        systemd_units([{"name": "w", "command": ["/bin/w"], **change}])


def test_same_name_twice_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="twice"):
        systemd_units([{"name": "w", "command": ["/bin/w"]}] * 2)


def test_removed_service_needs_no_command() -> None:
    assert systemd_units([{"name": "w", "state": "absent"}]) == [{"name": "w", "state": "absent"}]


JOB: dict[str, Any] = {
    "name": "shop.nightly",
    "description": "The job, 100%",
    "command": ["/bin/job"],
    "type": "oneshot",
    "timer": {"on_calendar": ["*-*-01 04:00:00", "Mon *-*-* 04:00:00"], "catch_up": True},
}


def test_service_with_a_timer_becomes_two_units(render: Any) -> None:
    service, timer = systemd_units([JOB])
    assert (service["name"], service["triggered"]) == ("shop.nightly", True)
    assert (timer["name"], timer["triggered"], timer["started"]) == ("shop.nightly.timer", False, True)
    lines = render("systemd", [timer])[0]["content"].splitlines()
    assert [line for line in lines if line.startswith("OnCalendar=")] == [
        "OnCalendar=*-*-01 04:00:00",
        "OnCalendar=Mon *-*-* 04:00:00",
    ]
    assert "Persistent=yes" in lines
    assert "Description=The job, 100%%: its timer" in lines


def test_what_a_timer_starts_may_start_again_and_again(render: Any) -> None:
    unit = directives(render, JOB)
    assert unit["Unit.StartLimitIntervalSec"] == ["0"]
    # The timer does not start a service that still counts as active after its end.
    assert "Service.RemainAfterExit" not in unit
    assert not [key for key in unit if key.startswith("Install.")]


def test_one_worker_that_is_killed_for_memory_does_not_end_the_rest(render: Any) -> None:
    assert directives(render, {"name": "w", "command": ["/bin/w"]})["Service.OOMPolicy"] == ["continue"]


def test_signal_to_stop_is_the_services_own(render: Any) -> None:
    unit = directives(render, {"name": "w", "command": ["/bin/w"], "stop_signal": "QUIT"})
    assert unit["Service.KillSignal"] == ["SIGQUIT"]
    assert unit["Service.KillMode"] == ["mixed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "exec"}, "oneshot"),
        ({"name": "shop@"}, "never a template"),
        ({"name": "shop.timer"}, "leave out .timer"),
        ({"timer": {"on_calendar": []}}, "the list is empty"),
        ({"timer": {"on_calendar": ["x\n[Service]"]}}, "one line"),
        ({"name": "shop.*"}, "not the name of a unit"),
    ],
)
def test_bad_timer_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        systemd_units([{**JOB, **change}])


def test_pattern_stands_for_what_is_removed() -> None:
    for name in ("shop.*", "shop.*@"):
        assert systemd_units([{"name": name, "state": "absent"}]) == [{"name": name, "state": "absent"}]
    with pytest.raises(AnsibleFilterError, match="not the name of a unit"):
        systemd_units([{"name": "*", "state": "absent"}])
