# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A real nginx with Debian's module for FILE.br: it follows no link out of a published folder."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.release.outward_links import give_outward_links
from attackers import http1
from nginx_instance import BINARY

from local.test_nginx_publishing import OUT, SECRET, SHOP, Host, link

FOLDERS = (Path(sys.prefix) / "lib/nginx", Path("/usr/lib/nginx/modules"))
MODULES = [
    next((path for path in (folder / f"ngx_http_brotli_{kind}_module.so" for folder in FOLDERS) if path.exists()), None)
    for kind in ("filter", "static")
]
pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="nginx is not installed here: apt-get install nginx-light"),
    pytest.mark.skipif(None in MODULES, reason="needs libnginx-mod-http-brotli-filter and -static"),
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts, which only root can"),
]


class BrotliHost(Host):
    def begin(self) -> None:
        (self.conf / "modules-enabled").mkdir()
        (self.conf / "modules-enabled/brotli.conf").write_text("".join(f"load_module {path};\n" for path in MODULES))
        super().begin()
        static = self.release / "src/static"
        for name in ("new_css", "x_css"):
            (static / f"{name}.br").write_text("made by brotli")
            (static / f"{name}.gz").write_bytes(gzip.compress(b"made by gzip"))
            (static / name).write_text("plain")

    def serve(self, sites: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
        return super().serve(sites, brotli=True, **settings)

    def fetch(self, path: str) -> tuple[int, str, str]:
        answer = http1(self.port, "shop.example.com", path, "Accept-Encoding: br, gzip", source="127.0.0.2")
        return answer.status, answer.text if b"Encoding: gzip" not in answer.head else "", answer.head.decode().lower()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, render: Callable[..., Any]) -> Iterator[BrotliHost]:
    folder = tmp_path_factory.mktemp("host")
    folder.chmod(0o755)
    instance = BrotliHost(folder, render)
    try:
        instance.begin()
        yield instance
    finally:
        instance.stop()
        for server in instance.servers:
            server.close()


def test_the_file_for_brotli_is_sent(host: BrotliHost) -> None:
    found = [host.fetch("/static/new_css") for _ in range(20)]
    assert {status for status, _text, _head in found} == {200}
    assert "made by brotli" in {text for _status, text, _head in found}
    assert all("content-encoding: " in head for _status, _text, head in found)


@pytest.mark.attack("5", "A file for brotli, in a release or a shared folder, is a link to a foreign file")
@pytest.mark.parametrize("target", ["secrets/hash", "apps/blog/shared/rows", "log/visits"])
@pytest.mark.parametrize("suffix", ["", ".br", ".gz"])
@pytest.mark.parametrize("folder", ["static", "static/uploads"])
def test_no_link_is_followed_out(host: BrotliHost, folder: str, suffix: str, target: str) -> None:
    assert target in OUT.values()
    account = 0 if folder == "static" else SHOP
    place = host.release / "src" / folder
    path = place / f"leak_css{suffix}"
    if suffix:
        (place / "leak_css").write_text("plain")
    link(path, host.folder / target, account)
    give_outward_links(str(host.release / "src"), [str(host.release), str(host.release / "venv")], SHOP, SHOP)
    for _ in range(20):
        status, text, _head = host.fetch(f"/{folder}/leak_css")
        assert SECRET not in text
        assert status in ((200,) if suffix else (403, 404))
    path.unlink()
