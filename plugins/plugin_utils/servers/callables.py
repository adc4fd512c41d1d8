# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The callable of an application, ``module:expression``: what it may be, and what a server reads without help. Pure.

An expression is a name, its attributes, and calls with plain values, such as ``app``, ``dash.server`` and
``create_app("x").server``.
On a host, the import check evaluates the same expressions.
"""

from __future__ import annotations

import ast
import re

MODULE = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
WSGI = re.compile(rf"(?P<module>{MODULE}):(?P<expression>[A-Za-z_][A-Za-z0-9_.]*(?:\(.*)?)\Z")


def expression_problem(expression: str) -> str:
    """Why a server can't call what an expression names; empty if it can. The expression matched ``WSGI``."""
    try:
        node: ast.expr = ast.parse(expression, mode="eval").body
        while not isinstance(node, ast.Name):
            if isinstance(node, ast.Attribute):
                node = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
                if not has_plain_arguments(node):
                    return "arguments"
                node = node.func
            else:
                return "expression"
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return "expression"
    return ""


def has_plain_arguments(call: ast.Call) -> bool:
    """Whether the arguments of a call are plain values. The host refuses others."""
    try:
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return False
    return all(keyword.arg for keyword in call.keywords)


def is_read_by_gunicorn(wsgi: str) -> bool:
    """Whether gunicorn itself can load this callable: a name, or a call of a name."""
    try:
        node = ast.parse(expression(wsgi), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return isinstance(node.func if isinstance(node, ast.Call) else node, ast.Name)


def is_read_by_uwsgi(wsgi: str) -> bool:
    """Whether uWSGI itself can load this callable: a name, or a call of a name without arguments."""
    return bool(re.fullmatch(r"\w+(\(\))?", expression(wsgi)))


def expression(wsgi: str) -> str:
    """The part after the module. A module alone stands for its name ``application``."""
    return wsgi.partition(":")[2] or "application"
