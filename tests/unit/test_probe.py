# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Healthy answers, and the text of a question."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question


@pytest.mark.parametrize(
    ("status", "statuses", "wanted"),
    [
        (200, [], True),
        (302, [], True),
        (401, [], True),
        (403, [], True),
        (404, [], False),
        (500, [], False),
        (None, [], False),
        (204, [200], False),
        (503, [503], True),
    ],
)
def test_what_is_healthy(status: int | None, statuses: list[int], wanted: bool) -> None:
    assert Answer(status).healthy(statuses) is wanted


def test_a_question_tells_where_and_as_whom() -> None:
    assert str(Question("/h", "a.org", unix_socket="/run/x")) == "GET /h (Host: a.org) on the socket /run/x"
    assert str(Question("/h", "a.org", port=81)) == "GET /h (Host: a.org) on port 81 of 127.0.0.1"
