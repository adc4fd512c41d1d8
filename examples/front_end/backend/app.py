"""The API of an application whose front end is built by npm, in the folder beside this one."""

from flask import Flask

app = Flask(__name__, static_folder=None)


@app.get("/api/healthz")
def healthz() -> str:
    return "ok"
