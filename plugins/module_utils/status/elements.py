# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Elements of HTML. Every text in them is escaped, unless it is an element already. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

# Elements without content.
EMPTY = frozenset(("circle", "input", "link", "meta", "path", "rect"))


class Markup(str):
    """HTML as it is. Only this file and the page's own style, script and data make it."""

    __slots__ = ()


def markup(child: Any) -> str:
    """A child of an element as HTML: an element as it is, nothing for None and False, all else as escaped text."""
    if child is None or child is False:
        return ""
    if isinstance(child, Markup):
        return str(child)
    return "".join(map(markup, child)) if isinstance(child, (list, tuple)) else escape(str(child))


def group(*children: Any) -> Markup:
    """Several elements and texts as one."""
    return Markup(markup(children))


def lines(*children: Any) -> Markup:
    """Several elements, each on a line of its own."""
    return Markup("\n".join(text for text in map(markup, children) if text))


def element(name: str, attributes: dict[str, Any] | None = None, *children: Any) -> Markup:
    """An element. An attribute that is None or False is left out, and one that is True has no value."""
    written = "".join(
        f" {key}" if value is True else f' {key}="{escape(str(value))}"'
        for key, value in (attributes or {}).items()
        if value is not None and value is not False
    )
    if name in EMPTY:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{markup(children)}</{name}>")


def shape(name: str, **attributes: Any) -> Markup:
    """A shape of a picture in SVG, which is closed at once."""
    return Markup(f"{element(name, attributes)[:-1]}/>")
