"""The application of the tutorial: a start page, an administration page, and a static folder that nginx serves.

It has what a folder for compose has to handle: a shared folder, a release command, a background process and a job.
"""

import json
import os
import sqlite3
import sys
import time
from pathlib import Path

from flask import Flask, jsonify, request

DATABASE = Path(__file__).parent / "instance" / "counter.db"

app = Flask(__name__)


def database() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE)


@app.get("/")
def home() -> str:
    return "Hello from the start page\n"


@app.get("/admin")
def admin() -> str:
    return "Hello from the administration\n"


@app.get("/count")
def count():
    """How often the release command, the background process and the job have run."""
    with database() as db:
        return jsonify(dict(db.execute("SELECT who, runs FROM counts")))


@app.get("/facts")
def facts():
    """The process and the request, as the application sees them."""
    status = Path("/proc/self/status").read_text()
    return jsonify(
        environment=dict(os.environ),
        user=os.getuid(),
        secret=(Path(__file__).parent / "secret.json").read_text(),
        capabilities=field(status, "CapEff"),
        no_new_privileges=field(status, "NoNewPrivs"),
        writable=[path for path in ("/", "/srv", str(Path(__file__).parent)) if os.access(path, os.W_OK)],
        address=request.remote_addr,
        scheme=request.scheme,
        host=request.host,
        headers={name: value for name, value in request.headers.items() if name.startswith("X-")},
    )


def field(status: str, name: str) -> str:
    return next(line.split()[1] for line in status.splitlines() if line.startswith(name))


def migrate() -> None:
    with database() as db:
        db.execute("CREATE TABLE IF NOT EXISTS counts (who TEXT PRIMARY KEY, runs INTEGER)")
    add("release")


def add(who: str) -> None:
    with database() as db:
        db.execute("INSERT INTO counts VALUES (?, 1) ON CONFLICT (who) DO UPDATE SET runs = runs + 1", (who,))


def work() -> None:
    add(f"{os.environ['WEBAPP_PROCESS']} {os.environ['WEBAPP_PROCESS_NUMBER']}")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    print(json.dumps(sys.argv[1:]))
    {"migrate": migrate, "work": work, "job": lambda: add("job")}[sys.argv[1]]()
