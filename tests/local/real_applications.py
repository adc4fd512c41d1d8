# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""An application for real clients, for WSGI and ASGI: a git server, resumable uploads (tus), WebSocket and events."""

from __future__ import annotations

# The functions of both. ROOT is the folder with the repositories and the uploads.
COMMON = """
import os, re, subprocess, uuid
from pathlib import Path

ROOT = Path(os.environ.get("ROOT", "."))

def git(method, path, query, headers, body):
    variables = {
        "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(ROOT), "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": method, "PATH_INFO": path.removeprefix("/git"), "QUERY_STRING": query,
        "CONTENT_TYPE": headers.get("content-type", ""), "REMOTE_USER": "pusher", "REMOTE_ADDR": "127.0.0.1",
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
    }
    with subprocess.Popen(["git", "http-backend"], env=variables, stdin=-1, stdout=-1) as backend:
        answer, _errors = backend.communicate(body)
    head, _empty, found = answer.partition(b"\\r\\n\\r\\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\\r\\n"))
    return fields.pop("Status", "200 OK"), list(fields.items()), found

TUS = ("Tus-Resumable", "1.0.0")

def create(headers):
    name = uuid.uuid4().hex
    (ROOT / name).write_bytes(b"")
    (ROOT / f"{name}.length").write_text(headers["upload-length"])
    return "201 Created", [TUS, ("Location", f"/shop/files/{name}"), ("Content-Length", "0")]

def state(name):
    length = (ROOT / f"{name}.length").read_text()
    offset = str((ROOT / name).stat().st_size)
    return "200 OK", [TUS, ("Upload-Offset", offset), ("Upload-Length", length), ("Cache-Control", "no-store")]

def appended(name):
    return "204 No Content", [TUS, ("Upload-Offset", str((ROOT / name).stat().st_size))]

def is_at(name, headers):
    return (ROOT / name).stat().st_size == int(headers["upload-offset"])

CONFLICT = ("409 Conflict", [TUS, ("Content-Length", "0")])
"""

WSGI = (
    COMMON
    + """
import time

def headers_of(environ):
    found = {key[5:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")}
    return {**found, "content-type": environ.get("CONTENT_TYPE", "")}

def events():
    for number in range(2):
        yield b"data: %d\\n\\n" % number
        time.sleep(2)

def app(environ, start_response):
    path, method, headers = environ["PATH_INFO"], environ["REQUEST_METHOD"], headers_of(environ)
    parts = iter(lambda: environ["wsgi.input"].read(65536), b"")
    name = path.rpartition("/")[2]
    if path.startswith("/git/"):
        status, fields, body = git(method, path, environ["QUERY_STRING"], headers, b"".join(parts))
        start_response(status, fields)
        return [body]
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    if path == "/ws":
        import simple_websocket
        socket = simple_websocket.Server(environ)
        try:
            while True:
                socket.send(socket.receive())
        except simple_websocket.ConnectionClosed:
            pass
        return []
    if method == "POST":
        answer = create(headers)
    elif method == "HEAD":
        answer = state(name)
    elif not is_at(name, headers):
        answer = CONFLICT
    else:
        with open(ROOT / name, "ab") as stream:
            for part in parts:
                stream.write(part)
        answer = appended(name)
    start_response(*answer)
    return []
"""
)

ASGI = (
    COMMON
    + """
import asyncio

async def parts_of(receive):
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)

async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})

async def answer(send, status, headers, body=b""):
    fields = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": fields})
    await send({"type": "http.response.body", "body": body})

async def events(send):
    fields = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    for number in range(2):
        await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
        await asyncio.sleep(2)
    await send({"type": "http.response.body", "body": b""})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        return await echo(receive, send)
    path, method = scope["path"].removeprefix(scope.get("root_path", "")), scope["method"]
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    name = path.rpartition("/")[2]
    if path == "/events":
        return await events(send)
    if path.startswith("/git/"):
        body = b"".join([part async for part in parts_of(receive)])
        found = await asyncio.to_thread(git, method, path, scope["query_string"].decode(), headers, body)
        return await answer(send, *found)
    if method == "POST":
        return await answer(send, *create(headers))
    if method == "HEAD":
        return await answer(send, *state(name))
    if not is_at(name, headers):
        return await answer(send, *CONFLICT)
    with open(ROOT / name, "ab") as stream:
        async for part in parts_of(receive):
            stream.write(part)
    await answer(send, *appended(name))
"""
)
