"""An application for load and failure tests: slow on request, and failing if its environment sets MISBEHAVE."""

import os
import signal
import sys
import threading
import time

from flask import Flask, Response, request

MISBEHAVE = os.environ.get("MISBEHAVE", "")
# Set by gunicorn: an error that occurs only in the server passes the import check.
SERVES = "SERVER_SOFTWARE" in os.environ


def end(*, whole: bool) -> None:
    """End this worker at once; with ``whole``, kill its server first, which would start a new worker."""
    print("the application was told to die", file=sys.stderr, flush=True)
    if whole:
        os.kill(os.getppid(), signal.SIGKILL)
    os._exit(1)


if SERVES:
    time.sleep(float(os.environ.get("BOOT_SECONDS", "0")))
if MISBEHAVE == "import":
    raise RuntimeError("the application was told to fail at import")
if MISBEHAVE == "hang" and SERVES:
    print("the application was told to hang", file=sys.stderr, flush=True)
    time.sleep(600)
if MISBEHAVE == "die" and SERVES:
    threading.Timer(2, end, kwargs={"whole": True}).start()
if MISBEHAVE == "crash" and SERVES:
    threading.Timer(0.7, end, kwargs={"whole": False}).start()

app = Flask(__name__)


@app.after_request
def tell_release(response: Response) -> Response:
    response.headers["X-Release"] = os.environ.get("WEBAPP_RELEASE", "none")
    return response


@app.get("/")
def home() -> str:
    return os.environ.get("GREETING", "hello") + "\n"


@app.get("/healthz")
def healthz() -> tuple[str, int]:
    return ("ill\n", 500) if MISBEHAVE == "500" else ("ok\n", 200)


@app.post("/echo")
def echo() -> Response:
    return Response(request.get_data(), mimetype="application/octet-stream")


@app.get("/slow")
def slow() -> str:
    time.sleep(min(float(request.args.get("seconds", "1")), 10))
    return "slow\n"
