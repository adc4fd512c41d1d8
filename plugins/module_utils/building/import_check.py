# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Import the application as its server will, before it can serve, and explain what is wrong with it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building import import_probe, import_traces
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.causes import (
    Context,
    cause_of,
    first_error,
    left_out_module,
)
from ansible_collections.pyweb.stack.plugins.module_utils.building.import_probe import MARKER
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.source_text import source_text
from ansible_collections.pyweb.stack.plugins.module_utils.release.hints import import_hint
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import tail
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.reading import automatic

# The problems that one sentence explains: {wsgi} and {module} are the application's, the rest is what the probe found.
MESSAGES = {
    "none": "wsgi is '{wsgi}', but {none}",
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

# Why an application is None.
NOTHING = "returns nothing. Does it lack its last line, such as: return app?"
NOT_YET = "is None when the module is imported. Create the application there, or name a factory call."

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
    stops_first = bool(spec.get("stop_first"))
    needs_proxy_fix = (spec["entry"] or {}).get("proxy_fix") and spec["protocol"] == "wsgi"
    arguments = [spec["wsgi"], spec["protocol"], gunicorn_settings(build), "yes" if needs_proxy_fix else ""]
    layout = build.layout
    # While a release is live, others write into the shared folders, too.
    watched = layout.shared if layout.current_release() is None else ""
    program = [*map(source_text, (import_traces, import_probe)), layout.cache, watched, layout.shared]
    try:
        answer = build.run_in_release(["python", "-c", *program, *arguments], timeout)
    except subprocess.TimeoutExpired:
        raise build.error(
            f"importing '{spec['wsgi']}' did not end within {timeout} seconds (health.timeout). Does the module start "
            'a server or a loop when it is imported? Put that under: if __name__ == "__main__". If the import only '
            "takes long, as for a model that is loaded, raise health.timeout. If it waits for a lock that the live "
            "release holds, set switch: stop_first."
        ) from None
    lines = reversed(lines_of(answer.stdout))
    found = next((line[len(MARKER) :] for line in lines if line.startswith(MARKER)), None)
    if found is None:
        output = tail(answer.stdout + answer.stderr, 12)
        raise build.error(
            f"importing '{spec['wsgi']}' ended the interpreter with status {answer.returncode}. "
            f"{import_hint(output, stops_first)}Its last output:\n{output}"
        )
    try:
        seen = {**json.loads(found), "stops_first": stops_first}
        text = import_problem(spec["wsgi"], seen, spec["environment"].get("WEBAPP_SERVER", ""), context_of(build))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        text = f"importing '{spec['wsgi']}' printed a line of {MARKER}, which is for the check alone. Remove it."
    if text:
        raise build.error(text)


def context_of(build: Build) -> Context:
    """The facts about a build, beside the findings of the probe."""
    python, source = build.spec["python"], build.spec["source"]
    named = python.get("requirements")
    lists = bool(named) or (named is None and automatic(build.root, build.source) != "")
    return Context(
        root=build.root,
        account=build.name,
        variables=frozenset(build.spec["env"]),
        left_out=tuple(source.get("left_out") or ()),
        lists_dependencies=lists or bool(python.get("packages")) or source["kind"] == "package",
    )


def gunicorn_settings(build: Build) -> str:
    """The path of gunicorn's settings file, which gunicorn has to accept; empty where there is none."""
    path = os.path.join(build.release, "gunicorn.conf.py")
    return path if os.path.exists(path) else ""


def import_problem(wsgi: str, found: dict[str, Any], server: str = "", context: Context | None = None) -> str | None:
    """The message for what the probe found; None where the callable is fine. ``server`` is the name of its server."""
    context = context or Context()
    problem = found["problem"]
    if problem is None:
        return None
    if problem in EXPLAINED:
        return EXPLAINED[problem](wsgi, found, context)
    lines = "\n".join(f"    {line}" for line in found.get("lines", []))
    asgi = {
        "asgi_key": ASGI_KEYS.get(server, "the setting that chooses ASGI"),
        "speaks_asgi": TO_ASGI.get(server, NO_ASGI),
    }
    values = {
        **found,
        **asgi,
        "server": server or "the server",
        "none": f"'{wsgi.partition(':')[2]}' {NOTHING if found.get('is_call') else NOT_YET}",
        "lines": lines,
        "trace": "\n".join(found.get("trace", [])),
    }
    return MESSAGES[problem].format(wsgi=wsgi, module=wsgi.partition(":")[0], **values)


def no_module(wsgi: str, found: dict[str, Any], context: Context) -> str:
    here = (
        f"The application root has: {', '.join(found['here'])}."
        if found["here"]
        else "The application root has no Python module at all; is source.subdir missing?"
    )
    hidden = left_out_module(found["missing"], context.left_out)
    if hidden:
        here = f".gitignore leaves out '{hidden}'. Add it to source.include, or remove that line. {here}"
    bare = found["missing"].removesuffix(".py")
    if bare != found["missing"] and bare in found["here"]:
        name = f"{bare}:{wsgi.partition(':')[2] or 'app'}"
        return f"wsgi is '{wsgi}', but it names a module, not a file. Write '{name}'."
    return f"wsgi is '{wsgi}', but there is no module '{found['missing']}'. {here}"


def import_failed(wsgi: str, found: dict[str, Any], context: Context) -> str:
    trace = "\n".join(found["trace"])
    remedy = f"{cause_of(found, context)} {import_hint(trace, found.get('stops_first', False))}".strip()
    end = f" {remedy}" if remedy else ""
    return f"importing '{wsgi.partition(':')[0]}' failed: {first_error(found)}.{end} The end of the traceback:\n{trace}"


def no_callable(wsgi: str, found: dict[str, Any], _context: Context) -> str:
    module = wsgi.partition(":")[0]
    names = ", ".join(f"'{module}:{name}'" for name in found["found"])
    deeper = ", ".join(f"'{one}:{found['name']}'" for one in found.get("deeper") or [])
    if deeper and not names:
        return f"wsgi is '{wsgi}', but '{module}' is a folder, which has no '{found['name']}'. Did you mean {deeper}?"
    remedy = (
        f"Did you mean {names}?" if names else "Name the application object or a factory call, such as 'create_app()'."
    )
    return f"wsgi is '{wsgi}', but the module '{module}' has no '{found['name']}'. {remedy}"


def is_factory(wsgi: str, found: dict[str, Any], _context: Context) -> str:
    if found.get("wants"):
        return (
            f"wsgi is '{wsgi}', which is a function that wants '{found['wants'][0]}': a factory, not an application. "
            f"Write the call, such as '{wsgi}(\"production\")'."
        )
    return f"wsgi is '{wsgi}', which is a function without arguments: a factory, not an application. Write '{wsgi}()'."


def factory_failed(wsgi: str, found: dict[str, Any], context: Context) -> str:
    module, _colon, rest = wsgi.partition(":")
    factory, trace = rest.partition("(")[0], "\n".join(found["trace"])
    remedy = f"{cause_of(found, context)} {import_hint(trace, found.get('stops_first', False))}".strip()
    if f"{factory}() missing" in trace and "required positional argument" in trace:
        remedy = f"It wants arguments: write them as plain values, such as '{module}:{factory}(\"production\")'."
    end = f" {remedy}" if remedy else ""
    return f"calling the factory of '{wsgi}' failed: {first_error(found)}.{end} The end of the traceback:\n{trace}"


# The problems whose message depends on what was found.
EXPLAINED = {
    "no_module": no_module,
    "import": import_failed,
    "no_callable": no_callable,
    "is_factory": is_factory,
    "factory": factory_failed,
}
