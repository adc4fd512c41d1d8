# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The tiers of systems: tested, expected to work, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import machine
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import server
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import Trees
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd import analyze
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import platforms
from host_facts import GOOD


def host(name: str, version: str, codename: str = "", **changes: Any) -> dict[str, Any]:
    """The facts of a host with another system."""
    system = {"id": name.partition(" ")[0].lower(), "name": name, "version": version, "codename": codename}
    platform = {"apt": True, "python": "3.12", "versions": {"systemd": "255.4-1ubuntu8.8", "nginx": "1.24.0-2ubuntu7"}}
    return {**GOOD, "distribution": system, "platform": platform, **changes}


@pytest.mark.parametrize("version", platforms.TESTED)
def test_a_tested_system_causes_no_line(version: str) -> None:
    facts = host("Debian GNU/Linux", version)
    assert platforms.notice(facts) == ""
    assert list(platforms.platform_problems(facts)) == []


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (host("Ubuntu", "22.04", "jammy"), "Ubuntu 22.04"),
        (host("Ubuntu", "26.04", "resolute"), "Ubuntu 26.04"),
        (host("Linux Mint", "22.1"), "Linux Mint 22.1"),
        (host("Raspbian GNU/Linux", "12"), "Raspbian GNU/Linux 12"),
        (host("Kali GNU/Linux", "2026.3", "kali-rolling"), "Kali GNU/Linux 2026.3"),
        (host("Debian GNU/Linux", "", "forky"), "Debian GNU/Linux forky"),
        (host("Debian GNU/Linux", "14", "forky"), "Debian GNU/Linux 14"),
        (host("", ""), "an unknown system"),
    ],
)
def test_a_related_system_goes_on_after_one_line(facts: dict[str, Any], name: str) -> None:
    assert list(platforms.platform_problems(facts)) == []
    said = f"Hosts with {name}: expected to work, but not tested. Tested are Debian "
    assert platforms.notice(facts).startswith(said)
    # Equal for all hosts with that system, so that Ansible shows it once.
    assert platforms.notice({**facts, "cpus": 8, "disks": [{}]}) == platforms.notice(facts)


def test_what_a_host_says_about_itself_is_one_short_line() -> None:
    facts = host("Debian GNU/Linux\nok: [web1]", "9" * 500)
    assert "\n" not in platforms.notice(facts)
    assert len(platforms.system_name(facts)) <= platforms.MOST_CHARACTERS


@pytest.mark.parametrize("wrong", [None, [], "x", {"systemd": ["1"]}, {"systemd": {"a": 1}}, {"nginx": 9}])
def test_versions_of_the_wrong_kind_are_unknown(wrong: Any) -> None:
    facts = host("Ubuntu", "24.04")
    facts["platform"] = {**facts["platform"], "versions": wrong}
    assert list(platforms.platform_problems(facts)) == []


@pytest.mark.parametrize("wrong", [{}, {"apt": "yes"}, {"apt": 1}])
def test_a_host_that_does_not_say_that_it_has_apt_is_refused(wrong: dict[str, Any]) -> None:
    assert "no apt" in next(platforms.platform_problems(host("Ubuntu", "24.04", platform=wrong)))


def test_an_unknown_python_is_refused() -> None:
    (problem,) = platforms.platform_problems(host("Ubuntu", "24.04", platform={"apt": True}))
    assert "(unknown)" in problem


def test_the_age_of_systemd_counts_only_where_it_is_the_init() -> None:
    facts = host("Ubuntu", "20.04")
    facts["platform"] = {"apt": True, "python": "3.9", "versions": {"systemd": "245.4-4ubuntu3.24"}}
    assert len(list(platforms.platform_problems(facts))) == 1
    assert list(platforms.platform_problems({**facts, "init": "none"})) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1:252.39-1~deb12u1", (252, 39)),
        ("249.11-0ubuntu3.17", (249, 11)),
        ("1.28.0-1~bookworm", (1, 28, 0)),
        ("259~rc1-1", (259,)),
        ("", ()),
        ("unknown", ()),
        (None, ()),
    ],
)
def test_versions_of_packages_are_read(text: Any, numbers: tuple[int, ...]) -> None:
    assert platforms.version_of(text) == numbers


STATUS = """Package: nginx
Status: install ok installed
Priority: optional
Maintainer: Debian
 with a second line
Architecture: amd64
Version: 1.18.0-6.1+deb11u3

Package: nginx-common
Status: install ok installed
Version: 9

Package: systemd
Status: deinstall ok config-files
Version: 1
"""


def test_the_versions_of_installed_packages_are_read(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    assert machine.package_versions(("nginx", "systemd"), str(tmp_path / "status")) == {"nginx": "1.18.0-6.1+deb11u3"}
    found = machine.platform(str(tmp_path / "nowhere"))
    assert (found["apt"], found["versions"]) == (False, {})
    assert platforms.version_of(found["python"]) >= platforms.OLDEST_PYTHON


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("No package matching 'libnginx-mod-http-brotli-filter' is available", "Set nginx_brotli: false."),
        ("E: Unable to locate package supervisor", "add-apt-repository universe"),
        ("No package matching 'python3.9-venv' is available", "universe"),
        ("No package matching 'python3.9' is available", "Leave python.interpreter out"),
        ("No package matching 'libpq-devel' is available", ""),
        ("E: Could not get lock", ""),
    ],
)
def test_a_package_that_the_system_lacks_has_a_remedy(message: str, words: str) -> None:
    hint = platforms.package_hint(message)
    assert words in hint
    assert bool(hint) == bool(words)


def test_an_old_systemd_checks_unit_files_without_a_newer_option() -> None:
    """systemd before 250 refuses the option, and would check nothing."""
    calls = []

    def run(argv: list[str]) -> tuple[int, str, str]:
        calls.append(argv)
        if "--recursive-errors=no" in argv:
            return 1, "", "systemd-analyze: unrecognized option '--recursive-errors=no'"
        return 0, "", "shop@.service:3: Unknown key name 'ExitType' in section 'Service', ignoring."

    assert "ExitType" in analyze(run, ["/tmp/x/shop@.service"])[2]  # no file is created
    assert [len(argv) for argv in calls] == [5, 4]


def test_an_nginx_that_is_too_old_is_refused_by_name() -> None:
    def run(_argv: list[str]) -> tuple[int, str, str]:
        return 0, "", "nginx version: nginx/1.14.2\nbuilt with OpenSSL 1.1.1d\n"

    nginx = server.Nginx("/opt/nginx", "/etc/nginx", "/run/nginx.pid", "/e", False, Trees("/t"), run)
    with pytest.raises(NginxError, match=r"/opt/nginx is nginx 1\.14\.2, but this collection needs 1\.18 or newer"):
        nginx.facts()
