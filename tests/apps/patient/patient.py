"""An application for load and failure tests: slow when asked to be, and misbehaving when its environment says so."""

import os
import threading
import time

from flask import Flask, Response, request

MISBEHAVE = os.environ.get("MISBEHAVE", "")

time.sleep(float(os.environ.get("BOOT_SECONDS", "0")))
if MISBEHAVE == "import":
    raise RuntimeError("the application was told to fail at import")
if MISBEHAVE == "die" and os.environ.get("SERVER_SOFTWARE"):
    threading.Timer(2, os._exit, [1]).start()

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
