# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Projects that can't be deployed: they are refused, with the reason and the remedy."""

from __future__ import annotations

from project_shapes.backends import SCM
from project_shapes.shape import Shape

LEFT = "shapes-left\n"
POETRY = "[tool.poetry]\npackage-mode = false\n"
POETRY += '[tool.poetry.dependencies]\npython = ">=3.9"\nshapes-left = {path = "libs/left"}\n'
PROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["shapes-left"]\n'

SHAPES = [
    Shape(
        "a requirement in git, editable",
        {"requirements.txt": "-e git+file://@GIT@#egg=shapes-git\n"},
        refused=r"Write 'NAME @ git\+ADDRESS'",
    ),
    Shape(
        "a version from git without a tag",
        {
            "pyproject.toml": f'{SCM}[project]\nname = "shop"\ndynamic = ["version"]\n[tool.setuptools_scm]\n',
            "shop/__init__.py": "",
        },
        refused="comes from git, and the source has no tag",
    ),
    Shape("poetry.lock", {"pyproject.toml": PROJECT, "poetry.lock": "package = []\n"}, refused="poetry export"),
    Shape("pdm.lock", {"pyproject.toml": PROJECT, "pdm.lock": "package = []\n"}, refused="pdm export"),
    Shape("Pipfile.lock", {"Pipfile": "[packages]\n", "Pipfile.lock": "{}\n"}, refused="pipenv requirements"),
    Shape("Poetry without a package", {"pyproject.toml": POETRY}, refused="only Poetry can read"),
    Shape(
        "setup.cfg alone",
        {"setup.cfg": "[options]\ninstall_requires = shapes-left\n"},
        refused="list the dependencies in requirements.txt",
    ),
    Shape(
        "a requirement that does not exist", {"requirements.txt": "shapes-nowhere\n"}, refused="no such name or version"
    ),
    Shape("a version that does not exist", {"requirements.txt": "shapes-left==7.7\n"}, refused="shapes-left==7.7"),
    Shape(
        "requirements that conflict", {"requirements.txt": "shapes-left==1.1\nshapes-strict\n"}, refused="shapes-strict"
    ),
    Shape("an included file that is not there", {"requirements.txt": "-r more.txt\n"}, refused="more.txt"),
    Shape("a library that is not there", {"requirements.txt": "./libs/core\n"}, refused="libs/core"),
    Shape("Mercurial", {"requirements.txt": "x @ hg+https://127.0.0.1/x\n"}, refused="git repositories only"),
    Shape(
        "a wrong hash",
        {"requirements.txt": f"shapes-left==1.1 --hash=sha256:{'0' * 64}\n"},
        refused="(?i)hash mismatch",
    ),
    Shape(
        "a lock that does not fit the project",
        {"pyproject.toml": PROJECT.replace("shapes-left", "shapes-right"), "uv.lock": "version = 1\nrevision = 1\n"},
        refused="uv.lock",
    ),
    Shape(
        "a package that uses pkg_resources",
        {"requirements.txt": "shapes-resources\n", "app.py": "import shapes_resources\n"},
        refused="setuptools<81",
    ),
]
