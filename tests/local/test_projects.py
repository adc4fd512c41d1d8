# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""How the project itself and the libraries of its source are installed, with a real uv and real build backends."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_building import (  # noqa: F401  # fixtures
    APP,
    ID,
    Bench,
    account,
    bench,
    needs_root,
    public,
    uv,
    wheel,
)

SECOND, THIRD = "20261121T020304Z-ab12cd34", "20261121T030405Z-ab12cd34"
SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=68"]\nbuild-backend = "setuptools.build_meta"\n'
HATCHLING = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
FLIT = '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
POETRY = '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
PDM = '[build-system]\nrequires = ["pdm-backend"]\nbuild-backend = "pdm.backend"\n'
PROJECT = '[project]\nname = "shop"\nversion = "1.4.0"\ndescription = "x"\n'
SCRIPT = '[project.scripts]\nshop-admin = "shop.cli:main"\n'
SHOP = {
    "shop/__init__.py": f"from importlib.metadata import version\n__version__ = version('shop')\n{APP}",
    "shop/cli.py": "import sys\ndef main():\n    print('did', sys.argv[1:])\n",
}
SRC = {f"src/{name}": text for name, text in SHOP.items()}
CORE = {
    "libs/core/pyproject.toml": f'{HATCHLING}[project]\nname = "core"\nversion = "1.0"\n',
    "libs/core/src/core/__init__.py": "NAME = 'core'\n",
}
TELL = "import shop; print(shop.__version__)"
SETUP = "from setuptools import setup\nsetup(name='shop', version='1.4.0', packages=['shop']{more})\n"
ENTRY = ", entry_points={'console_scripts': ['shop-admin=shop.cli:main']}"


@needs_root
@pytest.mark.parametrize(
    "files",
    [
        {**SHOP, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}[tool.setuptools]\npackages = ['shop']\n"},
        {**SRC, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}"},
        {**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}"},
        {**SHOP, "pyproject.toml": f"{FLIT}{PROJECT}{SCRIPT}"},
        {**SRC, "pyproject.toml": f"{POETRY}{PROJECT}{SCRIPT}"},
        {**SRC, "pyproject.toml": f"{PDM}{PROJECT}{SCRIPT}"},
        {**SHOP, "setup.py": SETUP.format(more=ENTRY)},
        {**SHOP, "setup.py": SETUP.format(more=ENTRY), "pyproject.toml": "[tool.black]\nline-length = 100\n"},
        {
            **SHOP,
            "setup.py": "from setuptools import setup\nsetup()\n",
            "setup.cfg": "[metadata]\nname = shop\nversion = 1.4.0\n[options]\npackages = shop\n"
            "[options.entry_points]\nconsole_scripts =\n    shop-admin = shop.cli:main\n",
        },
        {**SHOP, "setup.py": SETUP.format(more=ENTRY), "requirements.txt": "-e .\n"},
        {**SHOP, "setup.py": SETUP.format(more=ENTRY), "requirements.txt": ".\n"},
        {**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}", "requirements.txt": "-e .[more]\n"},
        {
            **SHOP,
            "VERSION": "1.4.0",
            "needs.txt": "",
            "pyproject.toml": f'{SETUPTOOLS}[project]\nname = "shop"\ndynamic = ["version", "dependencies"]\n{SCRIPT}'
            "[tool.setuptools]\npackages = ['shop']\n[tool.setuptools.dynamic]\nversion = {file = 'VERSION'}\n"
            "dependencies = {file = 'needs.txt'}\n",
        },
    ],
    ids=lambda files: "-".join(sorted(name for name in files if "/" not in name)),
)
def test_a_project_is_installed_with_its_metadata_and_programs(bench: Bench, files: dict[str, str]) -> None:
    release = bench.build(files, wsgi="shop:app")
    assert bench.run("python", "-c", TELL) == "1.4.0\n"
    assert bench.run("shop-admin", "migrate") == "did ['migrate']\n"
    assert bench.run("python", "-c", "import sys; print(sys.prefix)").strip() == str(release / "venv")
    assert (release / "venv/bin/shop-admin").exists()
    assert not list((release / "src").rglob("*.egg-info"))
    subprocess.run([release / "venv/bin/shop-admin"], env={}, check=True, capture_output=True)
    for base, folders, names in os.walk(release / "venv"):
        for entry in [base, *(os.path.join(base, name) for name in folders + names)]:
            assert os.path.islink(entry) or os.lstat(entry).st_uid == 0, entry
