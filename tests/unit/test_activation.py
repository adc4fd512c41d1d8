# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hint for an application that writes into its own code."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.switching.gate import write_hint


@pytest.mark.parametrize(
    ("log", "hinted"),
    [
        ("sqlite3.OperationalError: unable to open database file", True),
        ("OSError: [Errno 30] Read-only file system: 'cache'", True),
        ("PermissionError: [Errno 13] Permission denied: 'log.txt'", True),
        ("KeyError: 'x'", False),
    ],
)
def test_an_application_that_writes_into_its_code_is_told_where_it_may(log: str, hinted: bool) -> None:
    hint = write_hint(log, "/srv/webapps/shop/shared")
    assert ("shared: [instance], which is /srv/webapps/shop/shared/instance" in hint) is hinted
