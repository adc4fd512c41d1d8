# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A health check that requests the address of a host, as docs/guides/operations.md shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nginx_instance import App, Front, Request, needs_nginx, ok

pytestmark = needs_nginx

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/sites.md"


@pytest.fixture
def front(tmp_path: Path, render: Callable[..., Any]) -> Iterator[Front]:
    tmp_path.chmod(0o755)
    instance = Front(tmp_path, render)
    yield instance
    instance.stop()


def named(request: Request) -> bytes:
    return ok(f"{request.line.split()[1]} for {request.headers['Host']}")


def test_the_documented_site_answers_for_one_path_and_no_name(front: Front) -> None:
    section = GUIDE.read_text().partition("## A health check by address")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    (site,) = yaml.safe_load(example.replace("/srv/webapps/shop/current.sock", front.socket))["nginx_sites"]
    application = App(front.socket, named)
    try:
        front.serve([front.site(), {**site, "port": front.port}])
        assert front.ask("/healthz", host="192.0.2.7").text == "/healthz for shop.example.com"
        assert front.ask("/page").text == "/page for shop.example.com"
        # All else stays closed.
        request = b"GET /page HTTP/1.1\r\nHost: 192.0.2.7\r\nConnection: close\r\n\r\n"
        assert front.raw(request) == b""
    finally:
        application.close()
