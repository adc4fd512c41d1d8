# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A file of the plugins is read in one sitting, and a function fits on a screen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
FILE = 400
FUNCTION = 60


def is_data(node: ast.AST) -> bool:
    """Whether a statement is a data table, or a text such as DOCUMENTATION."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
        return False
    value = node.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "frozenset":
        value = value.args[0]
    return isinstance(value, (ast.Constant, ast.JoinedStr, ast.Dict, ast.List, ast.Tuple, ast.Set))


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def code_lines(tree: ast.Module, text: str) -> int:
    return len(text.splitlines()) - sum(lines_of(node) for node in tree.body if is_data(node))


def functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{child.name}", lines_of(child)
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from functions(child, f"{prefix}{child.name}.")


def test_files_and_functions_are_short() -> None:
    wrong = []
    for path in sorted(PLUGINS.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        name = path.relative_to(PLUGINS.parent)
        if (size := code_lines(tree, text)) > FILE:
            wrong.append(f"{name} has {size} lines of code, more than {FILE}")
        wrong += [
            f"{name}: {function} has {size} lines, more than {FUNCTION}"
            for function, size in functions(tree)
            if size > FUNCTION
        ]
    assert not wrong, "Split these:\n" + "\n".join(wrong)
