"""An application for tests of a fleet: it writes down each order, and misbehaves where a test wants it.

`data/moods.json` of a host names the mood of each build there: `{"3": "gate"}`. A file rather than the environment,
because the environment is a part of the release, which is the same on all hosts.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from flask import Flask, Response, request

BUILD = os.environ.get("BUILD", "1")
DATA = Path(__file__).resolve().parent / "data"
# Set by gunicorn: the import check starts no timer.
SERVES = "SERVER_SOFTWARE" in os.environ
DIES_AFTER = 2.0
# The memory that a process takes at a time, and at most: there may be no limit.
CHUNK, MOST_CHUNKS = 16 * 1024**2, 64

app = Flask(__name__)
asked = 0


def mood() -> str:
    try:
        return json.loads((DATA / "moods.json").read_text()).get(BUILD, "")
    except (OSError, ValueError):
        return ""


def die() -> None:
    print("the application dies on purpose", file=sys.stderr, flush=True)
    os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)


if SERVES and mood() == "dies":
    threading.Timer(DIES_AFTER, die).start()


def hoard() -> None:
    """Take memory until the kernel kills this process."""
    taken = []
    while len(taken) < MOST_CHUNKS:
        taken.append(b"x" * CHUNK)
    time.sleep(600)


def write_down(name: str, line: str) -> None:
    """Add a line in one write, which no other process interrupts."""
    target = os.open(DATA / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(target, f"{line}\n".encode())
    finally:
        os.close(target)


@app.before_request
def misbehave() -> Response | None:
    global asked
    asked += 1
    now = mood()
    while now == "hangs":
        time.sleep(0.2)
        now = mood()
    if now == "hoards":
        hoard()
    if now == "slow":
        time.sleep(0.3)
    if now == "gate" and request.path == "/healthz":
        # A page that is not there is refused at once; 500 might go away.
        return Response("unhealthy on purpose\n", status=404)
    if now == "errors" and request.path != "/healthz" and asked % 50 == 0:
        return Response("failed on purpose\n", status=500)
    return None


@app.after_request
def add_headers(response: Response) -> Response:
    response.headers["X-Release"] = os.environ.get("WEBAPP_RELEASE", "none")
    response.headers["X-Build"] = BUILD
    response.headers["X-Machine"] = socket.gethostname()
    return response


@app.get("/")
def home() -> str:
    return "orders\n"


@app.get("/healthz")
def healthz() -> str:
    """A host whose disk is full is not healthy."""
    # Several threads may be asked at the same time.
    with tempfile.TemporaryFile(dir=DATA) as probe:
        probe.write(b"ok\n" * 3000)
        probe.flush()
    return "ok\n"


@app.post("/orders")
def order() -> Response:
    """Write down the number of an order, which is the first word of the body, and send the body back."""
    body = request.get_data()
    write_down("orders", body.split(b" ", 1)[0].decode("ascii"))
    return Response(body, mimetype="application/octet-stream")
