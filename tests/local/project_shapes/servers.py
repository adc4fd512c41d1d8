# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The app server beside the requirements of the project."""

from __future__ import annotations

from project_shapes.locks import VIRTUAL
from project_shapes.shape import Shape, versions

GUNICORN = ("gunicorn>=22",)
SAME = "from importlib.metadata import version as v; print(int(v('gunicorn').split('.')[0]) >= 22)"


def served(name: str, text: str, **more: object) -> Shape:
    files = {"requirements.txt": text, **more.pop("files", {})}  # type: ignore[dict-item]
    given: dict[str, object] = {"probe": SAME, "says": "True", "server": GUNICORN}
    return Shape(f"gunicorn: {name}", files, **{**given, **more})  # type: ignore[arg-type]


SHAPES = [
    served("not named", "shapes-left\n"),
    served("without a version", "gunicorn\n"),
    served("pinned, new", "gunicorn==23.0.0\n", probe=versions("gunicorn"), says="23.0.0"),
    served(
        "pinned in constraints",
        "-c limits.txt\nshapes-left\n",
        files={"limits.txt": "gunicorn==23.0.0\n"},
        probe=versions("gunicorn"),
        says="23.0.0",
    ),
    served("pinned old by a marker of another Python", "gunicorn==20.1.0 ; python_version < '3'\n"),
    served(
        "pinned new by a marker",
        "gunicorn==23.0.0 ; python_version >= '3'\n",
        probe=versions("gunicorn"),
        says="23.0.0",
    ),
    served("pinned old", "gunicorn==20.1.0\n", refused="asks for gunicorn 20.1.0, but the application is served by"),
    served("pinned old by a marker", "gunicorn==20.1.0 ; python_version >= '3'\n", refused="asks for gunicorn 20.1.0"),
    served(
        "pinned old in an included file",
        "-r more.txt\n",
        files={"more.txt": "gunicorn==20.1.0\n"},
        refused="asks for gunicorn 20.1.0",
    ),
    served("limited to old versions", "gunicorn<22\n", refused="gunicorn"),
    served(
        "constrained to old versions",
        "-c limits.txt\nshapes-left\n",
        files={"limits.txt": "gunicorn==20.1.0\n"},
        refused="gunicorn",
    ),
    served(
        "hashes without it",
        "",
        files={"requirements.in": "shapes-left<1.1\n"},
        author=(
            ("pip", "compile", "--quiet", "--generate-hashes", "requirements.in", "--output-file", "requirements.txt"),
        ),
    ),
    Shape(
        "gunicorn: in a lock",
        {"pyproject.toml": VIRTUAL.replace('"]\n', '", "gunicorn==23.0.0"]\n')},
        author=(("lock",),),
        server=GUNICORN,
        probe=versions("gunicorn"),
        says="23.0.0",
    ),
]
