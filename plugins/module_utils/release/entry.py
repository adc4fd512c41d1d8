# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The module of ours that stands before an application which its server can't call as it is."""

from __future__ import annotations

LOAD = '''\
"""The application as its server calls it: {does}."""

import importlib

{imports}_module = importlib.import_module({module!r})
_callable = eval({expression!r}, vars(_module))
'''

# nginx tells uWSGI the prefix apart from the path by the uwsgi protocol, but not by HTTP.
WSGI_PREFIX = """

def mounted(environ, start_response):
    path = environ.get("PATH_INFO", "")
    if not environ.get("SCRIPT_NAME") and (path == {prefix!r} or path.startswith({prefix!r} + "/")):
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = {prefix!r}, path[len({prefix!r}) :]
    return application_below(environ, start_response)


application_below, application = application, mounted
"""

# The host that nginx tells has its port, where that is not the scheme's own.
WSGI_FIX = "ProxyFix(_callable, x_for=1, x_proto=1, x_host=1, x_prefix=1)"

# werkzeug's ProxyFix knows WSGI only. nginx sets each of these headers itself, so there is one of each at most.
ASGI = '''

class Visitor:
    """Tells the application {does}."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            scope = {{**scope, "root_path": {prefix!r} or scope.get("root_path", "")}}
            if {proxy_fix!r}:
                told = dict(scope["headers"])
                if b"x-forwarded-for" in told:
                    scope["client"] = (told[b"x-forwarded-for"].decode("latin-1").split(",")[-1].strip(), 0)
                if b"x-forwarded-proto" in told:
                    secure = told[b"x-forwarded-proto"] == b"https"
                    plain, safe = ("http", "https") if scope["type"] == "http" else ("ws", "wss")
                    scope["scheme"] = safe if secure else plain
                if b"x-forwarded-host" in told:
                    host = told[b"x-forwarded-host"]
                    scope["headers"] = [(name, host if name == b"host" else value) for name, value in scope["headers"]]
                    name, _, port = host.decode("latin-1").partition(":")
                    usual = 443 if scope["scheme"] in ("https", "wss") else 80
                    scope["server"] = (name, int(port) if port.isdigit() else usual)
        return await self.app(scope, receive, send)


application = Visitor(_callable)
'''

# uWSGI closes the connection after the response. If a part of the body is unread, nginx gets an error instead of the
# response: so the rest is read and discarded. A half-close ends the response first, for nginx then sends no more body.
WSGI_DRAIN = '''

import os
import select
import socket
import time

import uwsgi

DRAIN_SECONDS = 4


class Drained:
    """A response that reads what is left of the request's body when it is closed."""

    def __init__(self, environ):
        self.body, self.result, self.sent = environ["wsgi.input"], (), False
        # An object given to sendfile can't be wrapped; applications do without where the server has none.
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
            if self.sent:  # else the application failed, which uWSGI answers with nothing
                self.drain()

    def drain(self):
        until = time.monotonic() + DRAIN_SECONDS
        try:
            with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection:
                connection.shutdown(socket.SHUT_WR)
                waiting = select.poll()
                waiting.register(connection, select.POLLIN)
                # uWSGI knows whether all of the body was read, and then reads nothing more.
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
    response = Drained(environ)
    result = undrained(environ, start_response)
    response.result = [result] if isinstance(result, bytes) else result  # uWSGI takes bytes in one piece
    return response


undrained, application = application, draining
'''

# gunicorn's own ASGI worker may close a connection with a part of the body unread. The rest is read before the end.
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


def entry_module(wsgi: str, protocol: str, proxy_fix: bool, prefix: str, drain: bool = False) -> str:
    """The text of the module ``pyweb_entry``, whose ``application`` is what the server calls."""
    module, _, expression = wsgi.partition(":")
    does = "scheme, host, address and prefix are the visitor's" if proxy_fix else "it knows where it is mounted"
    if protocol == "asgi":
        text = LOAD.format(does=does, imports="", module=module, expression=expression)
        text += ASGI.format(does=f"of its visitors: {does}", prefix=prefix, proxy_fix=proxy_fix)
        return text + (ASGI_DRAIN if drain else "")
    fix = "from werkzeug.middleware.proxy_fix import ProxyFix\n\n" if proxy_fix else ""
    text = LOAD.format(
        does=does if proxy_fix or prefix else "its factory is called", imports=fix, module=module, expression=expression
    )
    text += f"\napplication = {WSGI_FIX if proxy_fix else '_callable'}\n"
    text += WSGI_PREFIX.format(prefix=prefix) if prefix else ""
    return text + (WSGI_DRAIN if drain else "")
