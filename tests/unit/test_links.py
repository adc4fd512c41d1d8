# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of a source, followed in memory."""

from __future__ import annotations

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.links import (
    OutsideError,
    Parts,
    first_outward,
    followed,
)


def links(**targets: str) -> dict[Parts, str]:
    """The links of a source, by names with ``__`` instead of slashes."""
    return {tuple(name.split("__")): target for name, target in targets.items()}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", ()),
        ("a/b", ("a", "b")),
        ("./a//b/", ("a", "b")),
        ("a/../b", ("b",)),
        ("static/x", ("assets", "x")),
        ("deep/up/x", ("x",)),
        ("chain/y", ("assets", "y")),
        ("circle/x", None),
    ],
)
def test_links_are_followed(path: str, place: Parts | None) -> None:
    known = links(static="assets", deep__up="..", chain="deep/up/static", circle="other", other="circle")
    assert followed(path, known) == place


@pytest.mark.parametrize("path", ["..", "/etc", "a/../..", "up/..", "a\0b"])
def test_no_path_leads_out(path: str) -> None:
    with pytest.raises(OutsideError):
        followed(path, links(up="."))


@pytest.mark.attack("21", "A link of a source leads out of it: by itself, by other links, or because it is below one")
@pytest.mark.parametrize(
    "hostile",
    [
        {"a": "/etc"},
        {"a": "../x"},
        {"d__a": "../../x"},
        {"d__up": "..", "a": "d/up/../x"},
        {"a": "b", "b": "c/../..", "c": "."},
        {"a": "x\0y"},
        # In memory, the second link is three folders deep. Written through the first one, it is not.
        {"l": ".", "l__x__y__z": "../../../../x"},
        {"l": "d", "l__x": "y"},
    ],
)
def test_an_outward_link_is_found(hostile: dict[str, str]) -> None:
    assert first_outward(links(**hostile)) in links(**hostile)


def test_links_inside_are_none() -> None:
    inside = links(static__x="../assets/x", a="nowhere", circle="circle", bin__run="./tool", d__up="..")
    assert first_outward(inside) is None
