# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Attacks of an application on what nginx serves: links out of its folders, and folders of other applications."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import (
    copy_owners_of_links,
    give_outward_links,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from attackers import http1
from nginx_instance import App, Front, Request, needs_nginx, ok

pytestmark = [
    needs_nginx,
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts, which only root can"),
]

SHOP, BLOG, WWW = 64001, 64002, 64003  # accounts
SECRET = "another's"


def tree(base: Path, owner: int, **files: str) -> Path:
    """A folder of an account, with files by their names (with __ for a slash)."""
    for name, content in {"": "", **files}.items():
        path = base.joinpath(*name.split("__"))
        (path if not name else path.parent).mkdir(parents=True, exist_ok=True)
        if name:
            path.write_text(content)
    for path in [base, *base.rglob("*")]:
        os.chown(path, owner, owner, follow_symlinks=False)
    return base


def link(path: Path, target: Path | str, owner: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.symlink_to(target)
    os.chown(path, owner, owner, follow_symlinks=False)


class Host(Front):
    """A host with the applications shop and blog, as the role webapp leaves them after some deployments."""

    def begin(self) -> None:
        self.apps = self.folder / "apps"
        for name, account in (("shop", SHOP), ("blog", BLOG)):
            home = self.apps / name
            for release in ("1", "2"):
                tree(
                    home / "releases" / release / "src",
                    0,
                    static__new_css=release,
                    static__only_css=f"only {release}",
                    dist__app_js="app",
                    errors__sorry_html=f"sorry from {name}",
                    private__report_txt=f"report of {name}",
                )
            (home / "releases/2/src/static/only_css").unlink()
            (home / "releases/2/src/static/new_css.gz").write_bytes(gzip.compress(b"packed"))
            (home / "venvs/abc").mkdir(parents=True)
            (home / "venvs/abc/admin_css").write_text("from a package")
            link(home / "releases/2/venv", "../../venvs/abc", 0)
            link(home / "current", "releases/2", 0)
            link(home / "previous", "releases/1", 0)
            tree(home / "shared", account, media__photo_txt="photo", static__uploads__file_txt="upload")
            link(home / "releases/2/src/media", home / "shared/media", 0)
            link(home / "releases/2/src/static/uploads", home / "shared/static/uploads", 0)
        self.release = self.apps / "shop/releases/2"
        self.media = self.apps / "shop/shared/media"
        self.secrets = tree(self.folder / "secrets", 0, hash=SECRET, deep__file=SECRET)
        tree(self.folder / "log", WWW, visits=SECRET)
        tree(self.apps / "blog/shared", BLOG, rows=SECRET)
        self.sent: tuple[str, ...] = ()
        self.servers = [App(str(self.apps / name / "current.sock"), self.answer) for name in ("shop", "blog")]
        self.serve_apps()

    def answer(self, request: Request) -> bytes:
        """The application sends the headers in ``sent``."""
        return ok("app", *self.sent)

    def serve_apps(self, shop: dict[str, Any] | None = None, blog: dict[str, Any] | None = None) -> None:
        static: list[dict[str, Any]] = [
            {"url": "/static/", "path": "static", "precompressed": True},
            {"url": "/media/", "path": "media"},
            {"url": "/dist/", "path": "dist", "previous_release": False},
        ]
        pages = [{"status": [404, 418], "page": "errors/sorry_html"}]
        common = {"port": self.port, "domains": ["shop.example.com"]}
        own = {"source": {"path": "x"}, "wsgi": "a:b"}
        sites = {
            "shop": {**common, "static": static, "error_pages": pages, "intercept_errors": True, **(shop or {})},
            "blog": {**common, "path": "/blog", **(blog or {})},
        }
        apps = [{"name": name, **own, "site": site} for name, site in sites.items()]
        apps[0]["shared"] = ["media", "static/uploads"]
        self.serve(nginx_sites(apps, root=str(self.apps)))

    def get(self, path: str, *headers: str) -> tuple[int, str]:  # type: ignore[override]
        # The host's own requests pass the maintenance.
        answer = http1(self.port, "shop.example.com", path, *headers, source="127.0.0.2")
        return answer.status, answer.text


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, render: Callable[..., Any]) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    folder.chmod(0o755)
    instance = Host(folder, render)
    try:
        instance.begin()
        yield instance
    finally:
        instance.stop()
        for server in instance.servers:
            server.close()


# --- what must continue to work ------------------------------------------------------------------------------------


def test_the_folders_of_releases_and_the_shared_ones_are_served_as_before(host: Host) -> None:
    assert [host.get(f"/static/{name}") for name in ("new_css", "only_css")] == [(200, "2"), (200, "only 1")]
    packed = http1(host.port, "shop.example.com", "/static/new_css", "Accept-Encoding: gzip")
    assert b"Content-Encoding: gzip" in packed.head
    assert host.get("/dist/app_js") == (200, "app")
    assert host.get("/media/photo_txt") == (200, "photo")
    assert host.get("/static/uploads/file_txt") == (200, "upload"), "a shared folder inside a folder of the release"
    assert host.get("/dist/none") == (404, "sorry from shop")


def test_links_inside_a_release_and_into_its_packages_are_followed(host: Host) -> None:
    """As ``collectstatic --link`` makes them."""
    static = host.release / "src/static"
    link(static / "linked_css", "new_css", 0)
    link(static / "package_css", host.apps / "shop/venvs/abc/admin_css", 0)
    link(static / "folder", "../dist", 0)
    given = give_outward_links(str(static), [str(host.release), str(host.release / "venv")], SHOP, SHOP)
    assert given == [str(static / "uploads")]
    assert host.get("/static/linked_css") == (200, "2")
    assert host.get("/static/package_css") == (200, "from a package")
    assert host.get("/static/folder/app_js") == (200, "app")


def test_links_of_an_application_to_its_own_files_are_followed(host: Host) -> None:
    link(host.media / "same_txt", "photo_txt", SHOP)
    assert host.get("/media/same_txt") == (200, "photo")


def test_a_shared_folder_on_another_disk_is_served_by_a_link_of_its_owner(host: Host) -> None:
    tree(host.folder / "disk", SHOP, photo_txt="on the disk")
    host.media.rename(host.media.with_name("kept"))
    link(host.media, host.folder / "disk", SHOP)
    assert host.get("/media/photo_txt") == (200, "on the disk")
    host.media.unlink()
    host.media.with_name("kept").rename(host.media)


def test_an_nginx_that_may_only_pass_through_folders_serves_what_is_in_them(render: Callable[..., Any]) -> None:
    """As the access control lists of the role webapp let www-data pass, but not list."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        other = Host(Path(name), render)
        other.user = "www-data"
        try:
            other.begin()
            for folder in (other.apps, other.apps / "shop", other.apps / "shop/releases", other.apps / "shop/shared"):
                folder.chmod(0o711)
            assert other.get("/static/new_css") == (200, "2")
            assert other.get("/static/only_css") == (200, "only 1")
            assert other.get("/media/photo_txt") == (200, "photo")
            assert other.get("/dist/none") == (404, "sorry from shop")
            link(other.media / "x", other.folder / "secrets/hash", SHOP)
            assert other.get("/media/x")[0] == 403
        finally:
            other.stop()
            for server in other.servers:
                server.close()


# --- links out ------------------------------------------------------------------------------------------------------

OUT = {
    "the password hashes of root": "secrets/hash",
    "a folder of root": "secrets",
    "the log of another site": "log/visits",
    "the data of another application": "apps/blog/shared/rows",
    "the code of another application": "apps/blog/releases/2/src/private/report_txt",
    "the link of another application": "apps/blog/current/src/private/report_txt",
}


@pytest.mark.attack("5", "An application links from a served shared folder to foreign files")
@pytest.mark.parametrize("target", OUT.values(), ids=OUT)
@pytest.mark.parametrize("place", ["media", "static/uploads"])
def test_no_link_leads_out_of_a_shared_folder(host: Host, place: str, target: str) -> None:
    """The application makes it while it runs."""
    path = host.apps / "shop/shared" / place / "x"
    link(path, host.folder / target, SHOP)
    for rest in ("", "/hash", "/deep/file"):
        status, text = host.get(f"/{place}/x{rest}")
        assert status in (403, 404), text
        assert SECRET not in text
        assert "blog" not in text
    path.unlink()


@pytest.mark.attack("5", "A build command links from a served folder of the release to foreign files")
@pytest.mark.parametrize("target", OUT.values(), ids=OUT)
@pytest.mark.parametrize("folder", ["static", "dist"])
def test_no_link_leads_out_of_a_release(host: Host, folder: str, target: str) -> None:
    """A build command makes it. Then root takes over the files of the release, and the link with them."""
    path = host.release / "src" / folder / "x"
    link(path, host.folder / target, 0)
    give_outward_links(str(host.release / "src"), [str(host.release), str(host.release / "venv")], SHOP, SHOP)
    for rest in ("", "/hash", "/deep/file"):
        status, text = host.get(f"/{folder}/x{rest}")
        assert status in (403, 404), text
        assert SECRET not in text
        assert "blog" not in text
    path.unlink()


@pytest.mark.attack("5", "An application puts a pipe, a socket or a device in a served folder")
@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])
def test_what_is_no_file_is_not_opened(host: Host, kind: int) -> None:
    path = host.media / "x"
    os.mknod(path, 0o644 | kind, os.makedev(1, 5))
    os.chown(path, SHOP, SHOP)
    status, text = host.get("/media/x")
    path.unlink()
    assert (status in (403, 404, 500), len(text) < 1000) == (True, True)


@pytest.mark.attack("5", "An application replaces a served folder by a link")
def test_no_link_takes_the_place_of_a_published_folder(host: Host) -> None:
    (host.release / "src/dist").rename(host.release / "src/dist2")
    link(host.release / "src/dist", host.folder / "secrets", 0)
    give_outward_links(str(host.release / "src"), [str(host.release), str(host.release / "venv")], SHOP, SHOP)
    assert host.get("/dist/hash")[0] in (403, 404)
    (host.release / "src/dist").unlink()
    (host.release / "src/dist2").rename(host.release / "src/dist")
    host.media.rename(host.media.with_name("kept"))
    link(host.media, host.folder / "secrets", SHOP)
    assert host.get("/media/hash")[0] in (403, 404)
    host.media.unlink()
    host.media.with_name("kept").rename(host.media)


@pytest.mark.attack("5", "A package links to foreign files")
def test_no_link_leads_out_of_the_packages_of_a_release(host: Host) -> None:
    """A link in the release leads to a package, and a link of the package leads on."""
    venv = host.apps / "shop/venvs/abc"
    link(venv / "out", host.folder / "secrets", 0)
    give_outward_links(str(venv), [str(venv)], SHOP, SHOP)
    link(host.release / "src/static/packages", venv, 0)
    link(host.release / "src/static/chain", venv / "out/hash", 0)
    give_outward_links(str(host.release / "src"), [str(host.release), str(host.release / "venv")], SHOP, SHOP)
    assert host.get("/static/packages/admin_css") == (200, "from a package")
    for path in ("/static/packages/out/hash", "/static/chain"):
        assert host.get(path)[0] in (403, 404)


@pytest.mark.attack("5", "An error page is a link to a foreign file")
@pytest.mark.parametrize("page", ["errors", "maintenance"])
def test_no_page_is_a_link_out(host: Host, page: str) -> None:
    file = host.release / "src/errors/sorry_html"
    file.unlink()
    link(file, host.folder / "secrets/hash", SHOP)
    if page == "maintenance":
        host.serve_apps(shop={"maintenance": {"page": "errors/sorry_html"}})
    status, text = host.get("/dist/none" if page == "errors" else "/")
    assert (status, SECRET in text) in ((403, False), (404, False), (503, False))
    file.unlink()
    file.write_text("sorry from shop")
    assert host.get("/dist/none" if page == "errors" else "/")[1] == "sorry from shop"
    host.serve_apps()


@pytest.mark.attack("5", "A folder of a site holds a link to a foreign file")
def test_a_folder_of_nginx_sites_follows_links_up_to_it_and_none_out(host: Host) -> None:
    tree(host.folder / "srv", SHOP, files__a_txt="file")
    link(host.folder / "named", host.folder / "srv/files", 0)
    link(host.folder / "srv/files/x", host.folder / "secrets/hash", SHOP)
    site = {"name": "own", "domains": ["own.example.com"], "port": host.port}
    host.serve([{**site, "locations": [{"path": "/f/", "alias": str(host.folder / "named")}]}])
    assert [http1(host.port, "own.example.com", f"/f/{name}").status for name in ("a_txt", "x")] == [200, 403]
    host.serve_apps()


# --- X-Accel-Redirect -----------------------------------------------------------------------------------------------

PRIVATE = {"static": [{"url": "/private/", "path": "private", "internal": True}]}


@pytest.fixture
def both_private(host: Host) -> Iterator[Host]:
    """Both applications have an internal folder; that of shop looks as if it were in blog's."""
    shop = {"static": [*PRIVATE["static"], {"url": "/blog/own/", "path": "private", "internal": True}]}
    host.serve_apps(shop=shop, blog=PRIVATE)
    yield host
    host.sent = ()
    host.serve_apps()


OTHERS = "/blog/private/report_txt"
STRAY = {
    "/": [
        *(OTHERS, f"/{OTHERS}", f"/.{OTHERS}", OTHERS[1:], f"/private/..{OTHERS}", f"/private/%2e%2e{OTHERS}"),
        *("/blog/%70rivate/report_txt", "/blog/x", "/blog/", "/.pyweb/none", "/private", "/privat/report_txt", "/"),
    ],
    "/blog/": ["/private/report_txt", "/blog/own/report_txt", "/x", "/"],
}


@pytest.mark.attack("13", "An application sends the visitor to an internal path of another one")
@pytest.mark.parametrize(("path", "target"), [(path, target) for path, found in STRAY.items() for target in found])
def test_an_application_sends_no_visitor_to_another(both_private: Host, path: str, target: str) -> None:
    host = both_private
    host.sent = (f"X-Accel-Redirect: {target}",)
    status, text = host.get(path)
    assert status in (403, 404, 500), text
    assert "report" not in text
    assert text != "app"
    host.sent = (f"X-Accel-Redirect: {'/private' if path == '/' else '/blog/private'}/report_txt", *host.sent)
    status, text = host.get(path)
    assert "report of" not in text or f"report of {'shop' if path == '/' else 'blog'}" in text, "two headers"


def test_an_application_sends_files_of_its_own_internal_folders(both_private: Host) -> None:
    host = both_private
    for target, status, text in (
        ("/private/report_txt", 200, "report of shop"),
        ("/private/%72eport_txt?x=1", 200, "report of shop"),
        ("/blog/own/report_txt", 200, "report of shop"),
        ("/private/none", 404, "sorry from shop"),
    ):
        host.sent = (f"X-Accel-Redirect: {target}",)
        assert host.get("/download") == (status, text), target
    host.sent = ("X-Accel-Redirect: /blog/private/report_txt",)
    assert host.get("/blog/download") == (200, "report of blog")
    assert host.get("/private/report_txt")[0] == host.get("/blog/private/report_txt")[0] == 404


@pytest.mark.attack("13", "An application without internal folders sends X-Accel-Redirect")
def test_the_header_of_an_application_without_an_internal_folder_has_no_effect(host: Host) -> None:
    host.serve_apps(shop=PRIVATE)
    for target in ("/private/report_txt", "/x", "@named", "/blog/other"):
        host.sent = (f"X-Accel-Redirect: {target}",)
        assert host.get("/blog/x") == (200, "app")
    answer = http1(host.port, "shop.example.com", "/blog/x")
    assert b"X-Accel" not in answer.head
    host.sent = ("X-Accel-Buffering: no", "X-Accel-Limit-Rate: 1000000", "X-Accel-Charset: utf-8", "X-Accel-Expires: 0")
    assert host.get("/blog/x") == (200, "app")
    host.sent = ()
    host.serve_apps()


def test_internal_locations_in_the_operator_s_directives_stay_reachable(host: Host) -> None:
    """On a site with one application, no other application is concerned."""
    extra = f"location /own/ {{\n    internal;\n    alias {host.release}/src/private/;\n}}\n"
    host.serve_apps(shop={"extra": extra}, blog={"domains": ["blog.example.com"]})
    host.sent = ("X-Accel-Redirect: /own/report_txt",)
    assert host.get("/x") == (200, "report of shop")
    host.sent = ()
    host.serve_apps()


def test_a_copied_release_keeps_the_owners_of_its_links(host: Host) -> None:
    source = tree(host.folder / "original", 0, a_txt="a", folder__b_txt="b")
    link(source / "folder/out", "/nowhere", SHOP)
    link(source / "in", "a_txt", 0)
    shutil.copytree(source, host.folder / "copy", symlinks=True)
    copy_owners_of_links(str(source), str(host.folder / "copy"))
    found = {path.name: path.lstat().st_uid for path in (host.folder / "copy").rglob("*") if path.is_symlink()}
    assert found == {"out": SHOP, "in": 0}
