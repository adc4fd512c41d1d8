"""A ledger in an embedded store, which only one process at a time can open. MISBEHAVE makes it fail."""

import fcntl
import os

from flask import Flask, Response, request

MISBEHAVE = os.environ.get("MISBEHAVE", "")

# As DuckDB, LevelDB and ZODB do: the first process that opens the store locks it, and others are refused.
store = open("data/ledger", "a+")  # noqa: SIM115  # it stays open
fcntl.flock(store, fcntl.LOCK_EX | fcntl.LOCK_NB)
if MISBEHAVE == "import":
    raise RuntimeError("MISBEHAVE is import")

app = Flask(__name__)


@app.after_request
def tell_release(response: Response) -> Response:
    response.headers["X-Release"] = os.environ.get("WEBAPP_RELEASE", "none")
    return response


@app.get("/healthz")
def healthz() -> tuple[str, int]:
    return ("ill\n", 500) if MISBEHAVE == "500" else ("ok\n", 200)


@app.get("/ledger")
def ledger() -> str:
    store.seek(0)
    return store.read()


@app.post("/ledger")
def enter() -> str:
    name, _space, padding = request.get_data(as_text=True).partition(" ")
    store.write(f"{name} {len(padding)}\n")
    store.flush()
    return f"{name} {len(padding)}\n"


@app.cli.command("migrate")
def migrate() -> None:
    store.write(f"migrated {os.environ['WEBAPP_RELEASE']}\n")
    store.flush()
