"""An application that returns its request, so that tests can check what nginx and the app server pass on."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

TOLD = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "wsgi.url_scheme")


def events() -> Iterator[bytes]:
    for number in range(3):
        yield f"data: {number}\n\n".encode()
        time.sleep(1)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Paths that end in /events, /private and /broken respond accordingly; all others return their request."""
    path = environ["PATH_INFO"]
    if path.endswith("/events"):
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    if path.endswith("/private"):
        start_response("200 OK", [("X-Accel-Redirect", "/protected/report.txt"), ("Content-Type", "text/plain")])
        return [b""]
    if path.endswith("/broken"):
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"broken"]
    body = environ["wsgi.input"].read()
    told = {key: environ.get(key) for key in TOLD}
    told |= {key: value for key, value in environ.items() if key.startswith("HTTP_")}
    told |= {"body": len(body), "time": time.time()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
