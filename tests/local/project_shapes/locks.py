# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Locks of uv, pylock.toml and pip-tools: exactly what they list, and the project as they say."""

from __future__ import annotations

from project_shapes.backends import FLAT, HATCHLING, PROBE, SCRIPT
from project_shapes.shape import Shape, versions

# The lock has an older version than the index, so a second resolution would show.
OLD = ("lock", "--upgrade-package", "shapes-left==1.0")
VIRTUAL = (
    '[project]\nname = "shop"\nversion = "1.4.0"\nrequires-python = ">=3.9"\ndependencies = ["shapes-left>=1.0"]\n'
)
LEFT = "import shapes_left; print(shapes_left.VERSION)"
INDEX = '[[tool.uv.index]]\nname = "own"\nurl = "@INDEX@"\n'
PACKAGE = f"{HATCHLING}{VIRTUAL}{SCRIPT}"
CORE = {
    "libs/core/pyproject.toml": f'{HATCHLING}[project]\nname = "core"\nversion = "1.0"\nrequires-python = ">=3.9"\n',
    "libs/core/src/core/__init__.py": "NAME = 'core one'\n",
}
SOURCES = '[tool.uv.sources]\ncore = {{ path = "libs/core"{more} }}\n'
WITH_CORE = VIRTUAL.replace('"]\n', '", "core"]\n')
WORKSPACE = '[tool.uv.workspace]\nmembers = ["apps/*", "libs/*"]\n'
MEMBER = WITH_CORE.replace('"shop"', '"web"') + "[tool.uv.sources]\ncore = { workspace = true }\n"
MORE = (
    '[project.optional-dependencies]\nbig = ["shapes-right"]\n[dependency-groups]\nweb = ["shapes-extra"]\n'
    'dev = ["shapes-dev"]\n'
)
THERE = "import importlib.util as u; print(*[bool(u.find_spec(f'shapes_{one}')) for one in ('right', 'extra', 'dev')])"
CHANGE = ("uv.lock", 'version = "1.0"', 'version = "1.0" ')


def lock(name: str, pyproject: str, **more: object) -> Shape:
    """A project with a lock that its author has made."""
    given: dict[str, object] = {"author": (OLD,), "probe": LEFT, "says": "1.0"}
    files = {"pyproject.toml": pyproject, **more.pop("files", {})}  # type: ignore[dict-item]
    return Shape(f"uv.lock: {name}", files, **{**given, **more})  # type: ignore[arg-type]


SHAPES = [
    lock("without a backend", VIRTUAL),
    lock("package = false", f"{VIRTUAL}[tool.uv]\npackage = false\n"),
    lock(
        "a project with a backend",
        PACKAGE,
        files=FLAT,
        probe=PROBE,
        says="1.4.0 blue",
        change=("shop/__init__.py", "blue", "green"),
        then="1.4.0 green",
        command=("shop-admin", "x"),
        told="did x 1.0",
        wsgi="shop:app",
    ),
    lock("an index of the project", f"{VIRTUAL}{INDEX}"),
    lock(
        "a library by its path",
        f"{WITH_CORE}{SOURCES.format(more='')}",
        files=CORE,
        probe="import core, shapes_left; print(core.NAME, shapes_left.VERSION)",
        says="core one 1.0",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two 1.0",
    ),
    lock(
        "an editable library",
        f"{WITH_CORE}{SOURCES.format(more=', editable = true')}",
        files=CORE,
        probe="import core; print(core.NAME)",
        says="core one",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two",
    ),
    lock(
        "a member of a workspace",
        f"{WORKSPACE}",
        files={**CORE, "apps/web/pyproject.toml": MEMBER},
        subdir="apps/web",
        probe="import core, shapes_left; print(core.NAME, shapes_left.VERSION)",
        says="core one 1.0",
        change=("libs/core/src/core/__init__.py", "one", "two"),
        then="core two 1.0",
    ),
    lock(
        "overrides",
        VIRTUAL.replace("shapes-left>=1.0", "shapes-strict")
        + '[tool.uv]\noverride-dependencies = ["shapes-left==1.1"]\n',
        author=(("lock",),),
        probe=versions("shapes-strict", "shapes-left"),
        says="1.0 1.1",
    ),
    lock("no extra and no group", f"{VIRTUAL}{MORE}", probe=THERE, says="False False False"),
    lock("an extra", f"{VIRTUAL}{MORE}", python={"extras": ["big"]}, probe=THERE, says="True False False"),
    lock("a group", f"{VIRTUAL}{MORE}", python={"groups": ["web"]}, probe=THERE, says="False True False"),
    lock(
        "an extra and groups",
        f"{VIRTUAL}{MORE}",
        python={"extras": ["big"], "groups": ["web", "dev"]},
        probe=THERE,
        says="True True True",
    ),
    lock(
        "a plugin that needs the project",
        f"{PACKAGE.replace('shapes-left>=1.0', 'shapes-plugin')}",
        files=FLAT,
        author=(("lock",),),
        probe=versions("shop", "shapes-plugin"),
        says="1.4.0 1.0",
        wsgi="shop:app",
    ),
    lock("beside requirements.txt", VIRTUAL, files={"requirements.txt": "shapes-right\n"}),
    Shape(
        "pylock.toml",
        {"pyproject.toml": VIRTUAL},
        author=(
            OLD,
            ("export", "--quiet", "--format", "pylock.toml", "--output-file", "pylock.toml"),
            ("rm", "uv.lock"),
        ),
        probe=LEFT,
        says="1.0",
    ),
    Shape(
        "pip-tools with hashes",
        {"requirements.in": "shapes-left<1.1\nshapes-right\n"},
        author=(
            ("pip", "compile", "--quiet", "--generate-hashes", "requirements.in", "--output-file", "requirements.txt"),
        ),
        probe=versions("shapes-left", "shapes-right"),
        says="1.0 1.0",
    ),
    Shape(
        "pip-tools without hashes",
        {"requirements.in": "shapes-left<1.1\nshapes-right\n"},
        author=(("pip", "compile", "--quiet", "requirements.in", "--output-file", "requirements.txt"),),
        probe=versions("shapes-left", "shapes-right"),
        says="1.0 1.0",
    ),
    Shape(
        "hashes beside packages of the inventory",
        {"requirements.in": "shapes-left<1.1\n"},
        author=(
            ("pip", "compile", "--quiet", "--generate-hashes", "requirements.in", "--output-file", "requirements.txt"),
        ),
        python={"packages": ["shapes-right"]},
        probe=versions("shapes-left", "shapes-right"),
        says="1.0 1.0",
    ),
]
