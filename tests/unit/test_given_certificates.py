# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Certificates that a user gives, checked on the controller."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import with_texts


def test_a_problem_names_the_value_in_the_list_that_the_user_wrote() -> None:
    items = [{"name": name, "names": [], "certificate": "c", "key": "k"} for name in ("shop", "static")]
    _found, problems = with_texts(items, lambda _value: "no certificate", applications=["shop"])
    assert [problem.partition(":")[0] for problem in problems] == [
        "webapps 'shop'.site.tls",
        "nginx_sites 'static'.tls",
    ]
