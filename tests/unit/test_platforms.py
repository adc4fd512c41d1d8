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
from ansible_collections.pyweb.stack.plugins.module_utils.preflight import busy
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemd import analyze
from ansible_collections.pyweb.stack.plugins.modules import preflight
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import becoming
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import busy as waiting
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import platforms
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.addresses import host_header
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import build_sandbox, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes.systemd_versions import OLDEST, unknown
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
        ("E: Could not get lock /var/lib/dpkg/lock. It is held by process 8 (unattended-upgr)", "Wait until it has"),
        ("E: Unmet dependencies", ""),
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


def test_a_directive_that_the_hosts_systemd_ignores_is_named_with_its_version() -> None:
    apps = [{"name": "shop", "systemd": {"ProtectHome": "no", "ExitType": "cgroup", "RestartSteps": 3}}]
    old = {**GOOD, "platform": {**GOOD["platform"], "versions": {"systemd": "247.3-7+deb11u7"}}}
    (line,) = platforms.notices(apps, old)
    assert "'shop'.systemd: systemd 247 of the host ignores ExitType (systemd 250), RestartSteps (systemd 254)" in line
    assert platforms.ignored_directives(apps, {**old, "init": "none"}) == []
    assert platforms.ignored_directives(apps, {**old, "platform": {}}) == []
    assert "ExitType" not in platforms.ignored_directives(apps, GOOD)[0]


def test_the_oldest_systemd_knows_all_of_our_directives() -> None:
    service = {"name": "shop@", "type": "simple", "user": "shop", "command": ["/bin/true"], "state": "present"}
    services, problems = systemd.checked([{**service, "limits": {"memory": "1G", "cpu": "50%", "tasks": 9}}])
    assert problems == []
    sections = systemd.service_sections(services[0])
    names = [name for section in sections.values() for name in section]
    assert len(names) > 40
    assert {"ProtectProc", "ProtectClock", "OOMPolicy", "MemoryMax"} <= set(names)
    assert unknown(names, OLDEST) == []
    assert unknown(build_sandbox.HIDING, OLDEST) == []


# The system at work


def test_the_first_boot_ends_with_a_result_or_long_after_the_boot(tmp_path: Path) -> None:
    uptime = tmp_path / "uptime"
    uptime.write_text("12.3 20.0\n")

    def found() -> bool:
        return busy.boots_first(str(tmp_path), str(uptime))

    assert not found()
    (tmp_path / "status.json").touch()
    assert found()
    (tmp_path / "result.json").touch()
    assert not found()
    (tmp_path / "result.json").unlink()
    # A crash of cloud-init leaves no result.
    uptime.write_text(f"{busy.FIRST_BOOT + 1} 20.0\n")
    assert not found()


def test_the_holder_of_apts_lock_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    lock.touch()
    inode = lock.stat().st_ino
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "comm").write_text("unattended-upgr\n")
    other = "1: FLOCK  ADVISORY  WRITE 5 fe:00:131 0 EOF\n"
    waiting = f"2: -> POSIX  ADVISORY  WRITE 9 fe:00:{inode} 0 EOF\n"
    (tmp_path / "locks").write_text(f"{other}2: POSIX  ADVISORY  WRITE 7 fe:00:{inode} 0 EOF\n{waiting}")
    assert busy.apt_holder((str(lock),), str(tmp_path)) == {"pid": 7, "program": "unattended-upgr"}
    (tmp_path / "locks").write_text(other)
    assert busy.apt_holder((str(lock),), str(tmp_path)) == {}
    # In a container, the processes of the machine have the number 0.
    (tmp_path / "locks").write_text(f"2: POSIX  ADVISORY  WRITE 0 fe:00:{inode} 0 EOF\n")
    assert busy.apt_holder((str(lock),), str(tmp_path)) == {}
    assert busy.apt_holder(("/nowhere",), str(tmp_path / "nowhere")) == {}


@pytest.mark.parametrize(("looks", "said"), [(1, 0), (3, 1), (100, 2)])
def test_a_run_waits_for_cloud_init_and_says_so(looks: int, said: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(waiting.display, "display", lambda text, **_options: lines.append(text))
    monkeypatch.setattr(waiting.display, "warning", lines.append)
    time, asked = [0.0], [0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    def look() -> dict[str, Any]:
        asked[0] += 1
        return {"ansible_facts": {"pyweb": {"platform": {"first_boot": asked[0] < looks}}}}

    waiting.after_first_boot(look, "web1", sleep, lambda: time[0])
    assert len(lines) == said, lines
    assert all("cloud-init" in line and line.startswith("web1: ") for line in lines)
    assert asked[0] == min(looks, 1 + int(waiting.MOST / waiting.PAUSE))


OTHER_FORMS: list[dict[str, Any]] = [{}, {"failed": True}, {"ansible_facts": []}, {"ansible_facts": {"pyweb": 1}}]


@pytest.mark.parametrize("answer", OTHER_FORMS)
def test_an_answer_of_another_form_is_left_to_its_check(answer: dict[str, Any]) -> None:
    assert waiting.after_first_boot(lambda: answer, "web1") == answer


@pytest.mark.parametrize(
    ("holder", "wanted", "words"),
    [
        ({"pid": 7, "program": "unattended-upgr"}, ["nginx"], "apt is in use by unattended-upgr (process 7)"),
        ({"pid": 7, "program": "x\nok: [web2]"}, ["nginx"], "(process 7)"),
        ({"pid": 7, "program": "apt"}, ["logrotate"], ""),
        ({}, ["nginx"], ""),
        (None, ["nginx"], ""),
        ([7], ["nginx"], ""),
    ],
)
def test_who_uses_apt_is_said_if_packages_are_missing(
    holder: Any, wanted: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(waiting.display, "display", lambda text, **_options: lines.append(text))
    facts = {"packages": ["logrotate"], "platform": {"apt_holder": holder}}
    waiting.tell_of_apt("web1", facts, wanted)
    assert bool(lines) == bool(words)
    assert all(words in line and "\n" not in line for line in lines)


@pytest.mark.parametrize(("version", "fails"), [((3, 8, 10), True), ((3, 9, 2), False)])
def test_a_python_that_is_too_old_is_refused_before_other_code_is_read(
    version: tuple[int, ...], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, Any] = {}

    class Module:
        params: dict[str, Any] = {}  # noqa: RUF012  # of one test

        def __init__(self, **_options: Any) -> None:
            pass

        def fail_json(self, **answer: Any) -> None:
            said.update(answer)
            raise SystemExit

    monkeypatch.setattr(preflight, "AnsibleModule", Module)
    monkeypatch.setattr(preflight.sys, "version_info", version)
    with pytest.raises(SystemExit if fails else (KeyError, AttributeError)):
        preflight.main()
    assert bool(said) == fails
    assert not fails or "Ansible runs Python 3.8 on the host, but this collection needs 3.9" in said["msg"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("Traceback (most recent call last)", ""),
        ("sudo: sorry, you must have a tty to run sudo\n", "ansible_pipelining: false"),
        ("sudo: Sie müssen ein TTY haben, um sudo zu verwenden", "requiretty"),
        ("sudo: Ein Passwort ist notwendig", "'sudo: Ein Passwort ist notwendig'. If it needs a password"),
        ("su: Authentication failure", "--ask-become-pass"),
        ("sudo: \x1b[31mno" + "!" * 500, "\\x1b"),
    ],
)
def test_sudo_that_refuses_is_told_in_its_own_language(said: str, words: str) -> None:
    problem = becoming.become_problem(said, "web1")
    assert bool(problem) is bool(words)
    assert words in problem
    assert "\x1b" not in problem
    assert len(problem) < 500


def test_the_address_of_a_host_with_ipv6_has_brackets() -> None:
    assert host_header("2001:db8::1", 80, 80) == "[2001:db8::1]"
    assert host_header("2001:db8::1", 8080, 80) == "[2001:db8::1]:8080"
    assert host_header("[2001:db8::1]", 80, 80) == "[2001:db8::1]"
    assert host_header("shop.example.com", 8080, 80) == "shop.example.com:8080"
