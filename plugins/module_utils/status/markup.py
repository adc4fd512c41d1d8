# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The page as HTML, from the texts that page.py has made. Pure.

The page is made on controllers and on hosts. Hosts have Python's standard library alone, so this is no template.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.elements import Markup, element, group, lines
from ansible_collections.pyweb.stack.plugins.module_utils.status.parts import bar, chart, dot, muted, pair, word

Texts = dict[str, Any]

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' "
    "fill='%23{}'/%3E%3C/svg%3E"
)
COLOURS = {"ok": "1a7f4b", "note": "1a7f4b", "warn": "b07500", "bad": "c0342b"}
# Marks of releases that are also listed below the charts, and notes of an application.
MOST = 3


def document(texts: Texts) -> str:
    """The whole page."""
    body = element(
        "body",
        {},
        "\n",
        lines(
            header(texts),
            tools(),
            element(
                "main",
                {},
                "\n",
                lines(
                    attention(texts),
                    section("applications", *applications(texts)),
                    section("instances", *instances(texts)),
                    section("releases", *releases(texts)),
                    section("hosts", *hosts(texts)),
                ),
                "\n",
            ),
            footer(texts),
            element("script", {"type": "application/json", "id": "data"}, Markup(texts["data"])),
            element("script", {}, Markup(texts["script"])),
        ),
        "\n",
    )
    return f"<!DOCTYPE html>\n{element('html', {'lang': 'en'}, lines(head(texts), body))}\n"


def head(texts: Texts) -> Markup:
    policy = (
        f"default-src 'none'; style-src '{texts['style_hash']}'; script-src '{texts['script_hash']}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    named = {
        "viewport": "width=device-width, initial-scale=1",
        "color-scheme": "light dark",
        "referrer": "no-referrer",
        "robots": "noindex",
    }
    return element(
        "head",
        {},
        "\n",
        lines(
            element("meta", {"charset": "utf-8"}),
            element("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
            *(element("meta", {"name": name, "content": content}) for name, content in named.items()),
            element("title", {}, f"{texts['summary']['text']} – status"),  # noqa: RUF001  # a dash between two titles
            element("link", {"rel": "icon", "href": ICON.format(COLOURS[texts["summary"]["level"]])}),
            element("style", {}, Markup(texts["style"])),
        ),
        "\n",
    )


def header(texts: Texts) -> Markup:
    """The state of the fleet, and when the page was made."""
    summary = texts["summary"]
    age = element("span", {"id": "age", "data-made": texts["made_at"], "data-old": texts["old"]})
    made = element("p", {"class": "made"}, "As of ", element("time", {}, texts["made"]), " UTC", age)
    top = element("div", {"class": "head"}, element("h1", {}, dot(summary["level"]), " ", summary["text"]), made)
    return element("header", {}, top, element("dl", {"class": "tiles"}, [pair(*tile) for tile in summary["tiles"]]))


def tools() -> Markup:
    """The filter, and links to the sections."""
    find = {
        "id": "filter",
        "type": "search",
        "placeholder": "Filter: application, host, revision, user …",
        "autocomplete": "off",
        "spellcheck": "false",
        "aria-keyshortcuts": "/",
    }
    names = ("applications", "instances", "releases", "hosts")
    return element(
        "div",
        {"class": "tools", "role": "search"},
        element("label", {"class": "sr", "for": "filter"}, "Filter"),
        element("input", find),
        element(
            "label",
            {"class": "check"},
            element("input", {"id": "trouble", "type": "checkbox"}),
            " only what needs attention",
        ),
        element("output", {"id": "shown", "for": "filter trouble", "aria-live": "polite"}),
        element(
            "nav",
            {"aria-label": "Sections"},
            [group(element("a", {"href": f"#{name}"}, name.capitalize()), " ") for name in names],
        ),
    )


def section(name: str, note: str, *children: Any) -> Markup:
    title = element("h2", {"id": name}, name.capitalize(), [" ", element("small", {}, note)] if note else "")
    return element("section", {"aria-labelledby": name}, lines(title, *children))


def attention(texts: Texts) -> Markup:
    """The problems, the worst first."""
    found, most = texts["attention"], texts["most_attention"]
    if not found:
        return group()
    items = [
        element(
            "li", {"data-find": True, "data-level": line["level"]}, dot(line["level"]), element("p", {}, told(line))
        )
        for line in found[:most]
    ]
    if len(found) > most:
        items.append(element("li", {}, muted(f"and {len(found) - most} more, in the tables below")))
    title = element("h2", {"id": "attention"}, "Needs attention")
    return element(
        "section", {"aria-labelledby": "attention"}, title, element("ul", {"class": "attention panel"}, lines(*items))
    )


def told(line: Texts) -> Markup:
    """A problem: of an application, of hosts, or of both."""
    app, names = line["app"], line["hosts"]
    if app:
        where = group(element("strong", {}, app), f" on {names}: " if names else ": ")
    else:
        where = group(element("strong", {}, names), ": ") if names else group()
    return group(word(line["level"]), where, line["text"])


# The sections: a note beside the title, then the content


def applications(texts: Texts) -> tuple[Any, ...]:
    hours = texts["hours"]
    note = f"the last {hours} {'hour' if hours == 1 else 'hours'}, all hosts that answered together"
    cards = [application(number, app, texts) for number, app in enumerate(texts["applications"])]
    empty = muted("No host has reported an application of the inventory.")
    return note, element("div", {"class": "cards"}, lines(*cards) if cards else empty)


def application(number: int, app: Texts, texts: Texts) -> Markup:
    lost = f", {app['lost']} did not answer" if app["lost"] else ""
    differing = f"; hosts differ: {'; '.join(app['drift'])}" if app["drift"] else ""
    shown, marks = app["notes"][:MOST], app["marks"]
    revision = element("span", {"class": "muted mono"}, app["revision"])
    return element(
        "article",
        {"class": "panel", "data-find": True, "data-level": app["level"], "aria-label": app["name"]},
        lines(
            element("h3", {}, dot(app["level"]), " ", word(app["level"]), app["name"], " ", revision),
            muted(f"{app['well']} of {app['of']} well{lost}{differing}"),
            *(traffic(number, app, texts) if app["counted"] else ()),
            element(
                "ul", {"class": "marks"}, [element("li", {"class": one["kind"]}, one["text"]) for one in marks[-MOST:]]
            )
            if marks
            else None,
            *map(muted, shown),
            muted(f"and {len(app['notes']) - MOST} more hosts without figures") if len(app["notes"]) > MOST else None,
        ),
    )


def traffic(number: int, app: Texts, texts: Texts) -> tuple[Markup, ...]:
    """The figures and the charts of an application."""
    found = app["figures"]
    label = (
        f"Charts of {app['name']}: {found['requests']} requests, {found['errors']} errors, latency p50 {found['p50']}, "
        f"p95 {found['p95']}. Left and right arrow keys read the values."
    )
    first, middle, last = texts["ticks"]
    spans = [element("span", {}, text) for text in (first, middle, f"{last} UTC")]
    figures = (("requests a minute", "rate"), ("errors", "share"), ("p50", "p50"), ("p95", "p95"))
    return (
        element("dl", {"class": "figures"}, [pair(title, found[key]) for title, key in figures]),
        element(
            "div",
            {"class": "charts", "role": "group", "tabindex": 0, "data-chart": number, "aria-label": label},
            lines(
                *(chart(one, app["marks"], texts["width"], texts["height"]) for one in app["charts"]),
                element("p", {"class": "ticks", "aria-hidden": "true"}, spans),
                element("p", {"class": "read", "aria-live": "polite"}),
            ),
        ),
    )


def instances(texts: Texts) -> tuple[Any, ...]:
    columns = texts["columns"]
    heads = [
        element(
            "th",
            {"role": "columnheader", "scope": "col", "aria-sort": "none", "class": "number" if is_number else None},
            element("button", {"type": "button", "data-column": place}, title),
        )
        for place, (_key, title, _shown, is_number) in enumerate(columns)
    ]
    titles = element("thead", {"role": "rowgroup"}, element("tr", {"role": "row"}, lines(*heads)))
    bodies = [
        element(
            "tbody",
            {"role": "rowgroup", "data-find": True, "data-level": one["level"], "data-row": number},
            element(
                "tr",
                {"role": "row"},
                lines(
                    *(cell(found, columns[place][1], one["level"], number) for place, found in enumerate(one["cells"]))
                ),
            ),
        )
        for number, one in enumerate(texts["instances"])
    ]
    table = element("table", {"id": "table", "role": "table"}, lines(titles, *bodies))
    return "each application on each host", element("div", {"class": "panel"}, table)


def body(number: int, one: Texts, titles: list[str]) -> Markup:
    """An application on a host."""
    cells = [cell(found, title, one["level"], number) for found, title in zip(one["cells"], titles)]
    place = {"role": "rowgroup", "data-find": True, "data-level": one["level"], "data-row": number}
    return element("tbody", place, element("tr", {"role": "row"}, lines(*cells)))


def cell(found: Texts, title: str, level: str, number: int) -> Markup:
    kind, content = found["kind"] or None, found["text"]
    if found["key"] == "application":
        more = {"type": "button", "class": "more", "aria-expanded": "false", "aria-controls": f"d{number}"}
        content = element("button", more, content)
    elif found["key"] == "health":
        content = group(dot(level), " ", word(level), content)
    place = {"role": "cell", "data-field": found["key"], "data-label": title}
    return element("td", {**place, "data-value": found["value"], "class": kind}, content)


def releases(texts: Texts) -> tuple[Any, ...]:
    note = f"the last {texts['most_deployments']} of each application; times in UTC"
    if not texts["days"]:
        return note, muted("No host has recorded a release.")
    return note, *(
        element(
            "div",
            {"class": "day"},
            element("h3", {}, day["day"]),
            element("ol", {"class": "timeline panel"}, lines(*map(release, day["entries"]))),
        )
        for day in texts["days"]
    )


def release(one: Texts) -> Markup:
    pause = f" · {one['without_service']} without service" if one["without_service"] else ""
    run = [" · run ", element("span", {"class": "mono"}, one["run"])] if one["run"] else ""
    what = element("span", {"class": "mono"}, one["revision"])
    identity = element("span", {"class": "mono"}, one["release"])
    return element(
        "li",
        {"data-find": True, "data-level": "bad" if one["kind"] == "failed" else "ok", "class": one["kind"]},
        element("time", {}, one["time"]),
        element(
            "div",
            {},
            element("p", {}, element("strong", {}, one["app"]), f" {one['words']} ", what, f" on {one['hosts']}"),
            muted(f"{one['by']} · {one['seconds']}{pause} · ", identity, run),
            element("p", {"class": "reason mono"}, one["reason"]) if one["reason"] else None,
        ),
    )


def hosts(texts: Texts) -> tuple[Any, ...]:
    return "", element("ul", {"class": "hosts"}, lines(*map(host, texts["hosts"])))


def host(one: Texts) -> Markup:
    gauges = [pair("memory", bar(one["memory"]), one["memory"]["text"])]
    gauges += [pair(disk["path"], bar(disk), disk["text"], mono=True) for disk in one["disks"]]
    return element(
        "li",
        {"class": "panel", "data-find": True, "data-level": one["level"]},
        lines(
            element("h3", {}, dot(one["level"]), " ", word(one["level"]), one["name"]),
            *(element("p", {"class": f"problem {found['level']}"}, found["text"]) for found in one["problems"]),
            *(
                (muted(f"{one['applications']} · {one['init']}"), element("dl", {"class": "gauges"}, lines(*gauges)))
                if one["answered"]
                else ()
            ),
        ),
    )


def footer(texts: Texts) -> Markup:
    def key(text: str) -> Markup:
        return element("kbd", {}, text)

    return element(
        "footer",
        {},
        element("p", {}, f"{texts['maker']} This file loads nothing from elsewhere."),
        element(
            "p",
            {},
            group(key("/"), " filter · ", key("Esc"), " show all · ", key("Tab"), " and ", key("Enter")),
            group(" sort and open rows · ", key("←"), " ", key("→"), " read a chart"),
        ),
    )
