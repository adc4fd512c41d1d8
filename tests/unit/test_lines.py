# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Only a newline ends a line. Python also knows U+2028 and others, which nginx and systemd read as plain characters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.filter.nginx_files import nginx_files
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import user_line
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.conditions import for_host

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
SEPARATORS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_only_a_newline_ends_a_line(separator: str) -> None:
    assert lines_of(f"a{separator}b\nc\n") == [f"a{separator}b", "c"]
    assert (lines_of(""), lines_of("\n"), lines_of("a\n\nb")) == ([], [""], ["a", "", "b"])


@pytest.mark.attack("low", "A text uses another character than a newline to end a line")
def test_no_plugin_splits_a_text_at_other_characters() -> None:
    found = [str(path) for path in PLUGINS.rglob("*.py") if ".splitlines(" in path.read_text(encoding="utf-8")]
    assert not found, "Use lines_of of module_utils/host/lines.py."


@pytest.mark.attack("low", "A header's value holds U+2028, to drop the lines after it")
@pytest.mark.parametrize("separator", ["\u2028", "\u2029"])
@pytest.mark.parametrize("ipv6", [True, False])
def test_a_header_s_value_drops_no_line_of_the_site(
    render: Callable[..., Any], tmp_path: Path, separator: str, ipv6: bool
) -> None:
    value = f"x{separator}#@ if http3{separator}listen [::]:1"
    site = {"name": "shop", "domains": ["shop.example.com"], "headers": {"X-Own": value}, "deny": ["192.0.2.1"]}
    texts = {file["path"]: file["content"] for file in render("nginx", nginx_files([site], {}))}
    content = for_host(texts, str(tmp_path), ipv6)["sites/shop.conf"]
    assert f'set $pyweb_want_x_own "{value}";' in content
    assert "deny 192.0.2.1;" in content
    assert content.count("{") == content.count("}")


def test_a_line_of_an_input_is_counted_as_nginx_counts_it() -> None:
    content = "a\n# begin extra, as the inventory has it\nb\u2028c\nd\n# end extra\n"
    assert user_line(content, 4) == ("extra", 2, "d")
