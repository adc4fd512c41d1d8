# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A program that imports an application in its own environment, and prints in one line what it finds.

It runs by itself, in the application root, so it needs the standard library alone. See ``import_check``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

MARKER = "PYWEB-CHECK "

# Places in a traceback that are not the application's.
NOT_THE_APPLICATION = ("<frozen importlib", "importlib/__init__", 'File "<string>"')

# Statements that start a server.
SERVES = re.compile(r"[\w.]*\b(run|serve|serve_forever|run_simple)\(")

# Steps before the end, such as the removal of created files. Each gets whether the import has a problem.
ENDING: list[Callable[[bool], None]] = []


def report(**found: Any) -> NoReturn:
    """Print what was found and end at once: threads of the application may never end."""
    for end in ENDING:
        with contextlib.suppress(Exception):
            end(found.get("problem") is not None)
    sys.stdout.write(f"\n{MARKER}{json.dumps(found)}\n")
    sys.stdout.flush()
    os._exit(0)


def last_lines(error: BaseException, most: int = 7) -> list[str]:
    """The end of a traceback, without places that are not the application's."""
    entries = traceback.format_exception(type(error), error, error.__traceback__, chain=False)
    kept = [entry for entry in entries if not any(mark in entry for mark in NOT_THE_APPLICATION)]
    return "".join(kept[-most:]).rstrip().split("\n")[-16:]


def chain_of(error: BaseException) -> list[tuple[BaseException, bool]]:
    """An error and those that it came from, the first one first, each with whether the next was raised ``from`` it."""
    found: list[tuple[BaseException, bool]] = [(error, False)]
    while len(found) < 5:
        last = found[0][0]
        before = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if before is None or any(before is known for known, _is_cause in found):
            break
        found.insert(0, (before, last.__cause__ is not None))
    return found


def failure(error: BaseException) -> dict[str, Any]:
    """The facts about an error for a message: its traceback, and each error that it came from."""
    chain = chain_of(error)
    trace = last_lines(error)
    if len(chain) > 1:
        trace = [*last_lines(chain[0][0], 3), "This led to:", *last_lines(error, 4)]
    return {
        "trace": trace,
        "errors": [{**facts_of(one), "is_cause": is_cause} for one, is_cause in chain],
        "python": ".".join(map(str, sys.version_info[:2])),
    }


def facts_of(error: BaseException) -> dict[str, Any]:
    """The facts about one error."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    found: dict[str, Any] = {"kinds": [one.__name__ for one in type(error).__mro__], "text": text[:500]}
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        last = traceback.extract_tb(error.__traceback__)[-1:]
        found |= {
            "key": error.args[0],
            "of_environment": bool(last) and last[0].filename.endswith(("os.py", "<frozen os>")),
        }
    if isinstance(error, ImportError) and error.name:
        found |= {"module": error.name, **installed(error.name)}
    if isinstance(error, OSError) and isinstance(error.filename, (str, bytes)):
        found["file"] = os.fsdecode(error.filename)
    return found


def installed(module: str) -> dict[str, Any]:
    """The package that has the top of a dotted name, and where else in the source a module of that name is."""
    top = module.partition(".")[0]
    found: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        from importlib import metadata

        listed: dict[str, list[str]] = getattr(metadata, "packages_distributions", dict)()
        known = listed.get(top, [top])[0]
        found |= {"package": known, "version": metadata.version(known)}
    for base, folders, files in os.walk("."):
        folders[:] = [one for one in folders if not one.startswith(".") and base.count("/") < 3]
        if base != "." and (f"{top}.py" in files or top in folders):
            found["elsewhere"] = os.path.join(base, top)[2:]
            break
    return found


def python_files() -> list[str]:
    return sorted(name for name in os.listdir(".") if name.endswith(".py"))


def import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if type(error).__name__ == "PackageNotFoundError":
            report(problem="no_metadata", name=str(error.name), trace=last_lines(error))
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            packages = [one for one in os.listdir(".") if os.path.exists(one + "/__init__.py")]
            here = sorted([*packages, *(one[: -len(".py")] for one in python_files())])
            report(problem="no_module", missing=error.name, here=here[:20])
        report(problem="import", **failure(error))
    except BaseException as error:
        report(problem="import", **failure(error))


def evaluate(module: Any, node: ast.expr) -> Any:
    """The object that an expression of names, attributes and calls with plain values stands for."""
    if isinstance(node, ast.Call):
        return call_factory(evaluate(module, node.func), node)
    owner, name = (module, node.id) if isinstance(node, ast.Name) else (None, "")
    if isinstance(node, ast.Attribute):
        owner, name = evaluate(module, node.value), node.attr
    elif not name:
        report(problem="factory_arguments")
    try:
        return getattr(owner, name)
    except AttributeError:
        deeper = modules_with(module, ast.unparse(node))
        report(problem="no_callable", name=ast.unparse(node), found=likely_callables(module), deeper=deeper)
    except BaseException as error:
        report(problem="import", **failure(error))


def likely_callables(module: Any) -> list[str]:
    """The applications and the factories of a module."""
    # The type is asked, because a proxy such as flask.request would fail outside of a request.
    applications = sorted(
        name for name, value in vars(module).items() if not name.startswith("_") and hasattr(type(value), "wsgi_app")
    )
    return applications + [f"{name}()" for name in ("create_app", "make_app") if callable(getattr(module, name, None))]


def modules_with(package: Any, name: str) -> list[str]:
    """The modules in a package that assign a name or define it, where a folder was named instead of its module."""
    found = []
    for place in list(getattr(package, "__path__", []))[:1]:
        for path in sorted(os.listdir(place)):
            with contextlib.suppress(OSError, ValueError):
                if path.endswith(".py") and path != "__init__.py":
                    with open(os.path.join(place, path), encoding="utf-8") as stream:
                        if re.search(rf"^(def )?{re.escape(name)}\b *[=(:]", stream.read(), re.M):
                            found.append(f"{package.__name__}.{path[: -len('.py')]}")
    return found[:3]


def call_factory(factory: Any, call: ast.Call) -> Any:
    """Call a factory with the plain values of its call expression."""
    try:
        if isinstance(call.func, ast.Call) or any(one.arg is None for one in call.keywords):
            raise ValueError(call)
        arguments = [ast.literal_eval(one) for one in call.args]
        options = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except ValueError:
        report(problem="factory_arguments")
    try:
        return factory(*arguments, **options)
    except BaseException as error:
        report(problem="factory", **failure(error))


def parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError):
        report(problem="factory_arguments")


def check_is_no_factory(found: Any, name: str) -> None:
    if not inspect.isfunction(found):
        return
    required = [
        one.name
        for one in inspect.signature(found).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if name.startswith(("create", "make")) and len(required) < 2:
        report(problem="is_factory", wants=required)


def takes(found: Any, count: int) -> bool | None:
    """Whether a callable takes that many arguments; None where that can't be known."""
    try:
        inspect.signature(found).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return None
    return True


def check_protocol(found: Any, protocol: str) -> None:
    if protocol == "wsgi" and takes(found, 3) and takes(found, 2) is False:
        report(problem="asgi")
    if protocol == "asgi" and takes(found, 2) and takes(found, 3) is False:
        report(problem="wsgi")


def routes(found: Any) -> list[Any] | None:
    """The routes of an application of Flask's or Starlette's kind; None for any other."""
    rules = getattr(getattr(found, "url_map", None), "iter_rules", None)
    if rules:
        return [rule for rule in rules() if rule.endpoint != "static"]
    listed = getattr(found, "routes", None)
    return [one for one in listed if getattr(one, "include_in_schema", True)] if isinstance(listed, list) else None


def check_routes(found: Any, module: Any) -> None:
    """Report an application without routes, where a file registers some only when it is started by hand."""
    if routes(found) != []:
        return
    for path in [module.__file__, *python_files()]:
        moved: list[str] = []
        with contextlib.suppress(OSError, TypeError, ValueError, SyntaxError):
            moved = lines_under_main(path)
        if moved:
            report(problem="under_main", file=os.path.relpath(path), lines=moved[:12])


def lines_under_main(path: str) -> list[str]:
    """The statements that a file runs only when it is started by hand, without those that start a server."""
    with open(path, encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.If):
            condition = ast.unparse(node.test)
            if "__name__" in condition and "'__main__'" in condition:
                return list(statements(node.body, functions))
    return []


def statements(body: list[ast.stmt], functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """Lines that say which statements there are. A call of a function of the same file stands for its statements."""
    for statement in body:
        text = ast.unparse(statement).split("\n")[0]
        name = getattr(getattr(getattr(statement, "value", None), "func", None), "id", None)
        if name in functions:
            yield from statements(functions[name].body, {})
        elif not SERVES.match(text):
            first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", ()))])
            yield f"line {first}: {text}"


def check_proxy_fix() -> None:
    try:
        import werkzeug.middleware.proxy_fix  # noqa: F401
    except ImportError:
        report(problem="proxy_fix")


def check_gunicorn_settings(path: str) -> None:
    """Let gunicorn read its own settings."""
    output = io.StringIO()
    try:
        sys.argv = ["gunicorn", "--check-config", "--config", path]
        with contextlib.redirect_stderr(output):
            from gunicorn.app.wsgiapp import WSGIApplication

            settings: Any = WSGIApplication(prog="gunicorn").cfg
            settings.worker_class  # noqa: B018  # loads the class
    except SystemExit:
        report(problem="settings", trace=output.getvalue().strip().split("\n")[-12:])
    except BaseException as error:
        lines = [line for line in str(error).split("\n") if line.strip(" []")] or [type(error).__name__]
        report(problem="settings", trace=[lines[0], *lines[1:][-1:]])


def main(wsgi: str, protocol: str, gunicorn_settings: str, proxy_fix: str) -> None:
    module_name, _colon, expression = wsgi.partition(":")
    module = import_module(module_name)
    node = parsed(expression)
    found = evaluate(module, node)
    if found is None:
        report(problem="none", is_call=isinstance(node, ast.Call))
    if not callable(found):
        report(problem="not_callable", type=type(found).__name__)
    if not isinstance(node, ast.Call):
        check_is_no_factory(found, expression.rpartition(".")[2])
    check_protocol(found, protocol)
    check_routes(found, module)
    if proxy_fix:
        check_proxy_fix()
    if gunicorn_settings:
        check_gunicorn_settings(gunicorn_settings)
    report(problem=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
