# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Directives for the server block that must also reach its locations. Pure.

nginx passes them on only to locations without such a directive, but every location of an application has its own. So
they are repeated there. A directive that can't be repeated is refused.
"""

from __future__ import annotations

import re

from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.statements import TOKEN, statements

# Headers that each location of an application sets itself. A second one would be sent as well.
SET_BY_LOCATIONS = {
    "host": "domains decide which hosts arrive.",
    "connection": "For WebSocket, set websocket: true.",
    "upgrade": "For WebSocket, set websocket: true.",
    "content-length": "nginx sets it for the body that it passes on.",
    "transfer-encoding": "nginx sets it for the body that it passes on.",
    "if-match": "nginx passes on that of the client.",
    "x-forwarded-prefix": "path sets it.",
    "x-request-id": "nginx creates it, or takes it from nginx_trusted_proxies.",
    **dict.fromkeys(
        ("x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"),
        "nginx sets it from the connection. To take it from a proxy in front, name that in nginx_trusted_proxies.",
    ),
}
# The same for variables of the uwsgi protocol.
SET_BY_PROTOCOL = re.compile(
    r"QUERY_STRING|REQUEST_METHOD|CONTENT_TYPE|CONTENT_LENGTH|REQUEST_URI|SERVER_(?:PROTOCOL|NAME|PORT)|SCRIPT_NAME"
    r"|REMOTE_(?:ADDR|PORT)|UWSGI_SCHEME|HTTPS|PATH_INFO"
)
# Directives of which each location has one.
ONLY_ONE = re.compile(r"(?:proxy|uwsgi)_(?:http_version|redirect|next_upstream(?:_tries|_timeout)?)")
TIMEOUT = re.compile(r"(?:proxy|uwsgi)_(read|send)_timeout")


def words_of(text: str) -> list[list[str]]:
    """The directives outside of blocks, each as its words. Quotes stay. A directive with a block is left out."""
    return [
        [token["word"] for token in TOKEN.finditer(directive) if token["word"]]
        for _name, directive in statements(text)
        if directive.endswith(";")
    ]


def bare(word: str) -> str:
    return word[1:-1] if word[:1] in "\"'" else word


def headers(text: str) -> list[tuple[str, str]]:
    """Name and value of each header for the application, as written."""
    return [
        (bare(words[1]), words[2]) for words in words_of(text) if words[0] == "proxy_set_header" and len(words) == 3
    ]


def parameters(text: str) -> list[list[str]]:
    return [words[1:] for words in words_of(text) if words[0] == "uwsgi_param" and len(words) in (3, 4)]


def timeouts(text: str) -> dict[str, str]:
    """The values for ``read`` and ``send``. They hold for both protocols."""
    return {
        match[1]: words[1]
        for words in words_of(text)
        if len(words) == 2 and (match := TIMEOUT.fullmatch(words[0])) is not None
    }


def passed_by_http(site_extra: str, location_extra: str) -> list[str]:
    """The site's headers, except those that the location replaces. The location's own directives are printed anyway."""
    own = {name.lower() for name, _value in headers(location_extra)}
    lines = [f"proxy_set_header {name} {value};" for name, value in headers(site_extra) if name.lower() not in own]
    return [*lines, *ignored_headers(site_extra, "proxy")]


def passed_by_uwsgi(site_extra: str, location_extra: str) -> list[str]:
    """The same for the uwsgi protocol, in which a header is a variable."""
    own = {name.lower() for name, _value in headers(location_extra)}
    inherited = [(name, value) for name, value in headers(site_extra) if name.lower() not in own]
    replaced = [(name, value) for name, value in headers(location_extra) if name.lower() not in SET_BY_LOCATIONS]
    written = {bare(words[0]) for words in parameters(location_extra)}
    lines = [
        f"uwsgi_param {variable} {value} if_not_empty;"
        for name, value in [*inherited, *replaced]
        if (variable := f"HTTP_{name.upper().replace('-', '_')}") not in written
    ]
    lines += [f"uwsgi_param {' '.join(words)};" for words in parameters(site_extra) if bare(words[0]) not in written]
    return [*lines, *ignored_headers(site_extra, "uwsgi")]


def repeated_pages(site_extra: str, location_extra: str) -> list[str]:
    """The site's own directives ``error_page``, for a location that has one already."""
    if any(words[0] == "error_page" for words in words_of(location_extra)):
        return []
    return [" ".join(words) + ";" for words in words_of(site_extra) if words[0] == "error_page"]


def ignored_headers(site_extra: str, module: str) -> list[str]:
    return [" ".join(words) + ";" for words in words_of(site_extra) if words[0] == f"{module}_ignore_headers"]


def problems(text: str) -> list[str]:
    """The directives for the server block that would have no effect, or the wrong one."""
    found = []
    for words in words_of(text):
        name = bare(words[1]).lower() if len(words) > 1 else ""
        if words[0] == "proxy_set_header" and name in SET_BY_LOCATIONS:
            found.append(
                f"proxy_set_header {bare(words[1])} has no effect here, because each location sets this header itself. "
                f"Remove it: {SET_BY_LOCATIONS[name]}"
            )
        elif words[0] == "uwsgi_param" and is_set_by_protocol(name):
            found.append(
                f"uwsgi_param {bare(words[1])} has no effect here, because each location sets this variable itself. "
                "Remove it."
            )
        elif ONLY_ONE.fullmatch(words[0]):
            found.append(
                f"{words[0]} has no effect here, because each location of an application has its own. Remove it."
            )
    return found


def is_set_by_protocol(name: str) -> bool:
    name = name.upper()
    header = name.removeprefix("HTTP_").replace("_", "-").lower()
    return bool(SET_BY_PROTOCOL.fullmatch(name)) or (name.startswith("HTTP_") and header in SET_BY_LOCATIONS)
