# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The application of a tutorial."""

import os
import time

from flask import Flask, request

app = Flask(__name__)


@app.route("/")
def hello():
    return f"Hello, {os.environ.get('GREETING', 'World')}!\n"


@app.route("/echo", methods=["POST"])
def echo():
    return request.get_data()


@app.route("/slow")
def slow():
    time.sleep(2)
    return "slow\n"
