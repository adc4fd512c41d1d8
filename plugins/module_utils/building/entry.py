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
# application returns, but an application may be a generator, which starts its response later. It has no write().
WSGI_VISITOR = '''


class Response:
    """The parts of a response, in their order."""

    def __init__(self, first, rest, result):
        self.first, self.rest, self.result = first, rest, result

    def __iter__(self):
        yield from self.first
        yield from self.rest

    def close(self):
        if hasattr(self.result, "close"):
            self.result.close()


def visited(environ, start_response):
    environ["REMOTE_ADDR"] = environ.get("HTTP_X_REAL_IP", "")
    environ["wsgi.url_scheme"] = scheme = "https" if environ.get("HTTP_X_FORWARDED_PROTO") == "https" else "http"
    name, colon, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not colon or not port.isdecimal():
        name, port = environ.get("HTTP_HOST", ""), "443" if scheme == "https" else "80"
    environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port
    started, written = [], []

    def start(status, headers, exc_info=None):
        started[:] = [status, headers]
        return written.append

    result = unvisited(environ, start)
    if isinstance(result, list) and started and not written:
        start_response(*started)
        return result
    rest = iter(result)
    try:
        while not started:
            written.append(next(rest))
    except StopIteration:
        pass
    start_response(*started)
    return Response(written, rest, result)


unvisited, application = application, visited
'''

# uWSGI closes the connection after the response. If a part of the request's body is unread, nginx gets an error instead
# of the response. So the rest is read and discarded. A half-close ends the response first; nginx then stops sending.
WSGI_DRAIN = '''

import os
import select
import socket
import time

import uwsgi

DRAIN_SECONDS = 4


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

# gunicorn's ASGI worker may close a connection while a part of the request's body is unread. So the rest is read first.
ASGI_DRAIN = """

import asyncio

DRAIN_SECONDS = 4


async def draining(scope, receive, send):
    lengths = [value for name, value in scope.get("headers", ()) if name in (b"content-length", b"transfer-encoding")]
    if scope["type"] != "http" or lengths in ([], [b"0"]):
        return await undrained(scope, receive, send)
    more = True

    async def received():
        nonlocal more
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drain():
        while more:
            await received()

    async def sent(message):
        if message["type"] != "http.response.body" or message.get("more_body", False) or not more:
            return await send(message)
        await send({**message, "more_body": True})
        try:
            await asyncio.wait_for(drain(), DRAIN_SECONDS)
        except asyncio.TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})

    await undrained(scope, received, sent)


undrained, application = application, draining
"""


def entry_module(
    wsgi: str, protocol: str, proxy_fix: bool, prefix: str, drain: bool = False, visitor: bool = False
) -> str:
    """The text of the module ``pyweb_entry``, whose ``application`` the server calls.

    With ``visitor``, the module also tells the application what its server does not know of the visitor.
    """
    module, _colon, expression = wsgi.partition(":")
    visitor = visitor or (proxy_fix and protocol == "asgi")
    does = "scheme, host, address and prefix are those of the visitor" if proxy_fix else "it receives its prefix"
    if protocol == "asgi":
        text = LOAD.format(does=does, imports="", module=module, expression=expression)
        text += ASGI.format(does=does, prefix=prefix, proxy_fix=proxy_fix, visitor=visitor)
        return text + (ASGI_DRAIN if drain else "")
    fix = "from werkzeug.middleware.proxy_fix import ProxyFix\n\n" if proxy_fix else ""
    text = LOAD.format(
        does=does if proxy_fix or prefix else "its factory is called", imports=fix, module=module, expression=expression
    )
    text += f"\napplication = {WSGI_FIX if proxy_fix else '_callable'}\n"
    text += WSGI_PREFIX.format(prefix=prefix) if prefix else ""
    text += WSGI_VISITOR if visitor else ""
    return text + (WSGI_DRAIN if drain else "")
