# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that run in containers: their model, their plan, their images and their drop-ins."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.images import archive, making, mounts, places, store, units
from ansible_collections.pyweb.stack.plugins.module_utils.images.explanations import explained
from ansible_collections.pyweb.stack.plugins.module_utils.plan import deploy
from ansible_collections.pyweb.stack.plugins.module_utils.processes import systemd
from ansible_collections.pyweb.stack.plugins.module_utils.release import identity, pruning, releases
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import fleet
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import containers
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.releases import releases as planned_releases
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.services import systemd_services
from host_facts import GOOD

SHOP: dict[str, Any] = {"name": "shop", "source": {"path": "/shop"}, "wsgi": "app:app"}
ID = "20261130T080000Z-ab12cd34"


def given(**more: Any) -> dict[str, Any]:
    return applications([{**SHOP, "runtime": "container", **more}])[0]


# The plan


def test_the_default_base_is_the_suite_of_the_host() -> None:
    (item,) = planned_releases([given(container={"packages": ["libpq5", "libpq5"]})], GOOD)
    assert item["container"] == {"base": "bookworm", "packages": ["libpq5"], "shown": [], "jobs": []}


def test_a_release_knows_its_enabled_jobs_and_they_make_no_new_release() -> None:
    def of(enabled: bool) -> Any:
        jobs = [{"name": "tick", "schedule": "* * * * *", "command": "true", "enabled": enabled}]
        (item,) = planned_releases([given(jobs=jobs)], GOOD)
        assert identity.python_of(item, {}) == ["image", "bookworm", []]  # type: ignore[arg-type]
        return item["container"]["jobs"]

    assert (of(True), of(False)) == (["shop.tick"], [])


def test_an_application_of_the_host_has_no_container_and_the_same_fingerprint() -> None:
    (item,) = planned_releases([given(runtime="host")], GOOD)
    assert "container" not in item
    assert identity.python_of(item, {None: "cpython-3.11"}) == "cpython-3.11"  # type: ignore[arg-type]


def test_base_and_packages_are_part_of_the_dependencies_and_the_python_of_the_host_is_not() -> None:
    def of(**container: Any) -> Any:
        (item,) = planned_releases([given(container=container)], GOOD)
        return identity.python_of(item, {})  # type: ignore[arg-type]

    assert of() != of(base="trixie") != of(base="trixie", packages=["libpq5"])
    assert of() == of(base="bookworm")


def test_the_units_of_both_runtimes_are_the_same() -> None:
    units_of = [systemd_services([given(runtime=runtime)], GOOD) for runtime in ("host", "container")]
    assert units_of[0] == units_of[1]


def test_hosts_with_different_pythons_agree_on_a_container() -> None:
    looks = []
    for version in ("3.11", "3.13"):
        facts = {**GOOD, "interpreters": {"python3": {"version": version}}}
        looks.append(fleet.seen([given(container={"base": "trixie"})], facts)["pythons"])
    assert looks[0] == looks[1] == {"shop": "base trixie"}


def test_a_host_needs_the_program_that_makes_images_only_for_containers() -> None:
    assert containers.packages_of_containers([given()]) == ["mmdebstrap"]
    assert containers.packages_of_containers([given(runtime="host")]) == []
    assert containers.packages_of_containers([given(state="absent")]) == []


def test_a_build_sees_the_files_of_the_host_that_the_inventory_names() -> None:
    python = {"index_url": "file:///srv/wheels/simple", "ca_bundle": "/etc/company.pem"}
    assert containers.shown_of(given(python=python)) == ["/etc/company.pem", "/srv/wheels/simple"]


# Bad input


MISTAKES = [
    ({"container": {"base": "Debian 12"}}, ["container.base", "'Debian 12'", "such as bookworm"]),
    ({"container": {"packages": ["libpq5=15"]}}, ["container.packages", "'libpq5=15'", "without versions"]),
    ({"container": {"packages": ["g++", "libpq5-"]}}, ["container.packages: 'libpq5-'", "is not the name"]),
    ({"process_manager": "supervisor"}, ["'container' needs systemd", "Remove process_manager"]),
    ({"python": {"interpreter": "3.13"}}, ["python.interpreter", "'3.13'", "container.base"]),
]


@pytest.mark.parametrize(("more", "says"), MISTAKES)
def test_a_mistake_is_named_with_its_value_and_its_remedy(more: dict[str, Any], says: list[str]) -> None:
    _apps, problems = normalised([{**SHOP, "runtime": "container", **more}])
    assert len(problems) == 1
    assert all(part in problems[0] for part in says), problems


OBSTACLES = [
    ({}, {"init": "none"}, Request(), ["needs systemd as PID 1", "runtime: host"]),
    ({}, {"platform": {"versions": {"systemd": "249.11"}}}, Request(), ["needs systemd 252", "this host has 249"]),
    ({}, {"distribution": {"id": "debian", "codename": ""}}, Request(), ["no code name", "container.base"]),
    ({}, {}, Request(requires=">=3.12"), ["'bookworm' has Python 3.11", ">=3.12", "such as noble"]),
    ({"base": "trixie"}, {}, Request(version="3.12"), ["'trixie' has Python 3.13", "3.12"]),
]


@pytest.mark.parametrize(("container", "host", "asked", "says"), OBSTACLES)
def test_a_conflict_with_the_host_is_found_before_anything_changes(
    container: dict[str, Any], host: dict[str, Any], asked: Request, says: list[str]
) -> None:
    (problem,) = containers.container_problems(given(container=container), {**GOOD, **host}, asked)
    assert all(part in problem for part in says), problem


def test_no_problem_is_reported_where_there_is_none() -> None:
    for container in ({}, {"base": "trixie"}, {"base": "forky"}):
        assert list(containers.container_problems(given(container=container), GOOD, Request(requires=">=3.9"))) == []


OUTPUTS = [
    ("E: Unable to locate package libpq55", ["container.packages: 'libpq55'", "archive of trixie"]),
    (
        "E: The repository 'http://mirror.example/debian trixe Release' does not have a Release file.",
        ["not a suite"],
    ),
    ("dpkg: error: cannot copy: No space left on device", ["the disk is full", "Make room"]),
    ("W: GPG error: http://a trixie InRelease: NO_PUBKEY 6ED0E7B82643E131", ["no keys", "debian-archive-keyring"]),
    ("E: Failed to fetch http://a/x Could not resolve 'a'", ["does not reach its archive"]),
    ("E: something else", ["could not be made", "E: something else"]),
]


@pytest.mark.parametrize(("output", "says"), OUTPUTS)
def test_a_failed_image_is_explained(output: str, says: list[str]) -> None:
    text = explained(output, "trixie", ["libpq55"])
    assert all(part in text for part in says), text


# The archive

DEB822 = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
# comment
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example.com/debian
Suites: bookworm
Components: main
"""


def test_images_come_from_the_archive_of_the_host() -> None:
    found = list(archive.deb822_sources(DEB822))
    signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert [source.line for source in archive.archive_of("trixie", "bookworm", found)] == [
        f"{signed} http://mirror.example/debian trixie main",
        f"{signed} http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/debian-security trixie-security main",
    ]


def test_archives_of_single_programs_are_left_out() -> None:
    lines = (
        "deb [arch=amd64 signed-by=/etc/k.gpg] https://download.example.com/linux/debian bookworm stable\n"
        "deb http://apt.example.org/pub bookworm-pgdg main\n"
        "# deb http://old.example.com/debian bookworm main\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb http://mirror.example/debian stable main\n"
    )
    found = archive.archive_of("bookworm", "bookworm", archive.one_line_sources(lines))
    assert [source.line for source in found] == ["deb http://mirror.example/debian bookworm main"]


# Images


def image(root: Path, name: str, **description: Any) -> Path:
    folder = root / ".images" / name
    (folder / "root/usr/bin").mkdir(parents=True)
    (folder / places.MARK).write_text(json.dumps({"python": "3.11", **description}))
    return folder


def test_an_archive_with_a_suite_of_the_same_name_is_left_out_where_it_can_not_be_used(tmp_path: Path) -> None:
    for name, origin, codename in (
        ("mirror.example_debian_dists_stable", "Debian", "bookworm"),
        ("apt.grafana.example_dists_stable", "grafana", "stable"),
        ("apt.tools.example_some%5fpath_dists_bookworm", "tools", "bookworm"),
    ):
        (tmp_path / f"{name}_InRelease").write_text(f"Origin: {origin}\nCodename: {codename}\n")
    lines = (
        "deb http://mirror.example/debian stable main\n"
        "deb https://apt.grafana.example/ stable main\n"
        "deb https://anna:secret@apt.tools.example/some_path bookworm main\n"
        "deb http://unread.example bookworm main\n"
    )
    found = [archive.described(source, str(tmp_path)) for source in archive.one_line_sources(lines)]

    def of(base: str, of_these: Any = found) -> list[str]:
        return [re.sub(r".*//|/.*", "", one.uri) for one in archive.archive_of(base, "bookworm", of_these)]

    assert of("bookworm") == ["mirror.example", "anna:secret@apt.tools.example", "unread.example"]
    assert of("trixie") == ["mirror.example", "unread.example"]
    # A mirror of another origin may be the only one.
    assert of("trixie", found[2:]) == ["anna:secret@apt.tools.example", "unread.example"]


def test_several_keys_of_an_archive_are_one_option() -> None:
    stanza = "Types: deb\nURIs: http://deb.example\nSuites: bookworm\nComponents: main\nSigned-By: /a.gpg\n /b.gpg\n"
    (source,) = archive.deb822_sources(stanza)
    assert source.line == "deb [signed-by=/a.gpg,/b.gpg] http://deb.example bookworm main"


APT_SETTINGS = """APT::Architecture "amd64";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3142";
Acquire::http::Proxy::deb.example "DIRECT";
Acquire::https::Proxy "DIRECT";
"""


def test_an_image_is_made_by_the_proxies_of_apt() -> None:
    assert archive.proxies_of_apt(APT_SETTINGS) == {"http_proxy": "http://proxy.example:3142"}
    assert archive.proxies_of_apt("") == {}


def test_the_password_of_a_proxy_is_in_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    texts: list[str] = []
    modes: list[int] = []

    def run(argv: list[str], **_more: Any) -> subprocess.CompletedProcess[Any]:
        commands.append(argv)
        if argv[0] == "apt-config":
            return subprocess.CompletedProcess(argv, 0, APT_SETTINGS.encode())
        (file,) = [Path(word.partition("=")[2]) for word in argv if word.startswith("EnvironmentFile=")]
        texts.append(file.read_text())
        modes.append(file.stat().st_mode & 0o777)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(
        making, "archive_of", lambda *_given: [archive.Source("http://deb.example", "trixie", ("main",))]
    )
    monkeypatch.setenv("HTTPS_PROXY", 'http://anna:s3"cret$@proxy.example')
    making.install(str(tmp_path), making.Wanted("trixie"))
    assert not any("s3" in word for argv in commands for word in argv)
    assert 'HTTPS_PROXY="http://anna:s3\\"cret\\$@proxy.example"\n' in texts[0]
    assert 'http_proxy="http://proxy.example:3142"\n' in texts[0]
    assert modes == [0o600]
    assert [path.name for path in tmp_path.iterdir()] == ["sources.list"]


def test_the_newest_image_is_used_and_an_upgrade_wants_one_of_its_own_run(tmp_path: Path) -> None:
    wanted = making.Wanted("trixie", ("libpq5",))
    for time, run in (("20261130T080000Z", ""), ("20261201T080000Z", "run-1")):
        image(tmp_path, f"{wanted.prefix}{time}", run=run)
    (tmp_path / ".images" / f"{wanted.prefix}20261202T080000Z").mkdir()
    assert making.find(str(tmp_path), wanted).endswith("20261201T080000Z"), "the newest one is incomplete"
    assert making.find(str(tmp_path), making.Wanted("trixie", ("libpq5",), "run-1")).endswith("20261201T080000Z")
    assert making.find(str(tmp_path), making.Wanted("trixie", ("libpq5",), "run-2")) == ""
    assert making.find(str(tmp_path), making.Wanted("trixie", ("libpq5", "git"))) == ""


def test_the_order_of_packages_does_not_matter_to_an_image() -> None:
    assert making.Wanted("trixie", ("a1", "b2")).prefix == making.Wanted("trixie", ("b2", "a1", "b2")).prefix
    assert making.Wanted("trixie").prefix != making.Wanted("bookworm").prefix


def test_unused_images_are_removed_with_the_last_release_that_has_one(tmp_path: Path) -> None:
    for name in ("used", "other", "unused"):
        image(tmp_path, name)
    for app, used in (("shop", "used"), ("blog", "other")):
        layout = releases.Layout(app, str(tmp_path))
        os.makedirs(layout.release(ID))
        releases.write_manifest(layout, releases.Manifest(ID, image=used))
    (tmp_path / "README").write_text("a file of the administrator")
    pruning.prune_images(releases.Layout("shop", str(tmp_path)))
    assert sorted(path.name for path in (tmp_path / ".images").iterdir()) == [".lock", "other", "used"]


def test_no_image_is_removed_while_another_run_chooses_one(tmp_path: Path) -> None:
    image(tmp_path, "new")
    with store.locked(str(tmp_path)) as is_held:
        assert is_held
        assert store.prune(str(tmp_path), set) == []
    assert store.prune(str(tmp_path), set) == ["new"]


def test_an_image_that_another_run_has_just_chosen_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(tmp_path, "chosen")
    layout, locked = releases.Layout("shop", str(tmp_path)), store.locked

    def after_another_run(*given: Any, **more: Any) -> Any:
        # The other run has released the lock.
        os.makedirs(layout.release(ID), exist_ok=True)
        releases.write_manifest(layout, releases.Manifest(ID, image="chosen"))
        return locked(*given, **more)

    monkeypatch.setattr(store, "locked", after_another_run)
    pruning.prune_images(releases.Layout("blog", str(tmp_path)))
    assert (tmp_path / ".images/chosen").is_dir()


def test_a_new_image_replaces_those_of_failed_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = making.Wanted("trixie", ("git",))
    for name in ("used", "attempt"):
        image(tmp_path, name)
    (tmp_path / ".images/half.new").mkdir()
    monkeypatch.setattr(store, "stop", lambda _path: None)
    monkeypatch.setattr(making, "make", lambda *_given: "made")
    assert making.provide(str(tmp_path), wanted, lambda: {"used"}) == "made"
    assert sorted(path.name for path in (tmp_path / ".images").iterdir()) == ["used"]
    image(tmp_path, f"{wanted.prefix}1")
    image(tmp_path, "other")
    assert making.provide(str(tmp_path), wanted, lambda: {"used"}) == f"{wanted.prefix}1"
    assert (tmp_path / ".images/other").is_dir(), "only a new image needs room"


def test_no_program_of_an_image_has_the_rights_of_its_owner(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/bin/su").write_text("")
    (tmp_path / "usr/bin/su").chmod(0o4755)
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    making.complete(str(tmp_path))
    assert (tmp_path / "usr/bin/su").stat().st_mode & 0o7777 == 0o755
    assert not (tmp_path / "etc/localtime").is_symlink()
    assert (tmp_path / "dev").is_dir()


@pytest.mark.parametrize(
    ("python", "says"), [("python3.7", "has Python 3.7"), ("", "has no python3"), ("python3.11", "")]
)
def test_an_old_python_is_refused(tmp_path: Path, python: str, says: str) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    if python:
        (tmp_path / "usr/bin" / python).write_text("")
        (tmp_path / "usr/bin/python3").symlink_to(python)
    if not says:
        assert making.python_of(str(tmp_path), making.Wanted("bookworm")) == "3.11"
        return
    with pytest.raises(places.ImageError, match=says):
        making.python_of(str(tmp_path), making.Wanted("buster"))


def test_an_interpreter_of_an_image_is_not_that_of_the_host(tmp_path: Path) -> None:
    top = image(tmp_path, "one") / "root/usr/bin"
    (top / "python3.13").write_text("")
    (top / "python3").symlink_to("python3.13")
    link = tmp_path / "python"
    link.symlink_to("/usr/bin/python3")
    assert places.interpreter_in(str(link), str(tmp_path), "one") == str(top / "python3.13")
    assert places.interpreter_in(str(link)) == os.path.realpath("/usr/bin/python3")


# Drop-ins


class Host:
    """The units of a host, and the commands that were run on it."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units, self.home, self.commands = tmp_path / "units", tmp_path / "shop", []
        self.units.mkdir()
        self.sees = True
        monkeypatch.setattr(units, "UNITS", str(self.units))
        image(tmp_path, "one")
        for release in ("old", ID):
            (self.home / "releases" / release).mkdir(parents=True)
        (self.home / "releases" / ID / "image").symlink_to(tmp_path / ".images/one")

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        self.commands.append(argv[1])
        found = " ".join(map(str, self.units.glob("*.d/*"))) if self.sees else ""
        return 0, f"DropInPaths={found}\nNeedDaemonReload=no\n", ""

    def define(self, release: str) -> bool:
        return units.define(str(self.home), "/run/webapps/shop", release, ["shop", "shop.worker"], self.run)

    def follow(self, release: str, jobs: tuple[str, ...] = ()) -> bool:
        current = self.home / "current"
        current.unlink(missing_ok=True)
        current.symlink_to(f"releases/{release}")
        return units.follow("shop", str(self.home), "/run/webapps/shop", self.run, jobs)

    @property
    def drop_ins(self) -> list[str]:
        return sorted(path.parent.name for path in self.units.glob("*.d/*"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_only_a_release_with_an_image_gets_drop_ins(host: Host) -> None:
    assert host.define("old") is False
    assert host.drop_ins == []
    assert host.define(ID) is True
    assert host.drop_ins == [f"shop.worker@{ID}.service.d", f"shop@{ID}.service.d"]
    assert host.commands == ["show", "show"], "systemd finds the drop-ins of a new unit by itself"
    assert host.define(ID) is False


def test_systemd_is_reloaded_if_it_has_not_seen_a_drop_in(host: Host) -> None:
    host.sees = False
    host.define(ID)
    assert host.commands == ["show", "daemon-reload"]


def test_jobs_follow_the_live_release(host: Host) -> None:
    for name in ("shop.tick.service", "shop.worker@.service", "shop2.tick.service"):
        (host.units / name).write_text("")
    assert host.follow("old") is False
    assert host.follow(ID) is True
    assert host.drop_ins == ["shop.tick.service.d"]
    text = (host.units / "shop.tick.service.d" / units.IMAGE_DROP_IN).read_text()
    assert f"RootDirectory={host.home.parent}/.images/one/root\n" in text
    assert f"{host.home}/jobs" in text
    assert host.follow(ID) is False
    assert host.follow("old") is True
    assert host.drop_ins == []
    assert host.commands == ["daemon-reload", "daemon-reload"]


def test_a_job_has_its_drop_in_before_its_unit_and_not_without_it(host: Host) -> None:
    (host.units / "shop.old.service").write_text("")
    host.define(ID)
    assert host.follow(ID, ("shop.tick",)) is True
    jobs = ["shop.old.service.d", "shop.tick.service.d"]
    instances = [f"shop.worker@{ID}.service.d", f"shop@{ID}.service.d"]
    assert host.drop_ins == sorted([*jobs, *instances])
    assert host.follow(ID, ("shop.tick",)) is False
    (host.units / "shop.old.service").unlink()
    assert host.follow(ID, ("shop.tick",)) is False, "the job is gone, so this changes nothing"
    assert host.drop_ins == sorted([jobs[1], *instances])
    # Nor may a job that is enabled again on the host find the drop-in of an image.
    host.follow("old")
    assert host.drop_ins == instances


def test_a_run_defines_the_jobs_of_the_inventory(host: Host) -> None:
    layout = releases.Layout("shop", str(host.home.parent))
    releases.write_manifest(layout, releases.Manifest(ID, image="one"))
    host.follow(ID)
    (item,) = planned_releases([given(jobs=[{"name": "tick", "schedule": "* * * * *", "command": "true"}])], GOOD)
    assert deploy.defined_again(layout, ID, item, host.run) is True
    assert "shop.tick.service.d" in host.drop_ins
    assert deploy.defined_again(layout, ID, item, host.run) is False


def test_drop_ins_go_with_their_releases_and_files_of_others_stay(host: Host) -> None:
    host.define(ID)
    own = host.units / f"shop@{ID}.service.d" / "own.conf"
    own.write_text("")
    units.tidy("shop", [ID])
    assert len(host.drop_ins) == 3
    units.tidy("shop", [])
    assert host.drop_ins == [f"shop@{ID}.service.d"]
    assert own.exists()


def test_a_drop_in_of_an_image_does_not_make_the_stamp_of_units_invalid(host: Host) -> None:
    (host.units / "shop.tick.service").write_text("")
    services = [{"name": "shop@"}, {"name": "shop.tick"}, {"name": "shop.*"}]
    before = systemd.witnesses(services, str(host.units))
    host.define(ID)
    host.follow(ID)
    assert systemd.witnesses(services, str(host.units)) == before
    (host.units / "shop.tick.service.d/own.conf").write_text("")
    assert systemd.witnesses(services, str(host.units)) != before
    assert stamps.matching(f"{host.units}/shop.*.service.d/*") == [f"{host.units}/shop.tick.service.d/own.conf"]


def test_the_release_is_read_only_and_its_data_are_not() -> None:
    lines = mounts.run_lines("/srv/webapps/shop", "/run/webapps/shop", "/srv/webapps/.images/one/root")
    assert "BindReadOnlyPaths=/srv/webapps/shop" in lines
    assert "BindPaths=/srv/webapps/shop/shared /srv/webapps/shop/cache -/run/webapps/shop" in lines
    assert "RootDirectoryStartOnly=yes" in lines, "the runtime folder is made on the host"
    build = mounts.build_lines("/srv/webapps/shop", "/srv/webapps/.images/one/root", ["/opt/pyweb/uv/bin/uv"])
    assert "ReadOnlyPaths=+/srv/webapps/shop/shared" in build
    assert "BindReadOnlyPaths=-/opt/pyweb/uv/bin/uv" in build
