# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Small parts of the page: marks of a level, bars of a resource, and charts. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.elements import Markup, element, group, lines, shape

WORDS = {"ok": "well", "note": "well, with a note", "warn": "needs attention", "bad": "broken"}


def dot(level: str) -> Markup:
    """The mark of a level. Each level has a shape of its own."""
    shapes = {
        "bad": shape("path", d="M6 0.8 11.6 11H0.4Z"),
        "warn": shape("rect", x="1.5", y="1.5", width="9", height="9", rx="1.5", transform="rotate(45 6 6)"),
    }
    size = {"class": f"dot {level}", "viewBox": "0 0 12 12", "width": 12, "height": 12, "aria-hidden": "true"}
    return element("svg", size, shapes.get(level) or shape("circle", cx="6", cy="6", r="5"))


def word(level: str) -> Markup:
    """A level for screen readers."""
    return element("span", {"class": "sr"}, f"{WORDS[level]}: ")


def muted(*children: Any) -> Markup:
    return element("p", {"class": "muted"}, *children)


def pair(term: Any, *values: Any, mono: bool = False) -> Markup:
    """A term and its value in a list of terms."""
    return element("div", {}, element("dt", {"class": "mono" if mono else None}, term), element("dd", {}, *values))


def bar(gauge: dict[str, Any]) -> Markup:
    """The used part of a resource."""
    if gauge["used"] is None:
        return group()
    size = {"class": f"bar {gauge['level']}", "viewBox": "0 0 100 6", "preserveAspectRatio": "none"}
    used = {"class": "used", "width": f"{gauge['used'] * 100:.1f}", "height": 6}
    return element(
        "svg",
        {**size, "aria-hidden": "true"},
        shape("rect", **{"class": "rail"}, width=100, height=6),
        shape("rect", **used),
    )


def chart(found: dict[str, Any], marks: list[dict[str, Any]], width: float, height: float) -> Markup:
    """A chart of an application: its lines or bars, the releases, and the place of the cursor."""
    shapes: list[Any] = [shape("path", **{"class": "base"}, d=f"M0 {height:g}H{width:g}")]
    for mark in marks:
        place = {"class": f"mark {mark['kind']}", "d": f"M{mark['x']} 0V{height:g}"}
        shapes.append(element_with_title(place, mark["text"]))
    for line in found["lines"]:
        if line["area"]:
            shapes.append(shape("path", **{"class": f"area {line['kind']}"}, d=line["area"]))
        shapes.append(shape("path", **{"class": f"line {line['kind']}"}, d=line["path"]))
    if found["bars"]:
        shapes.append(shape("path", **{"class": "bars"}, d=found["bars"]))
    shapes.append(shape("path", **{"class": "cursor"}, d=""))
    size = {"class": "chart", "viewBox": f"0 0 {width:g} {height:g}", "preserveAspectRatio": "none"}
    titles = element(
        "figcaption", {}, element("span", {}, found["title"]), element("span", {}, f"up to {found['largest']}")
    )
    return element("figure", {}, titles, element("svg", {**size, "aria-hidden": "true"}, lines(*shapes)))


def element_with_title(attributes: dict[str, Any], title: str) -> Markup:
    """A path with a title, which browsers show beside the pointer."""
    opened = str(element("path", attributes))
    return Markup(f"{opened}{element('title', {}, title)}</path>")
