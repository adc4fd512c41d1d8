# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Texts of hosts and applications that would act on a terminal, and credentials that would be recorded."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.callback.bare import write
from ansible_collections.pyweb.stack.plugins.module_utils.building.uv import environment_of_indexes
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import (
    one_line,
    printable,
    printable_data,
    recorded,
    redacted,
)
from ansible_collections.pyweb.stack.plugins.module_utils.logs.services import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    Manifest,
    record,
    write_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import (
    CertificateError,
    certificates_of,
    keys_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import answer_of, checked_facts
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.look import failed
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.checks import check_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.diagnosis import report
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.status import cell
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import pem, with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Part
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.parts import with_sources
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.reports import release_table
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.credentials import without_login
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker
from certificate_factory import make
from host_facts import GOOD

TOKEN = "hunter2-correct-horse"
ADDRESS = f"https://me:{TOKEN}@forge.example/shop.tar.gz"

# Terminals

TRICKS = {
    "colour": ("\x1b[31m", "\\x1b[31m"),
    "title": ("\x1b]0;x\x07", "\\x1b]0;x\\x07"),
    "C1 control sequence": ("\x9b31m", "\\x9b31m"),
    "return": ("bad\rgood", "bad\\x0dgood"),
    "backspace": ("x\x08", "x\\x08"),
    "delete": ("\x7f", "\\x7f"),
    "next line": ("\x85", "\\x85"),
    "line separator": ("\u2028", "\\u2028"),
    "paragraph separator": ("\u2029", "\\u2029"),
    "right to left": ("\u202egnp", "\\u202egnp"),
    "isolate": ("\u2066x\u2069", "\\u2066x\\u2069"),
    "surrogate": ("\udc9b", "\\udc9b"),
    "tag": ("\U000e0041", "\\U000e0041"),
}


@pytest.mark.attack("19", "A text from a host holds characters that control the operator's terminal")
@pytest.mark.parametrize("trick", TRICKS)
def test_what_a_terminal_acts_on_is_escaped(trick: str) -> None:
    text, shown = TRICKS[trick]
    assert printable(text) == shown
    assert printable_data({"logs": [{text: text}]}) == {"logs": [{shown: shown}]}
    stream = io.StringIO()
    write(stream, [text])
    assert stream.getvalue() == f"{shown}\n"


def test_ordinary_texts_stay_as_they_are() -> None:
    text = "Grüße, 世界 😀\n\tﷺ 100% \\x1b"
    assert printable(text) == text
    assert printable_data([text, 1, None, True, 2.5])[1:] == [1, None, True, 2.5]


@pytest.mark.attack("19", "A host sends data that never ends")
def test_data_without_end_is_refused() -> None:
    nested: Any = "x"
    for _level in range(100):
        nested = [nested]
    with pytest.raises(AnsibleActionFail, match="nested more than 50 levels deep"):
        answer_of({"msg": nested}, ())


@pytest.mark.attack("19", "A module's answer hides terminal control characters in its logs and errors")
@pytest.mark.parametrize("key", ["msg", "logs", "module_stderr", "warnings", "diff", "exception"])
def test_every_text_of_an_answer_is_printable(key: str) -> None:
    answer = answer_of({key: ["\x1b[2J"]}, {"logs"})
    assert answer == {key: ["\\x1b[2J"]}


@pytest.mark.attack("19", "A fact of a host holds terminal control characters")
def test_facts_are_printable() -> None:
    facts = checked_facts({**GOOD, "pythons": ["python3.1\x1b[2J"]}, "web1")
    assert facts["pythons"] == ["python3.1\\x1b[2J"]


@pytest.mark.attack("19", "A log uses separators of Unicode to forge a line")
def test_a_separator_of_unicode_ends_no_line_of_a_log() -> None:
    assert lines_of("one\u2028== blog (systemd) ==\x0btwo\x85three\nfour\n") == [
        "one\u2028== blog (systemd) ==\x0btwo\x85three",
        "four",
    ]


@pytest.mark.attack("19", "An application's state holds a newline, to forge a row of a table")
def test_a_value_makes_no_row_of_a_table() -> None:
    release = {"id": "R", "state": "good\n*  blog", "revision": "x\ny", "created": "", "by": "me\x1b[2J"}
    table = release_table([{"name": "shop", "current": "", "releases": [release]}])
    assert len(table) == 2
    assert "good\\n*  blog" in table[1]
    assert "\x1b" not in table[1]
    forged = [
        {
            "name": "shop",
            "checks": [{"check": "it runs", "state": "failed", "problem": "x\n  ok     it is safe\x1b[1A", "note": ""}],
        }
    ]
    assert check_table("web1", forged) == [
        "shop on web1: 0 of 1 checks passed",
        "  FAILED it runs: x\\n  ok     it is safe\\x1b[1A",
    ]
    assert cell({"release": "R\x1b[2J\nblog  R"}, "release") == "R\\x1b[2J\\nblog  R"
    finding = {"link": "process", "seen": "x\nblog on web1 works", "cause": "\x1b[2J", "fix": "y"}
    lines = report("web1", "shop", {"broken": [finding], "warnings": [], "links": []})
    assert lines[1:] == ["    seen:   x\\nblog on web1 works", "    cause:  \\x1b[2J", "    fix:    y"]
    assert one_line("a\tb") == "a b"


# Credentials


@pytest.mark.attack("17", "A reader of the records looks for credentials in addresses")
@pytest.mark.parametrize(
    "text", [ADDRESS, f"shop @ {ADDRESS}", f"-i https://{TOKEN}@a.example/simple", f"{ADDRESS}@v1"]
)
def test_nothing_that_is_recorded_has_a_credential(text: str) -> None:
    assert TOKEN not in redacted(text) + recorded(text)


def test_what_is_recorded_differs_where_the_requirement_does() -> None:
    one = f"shop @ git+https://me:{TOKEN}@forge.example/shop@v1"
    assert recorded(one) == recorded(one.replace(TOKEN, "another"))
    assert recorded(one) != recorded(one.replace("v1", "v2"))
    assert recorded("https://a.example/x?file=1") != recorded("https://a.example/x?file=2")
    assert recorded("shop==1.4") == "shop==1.4"


@pytest.mark.attack("17", "A reader of a release's records looks for the token of a requirement")
def test_records_of_a_release_have_no_credential(tmp_path: Any) -> None:
    layout = Layout("shop", str(tmp_path))
    for folder in ("releases/R",):
        (tmp_path / "shop" / folder).mkdir(parents=True)
    record(layout, action="build", revision=ADDRESS, reason=f"no {ADDRESS}", seconds=1.5)
    try:
        write_manifest(layout, Manifest("R", revision=ADDRESS, reason=f"no {ADDRESS}"))
    except PermissionError:
        pytest.skip("needs root")  # a manifest gets the owner root; CI runs as root
    written = (tmp_path / "shop/releases/R/release.json").read_text() + (tmp_path / "shop/deployments.log").read_text()
    assert TOKEN not in written
    assert written.count("https://***@forge.example/shop.tar.gz") == 4


@pytest.mark.attack("17", "A reader of messages looks for the token of a requirement")
def test_messages_have_no_credential() -> None:
    checker = Checker()
    checker.problem("webapps 'shop'.python.packages", f"this is a string ('x @ {ADDRESS}')")
    assert TOKEN not in checker.problems[0]
    assert TOKEN not in failed([f"'{ADDRESS}' is wrong"])["msg"]
    with pytest.raises(HostError) as caught:
        must(lambda _argv: (1, "", f"no route to {ADDRESS}"), "Installing uv", ["pip", ADDRESS], "Try again.")
    assert TOKEN not in str(caught.value)


@pytest.mark.attack("17", "A reader of verbose output looks for the token of a requirement")
def test_requirements_with_credentials_travel_as_secrets() -> None:
    source = {"package": f"shop @ {ADDRESS}"}
    servers, packages = [f"gunicorn @ {ADDRESS}"], [f"x @ {ADDRESS}", "flask"]
    app = {
        "name": "shop",
        "state": "present",
        "env": {},
        "python": {"packages": packages},
        "source": source,
        "server_packages": servers,
    }
    part = with_sources(Part("webapp", {"apps": [app]}, {}), {"shop": origin_of(source, [])})
    assert TOKEN not in json.dumps(part.inputs)
    secrets = part.secrets["apps"]["shop"]
    assert secrets["package"] == source["package"]
    assert (secrets["python"]["packages"], secrets["server_packages"]) == (packages, servers)


def test_requirements_without_credentials_are_no_secrets() -> None:
    app = {
        "name": "shop",
        "state": "present",
        "env": {},
        "python": {"packages": ["flask"]},
        "source": {"package": "shop"},
        "server_packages": ["gunicorn>=22"],
    }
    part = with_sources(Part("webapp", {"apps": [app]}, {}), {"shop": origin_of({"package": "shop"}, [])})
    assert part.secrets == {"apps": {"shop": {"env": {}, "python": {}}}}
    assert (part.inputs["apps"][0]["python"], part.inputs["apps"][0]["server_packages"]) == (
        {"packages": ["flask"]},
        ["gunicorn>=22"],
    )


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("https://forge.example/x.git", ("https://forge.example/x.git", "", "")),
        ("https://me:p%40ss@forge.example:8443/x.git", ("https://forge.example:8443/x.git", "me", "p@ss")),
        ("https://token@forge.example/x.git", ("https://forge.example/x.git", "token", "")),
        ("ssh://git@forge.example/x.git", ("ssh://git@forge.example/x.git", "", "")),
        ("git@forge.example:x.git", ("git@forge.example:x.git", "", "")),
        ("https://forge.example/x@v1.git", ("https://forge.example/x@v1.git", "", "")),
    ],
)
def test_an_address_of_git_is_taken_apart(address: str, wanted: tuple[str, str, str]) -> None:
    assert without_login(address) == wanted


def settings_of(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    count = int(environment["GIT_CONFIG_COUNT"])
    return [(environment[f"GIT_CONFIG_KEY_{n}"], environment[f"GIT_CONFIG_VALUE_{n}"]) for n in range(count)]


@pytest.mark.attack("low", "A submodule on a foreign server asks for the token of the CI system")
def test_the_program_of_a_ci_system_answers_for_one_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_ASKPASS", "/ci/askpass")
    repository = Repository("https://forge.example/x.git")
    for submodules in (False, True):
        environment = repository.environment(submodules=submodules)
        assert (environment["GIT_ASKPASS"], environment["PYWEB_GIT_ASKPASS"]) == ("", "/ci/askpass")
        helpers = [name for name, _value in settings_of(environment) if name.endswith(".helper")]
        assert helpers == ["credential.https://forge.example.helper"]


# Package indexes


@pytest.mark.attack("15", "An extra index offers a package with the name of an internal one")
@pytest.mark.parametrize(
    ("python", "asked"),
    [
        ({}, []),
        ({"index_url": "a"}, ["a", "a"]),
        ({"index_url": "a", "extra_index_urls": ["b", "c"]}, ["a", "b", "c", "a"]),
        ({"extra_index_urls": ["b", "c"]}, ["b", "c", "the public one"]),
    ],
)
def test_the_named_index_is_asked_first(python: dict[str, Any], asked: list[str]) -> None:
    environment = environment_of_indexes(python)
    first = environment.get("UV_INDEX", "").split()
    default = environment.get("UV_DEFAULT_INDEX", "the public one" if first else "")
    assert [*first, *([default] if default else [])] == asked
    assert environment["UV_INDEX_STRATEGY"] == "first-index"


# Certificates


@pytest.mark.attack("18", "A certificate file also holds the private key")
def test_a_file_with_certificate_and_key_is_taken_apart() -> None:
    made = make(["shop.example"])
    both = f"a comment\n{made.certificate}{made.key}"
    item = {"name": "shop", "names": ["shop.example"], "certificate": both, "key": both}
    (found,), problems = with_texts([item], lambda text: text)
    assert problems == []
    assert "PRIVATE" not in found["certificate"]
    assert "CERTIFICATE" not in found["key"]
    assert (found["certificate"].strip(), found["key"].strip()) == (made.certificate.strip(), made.key.strip())


@pytest.mark.attack("18", "A certificate file holds a private key between two halves of a certificate")
def test_a_key_between_halves_of_a_certificate_is_not_passed_on() -> None:
    made = make(["shop.example"])
    cut = made.certificate.replace("-----END CERTIFICATE-----\n", "")
    assert certificates_of(f"{cut}{made.key}{made.certificate}").strip() == made.certificate.strip()
    assert keys_of(made.certificate) == ""


@pytest.mark.attack("18", "A certificate file holds a damaged private key")
def test_a_key_without_its_first_line_is_not_shown() -> None:
    _first, *rest = make(["shop.example"]).key.splitlines()
    for value in ("\n".join(rest), "".join(rest[:-1]) * 2):
        with pytest.raises(CertificateError, match="its value is not a file") as caught:
            pem(value, ["/nowhere"], None)
        assert rest[0] not in str(caught.value)


@pytest.mark.attack("17", "A text of a megabyte keeps the search for credentials busy for minutes")
@pytest.mark.parametrize("part", ["://a:", "://a", "://a@", "://a:1/", "://?", "@", "?"])
def test_credentials_are_searched_in_linear_time(part: str) -> None:
    began = time.process_time()
    redacted(part * 200_000)
    assert time.process_time() - began < 2
