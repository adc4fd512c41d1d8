# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Two applications, for WSGI and ASGI. They describe the requests that they get, and answer as the path says.

Both describe a request in the same words: method, raw path, query, decoded path below the prefix, headers by name,
visitor, and size and hash of the body. A repeated header has its values joined by commas.
"""

from __future__ import annotations

WSGI = """
import hashlib, json, time

def described(environ):
    size, digest = 0, hashlib.sha256()
    for piece in iter(lambda: environ["wsgi.input"].read(65536), b""):
        size += len(piece)
        digest.update(piece)
    names = [name for name in environ if name.startswith("HTTP_")]
    headers = {name[5:].lower().replace("_", "-"): environ[name] for name in names}
    headers |= {name.lower().replace("_", "-"): environ[name] for name in ("CONTENT_TYPE",) if environ.get(name)}
    raw = (environ.get("RAW_URI") or environ.get("REQUEST_URI", "")).partition("?")[0]
    decoded = lambda key: environ.get(key, "").encode("latin-1").decode()
    return {
        "method": environ["REQUEST_METHOD"], "raw": raw, "path": decoded("PATH_INFO"), "prefix": decoded("SCRIPT_NAME"),
        "query": environ.get("QUERY_STRING", ""), "headers": headers, "scheme": environ["wsgi.url_scheme"],
        "address": environ.get("REMOTE_ADDR", ""), "host": environ.get("HTTP_HOST"),
        "size": size, "sha": digest.hexdigest(),
    }

def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
    start = lambda status, *headers: start_response(status, [*headers])
    if path == "/cookies":
        count, size = map(int, query.split("x"))
        start("200 OK", *(("Set-Cookie", f"c{n}=" + "v" * size) for n in range(count)))
        return [b"ok"]
    if path == "/headers":
        start("200 OK", ("ETag", '"v1"'), ("Vary", "Cookie"), ("Location", "/shop/a?b=c"), ("X-Own", "1"),
            ("Content-Type", "text/plain"), ("Content-Length", "2"))
        return [b"ok"]
    if path == "/status":
        start(f"{query} Status", ("ETag", '"v1"'))
        return []
    if path == "/range":
        start("206 Partial Content", ("Content-Range", "bytes 2-4/10"), ("Content-Length", "3"))
        return [b"234"]
    if path == "/stream":
        start("200 OK", ("Content-Type", "text/plain"))
        return (b"%d," % n for n in range(1000))
    if path == "/events":
        def events():
            yield b"data: 0\\n\\n"
            time.sleep(2)
            yield b"data: 1\\n\\n"
        start("200 OK", ("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no"))
        return events()
    if path == "/early":
        start("401 Unauthorized", ("Content-Length", "5"))
        return [b"early"]
    body = json.dumps(described(environ)).encode()
    start("200 OK", ("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    return [body]
"""

ASGI = """
import asyncio, hashlib, json

async def described(scope, receive):
    size, digest, more = 0, hashlib.sha256(), True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        digest.update(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {}
    for name, value in scope["headers"]:
        name, value = name.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    headers.pop("content-length", None)
    prefix = scope.get("root_path", "")
    return {
        "method": scope["method"], "raw": scope["raw_path"].decode("latin-1").partition("?")[0],
        "path": scope["path"].removeprefix(prefix), "prefix": prefix, "query": scope["query_string"].decode("latin-1"),
        "headers": headers, "scheme": scope["scheme"], "address": (scope.get("client") or [""])[0],
        "host": headers.get("host"), "size": size, "sha": digest.hexdigest(),
    }

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    query = scope["query_string"].decode()
    async def start(status, *headers):
        found = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": found})
    async def piece(body, more=False):
        await send({"type": "http.response.body", "body": body, "more_body": more})
    if path == "/cookies":
        count, size = map(int, query.split("x"))
        await start(200, *(("Set-Cookie", f"c{n}=" + "v" * size) for n in range(count)))
        return await piece(b"ok")
    if path == "/headers":
        await start(200, ("ETag", '"v1"'), ("Vary", "Cookie"), ("Location", "/shop/a?b=c"), ("X-Own", "1"),
            ("Content-Type", "text/plain"), ("Content-Length", "2"))
        return await piece(b"ok")
    if path == "/status":
        await start(int(query), ("ETag", '"v1"'))
        return await piece(b"")
    if path == "/range":
        await start(206, ("Content-Range", "bytes 2-4/10"), ("Content-Length", "3"))
        return await piece(b"234")
    if path == "/stream":
        await start(200, ("Content-Type", "text/plain"))
        for n in range(1000):
            await piece(b"%d," % n, True)
        return await piece(b"")
    if path == "/events":
        await start(200, ("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no"))
        await piece(b"data: 0\\n\\n", True)
        await asyncio.sleep(2)
        await piece(b"data: 1\\n\\n", True)
        return await piece(b"")
    if path == "/early":
        await start(401, ("Content-Length", "5"))
        return await piece(b"early")
    body = json.dumps(await described(scope, receive)).encode()
    await start(200, ("Content-Type", "application/json"), ("Content-Length", str(len(body))))
    await piece(body)
"""
