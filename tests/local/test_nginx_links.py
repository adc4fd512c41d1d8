# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Attacks by links whose way passes through something that an application can change, or that the kernel makes up."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import (
    check_known_releases,
    give_outward_links,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.ownership import take_for_root
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    Layout,
    Manifest,
    read_manifest,
    write_manifest,
)
from nginx_instance import needs_nginx
from test_nginx_front import HASH
from test_nginx_publishing import SECRET, SHOP, Host, link

pytestmark = [
    needs_nginx,
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts, which only root can"),
]

COLLECTIONS = Path(__file__).resolve().parents[2] / ".collections"


@pytest.fixture
def host(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Host]:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    yield from served(Host(tmp_path, render))


def served(host: Host) -> Iterator[Host]:
    try:
        host.begin()
        yield host
    finally:
        host.stop()
        for server in host.servers:
            server.close()


def give(host: Host, release: str = "2") -> list[str]:
    """Give the links of a release, as a build does; return their names."""
    folder = host.apps / "shop/releases" / release
    given = give_outward_links(str(folder / "src"), [str(folder), str(host.apps / "shop/venvs/abc")], SHOP, SHOP)
    return [os.path.basename(path) for path in given]


# The ways of links to a file of the release while it is built. "shared" is the application's, and so is the link d in
# it; media is a link of the release to shared/media.
WAYS = {
    "an absolute path": "{apps}/shop/shared/media/d/new_css",
    "a link of the release into shared": "../media/d/new_css",
    "shared, and back": "../media/../../../shared/media/d/new_css",
    "the folder of the releases": "../../../../shared/media/d/new_css",
}


@pytest.mark.attack("21", "A link of a release leads through a shared folder, which the application changes afterwards")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("release", ["2", "1"], ids=["current", "previous"])
def test_no_way_through_a_shared_folder_ends_at_a_file_of_root(host: Host, way: str, release: str) -> None:
    src = host.apps / "shop/releases" / release / "src"
    if release == "1":
        link(src / "media", host.apps / "shop/shared/media", 0)
    link(host.media / "d", src / "static", SHOP)
    link(src / "static/x", way.format(apps=host.apps), 0)
    assert "x" in give(host, release)
    (host.secrets / "new_css").write_text(SECRET)
    link(host.media / "d", host.secrets, SHOP)
    status, text = host.get("/static/x")
    assert (status in (403, 404), SECRET in text) == (True, False)


@pytest.mark.attack("21", "An application exchanges what a link of the source points to while a release is built")
@pytest.mark.parametrize("at_build", ["a link to a file of the release", "nothing"])
def test_a_link_of_the_source_into_a_shared_folder_shows_only_files_of_the_application(
    host: Host, at_build: str
) -> None:
    src = host.release / "src"
    link(src / "static/avatar", "../media/avatar", 0)
    if at_build != "nothing":
        link(host.media / "avatar", src / "static/new_css", SHOP)
    assert "avatar" in give(host)
    link(host.media / "avatar", host.secrets / "hash", SHOP)
    status, text = host.get("/static/avatar")
    assert (status in (403, 404), SECRET in text) == (True, False)
    (host.media / "avatar").unlink()
    (host.media / "avatar").write_text("a picture")
    os.chown(host.media / "avatar", SHOP, SHOP)
    assert host.get("/static/avatar") == (200, "a picture")


@pytest.mark.attack("21", "A link leads to an open file of nginx, such as a log, through /proc/self/fd")
def test_no_link_leads_to_what_nginx_has_opened(host: Host) -> None:
    """In the build, a number is a folder of its own walk. In nginx, it is a log."""
    deep = host.release / "src/dist" / "/".join("d" * 30)
    deep.mkdir(parents=True)
    numbers = range(3, 40)
    for number in numbers:
        link(deep / f"fd{number}", f"/proc/self/fd/{number}", 0)
    # In a process of its own, like a module of Ansible. Here, pytest holds the first numbers.
    code = f"""\
import sys
sys.path.insert(0, {str(COLLECTIONS)!r})
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import give_outward_links
give_outward_links({str(host.release / "src")!r}, [{str(host.release)!r}], {SHOP}, {SHOP})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {path.lstat().st_uid for path in deep.iterdir()} == {SHOP}
    host.get("/login?token=of-a-visitor")
    url = f"/dist/{deep.relative_to(host.release / 'src/dist')}"
    found = [host.get(f"{url}/fd{number}") for number in numbers]
    assert not [text for status, text in found if status == 200 or "of-a-visitor" in text]


MAGIC = {
    "the root of a process": "/proc/self/root{release}/src/static/new_css",
    "the working folder of a process": "/proc/self/cwd/{name}",
    "an open folder": "/dev/fd/3/new_css",
    "a link without a target": "not-yet-there",
    "a circle": "x",
}


@pytest.mark.parametrize("target", MAGIC.values(), ids=MAGIC)
def test_links_that_mean_another_file_for_each_process_belong_to_the_application(host: Host, target: str) -> None:
    link(host.release / "src/static/x", target.format(release=host.release, name="release"), 0)
    assert "x" in give(host)


OWN = {
    "a file beside it": "new_css",
    "a file above it": "../dist/app_js",
    "the release by its whole path": "{apps}/shop/releases/2/src/dist/app_js",
    "a package": "../../venv/admin_css",
    "a way up to / and down again": "../../../../../../../../../../../../..{apps}/shop/releases/2/src/dist/app_js",
}


@pytest.mark.parametrize("target", OWN.values(), ids=OWN)
def test_links_to_files_of_the_release_stay_root_s(host: Host, target: str) -> None:
    link(host.release / "src/static/x", target.format(apps=host.apps), 0)
    assert "x" not in give(host)
    assert host.get("/static/x")[0] == 200


@pytest.mark.attack("21", "An application reads the password hashes of another site by two links of its build")
def test_no_way_leads_to_the_password_hashes(render: Callable[..., Any]) -> None:
    """With nginx's real account, its real file of password hashes, and a folder of the same release in between."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        host = Host(Path(name), render)
        host.user = "www-data"
        for _host in served(host):
            host.serve_apps(blog={"basic_auth": {"users": {"alice": HASH}}})
            src = host.release / "src"
            link(host.media / "d", src / "static", SHOP)
            link(src / "static/hash", host.media / "d/new_css", SHOP)
            take_for_root(str(src), fresh=True)
            link(src / "media", host.apps / "shop/shared/media", 0)
            give(host)
            (stage := host.folder / "stage").mkdir()
            os.chown(stage, SHOP, SHOP)
            link(stage / "new_css", next((host.conf / "pyweb/trees").rglob("secrets/*")), SHOP)
            link(host.media / "d", stage, SHOP)
            status, text = host.get("/static/hash")
            assert (status in (403, 404), HASH in text) == (True, False)


@pytest.mark.attack("21", "A release that an earlier version has built keeps its links through a shared folder")
def test_the_releases_that_an_earlier_version_has_built_are_checked_by_the_next_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    owner = pwd.getpwnam("nobody")
    layout = Layout("nobody", str(tmp_path))
    for name in ("1", "2"):
        folder = Path(layout.release(name)) / "src"
        folder.mkdir(parents=True)
        (folder / "a.css").write_text("a")
        link(folder / "own.css", "a.css", 0)
        link(folder / "out.css", "/proc/self/fd/3", 0)
    write_manifest(layout, Manifest("2", BUILT))
    # As earlier versions have written it.
    Path(layout.release("1"), "release.json").write_text('{"id": "1", "state": "good", "venv": "abc"}')
    assert check_known_releases(layout, "a run", check_mode=True)
    assert check_known_releases(layout, "a run", check_mode=False)
    assert not check_known_releases(layout, "a run", check_mode=False)
    found = {
        f"{name}/{file}": (Path(layout.release(name)) / "src" / file).lstat().st_uid
        for name in ("1", "2")
        for file in ("own.css", "out.css")
    }
    assert found == {"1/own.css": 0, "1/out.css": owner.pw_uid, "2/own.css": 0, "2/out.css": 0}
    manifest = read_manifest(layout, "1")
    assert manifest is not None
    assert (manifest.state, manifest.venv, manifest.links_checked) == ("good", "abc", True)
