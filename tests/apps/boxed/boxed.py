"""An application that needs a library of the system, with a background process and a job."""

import os
import platform
import sys
import time
from pathlib import Path

from flask import Flask, jsonify, request
from psycopg import pq

DATA = Path("data")
RELEASE = os.environ.get("WEBAPP_RELEASE", "none")
GREETING = os.environ.get("GREETING", "hello")

app = Flask(__name__)


@app.after_request
def with_release(response):
    response.headers["X-Release"] = RELEASE
    return response


@app.get("/")
def home() -> str:
    return f"{GREETING} from {RELEASE}\n"


@app.get("/healthz")
def healthz() -> str:
    return "ok\n"


@app.post("/echo")
def echo() -> bytes:
    return request.get_data()


@app.get("/slow")
def slow() -> str:
    time.sleep(float(request.args["seconds"]))
    return "slow\n"


@app.get("/seen")
def seen():
    """The machine as a process sees it."""
    debian = platform.freedesktop_os_release()["VERSION_CODENAME"]
    places = ("/", "/etc", "/usr", "/run", "/srv/webapps/boxed", "data", "/tmp")
    writable = [path for path in places if os.access(path, os.W_OK)]
    return jsonify(
        debian=debian,
        python="{}.{}".format(*sys.version_info),
        libpq=pq.version(),
        account=os.environ["USER"],
        uid=os.getuid(),
        writable=writable,
        there=[path for path in ("/etc/shadow", "/home/deploy", "/etc/ssh", "/usr/sbin/nginx") if os.path.exists(path)],
    )


def note(words: str) -> None:
    with (DATA / "notes").open("a") as stream:
        stream.write(f"{words} {RELEASE} {platform.freedesktop_os_release()['VERSION_CODENAME']} {pq.version()}\n")


@app.get("/notes")
def notes() -> str:
    path = DATA / "notes"
    return path.read_text() if path.exists() else ""


@app.cli.command("work")
def work() -> None:
    """The background process."""
    note("worker")
    while True:
        time.sleep(60)


@app.cli.command("tick")
def tick() -> None:
    """The job."""
    note("job")


@app.cli.command("note-release")
def note_release() -> None:
    """The release command."""
    note("command")
