"""Answers with the interpreter that runs it."""

import sys


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{'.'.join(map(str, sys.version_info[:3]))} {sys.base_prefix}".encode()]
