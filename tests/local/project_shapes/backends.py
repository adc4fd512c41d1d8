# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The project itself, with every build backend."""

from __future__ import annotations

from project_shapes.shape import APP, Shape

SETUPTOOLS = '[build-system]\nrequires = ["setuptools>=68"]\nbuild-backend = "setuptools.build_meta"\n'
HATCHLING = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
FLIT = '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n'
POETRY = '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
PDM = '[build-system]\nrequires = ["pdm-backend"]\nbuild-backend = "pdm.backend"\n'
HATCH_VCS = '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\nbuild-backend = "hatchling.build"\n'
SCM = '[build-system]\nrequires = ["setuptools>=68", "setuptools-scm>=8"]\nbuild-backend = "setuptools.build_meta"\n'
PROJECT = '[project]\nname = "shop"\nversion = "1.4.0"\ndependencies = ["shapes-left"]\n'
UNVERSIONED = PROJECT.replace("version =", 'dynamic = ["version"]  #')
SCRIPT = '[project.scripts]\nshop-admin = "shop.cli:main"\n'
FLAT = {
    "shop/__init__.py": f"{APP}COLOUR = 'blue'\n",
    "shop/cli.py": "import sys\nimport shapes_left\n"
    "def main():\n    print('did', *sys.argv[1:], shapes_left.VERSION)\n",
}
SRC = {f"src/{name}": text for name, text in FLAT.items()}
PROBE = "import shop, importlib.metadata as m; print(m.version('shop'), shop.COLOUR)"
SETUP = "from setuptools import setup\nsetup(name='shop', version='1.4.0', packages=['shop'], {more})\n"
MORE = "install_requires=['shapes-left'], entry_points={'console_scripts': ['shop-admin=shop.cli:main']}"
SETUP_CFG = (
    "[metadata]\nname = shop\nversion = 1.4.0\n[options]\npackages = shop\ninstall_requires = shapes-left\n"
    "[options.entry_points]\nconsole_scripts =\n    shop-admin = shop.cli:main\n"
)
OLD_POETRY = (
    f'{POETRY}[tool.poetry]\nname = "shop"\nversion = "1.4.0"\ndescription = ""\nauthors = []\n'
    '[tool.poetry.dependencies]\npython = ">=3.9"\nshapes-left = "*"\n'
    '[tool.poetry.scripts]\nshop-admin = "shop.cli:main"\n'
)


def project(name: str, files: dict[str, str], **more: object) -> Shape:
    """A project that is installed with its version and its program. A change of its code is seen."""
    init = "src/shop/__init__.py" if "src/shop/__init__.py" in files else "shop/__init__.py"
    given = {"probe": PROBE, "says": "1.4.0 blue", "change": (init, "blue", "green"), "then": "1.4.0 green"}
    told = {"command": ("shop-admin", "migrate"), "told": "did migrate 1.1"}
    return Shape(name, files, **{"wsgi": "shop:app", **given, **told, **more})  # type: ignore[arg-type]


DYNAMIC = '[project]\nname = "shop"\ndynamic = ["version", "dependencies"]\n'
FROM_FILES = "[tool.setuptools.dynamic]\nversion = {file = 'VERSION'}\ndependencies = {file = 'needs.txt'}\n"
DATA = {"shop/texts/terms.txt": "version one"}
TERMS = "import importlib.resources as r; print((r.files('shop') / 'texts/terms.txt').read_text())"
PLUGINS = "import importlib.metadata as m; print(*[e.load().__name__ for e in m.entry_points(group='shop.plugins')])"
PLUGIN = '[project.entry-points."shop.plugins"]\ncards = "shop.cards"\n'
TABLES = "[tool.black]\nline-length = 100\n"
HAND_WRITTEN = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
PACKAGES = "[tool.setuptools]\npackages = ['shop']\n"

SHAPES = [
    project("setuptools, flat", {**FLAT, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}{PACKAGES}"}),
    project(
        "setuptools, flat, found by itself", {**FLAT, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}"}, brief=True
    ),
    project("setuptools, src", {**SRC, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}"}),
    project("hatchling", {**FLAT, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}"}),
    project("hatchling, src", {**SRC, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}"}, brief=True),
    project("flit", {**FLAT, "pyproject.toml": f"{FLIT}{PROJECT}description = 'x'\n{SCRIPT}"}, brief=True),
    project("poetry-core", {**SRC, "pyproject.toml": f"{POETRY}{PROJECT}{SCRIPT}"}, brief=True),
    project("poetry-core, its own tables", {**FLAT, "pyproject.toml": OLD_POETRY}, brief=True),
    project("pdm-backend", {**SRC, "pyproject.toml": f"{PDM}{PROJECT}{SCRIPT}"}, brief=True),
    project("setup.py alone", {**FLAT, "setup.py": SETUP.format(more=MORE)}),
    project(
        "setup.py and tables of tools",
        {**FLAT, "setup.py": SETUP.format(more=MORE), "pyproject.toml": TABLES},
        brief=True,
    ),
    project(
        "setup.py and setup.cfg",
        {**FLAT, "setup.py": "import setuptools\nsetuptools.setup()\n", "setup.cfg": SETUP_CFG},
    ),
    project("setup.cfg and build-system", {**FLAT, "setup.cfg": SETUP_CFG, "pyproject.toml": SETUPTOOLS}, brief=True),
    project(
        "setup.py that reads a file",
        {
            **FLAT,
            "needs.txt": "shapes-left\n",
            "setup.py": SETUP.format(more=MORE.replace("['shapes-left']", "open('needs.txt').read().split()")),
        },
        change=("needs.txt", "shapes-left", "shapes-left==1.0"),
        probe="import shapes_left; print(shapes_left.VERSION)",
        says="1.1",
        then="1.0",
    ),
    project(
        "dynamic version and dependencies",
        {
            **FLAT,
            "VERSION": "1.4.0",
            "needs.txt": "shapes-left\n",
            "pyproject.toml": f"{SETUPTOOLS}{DYNAMIC}{SCRIPT}{PACKAGES}{FROM_FILES}",
        },
        change=("VERSION", "1.4.0", "1.5.0"),
        then="1.5.0 blue",
    ),
    project(
        "dynamic dependencies that change",
        {
            **FLAT,
            "VERSION": "1.4.0",
            "needs.txt": "shapes-left\n",
            "pyproject.toml": f"{SETUPTOOLS}{DYNAMIC}{SCRIPT}{PACKAGES}{FROM_FILES}",
        },
        change=("needs.txt", "shapes-left", "shapes-left==1.0"),
        probe="import shapes_left; print(shapes_left.VERSION)",
        says="1.1",
        then="1.0",
    ),
    project(
        "version in the code, hatchling",
        {
            **FLAT,
            "shop/__init__.py": f"{APP}__version__ = '1.4.0'\nCOLOUR = 'blue'\n",
            "pyproject.toml": f"{HATCHLING}{UNVERSIONED}{SCRIPT}[tool.hatch.version]\npath = 'shop/__init__.py'\n",
        },
        change=("shop/__init__.py", "1.4.0", "1.5.0"),
        then="1.5.0 blue",
    ),
    project(
        "setuptools-scm",
        {
            **SRC,
            "pyproject.toml": f"{SCM}{UNVERSIONED}{SCRIPT}[tool.setuptools_scm]\n",
        },
        tag="v1.4.0",
        then="1.4.0 green",
        probe=PROBE.replace("m.version('shop')", "m.version('shop').partition('+')[0]"),
    ),
    project(
        "hatch-vcs",
        {
            **SRC,
            "pyproject.toml": f"{HATCH_VCS}{UNVERSIONED}{SCRIPT}[tool.hatch.version]\nsource = 'vcs'\n",
        },
        tag="v1.4.0",
        then="1.4.0 green",
        probe=PROBE.replace("m.version('shop')", "m.version('shop').partition('+')[0]"),
    ),
    project(
        "package data",
        {**FLAT, **DATA, "pyproject.toml": f"{HATCHLING}{PROJECT}{SCRIPT}"},
        probe=TERMS,
        says="version one",
        change=("shop/texts/terms.txt", "one", "two"),
        then="version two",
    ),
    project(
        "entry points",
        {**FLAT, "shop/cards.py": "x = 1\n", "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT}{PLUGIN}{PACKAGES}"},
        probe=PLUGINS,
        says="shop.cards",
        change=("pyproject.toml", 'cards = "shop.cards"', 'cards = "shop.cli"'),
        then="shop.cli",
    ),
    Shape(
        "a backend in the source",
        {
            "pyproject.toml": HAND_WRITTEN + PROJECT,
            "backend.py": "import os, zipfile\n"
            "def build_wheel(folder, settings=None, metadata=None):\n"
            "    name, info = 'shop-1.4.0-py3-none-any.whl', 'shop-1.4.0.dist-info'\n"
            "    with zipfile.ZipFile(os.path.join(folder, name), 'w') as wheel:\n"
            "        wheel.writestr('made_shop.py', 'COLOUR = \"blue\"\\n')\n"
            "        wheel.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\\nName: shop\\nVersion: 1.4.0\\n')\n"
            "        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n'\n"
            "                       'Tag: py3-none-any\\n')\n"
            "        wheel.writestr(f'{info}/RECORD', '')\n"
            "    return name\n",
        },
        probe="import made_shop; print(made_shop.COLOUR)",
        says="blue",
        change=("backend.py", "blue", "green"),
        then="green",
    ),
    Shape(
        "tables of tools alone",
        {"pyproject.toml": TABLES},
        probe="import app; print('fine')",
        says="fine",
    ),
    Shape(
        "tables of tools beside requirements",
        {"pyproject.toml": TABLES, "requirements.txt": "shapes-left\n"},
        probe="import shapes_left; print(shapes_left.VERSION)",
        says="1.1",
        change=("requirements.txt", "shapes-left", "shapes-left<1.1"),
        then="1.0",
    ),
    Shape(
        "a project without a backend",
        {"pyproject.toml": PROJECT},
        probe="import shapes_left; print(shapes_left.VERSION)",
        says="1.1",
        change=("pyproject.toml", "shapes-left", "shapes-left<1.1"),
        then="1.0",
    ),
]
