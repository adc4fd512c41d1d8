"""An application that fails on demand, in the way that the shared file mood/mood names."""

import os
import pathlib
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
