# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The project and libraries of the source, in every spelling of a requirement."""

from __future__ import annotations

from project_shapes.backends import FLAT, HATCHLING, PROBE, PROJECT, SCRIPT, SETUPTOOLS
from project_shapes.shape import Shape

EXTRA = '[project.optional-dependencies]\nmore = ["shapes-right"]\n'
OWN = {**FLAT, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}{EXTRA}"}
RIGHT = (
    "import shop, shapes_right, importlib.metadata as m; print(m.version('shop'), shop.COLOUR, shapes_right.VERSION)"
)
CORE = {
    "libs/core/pyproject.toml": f'{HATCHLING}[project]\nname = "core"\nversion = "1.0"\n'
    'dependencies = ["shapes-left"]\n',
    "libs/core/src/core/__init__.py": "NAME = 'core one'\n",
}
OLD_CORE = {
    "libs/core/setup.py": "from setuptools import setup\nsetup(name='core', version='1.0', py_modules=['core'])\n",
    "libs/core/core.py": "NAME = 'core one'\n",
}
SEE = "import core; print(core.NAME)"


def own(spelling: str, probe: str = PROBE, says: str = "1.4.0 blue", then: str = "1.4.0 green") -> Shape:
    """The project is a line of its requirements."""
    return Shape(
        f"requirements: {spelling}",
        {**OWN, "requirements.txt": f"{spelling}\n"},
        probe=probe,
        says=says,
        change=("shop/__init__.py", "blue", "green"),
        then=then,
        command=("shop-admin", "x"),
        told="did x 1.1",
        wsgi="shop:app",
    )


def library(spelling: str, files: dict[str, str] | None = None, name: str = "") -> Shape:
    """A library in the source is a line of the requirements."""
    source = files or CORE
    module = next(path for path in source if path.endswith(("core.py", "core/__init__.py")))
    return Shape(
        name or f"requirements: {spelling}",
        {**source, "requirements.txt": f"{spelling}\n"},
        probe=SEE,
        says="core one",
        change=(module, "one", "two"),
        then="core two",
    )


def package(spelling: str) -> Shape:
    return Shape(
        f"packages: {spelling}",
        {**CORE, "requirements.txt": ""},
        python={"packages": [spelling]},
        probe=SEE,
        says="core one",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two",
    )


SHAPES = [
    own("."),
    own("-e ."),
    own("./"),
    own("shop @ file:."),
    own(".[more]", RIGHT, "1.4.0 blue 1.0", "1.4.0 green 1.0"),
    own("-e .[more]", RIGHT, "1.4.0 blue 1.0", "1.4.0 green 1.0"),
    library("./libs/core"),
    library("libs/core"),
    library("libs/core/"),
    library("-e libs/core"),
    library("-e ./libs/core"),
    library("core @ file:libs/core"),
    library("core @ file:./libs/core"),
    library("./libs/core", OLD_CORE, "a library with setup.py"),
    library("-e libs/core", OLD_CORE, "an editable library with setup.py"),
    package("./libs/core"),
    package("libs/core"),
    package("core @ file:libs/core"),
    Shape(
        "packages: the project itself",
        {**OWN, "requirements.txt": ""},
        python={"packages": ["."]},
        probe=PROBE,
        says="1.4.0 blue",
        change=("shop/__init__.py", "blue", "green"),
        then="1.4.0 green",
        wsgi="shop:app",
    ),
    Shape(
        "a library beside the application root",
        {**CORE, "web/requirements.txt": "-e ../libs/core\n"},
        subdir="web",
        probe=SEE,
        says="core one",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two",
    ),
    Shape(
        "requirements above the application root",
        {**CORE, "requirements.txt": "../libs/core\n", "web/README": ""},
        subdir="web",
        python={"requirements": ["../requirements.txt"]},
        probe=SEE,
        says="core one",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two",
    ),
    Shape(
        "requirements above the application root, with a path from their folder",
        {**CORE, "requirements.txt": "./libs/core\n", "web/README": ""},
        subdir="web",
        python={"requirements": ["../requirements.txt"]},
        probe=SEE,
        says="core one",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two",
    ),
    Shape(
        "a library that needs another one",
        {
            **CORE,
            "libs/base/pyproject.toml": f'{SETUPTOOLS}[project]\nname = "base"\nversion = "1.0"\n',
            "libs/base/src/base/__init__.py": "NAME = 'base one'\n",
            "requirements.txt": "./libs/core\n-r more/base.txt\n",
            "more/base.txt": "./libs/base\n",
        },
        probe="import base, core; print(core.NAME, base.NAME)",
        says="core one base one",
        change=("libs/base/src/base/__init__.py", "one", "two"),
        then="core one base two",
    ),
]
