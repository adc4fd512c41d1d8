# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The module ``pyweb_entry`` of a release, for an application that its server can't call as it is."""

from __future__ import annotations

LOAD = '''\
"""The application as its server calls it: {does}."""

import importlib

{imports}_module = importlib.import_module({module!r})
_callable = eval({expression!r}, vars(_module))
'''

# By the uwsgi protocol, nginx passes the prefix separately from the path; by HTTP it does not.
WSGI_PREFIX = """

def mounted(environ, start_response):
    path = environ.get("PATH_INFO", "")
    if not environ.get("SCRIPT_NAME") and (path == {prefix!r} or path.startswith({prefix!r} + "/")):
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = {prefix!r}, path[len({prefix!r}) :]
    return application_below(environ, start_response)


application_below, application = application, mounted
"""

# X-Forwarded-Host contains the port where it is not the default of the scheme, so ProxyFix needs no x_port.
WSGI_FIX = "ProxyFix(_callable, x_for=1, x_proto=1, x_host=1, x_prefix=1)"

# werkzeug's ProxyFix supports WSGI only. nginx sets each of these headers itself, so each occurs once at most.
ASGI = '''

class VisitorMiddleware:
    """Passes on the visitor's data: {does}."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            scope = {{**scope, "root_path": {prefix!r} or scope.get("root_path", "")}}
            headers = dict(scope["headers"])
            if {visitor!r}:
                if b"x-forwarded-for" in headers:
                    scope["client"] = (headers[b"x-forwarded-for"].decode("latin-1").split(",")[-1].strip(), 0)
                if b"x-forwarded-proto" in headers:
                    is_secure = headers[b"x-forwarded-proto"] == b"https"
                    plain, secure = ("http", "https") if scope["type"] == "http" else ("ws", "wss")
                    scope["scheme"] = secure if is_secure else plain
            if {proxy_fix!r} and b"x-forwarded-host" in headers:
                host = headers[b"x-forwarded-host"]
                scope["headers"] = [(name, host if name == b"host" else value) for name, value in scope["headers"]]
                name, _, port = host.decode("latin-1").partition(":")
                default = 443 if scope["scheme"] in ("https", "wss") else 80
                scope["server"] = (name, int(port) if port.isdigit() else default)
        return await self.app(scope, receive, send)


application = VisitorMiddleware(_callable)
'''

# On a unix socket, granian knows neither the visitor's address nor the scheme. It takes status and headers when the
# application returns, but a generator starts its response later. It has no write(). If a part of the request's body is
# unread at the end, it closes the connection, and nginx may lose the response. So the rest is read at the end. nginx
# must know the length of the response for that, because it sends no more of a body after the headers of a response. So
# a short response gets a length. granian passes only the decoded path. nginx sends the original one in a header where
# they differ.
WSGI_VISITOR = '''

import threading
import time
from urllib.parse import quote

DRAIN_SECONDS, IDLE_SECONDS = 2, 0.3
SHORT_BYTES, SHORT_SECONDS = 65536, 0.2


class Body:
    """A request's body. ``reads`` counts its reads; ``over`` is set after the last one."""

    def __init__(self, stream, length):
        self.stream, self.left, self.reads, self.over = stream, length, 0, False

    def count(self, data, over):
        self.reads += 1
        if self.left is not None:
            self.left -= len(data)
        self.over = self.over or over or self.left == 0
        return data

    def read(self, size=-1):
        # granian accepts no negative number.
        everything = size is None or size < 0
        data = self.stream.read() if everything else self.stream.read(size)
        return self.count(data, everything or (size > 0 and not data))

    def readline(self, size=-1):
        line = self.stream.readline() if size is None or size < 0 else self.stream.readline(size)
        return self.count(line, not line and size != 0)

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readlines(self, *hint):
        return list(self)

    def readable(self):
        return True

    def __iter__(self):
        return iter(self.readline, b"")

    def drain(self):
        try:
            while self.read(65536):
                pass
        except Exception:
            pass  # nginx has closed the connection


class Response:
    """The chunks of a response, then the rest of the request's body."""

    def __init__(self, chunks, rest, result, body, framed):
        self.chunks, self.rest, self.result, self.body, self.framed = chunks, rest, result, body, framed

    def __iter__(self):
        yield from self.chunks
        yield from self.rest
        if self.body and not self.framed and not self.body.over:
            self.drain_sent()

    def drain_sent(self):
        # nginx has the headers of the response, so it sends no more: what is left was sent before.
        until, reads = time.monotonic() + DRAIN_SECONDS, -1
        reader = threading.Thread(target=self.body.drain, daemon=True)
        reader.start()
        while reader.is_alive() and self.body.reads > reads and time.monotonic() < until:
            reads = self.body.reads
            reader.join(IDLE_SECONDS)

    def close(self):
        try:
            if hasattr(self.result, "close"):
                self.result.close()
        finally:
            if self.body and self.framed:
                self.body.drain()


def visited(environ, start_response):
    environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
    environ["wsgi.url_scheme"] = scheme = "https" if environ.get("HTTP_X_FORWARDED_PROTO") == "https" else "http"
    name, colon, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not colon or not port.isdecimal():
        name, port = environ.get("HTTP_HOST", ""), "443" if scheme == "https" else "80"
    environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port
    query = environ.get("QUERY_STRING")
    raw = environ.pop("HTTP_X_PYWEB_URI", "") or quote(environ["PATH_INFO"], "/:@!$&'()*+,;=~", "latin-1") + (
        f"?{query}" if query else ""
    )
    environ["RAW_URI"] = environ["REQUEST_URI"] = raw
    begun, chunks, body = [], [], None
    length = environ.get("CONTENT_LENGTH") or ("" if "HTTP_TRANSFER_ENCODING" in environ else "0")
    if length != "0":
        environ["wsgi.input"] = body = Body(environ["wsgi.input"], int(length) if length else None)

    def begin(status, headers, exc_info=None):
        begun[:] = [status, headers]
        return chunks.append

    try:
        result = unvisited(environ, begin)
        if isinstance(result, list) and begun and not chunks and (body is None or body.over):
            start_response(*begun)
            return result
        rest = iter(result)
        for chunk in rest:
            chunks.append(chunk)
            if begun:
                break
    except BaseException:
        if body:
            body.drain()
        raise
    status, headers = begun
    framed = status[:3] in ("204", "304") or any(key.lower() == "content-length" for key, _value in headers)
    if body and not body.over and not framed:
        framed = is_short(chunks, rest, body)
        headers = [*headers, ("Content-Length", str(sum(map(len, chunks))))] if framed else headers
    start_response(status, headers)
    return Response(chunks, rest, result, body, framed)


def is_short(chunks, rest, body):
    """Whether these are all chunks of a short response that does not depend on the request's body."""
    reads, size, until = body.reads, sum(map(len, chunks)), time.monotonic() + SHORT_SECONDS
    for chunk in rest:
        chunks.append(chunk)
        size += len(chunk)
        if body.reads > reads or size > SHORT_BYTES or time.monotonic() > until:
            return False
    return body.reads == reads


unvisited, application = application, visited
'''

# uWSGI closes the connection after the response. If a part of the request's body is unread, nginx gets an error instead
# of the response. So the rest is read and discarded. A half-close ends the response first; nginx then stops sending.
WSGI_DRAIN = '''

import atexit
import os
import select
import socket
import time

import uwsgi

DRAIN_SECONDS = 4


def note_end():
    # uWSGI notes only that a worker is ready. One that ends without this line has crashed.
    given = uwsgi.opt.get("set-placeholder") or []
    for value in map(os.fsdecode, given if isinstance(given, list) else [given]):
        name, _, path = value.partition("=")
        if name != "pyweb-notes":
            continue
        try:
            with open(path, "a") as notes:
                notes.write(f"left {os.getpid()} {int(time.time())}\\n")
        except OSError:
            pass


atexit.register(note_end)


class DrainingResponse:
    """A response that reads the rest of the request's body when it is closed."""

    def __init__(self, environ):
        self.body, self.result, self.sent = environ["wsgi.input"], (), False
        # A response by sendfile can't be wrapped. Applications do without it where the server does not offer it.
        environ.pop("wsgi.file_wrapper", None)

    def __iter__(self):
        for chunk in self.result:
            self.sent = self.sent or bool(chunk)
            yield chunk
        if not self.sent:
            yield b""  # sends the headers
            self.sent = True

    def close(self):
        try:
            if hasattr(self.result, "close"):
                self.result.close()
        finally:
            if self.sent:  # else the application has failed, and uWSGI sends no response
                self.drain()

    def drain(self):
        until = time.monotonic() + DRAIN_SECONDS
        try:
            with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection:
                connection.shutdown(socket.SHUT_WR)
                waiting = select.poll()
                waiting.register(connection, select.POLLIN)
                # When all of the body was read, uWSGI returns nothing here.
                if not waiting.poll(0) and not self.body.read(1):
                    return
                connection.settimeout(DRAIN_SECONDS)
                while (left := until - time.monotonic()) > 0 and waiting.poll(left * 1000):
                    if not connection.recv(65536, socket.MSG_DONTWAIT):
                        return
        except (OSError, ValueError):
            pass


def draining(environ, start_response):
    if environ.get("CONTENT_LENGTH") in (None, "", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        return undrained(environ, start_response)
    response = DrainingResponse(environ)
    result = undrained(environ, start_response)
    response.result = [result] if isinstance(result, bytes) else result  # uWSGI accepts bytes as a whole response
    return response


undrained, application = application, draining
'''

# By the uwsgi protocol, a response without a length has no visible parts, so nginx keeps it until a buffer is full.
WSGI_STREAM = """

STREAMS = ("text/event-stream", "application/x-ndjson", "application/jsonl", "multipart/x-mixed-replace")


def streaming(environ, start_response):
    def started(status, headers, *error, **named):
        known = {name.lower(): value for name, value in headers}
        if known.get("content-type", "").lower().startswith(STREAMS) and "x-accel-buffering" not in known:
            headers = [*headers, ("X-Accel-Buffering", "no")]
        return start_response(status, headers, *error, **named)

    return unstreamed(environ, started)


unstreamed, application = application, streaming
"""

# gunicorn's ASGI worker and granian may close a connection while a part of the request's body is unread. So the rest is
# read first: with gunicorn after the response was sent, with granian before its last part. nginx sends no more of it
# after the headers of a response. It must know the length of the response, because otherwise it waits for the end. So a
# response of one part gets a length. For others, the drain ends when nothing arrives for a short time.
ASGI_DRAIN = """

import asyncio
import time

DRAIN_SECONDS, IDLE_SECONDS = 4, 0.3
FRAMES = (b"content-length", b"transfer-encoding")


async def draining(scope, receive, send):
    lengths = [value for name, value in scope.get("headers", ()) if name.lower() in FRAMES]
    if scope["type"] != "http" or lengths in ([], [b"0"]):
        return await undrained(scope, receive, send)
    more, held, framed = True, None, True

    async def received():
        nonlocal more
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drain():
        until = time.monotonic() + DRAIN_SECONDS
        try:
            while more and (left := until - time.monotonic()) > 0:
                await asyncio.wait_for(received(), left if framed else min(left, IDLE_SECONDS))
        except asyncio.TimeoutError:
            pass

    async def sent(message):
        nonlocal held, framed
        if message["type"] == "http.response.start":
            known = any(name.lower() in FRAMES for name, _value in message.get("headers", ()))
            framed = known or message["status"] in (204, 304) or scope["method"] == "HEAD"
            if framed or not more:
                return await send(message)
            held = message
            return None
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if held:
            start, held = held, None
            if is_last:
                framed = True
                length = (b"content-length", str(len(message.get("body", b""))).encode())
                start = {**start, "headers": [*start.get("headers", ()), length]}
            await send(start)
        if not is_last or not more:
            return await send(message)
        if not DRAIN_FIRST:
            await send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b""}
        await drain()
        await send(message)

    await undrained(scope, received, sent)


undrained, application = application, draining
"""


def entry_module(
    wsgi: str, protocol: str, proxy_fix: bool, prefix: str, drain: bool = False, visitor: bool = False
) -> str:
    """The text of the module ``pyweb_entry``, whose ``application`` the server calls.

    With ``visitor``, the module also passes the data of the visitor that the server lacks.
    """
    module, _colon, expression = wsgi.partition(":")
    drain_first, visitor = visitor, visitor or (proxy_fix and protocol == "asgi")
    changed = proxy_fix or prefix or visitor
    does = "its callable is evaluated"
    if changed:
        does = "scheme, host, address and prefix are those of the visitor" if proxy_fix else "it receives its prefix"
    fix = "from werkzeug.middleware.proxy_fix import ProxyFix\n\n" if proxy_fix and protocol == "wsgi" else ""
    text = LOAD.format(does=does, imports=fix, module=module, expression=expression)
    if protocol == "asgi":
        wrapped = ASGI.format(does=does, prefix=prefix, proxy_fix=proxy_fix, visitor=visitor)
        text += wrapped if changed else "\napplication = _callable\n"
        return text + (f"{ASGI_DRAIN}\n\nDRAIN_FIRST = {drain_first!r}\n" if drain else "")
    text += f"\napplication = {WSGI_FIX if proxy_fix else '_callable'}\n"
    text += WSGI_PREFIX.format(prefix=prefix) if prefix else ""
    text += WSGI_VISITOR if visitor else ""
    return text + (WSGI_STREAM + WSGI_DRAIN if drain else "")
