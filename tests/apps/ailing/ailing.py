"""An application that fails on demand, in the way that the shared file mood/mood names."""

import os
import pathlib
import socket
import sqlite3
import time

from flask import Flask, Response, abort, redirect, request

MOOD = pathlib.Path(__file__).parent / "mood" / "mood"


def mood() -> str:
    return MOOD.read_text().strip() if MOOD.exists() else ""


if mood() == "import":
    os.environ["DATABASE_URL_THAT_NOBODY_SET"]

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> Response | str:
    now = mood()
    if now == "error":
        raise RuntimeError("the database is on fire")
    if now == "hang":
        time.sleep(8)
    if now == "https":
        return redirect(f"https://{request.host}/healthz", 301)
    if now == "elsewhere":
        return redirect("http://old.example.net/healthz")
    if now.isdecimal():
        abort(int(now))
    return "ok\n"


@app.post("/do")
def do() -> Response | str:
    """A part of the application that its health URL does not ask."""
    now = mood()
    if now == "note":
        with sqlite3.connect(MOOD.parent / "notes.db") as notes:
            notes.execute("insert into notes values ('a note')")
    if now == "packet":
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    if now == "divide":
        return str(1 / (len(now) - 6))
    return Response("done\n", headers={"Set-Cookie": "x" * 90000} if now == "cookie" else {})
