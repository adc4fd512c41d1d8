"""An application with work in the background: a task queue, a job, and libraries that a sandbox may upset."""

import os
import signal
import sqlite3
import time
from pathlib import Path

import click
import redis
from flask import Flask, jsonify, request
from rq import Queue

DATA = Path("data")
RELEASE = os.environ.get("WEBAPP_RELEASE", "none")

app = Flask(__name__)


def note(*words: str) -> None:
    """Adds a line to what the tests read; one write, so that two processes don't mix."""
    with (DATA / "notes").open("a") as stream:
        stream.write(" ".join(words) + "\n")


def work(name: str, seconds: float) -> None:
    """A task that records the release that runs it, at its start and at its end."""
    note("task", name, "begun", RELEASE)
    print("working on", name, flush=True)
    time.sleep(seconds)
    note("task", name, "done", RELEASE)


@app.get("/healthz")
def healthz() -> str:
    return "ok\n"


@app.post("/tasks")
def tasks() -> str:
    queue = Queue(connection=redis.Redis())
    queue.enqueue(work, request.args["name"], float(request.args["seconds"]))
    return "queued\n"


@app.get("/notes")
def notes() -> str:
    path = DATA / "notes"
    return path.read_text() if path.exists() else ""


@app.get("/libraries")
def libraries():
    """Features that the sandbox must not break: threads and native code, an event loop, files with locks in shared/."""
    import gevent
    import numpy

    matrix = numpy.random.default_rng(1).random((200, 200))
    jobs = [gevent.spawn(lambda number=number: number * number) for number in range(3)]
    gevent.joinall(jobs)
    with sqlite3.connect(DATA / "counter.sqlite") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE IF NOT EXISTS visits (at REAL)")
        database.execute("INSERT INTO visits VALUES (?)", (time.time(),))
        visits = database.execute("SELECT count(*) FROM visits").fetchone()[0]
    rank = int(numpy.linalg.matrix_rank(matrix))
    return jsonify(rank=rank, squares=[job.value for job in jobs], visits=visits, pid=os.getpid(), master=os.getppid())


@app.post("/memory")
def memory() -> str:
    """Exceed the memory limit; the client gets no response."""
    hoard = []
    while True:
        hoard.append(bytearray(os.urandom(1 << 20)) * 8)


@app.post("/die")
def die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return "never\n"


@app.post("/speak")
def speak() -> str:
    """Writes to the log, as much as is asked for."""
    for _ in range(int(request.args["lines"])):
        print("x" * 1000, flush=True)
    return "spoken\n"


@app.cli.command()
@click.argument("seconds", type=float)
def tick(seconds: float) -> None:
    """The job."""
    note("job", "begun", RELEASE, time.strftime("%H:%M"))
    print("the job ticks", flush=True)
    time.sleep(seconds)
    note("job", "done", RELEASE)


@app.cli.command()
def beat() -> None:
    """A process that must never run twice."""
    note("beat", "begun", RELEASE)
    signal.signal(signal.SIGINT, lambda *_: (note("beat", "ended", RELEASE), os._exit(0)))
    while True:
        time.sleep(0.2)


@app.cli.command()
def stubborn() -> None:
    """A process that has a child, and neither ends when it is asked to."""
    os.fork()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)
