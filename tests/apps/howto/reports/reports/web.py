"""The pages: a health check, and a form that queues a report."""

from flask import Flask, request

from .tasks import report

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> str:
    return "ok\n"


@app.post("/reports")
def queue() -> str:
    report.delay(request.args["name"], float(request.args["seconds"]))
    return "queued\n"
