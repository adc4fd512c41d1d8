# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Folders of applications through a real nginx: start pages, single-page applications, types, and who gets out."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.processes import processes
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.sites import nginx_sites
from nginx_instance import App, Front, needs_nginx, ok, read_all

pytestmark = needs_nginx

HASH = "$apr1$salt$NoHmRKu.1yGkoTmYQmYKn."


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    os.chmod(tmp_path, 0o755)
    instance = Front(tmp_path, render)
    yield instance
    instance.stop()


FILES = {
    "index.html": "start",
    "guide/index.html": "guide",
    "guide/v1.2/index.html": "version",
    "empty/a.txt": "a",
    "app.js": "script",
    ".env": "secret",
    ".git/index.html": "secret",
}


@pytest.fixture
def home(front: Front) -> Iterator[Path]:
    """An application with files in its live and its previous release, and secrets beside them."""
    home = front.folder / "apps/shop"
    for release, files in {
        "current": FILES,
        "previous": {**FILES, "index.html": "old", "old/index.html": "old"},
    }.items():
        for name, text in files.items():
            path = home / release / "src/dist" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (home / release / "src/secret").mkdir()
        (home / release / "src/secret/index.html").write_text("secret")
        (home / release / "env").write_text("secret")
    application = App(str(home / "current.sock"), lambda request: ok(f"app {request.line.split()[1]}"))
    yield home
    application.close()


def serve(front: Front, **site: Any) -> None:
    app = {
        "name": "shop",
        "source": {"path": "x"},
        "wsgi": "a:b",
        "health": {"path": "/healthz"},
        "site": {"port": front.port, **site},
    }
    front.serve(nginx_sites([app], root=f"{front.folder}/apps"))


def folder(url: str, **keys: Any) -> list[dict[str, Any]]:
    return [{"url": url, "path": "dist", **keys}]


def status_line(front: Front, path: str) -> tuple[int, bytes, bytes]:
    """Status, Location and the whole response to a path that is sent as it is."""
    answer = front.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    location = [
        line[10:] for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n") if line.lower().startswith(b"location: ")
    ]
    return int(answer.split()[1]), b"".join(location), answer


@pytest.mark.parametrize("previous", [True, False])
def test_a_folder_has_its_start_page_with_and_without_the_slash(front: Front, home: Path, previous: bool) -> None:
    serve(front, static=folder("/docs/", previous_release=previous))
    texts = {path: front.ask(path).text for path in ("/docs/", "/docs/guide/", "/docs/guide/v1.2/", "/docs/index.html")}
    assert texts == {
        "/docs/": "start",
        "/docs/guide/": "guide",
        "/docs/guide/v1.2/": "version",
        "/docs/index.html": "start",
    }
    for path in ("/docs/guide", "/docs/guide/v1.2"):
        answer = front.ask(path)
        assert (answer.status, answer.headers["location"]) == (301, f"{path}/")
    missing = 404 if previous else 403
    assert [front.ask(path).status for path in ("/docs/none", "/docs/none/", "/docs/empty/")] == [404, 404, missing]


def test_a_start_page_of_the_previous_release_is_found_and_keeps_the_query(front: Front, home: Path) -> None:
    serve(front, static=folder("/docs/"))
    assert front.ask("/docs/old/").text == "old"
    assert front.ask("/docs/old?a=1&b=/x").headers["location"] == "/docs/old/?a=1&b=/x"


def test_a_start_page_is_never_kept_for_a_year(front: Front, home: Path) -> None:
    serve(front, static=folder("/docs/", immutable=True))
    lifetimes = {path: front.ask(path).headers["cache-control"] for path in ("/docs/", "/docs/guide", "/docs/app.js")}
    assert lifetimes == {
        "/docs/": "no-cache",
        "/docs/guide": "no-cache",
        "/docs/app.js": "public, max-age=31536000, immutable",
    }


def test_the_application_keeps_the_url_of_a_folder_without_its_slash(front: Front, home: Path) -> None:
    serve(front, static=folder("/docs/"))
    assert front.ask("/docs").text == "app /docs"


@pytest.mark.parametrize("prefix", ["", "/shop"])
@pytest.mark.parametrize("previous", [True, False])
def test_a_single_page_application_takes_all_paths_but_the_interface(
    front: Front, home: Path, prefix: str, previous: bool
) -> None:
    page = folder("/", fallback="index.html", previous_release=previous, immutable=True)
    serve(front, static=page, path=prefix or "/", locations=[{"path": "/api/"}])
    for path in ("/", "/orders/7", "/orders/7/", "/users/jane.doe", "/nested/very/deep?x=1"):
        answer = front.ask(f"{prefix}{path}")
        assert (answer.status, answer.text, answer.headers["cache-control"]) == (200, "start", "no-cache"), path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert front.ask(f"{prefix}/app.js").text == "script"
    assert front.ask(f"{prefix}/guide/").text == "guide"
    assert front.ask(f"{prefix}/guide").headers["location"] == f"{prefix}/guide/"
    assert front.ask(f"{prefix}/api/items?x=1").text == f"app {prefix}/api/items?x=1"
    assert front.ask(f"{prefix}/healthz").text == f"app {prefix}/healthz"
    # A browser must not take the page for a script.
    assert [front.ask(f"{prefix}/{name}").status for name in ("app.123.js", "a.css", "fonts/a.woff2")] == [404] * 3
    assert front.ask(f"{prefix}/orders/7", "POST", body=b"x").status == 405
    if prefix:
        assert front.ask(prefix).headers["location"] == f"{prefix}/"
        assert front.ask("/elsewhere").status == 404


def test_a_password_of_the_site_holds_for_the_page_too(front: Front, home: Path) -> None:
    guarded = {"basic_auth": {"users": {"alice": HASH}}}
    serve(front, static=folder("/", fallback="index.html"), locations=[{"path": "/api/"}], **guarded)
    assert [front.ask(path).status for path in ("/", "/orders/7", "/guide", "/app.js", "/none.js")] == [401] * 5


def test_a_location_for_everything_has_its_own_settings(front: Front, home: Path) -> None:
    serve(front, locations=[{"path": "/", "headers": {"X-Own": "yes"}, "max_body_size": "1k"}, {"path": "/big/"}])
    assert front.ask("/x").headers["x-own"] == "yes"
    assert [front.ask(path, "POST", body=bytes(2000)).status for path in ("/x", "/big/x")] == [413, 200]


WAYS_OUT = [
    "/../secret/", "/..%2fsecret/", "/%2e%2e/secret/", "/%2e%2e%2fsecret/", "/guide/../../secret/", "/..;/secret/",
    "//../secret/", "/..%5csecret/", "/%252e%252e/secret/", "/%c0%ae%c0%ae/secret/", "/.env", "/.git/", "/.git",
    "/guide/..%2f..%2f..%2fenv", "/%2e%2e%2f%2e%2e%2fenv", "/./.env", "/%2eenv", "/%2egit/", "/%2egit", "/env%00",
    "/../../env", "/guide/%2e%2e/%2e%2e/%2e%2e/env",
]  # fmt: skip


@pytest.mark.attack(
    "14.4", "A visitor leaves a static folder, or finds a hidden file, by its start page or its fallback"
)
@pytest.mark.parametrize("path", WAYS_OUT)
@pytest.mark.parametrize("previous", [True, False])
def test_nobody_leaves_a_folder_by_its_pages(front: Front, home: Path, path: str, previous: bool) -> None:
    keys = {"previous_release": previous}
    static = [*folder("/docs/", **keys), *folder("/", fallback="index.html", **keys)]
    serve(front, static=static, locations=[{"path": "/api/"}])
    for request in (f"/docs{path}", path, path.rstrip("/")):
        answer = status_line(front, request)[2]
        assert b"secret" not in answer.partition(b"\r\n\r\n")[2], request


ELSEWHERE = [
    "//guide", "///guide", "/%2fguide", "/guide%2f", "//guide?//evil.example", "/\\guide", "//evil.example/guide",
    "/guide%0d%0aX-Evil:%201", "/guide%0a",
]  # fmt: skip


@pytest.mark.attack("14.4", "A link to this site makes the redirect to a folder's slash lead to another host")
@pytest.mark.parametrize("path", ELSEWHERE)
@pytest.mark.parametrize("previous", [True, False])
def test_no_redirect_of_a_folder_leads_to_another_host(front: Front, home: Path, path: str, previous: bool) -> None:
    (home / "current/src/dist/guide\r\nX-Evil: 1").mkdir()
    (home / "current/src/dist/guide\r\nX-Evil: 1/index.html").write_text("odd")
    static = folder("/", fallback="index.html", previous_release=previous)
    serve(front, static=static, locations=[{"path": "/api/"}])
    _status, location, answer = status_line(front, path)
    assert not location.startswith((b"//", b"/\\", b"http")), answer
    assert b"\nX-Evil" not in answer


@pytest.mark.attack("14.4", "A link in a published folder makes another file the start page or the fallback")
def test_a_link_to_another_owner_s_file_is_no_page(front: Front, home: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can create files of two accounts")  # CI runs as root, so it runs there
    for name in ("index.html", "linked/index.html"):
        path = home / "current/src/dist" / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(home / "current/env")
        os.lchown(path, 12345, 12345)
    serve(front, static=folder("/", fallback="index.html", previous_release=False), locations=[{"path": "/api/"}])
    for path in ("/", "/orders/7", "/linked/", "/linked"):
        assert b"secret" not in status_line(front, path)[2]


@pytest.mark.attack("14.4", "A visitor asks for an internal folder by its start page")
def test_an_internal_folder_has_no_start_page(front: Front, home: Path) -> None:
    serve(front, static=folder("/private/", internal=True))
    for path in ("/private/", "/private/guide", "/private/guide/", "/private"):
        _status, location, answer = status_line(front, path)
        assert (location, b"guide</" in answer, b"start" in answer) == (b"", False, False)


TYPES = {
    "a.mjs": "text/javascript; charset=utf-8",
    "a.webmanifest": "application/manifest+json",
    "a.avif": "image/avif",
    "a.woff2": "font/woff2",
    "a.wasm": "application/wasm",
    "a.js.map": "application/json",
    "a.css": "text/css; charset=utf-8",
    "a.md": "text/markdown; charset=utf-8",
    "a.csv": "text/csv; charset=utf-8",
    "a.js": "application/javascript; charset=utf-8",
    "a.txt": "text/plain; charset=utf-8",
    "a.html": "text/html; charset=utf-8",
    "a.ttf": "font/ttf",
    "a.mkv": "video/x-matroska",
    "a.unknown": "application/octet-stream",
}


def debian_types(front: Front) -> None:
    """The types of Debian's file that the test needs. The newer file has the last one as well."""
    text = "types { text/html html; text/css css; application/javascript js; text/plain txt; image/avif avif; "
    text += "font/woff2 woff2; application/wasm wasm; application/json json; "
    (front.folder / "mime.types").write_text(text + "video/x-matroska mkv; }\n" if newer(front) else text + "}\n")


def newer(front: Front) -> bool:
    from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
    from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import program_facts
    from nginx_instance import BINARY

    answer = run_command([str(BINARY), "-V"])
    return "newer_types" in program_facts(str(answer))


@pytest.mark.parametrize("previous", [True, False])
def test_files_have_their_types_and_texts_their_character_set(front: Front, home: Path, previous: bool) -> None:
    debian_types(front)
    for name in TYPES:
        (home / "current/src/dist" / name).write_text("x")
    serve(front, static=folder("/s/", previous_release=previous))
    assert {name: front.ask(f"/s/{name}").headers["content-type"] for name in TYPES} == TYPES
    assert front.warnings == []


@pytest.mark.parametrize(("charset", "wanted"), [("iso-8859-1", "text/html; charset=iso-8859-1"), ("off", "text/html")])
def test_a_folder_may_have_another_character_set(front: Front, home: Path, charset: str, wanted: str) -> None:
    serve(front, static=folder("/s/", charset=charset))
    assert [front.ask(path).headers["content-type"] for path in ("/s/index.html", "/s/guide/")] == [wanted] * 2
    assert "charset" not in front.ask("/").headers.get("content-type", "")


def test_a_folder_of_nginx_sites_has_a_page_too(front: Front, home: Path) -> None:
    dist = str(home / "current/src/dist")
    front.serve([front.site(domains=[], locations=[{"path": "/", "alias": dist, "page": "index.html"}])])
    assert [front.ask(path).text for path in ("/", "/orders", "/guide/", "/app.js")] == [
        "start",
        "start",
        "guide",
        "script",
    ]
    own = {"path": "/", "alias": dist, "page": "index.html", "extra": "etag off;"}
    front.serve([front.site(domains=[], locations=[own])])
    for path in ("/", "/orders", "/guide/"):
        assert "etag" not in front.ask(path).headers
    own = {"path": "/s/", "alias": dist, "fallback": [dist], "extra": "charset utf-16;"}
    front.serve([front.site(domains=[], locations=[own])])
    answer = front.ask("/s/")
    assert (answer.text, answer.headers["content-type"]) == ("start", "text/html; charset=utf-16")


def test_old_workers_end_although_a_visitor_stays(front: Front, home: Path) -> None:
    """An open WebSocket would keep the workers of every generation."""
    app = {"name": "shop", "source": {"path": "x"}, "wsgi": "a:b", "site": {"port": front.port, "websocket": True}}
    sites = nginx_sites([app], root=f"{front.folder}/apps")
    slow = threading.Event()
    application = App(f"{front.folder}/slow.sock", lambda request: slow.wait(60) and ok("late"))
    os.replace(f"{front.folder}/slow.sock", home / "current.sock")
    front.serve(sites, worker_shutdown_timeout=2)
    old = workers(front)
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as visitor:
        visitor.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert application.begun.wait(10)
        front.serve(sites, worker_shutdown_timeout=2, worker_connections=1000)
        assert old & workers(front), "an open request survives a reload"
        assert wait_for(lambda: not old & workers(front), 10)
    slow.set()
    application.close()


def workers(front: Front) -> set[int]:
    return {process.pid for process in processes().values() if process.session == front.master} - {front.master}


def test_a_request_of_16_kb_passes_and_a_larger_one_gets_414(front: Front, home: Path) -> None:
    serve(front)
    assert front.ask("/" + "a" * 16_000).status == 200
    assert front.ask("/", headers={"Cookie": "c=" + "a" * 16_000}).status == 200
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as visitor:
        visitor.sendall(b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(visitor).startswith(b"HTTP/1.1 414 ")
