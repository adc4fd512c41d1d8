"""The example application. It shows how it runs and how the request arrived."""

import os

from flask import Flask, jsonify, render_template, request

app = Flask(__name__)


def facts() -> list[tuple[str, str]]:
    """Facts about the release and the request, as the application gets them."""
    return [
        ("Application", os.environ.get("WEBAPP_NAME", "started by hand")),
        ("Release", os.environ.get("WEBAPP_RELEASE", "none: started by hand")),
        ("Application server", os.environ.get("WEBAPP_SERVER", "unknown")),
        ("Process manager", os.environ.get("WEBAPP_PROCESS_MANAGER", "none")),
        ("Scheme", request.scheme),
        ("Host", request.host),
        ("Your address", request.remote_addr or "unknown"),
        ("Mounted at", request.root_path or "/"),
    ]


@app.get("/")
def home() -> str:
    return render_template("home.html", facts=facts())


@app.get("/facts")
def facts_as_json():
    return jsonify({name.lower().replace(" ", "_"): value for name, value in facts()})


@app.get("/healthz")
def healthz() -> tuple[str, int]:
    return "ok\n", 200
