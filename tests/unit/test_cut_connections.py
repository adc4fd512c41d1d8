# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""WebSockets and streams that an app server ends early are announced."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.cut_connections import cut_connections
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications

LIVE = {"path": "/live/", "websocket": True}


def said(**changes: Any) -> list[str]:
    return cut_connections(applications([{"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app", **changes}]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"server": "uwsgi", "site": {"websocket": True}},
            "'shop'.site.websocket: true: uwsgi ends each request after 30",
        ),
        ({"server": "uwsgi", "site": {"buffering": False}, "timeout": 90}, "after 90 seconds (timeout)"),
        ({"server": "uwsgi", "site": {"locations": [LIVE]}}, "'shop'.site.locations '/live/'.websocket: true"),
        ({"threads": 1, "site": {"websocket": True}}, "or gunicorn with threads"),
        ({"gunicorn": {"worker_class": "sync"}, "site": {"locations": [{"path": "/x", "buffering": False}]}}, "'/x'"),
    ],
)
def test_a_connection_that_the_time_out_ends_is_announced(changes: dict[str, Any], words: str) -> None:
    (text,) = said(**changes)
    assert words in text
    assert "Set timeout" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"server": "uwsgi"},
        {"server": "uwsgi", "site": {"websocket": True}, "timeout": 3600},
        {"server": "uwsgi", "site": {"websocket": True}, "state": "absent"},
        {"site": {"websocket": True, "locations": [LIVE]}},
        {"server": "granian", "site": {"websocket": True}},
        {"gunicorn": {"worker_class": "asgi"}, "site": {"websocket": True}},
    ],
)
def test_a_connection_that_may_last_is_not_announced(changes: dict[str, Any]) -> None:
    assert said(**changes) == []
