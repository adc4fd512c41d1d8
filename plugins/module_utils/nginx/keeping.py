# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""New texts for files of other people, in which nginx serves less than before, or the same without the old nginx.conf.

A server gives up the names that a site of this collection serves on the same port. It keeps all others. Pure.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.blocks import Directive, parsed, port_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.foreign import Key, Server, Source

# Blocks and directives of the level http that servers refer to by a name.
REFERRED = frozenset(
    [
        "upstream",
        "map",
        "geo",
        "split_clients",
        "limit_req_zone",
        "limit_conn_zone",
        "log_format",
        "proxy_cache_path",
        "fastcgi_cache_path",
        "uwsgi_cache_path",
        "scgi_cache_path",
        "perl_set",
        "js_set",
        "js_import",
    ]
)
# Settings that a server block may have and otherwise inherits.
INHERITED = frozenset(
    [
        "access_log",
        "add_header",
        "auth_basic",
        "auth_basic_user_file",
        "autoindex",
        "charset",
        "client_body_buffer_size",
        "client_body_timeout",
        "client_header_timeout",
        "client_max_body_size",
        "default_type",
        "error_log",
        "error_page",
        "etag",
        "expires",
        "fastcgi_read_timeout",
        "gzip",
        "gzip_comp_level",
        "gzip_min_length",
        "gzip_proxied",
        "gzip_types",
        "gzip_vary",
        "if_modified_since",
        "index",
        "keepalive_requests",
        "keepalive_timeout",
        "large_client_header_buffers",
        "proxy_buffer_size",
        "proxy_buffering",
        "proxy_buffers",
        "proxy_connect_timeout",
        "proxy_http_version",
        "proxy_read_timeout",
        "proxy_redirect",
        "proxy_request_buffering",
        "proxy_send_timeout",
        "proxy_set_header",
        "resolver",
        "root",
        "send_timeout",
        "sendfile",
        "server_name_in_redirect",
        "server_tokens",
        "ssl_certificate",
        "ssl_certificate_key",
        "ssl_ciphers",
        "ssl_dhparam",
        "ssl_prefer_server_ciphers",
        "ssl_protocols",
        "ssl_session_cache",
        "ssl_session_timeout",
        "tcp_nodelay",
        "tcp_nopush",
        "underscores_in_headers",
        "uwsgi_buffering",
        "uwsgi_read_timeout",
        "allow",
        "deny",
        "real_ip_header",
        "set_real_ip_from",
    ]
)
# Kinds of settings that servers inherit, whatever the module is. Many of them protect a server, such as auth_request.
KINDS = re.compile(
    r"(?:auth|ssl|limit|proxy|grpc|uwsgi|fastcgi|scgi|sub_filter|ssi|open_file_cache|secure_link|http2|http3|expires)(?:_\w+)?\Z"
    r"|(?:satisfy|real_ip_recursive|disable_symlinks|add_trailer|modsecurity\w*)\Z"
)
# Settings of these kinds that only the level http may have, and the folders for temporary files.
HTTP_ONLY = re.compile(r"\w+_(?:zone|cache_path|temp_path)\Z|http2_recv_buffer_size\Z")
# Settings of the nginx.conf that Debian ships. The servers do not need them again.
STOCK = frozenset(
    {
        "sendfile on",
        "tcp_nopush on",
        "tcp_nodelay on",
        "keepalive_timeout 65",
        "default_type application/octet-stream",
        "access_log /var/log/nginx/access.log",
        "error_log /var/log/nginx/error.log",
        "gzip on",
        "server_tokens build",
    }
)
# Those of them that change no answer. A file beside the old nginx.conf is not rewritten for their sake.
INVISIBLE = re.compile(
    r"(?:access_log|error_log|sendfile|tcp_\w+|server_tokens|keepalive_\w+|types_hash\w+|send_timeout|client_\w+timeout"
    r"|ssl_(?:ciphers|dhparam|ecdh_curve|prefer_server_ciphers|protocols|session_\w+|buffer_size|stapling\w*)"
    r"|resolver|large_client_header_buffers|server_name_in_redirect|default_type)\Z"
)
# Folders of the old nginx.conf that the new one loads, too.
LOADED_ANYWAY = ("modules-enabled/", "mime.types", "conf.d/", "sites-enabled/")
HEADER = "# From the nginx.conf that the nginx role of pyweb.stack replaced, which is now nginx.conf.before-pyweb.\n"

Edit = tuple[int, int, str]


def new_texts(
    files: list[Source], servers: list[Server], taken: Collection[Key], takeover: bool, kept_path: str
) -> dict[str, str | None]:
    """The new texts of files that change, by their paths; None for a file that is no longer needed.

    ``taken`` are the ports and names that this collection serves from now on. The servers of a replaced nginx.conf
    move to ``kept_path``.
    """
    entry = next((one for one in files if one.is_entry), None)
    prelude = inherited(entry) if entry else []
    visible = [(name, setting) for name, setting in prelude if not INVISIBLE.match(name)]
    found: dict[str, str | None] = {}
    for source in files:
        own = [one for one in servers if one.source is source]
        edits = [
            (one.block.start, one.block.end, text)
            for one in own
            for text in (edited(one, source.text, taken, takeover, prelude if source.is_entry else visible),)
            if text != source.text[one.block.start : one.block.end]
        ]
        if source.is_entry:
            if text := moved(source, edits, files):
                found[kept_path] = text
        elif edits:
            text = applied(source.text, 0, edits)
            found[source.path] = text if parsed(text) else None
    return found


def inherited(entry: Source) -> list[tuple[str, str]]:
    """The names and texts of the settings that servers inherit from a replaced nginx.conf, unlike Debian's own."""
    return [
        (one.name, entry.text[one.start : one.end])
        for one in entry.directives
        if one.block is None and is_inherited(one.name) and " ".join(one.words) not in STOCK
    ]


def is_inherited(name: str) -> bool:
    return name in INHERITED or bool(KINDS.match(name) and not HTTP_ONLY.match(name))


def moved(entry: Source, edits: list[Edit], files: list[Source]) -> str:
    """The file with all that servers of a replaced nginx.conf need; empty if there is nothing to keep."""
    texts = []
    changed = {start: text for start, _end, text in edits}
    for one in entry.directives:
        if one.name == "server":
            texts.append(changed.get(one.start, entry.text[one.start : one.end]))
        elif one.name in REFERRED or (one.name == "include" and is_further(one)):
            texts.append(entry.text[one.start : one.end])
        elif one.name == "include":
            texts += [f"include {path};" for path in left_out(one, files)]
    texts = [text for text in texts if text]
    return HEADER + "\n".join(["", *texts, ""]) if texts else ""


def place_of(include: Directive) -> str:
    """The pattern of an include, relative to the folder of nginx."""
    return (include.arguments[0] if include.arguments else "").removeprefix("/etc/nginx/")


def is_further(include: Directive) -> bool:
    """Whether an include loads files outside of the folders that the new nginx.conf loads."""
    path = place_of(include)
    return not path.startswith(LOADED_ANYWAY) and not path.endswith("_params")


def left_out(include: Directive, files: list[Source]) -> list[str]:
    """The files of an include that the new nginx.conf does not load, such as ``conf.d/shop`` without an ending."""
    path = place_of(include)
    if not path.startswith("conf.d/"):
        return []
    found = [one.path for one in files if fnmatch.fnmatch(one.path, f"*/{path}") and not one.path.endswith(".conf")]
    return [one for one in found if not re.search(r"[\s;{}\"']", one)]


def edited(server: Server, text: str, taken: Collection[Key], takeover: bool, prelude: list[tuple[str, str]]) -> str:
    """The text of a server without what is taken: a copy for each group of ports with the same names."""
    groups: dict[tuple[tuple[str, ...], bool], list[int]] = {}
    for port in server.ports:
        is_default = port in server.default_ports and (port, "") not in taken
        names = tuple(name for name in server.names if (port, name) not in taken)
        if server.is_for_all:
            if (port, "") in taken:
                continue
            names = tuple(server.names)
        elif not names and not is_default:
            continue
        groups.setdefault((names, is_default), []).append(port)
    if not server.ports:
        return text[server.block.start : server.block.end]
    copies = [
        copy_of(server, text, names, ports, is_default and (takeover or server.ports[ports[0]]), prelude)
        for (names, is_default), ports in groups.items()
    ]
    return "\n".join(copies)


def copy_of(
    server: Server,
    text: str,
    names: tuple[str, ...],
    ports: list[int],
    is_default: bool,
    prelude: list[tuple[str, str]],
) -> str:
    """The text of a server with these names and ports."""
    block = server.block
    edits: list[Edit] = []
    lines = list(block.named("listen"))
    for one in lines:
        port = port_of(one)
        if port and port not in ports:
            edits.append((one.start, one.end, ""))
        elif port:
            edits += default_edits(one, is_default)
    own = {one.name for one in block.block or ()}
    first = [setting for name, setting in prelude if name not in own]
    if not lines and is_default:
        first.insert(0, f"listen {ports[0]} default_server;")
    edits += name_edits(server, text, names)
    if first:
        brace = text.index("{", block.places[-1][1]) + 1
        edits.append((brace, brace, "".join(f"\n    {setting}" for setting in first)))
    return applied(text[block.start : block.end], block.start, edits)


def default_edits(listen: Directive, is_default: bool) -> list[Edit]:
    """The edits that make a listen line one of the default server, or take that away."""
    places = [
        place
        for word, place in zip(listen.words[2:], listen.places[2:])  # host code runs on Python 3.9
        if word in ("default_server", "default")
    ]
    if is_default and not places:
        end = listen.places[1][1]
        return [(end, end, " default_server")]
    return [] if is_default else [(start - 1, end, "") for start, end in places]


def name_edits(server: Server, text: str, names: tuple[str, ...]) -> list[Edit]:
    """The edits that leave a server these names."""
    if list(names) == server.names:
        return []
    left = list(names)
    edits: list[Edit] = []
    lines = list(server.block.named("server_name"))
    raw = []
    for line in lines:
        for word, (start, end) in zip(line.arguments, line.places[1:]):  # see above
            if word.lower() in left:
                left.remove(word.lower())
                raw.append(text[start:end])
    for number, line in enumerate(lines):
        kept = f"server_name {' '.join(raw) or '_'};" if number == 0 else ""
        edits.append((line.start, line.end, kept))
    return edits


def applied(text: str, offset: int, edits: list[Edit]) -> str:
    """A text with edits at places of the whole file, of which it begins at ``offset``."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[: start - offset] + new + text[end - offset :]
    return text
