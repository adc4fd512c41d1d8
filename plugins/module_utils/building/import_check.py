# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Import the application as its server will, before it can serve, and explain what is wrong with it."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building import import_probe
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.dropped import remedy_of_dropped
from ansible_collections.pyweb.stack.plugins.module_utils.building.import_probe import MARKER
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.hints import lock_hint
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import tail

# The problems that one sentence explains: {wsgi} and {module} are the application's, the rest is what the probe found.
MESSAGES = {
    "not_callable": "wsgi is '{wsgi}', but that is a {type}, which a server can't call. Name the application object, "
    "such as '{module}:app'.",
    "asgi": "wsgi is '{wsgi}', which is an ASGI application, but {server} calls it by WSGI. {speaks_asgi}",
    "wsgi": "wsgi is '{wsgi}', which is a WSGI application, but {server} calls it by ASGI. Remove {asgi_key}, or "
    "name the application's ASGI callable.",
    "proxy_fix": "proxy_fix is true, but werkzeug is not among the dependencies. Add werkzeug to python.packages, or "
    "turn proxy_fix off.",
    "no_metadata": "importing '{module}' failed, because it asks for the metadata of the package '{name}', which is "
    "not installed. If that is the project itself, add '.' to python.packages. If it is another package, add it to the "
    "requirements. The end of the traceback:\n{trace}",
    "settings": "gunicorn does not accept its settings. Correct them as it says:\n{trace}",
    "factory_arguments": "wsgi is '{wsgi}', but the arguments of a factory must be plain values, such as "
    "'create_app(\"production\")'.",
    "under_main": "'{wsgi}' has no routes when it is imported: it would answer 404 to everything. {file} registers "
    'them under: if __name__ == "__main__", which only happens when that file is started by hand, as by '
    "'python {file}'. Move these lines out of that block, to the left margin above it, and leave only what starts a "
    "server in it:\n{lines}",
}

# The key with which a server calls an application by ASGI, and the remedy for one that calls it by WSGI.
ASGI_KEYS = {"gunicorn": "gunicorn.worker_class", "granian": "granian.interface"}
TO_ASGI = {
    "gunicorn": "Set gunicorn: {worker_class: asgi}.",
    "granian": "Set granian: {interface: asgi}.",
}
NO_ASGI = "Choose a server that supports ASGI: server: gunicorn, with gunicorn: {worker_class: asgi}."


def check_import(build: Build) -> None:
    """Import the callable in the release's environment. Raises ReleaseError with what is wrong with it."""
    spec, timeout = build.spec, build.spec["import_timeout"]
    needs_proxy_fix = (spec["entry"] or {}).get("proxy_fix") and spec["protocol"] == "wsgi"
    arguments = [spec["wsgi"], spec["protocol"], gunicorn_settings(build), "yes" if needs_proxy_fix else ""]
    try:
        answer = build.run_in_release(["python", "-c", inspect.getsource(import_probe), *arguments], timeout)
    except subprocess.TimeoutExpired:
        raise build.error(
            f"importing '{spec['wsgi']}' did not end within {timeout} seconds. Does the module start a server or a "
            'loop when it is imported? Put that under: if __name__ == "__main__"'
        ) from None
    lines = reversed(lines_of(answer.stdout))
    found = next((line[len(MARKER) :] for line in lines if line.startswith(MARKER)), None)
    if found is None:
        raise build.error(
            f"importing '{spec['wsgi']}' ended the interpreter with status {answer.returncode}. Its last "
            f"output:\n{tail(answer.stdout + answer.stderr, 12)}"
        )
    try:
        text = import_problem(spec["wsgi"], json.loads(found), spec["environment"].get("WEBAPP_SERVER", ""))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        text = f"importing '{spec['wsgi']}' printed a line of {MARKER}, which is for the check alone. Remove it."
    if text:
        raise build.error(text)


def gunicorn_settings(build: Build) -> str:
    """The path of gunicorn's settings file, which gunicorn has to accept; empty where there is none."""
    path = os.path.join(build.release, "gunicorn.conf.py")
    return path if os.path.exists(path) else ""


def import_problem(wsgi: str, found: dict[str, Any], server: str = "") -> str | None:
    """The message for what the probe found; None where the callable is fine. ``server`` is the name of its server."""
    problem = found["problem"]
    if problem is None:
        return None
    if problem in EXPLAINED:
        return EXPLAINED[problem](wsgi, found)
    lines = "\n".join(f"    {line}" for line in found.get("lines", []))
    asgi = {
        "asgi_key": ASGI_KEYS.get(server, "the setting that chooses ASGI"),
        "speaks_asgi": TO_ASGI.get(server, NO_ASGI),
    }
    values = {
        **found,
        **asgi,
        "server": server or "the server",
        "lines": lines,
        "trace": "\n".join(found.get("trace", [])),
    }
    return MESSAGES[problem].format(wsgi=wsgi, module=wsgi.partition(":")[0], **values)


def no_module(wsgi: str, found: dict[str, Any]) -> str:
    here = (
        f"The application root has: {', '.join(found['here'])}."
        if found["here"]
        else "The application root has no Python module at all; is source.subdir missing?"
    )
    return f"wsgi is '{wsgi}', but there is no module '{found['missing']}'. {here}"


def import_failed(wsgi: str, found: dict[str, Any]) -> str:
    remedy = ""
    if found.get("missing"):
        dropped = remedy_of_dropped(found["missing"])
        remedy = (
            f" {dropped}"
            if dropped
            else (
                f" '{found['missing']}' is not among the dependencies: add the package that has it to the requirements."
            )
        )
    trace = "\n".join(found["trace"])
    remedy = remedy or f" {lock_hint(trace)}".rstrip()
    return f"importing '{wsgi.partition(':')[0]}' failed.{remedy} The end of the traceback:\n{trace}"


def no_callable(wsgi: str, found: dict[str, Any]) -> str:
    module = wsgi.partition(":")[0]
    names = ", ".join(f"'{module}:{name}'" for name in found["found"])
    remedy = (
        f"Did you mean {names}?" if names else "Name the application object or a factory call, such as 'create_app()'."
    )
    return f"wsgi is '{wsgi}', but the module '{module}' has no '{found['name']}'. {remedy}"


def is_factory(wsgi: str, found: dict[str, Any]) -> str:
    if found.get("wants"):
        return (
            f"wsgi is '{wsgi}', which is a function that wants '{found['wants'][0]}': a factory, not an application. "
            f"Write the call, such as '{wsgi}(\"production\")'."
        )
    return f"wsgi is '{wsgi}', which is a function without arguments: a factory, not an application. Write '{wsgi}()'."


def factory_failed(wsgi: str, found: dict[str, Any]) -> str:
    module, _colon, rest = wsgi.partition(":")
    factory, trace = rest.partition("(")[0], "\n".join(found["trace"])
    hint = lock_hint(trace).rstrip() + " " if lock_hint(trace) else ""
    if f"{factory}() missing" in trace and "required positional argument" in trace:
        hint = f"It wants arguments: write them as plain values, such as '{module}:{factory}(\"production\")'. "
    return f"calling the factory of '{wsgi}' failed. {hint}The end of the traceback:\n{trace}"


# The problems whose message depends on what was found.
EXPLAINED = {
    "no_module": no_module,
    "import": import_failed,
    "no_callable": no_callable,
    "is_factory": is_factory,
    "factory": factory_failed,
}
