"""The application of docs/guides/howto/postgresql.md: entries in a table."""

import os

import psycopg
from flask import Flask, request

app = Flask(__name__)


def database() -> psycopg.Connection:
    return psycopg.connect(os.environ["DATABASE_URL"])


@app.get("/healthz")
def healthz() -> str:
    with database() as connection:
        connection.execute("SELECT 1")
    return "ok\n"


@app.post("/entries")
def add() -> str:
    with database() as connection:
        connection.execute("INSERT INTO entry (text) VALUES (%s)", (request.args["text"],))
    return "added\n"


@app.get("/entries")
def entries() -> list[str]:
    with database() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM entry ORDER BY id")]
