# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Further shapes, from public reports of people whose projects other tools could not deploy."""

from __future__ import annotations

from project_shapes.backends import (
    DYNAMIC,
    FLAT,
    FLIT,
    HATCHLING,
    PACKAGES,
    POETRY,
    PROBE,
    PROJECT,
    SCRIPT,
    SETUP,
    SETUPTOOLS,
    project,
)
from project_shapes.locks import VIRTUAL, lock
from project_shapes.requirements import LEFT, plain
from project_shapes.servers import GUNICORN, served
from project_shapes.shape import Shape, versions

CORE = {
    "libs/core/pyproject.toml": f'{HATCHLING}[project]\nname = "core"\nversion = "1.0"\n',
    "libs/core/src/core/__init__.py": "NAME = 'core one'\n",
}
CORE_CHANGE = ("libs/core/src/core/__init__.py", "one", "two")
SEE = "import core; print(core.NAME)"
VERSIONLESS = DYNAMIC.replace(', "dependencies"', "")
UV_BUILD = '[build-system]\nrequires = ["uv_build"]\nbuild-backend = "uv_build"\n'
LIB = {name.replace("shop/", "lib/shop/"): text for name, text in FLAT.items()}
NAMESPACE = {name.replace("shop/", "company/shop/"): text for name, text in FLAT.items()}
EXTRAS = '[project.optional-dependencies]\nbig = ["shapes-right"]\nall = ["shop[big]"]\n'
GROUPS = '[dependency-groups]\nbase = ["shapes-extra"]\nprod = [{include-group = "base"}]\ndev = ["shapes-dev"]\n'
OLD_CORE = CORE["libs/core/pyproject.toml"]
FREEZE_OF_CONDA = "shapes-left @ file:///home/conda/feedstock_root/build_artifacts/shapes-left_1616/work\n"

BACKENDS = [
    project("uv_build", {**{f"src/{k}": v for k, v in FLAT.items()}, "pyproject.toml": f"{UV_BUILD}{PROJECT}{SCRIPT}"}),
    project(
        "setuptools, package_dir",
        {
            **LIB,
            "setup.py": SETUP.format(
                more="package_dir={'': 'lib'}, install_requires=['shapes-left'],"
                " entry_points={'console_scripts': ['shop-admin=shop.cli:main']}"
            ),
        },
        change=("lib/shop/__init__.py", "blue", "green"),
    ),
    project(
        "a namespace package",
        {
            **{name: text.replace("import shop", "import company.shop") for name, text in NAMESPACE.items()},
            "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT.replace('shop.cli', 'company.shop.cli')}"
            "[tool.setuptools.packages.find]\ninclude = ['company*']\n",
        },
        probe=PROBE.replace("import shop,", "import company.shop as shop,"),
        change=("company/shop/__init__.py", "blue", "green"),
        wsgi="company.shop:app",
    ),
    project(
        "one module",
        {
            "shop.py": FLAT["shop/__init__.py"] + FLAT["shop/cli.py"],
            "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{SCRIPT.replace('shop.cli', 'shop')}"
            "[tool.setuptools]\npy-modules = ['shop']\n",
        },
        change=("shop.py", "blue", "green"),
    ),
    project(
        "version = attr",
        {
            **FLAT,
            "shop/__init__.py": FLAT["shop/__init__.py"] + "__version__ = '1.4.0'\n",
            "pyproject.toml": f"{SETUPTOOLS}{VERSIONLESS}dependencies = ['shapes-left']\n"
            f"{SCRIPT}{PACKAGES}[tool.setuptools.dynamic]\nversion = {{attr = 'shop.__version__'}}\n",
        },
        change=("shop/__init__.py", "1.4.0", "1.5.0"),
        then="1.5.0 blue",
    ),
    project(
        "flit, version and description of the module",
        {
            **FLAT,
            "shop/__init__.py": '"""A shop."""\n__version__ = "1.4.0"\n' + FLAT["shop/__init__.py"],
            "pyproject.toml": f'{FLIT}[project]\nname = "shop"\ndynamic = ["version", "description"]\n'
            f'dependencies = ["shapes-left"]\n{SCRIPT}',
        },
    ),
    project(
        "setup.py that imports what it builds with",
        {
            **FLAT,
            "setup.py": "import shapes_right\n"
            + SETUP.format(
                more="install_requires=['shapes-left'], entry_points={'console_scripts': ['shop-admin=shop.cli:main']}"
            ),
            "pyproject.toml": '[build-system]\nrequires = ["setuptools", "shapes-right"]\n',
        },
    ),
    project(
        "setup.py with scripts and data files",
        {
            **FLAT,
            "bin/shop-admin": "#!/usr/bin/env python\nfrom shop.cli import main\nmain()\n",
            "terms.txt": "version one",
            "setup.py": SETUP.format(
                more="install_requires=['shapes-left'], scripts=['bin/shop-admin'], "
                "data_files=[('share/shop', ['terms.txt'])]"
            ),
        },
        probe="import sys; print(open(sys.prefix + '/share/shop/terms.txt').read())",
        says="version one",
        change=("terms.txt", "one", "two"),
        then="version two",
    ),
    project(
        "setup.py that writes a module",
        {
            **FLAT,
            "setup.py": "import pathlib\npathlib.Path('shop/made.py').write_text('COLOUR = \"blue\"\\n')\n"
            + SETUP.format(
                more="install_requires=['shapes-left'], entry_points={'console_scripts': ['shop-admin=shop.cli:main']}"
            ),
        },
        probe="import shop.made; print(shop.made.COLOUR)",
        says="blue",
        change=("setup.py", "blue", "green"),
        then="green",
    ),
    project(
        "hatchling, a library by root:uri",
        {
            **FLAT,
            **CORE,
            "pyproject.toml": HATCHLING
            + PROJECT.replace('["shapes-left"]', '["shapes-left", "core @ {root:uri}/libs/core"]')
            + f"{SCRIPT}[tool.hatch.metadata]\nallow-direct-references = true\n",
        },
        probe=SEE,
        says="core one",
        change=CORE_CHANGE,
        then="core two",
    ),
    project(
        "poetry-core, a library by its path",
        {
            **FLAT,
            **CORE,
            "pyproject.toml": f'{POETRY}[tool.poetry]\nname = "shop"\nversion = "1.4.0"\n'
            'description = ""\nauthors = []\n[tool.poetry.dependencies]\npython = "^3.9"\nshapes-left = "*"\n'
            'core = {path = "libs/core", develop = true}\n'
            '[tool.poetry.scripts]\nshop-admin = "shop.cli:main"\n',
        },
        probe=SEE,
        says="core one",
        change=CORE_CHANGE,
        then="core two",
    ),
    Shape(
        "extras that name extras of the project",
        {**FLAT, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{EXTRAS}{PACKAGES}"},
        python={"extras": ["all"]},
        probe=versions("shop", "shapes-right"),
        says="1.4.0 1.0",
        wsgi="shop:app",
    ),
    Shape(
        "groups that include groups, without a lock",
        {**FLAT, "pyproject.toml": f"{SETUPTOOLS}{PROJECT}{GROUPS}{PACKAGES}"},
        python={"groups": ["prod"]},
        probe="import importlib.util as u; print(*[bool(u.find_spec(f'shapes_{one}')) for one in ('extra', 'dev')])",
        says="True False",
        wsgi="shop:app",
    ),
]

LISTS = [
    plain("UTF-16 of PowerShell", "shapes-left==1.0\r\n", encodings={"requirements.txt": "utf-16"}, says="1.0"),
    plain(
        "a byte order mark",
        "shapes-left==1.0\r\nshapes-right\r\n",
        encodings={"requirements.txt": "utf-8-sig"},
        says="1.0",
    ),
    plain("names in capitals", "Shapes_Left == 1.0\n", says="1.0"),
    plain("a wildcard", "shapes-left==1.0.*\n", says="1.0"),
    plain("options of pip", "--prefer-binary\n--pre\n--no-binary :none:\nshapes-left\n"),
    plain("an old option of pip", "--use-feature=fast-deps\nshapes-left\n"),
    plain("settings of a build", 'shapes-left --config-settings="--x=y"\n', refused="config-settings-package"),
    plain(
        "a project of the requirements",
        "-r pyproject.toml\n",
        files={"pyproject.toml": VIRTUAL.replace(">=1.0", "==1.0")},
        refused="Name that file in python.requirements",
    ),
    plain("a fragment with a name", "git+file://@GIT@#egg=shapes-git\n", probe=versions("shapes-git"), says="1.0"),
    plain(
        "a library in a folder with a space",
        "./my libs/core\n",
        files={name.replace("libs/", "my libs/"): text for name, text in CORE.items()},
        probe=SEE,
        says="core one",
        change=("my libs/core/src/core/__init__.py", "one", "two"),
        then="core two",
    ),
    plain(
        "a library that needs its neighbour",
        "./libs/web\n",
        files={
            **CORE,
            "libs/web/pyproject.toml": f'{HATCHLING}[project]\nname = "web"\nversion = "1"\n'
            'dependencies = ["core"]\n[tool.uv.sources]\ncore = { path = "../core" }\n',
            "libs/web/src/web/__init__.py": "",
        },
        probe=SEE,
        says="core one",
        change=CORE_CHANGE,
        then="core two",
    ),
    plain(
        "a library whose requirements change",
        "./libs/core\n",
        files={**CORE, "libs/core/pyproject.toml": OLD_CORE + 'dependencies = ["shapes-left"]\n'},
        change=("libs/core/pyproject.toml", '"shapes-left"', '"shapes-left==1.0"'),
        then="1.0",
    ),
    plain(
        "the list of pip freeze on Ubuntu",
        "shapes-left==1.0\npkg-resources==0.0.0\n",
        refused="[Rr]emove the line 'pkg-resources==0.0.0'",
    ),
    plain("the list of pip freeze in conda", FREEZE_OF_CONDA, refused="pip list --format=freeze"),
    plain("an editable folder of the author", "-e /home/deploy/shop\n", refused="one of the author's machine"),
    plain(
        "a conflict of git",
        "<<<<<<< HEAD\nshapes-left==1.0\n=======\nshapes-left==1.1\n>>>>>>> main\n",
        refused="(?i)merge|conflict",
    ),
]

SETTINGS = [
    Shape(
        "overrides without a lock",
        {
            **FLAT,
            "pyproject.toml": SETUPTOOLS
            + PROJECT.replace("shapes-left", "shapes-strict")
            + PACKAGES
            + '[tool.uv]\noverride-dependencies = ["shapes-left==1.1"]\n',
        },
        probe=versions("shapes-strict", "shapes-left"),
        says="1.0 1.1",
        wsgi="shop:app",
        change=("pyproject.toml", "shapes-left==1.1", "shapes-left==1.0"),
        then="1.0 1.0",
    ),
    Shape(
        "constraints of uv.toml",
        {"requirements.txt": "shapes-left\n", "uv.toml": 'constraint-dependencies = ["shapes-left<1.1"]\n'},
        probe=LEFT,
        says="1.0",
        change=("uv.toml", "<1.1", "==1.1"),
        then="1.1",
    ),
    Shape(
        "a workspace without a lock",
        {
            **CORE,
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["web", "libs/*"]\n',
            "web/pyproject.toml": '[project]\nname = "web"\nversion = "1"\ndependencies = ["core"]\n'
            "[tool.uv.sources]\ncore = { workspace = true }\n",
        },
        subdir="web",
        probe=SEE,
        says="core one",
        change=CORE_CHANGE,
        then="core two",
    ),
    Shape(
        "a pylock with a name",
        {"pyproject.toml": VIRTUAL},
        author=(
            ("lock", "--upgrade-package", "shapes-left==1.0"),
            ("export", "--quiet", "--format", "pylock.toml", "--output-file", "pylock.prod.toml"),
            ("rm", "uv.lock"),
        ),
        python={"requirements": ["pylock.prod.toml"]},
        probe=LEFT,
        says="1.0",
    ),
    lock(
        "default groups",
        f'{VIRTUAL}[dependency-groups]\nweb = ["shapes-extra"]\n[tool.uv]\ndefault-groups = ["web"]\n',
        probe=versions("shapes-extra"),
        says="1.0",
    ),
    lock(
        "a requirement in git",
        VIRTUAL.replace('"]\n', '", "shapes-git"]\n') + '[tool.uv.sources]\nshapes-git = { git = "file://@GIT@" }\n',
        probe=versions("shapes-git"),
        says="1.0",
    ),
    lock(
        "gunicorn of a group that is not installed",
        f'{VIRTUAL}[dependency-groups]\ndev = ["gunicorn==20.1.0"]\n',
        server=GUNICORN,
        probe="from importlib.metadata import version as v; print(int(v('gunicorn').split('.')[0]) >= 22)",
        says="True",
    ),
    lock(
        "gunicorn that is too old",
        VIRTUAL.replace('"]\n', '", "gunicorn==20.1.0"]\n'),
        server=GUNICORN,
        refused="asks for gunicorn 20.1.0",
    ),
    lock(
        "gunicorn of an extra",
        f'{VIRTUAL}[project.optional-dependencies]\nprod = ["gunicorn==23.0.0"]\n',
        python={"extras": ["prod"]},
        server=GUNICORN,
        probe=versions("gunicorn"),
        says="23.0.0",
    ),
    Shape(
        "uv.lock: a conflict of git",
        {"pyproject.toml": VIRTUAL, "uv.lock": "version = 1\n<<<<<<< HEAD\nrevision = 1\n=======\n>>>>>>> main\n"},
        refused="(?i)merge|conflict",
    ),
    Shape(
        "uv.lock beside poetry.lock",
        {"pyproject.toml": VIRTUAL, "poetry.lock": "package = []\n"},
        author=(("lock",),),
        probe=LEFT,
        says="1.1",
    ),
    served("within limits", "gunicorn~=23.0\n", probe=versions("gunicorn"), says="23.0.0"),
    served(
        "in a dynamic list",
        "",
        files={
            "requirements.txt": "gunicorn==23.0.0\n",
            "pyproject.toml": f"{SETUPTOOLS}[project]\nname = 'shop'\nversion = '1'\ndynamic = ['dependencies']\n"
            "[tool.setuptools]\npy-modules = ['app']\n"
            "[tool.setuptools.dynamic]\ndependencies = {file = 'requirements.txt'}\n",
        },
        python={"requirements": ["pyproject.toml"]},
        probe=versions("gunicorn"),
        says="23.0.0",
    ),
]

VERSIONS = [
    Shape(
        "a version of pbr without git",
        {
            **FLAT,
            "setup.py": "import setuptools\nsetuptools.setup(setup_requires=['pbr'], pbr=True)\n",
            "setup.cfg": "[metadata]\nname = shop\n[files]\npackages = shop\n",
            "requirements.txt": "",
        },
        python={"packages": ["."]},
        refused="PBR_VERSION",
        wsgi="shop:app",
    ),
    project(
        "a version of pbr from env",
        {
            **FLAT,
            "setup.py": "import setuptools\nsetuptools.setup(setup_requires=['pbr'], pbr=True)\n",
            "setup.cfg": "[metadata]\nname = shop\n[files]\npackages = shop\n"
            "[entry_points]\nconsole_scripts =\n    shop-admin = shop.cli:main\n",
            "requirements.txt": "shapes-left\n",
        },
        python={"packages": ["."]},
        env={"PBR_VERSION": "1.4.0"},
    ),
    project(
        "uv-dynamic-versioning from env",
        {
            **FLAT,
            "pyproject.toml": '[build-system]\nrequires = ["hatchling", "uv-dynamic-versioning"]\n'
            'build-backend = "hatchling.build"\n'
            + PROJECT.replace('version = "1.4.0"', 'dynamic = ["version"]')
            + SCRIPT
            + '[tool.hatch.version]\nsource = "uv-dynamic-versioning"\n',
        },
        env={"UV_DYNAMIC_VERSIONING_BYPASS": "1.4.0"},
    ),
    Shape(
        "uv-dynamic-versioning without a tag",
        {
            **FLAT,
            "pyproject.toml": '[build-system]\nrequires = ["hatchling", "uv-dynamic-versioning"]\n'
            'build-backend = "hatchling.build"\n'
            + PROJECT.replace('version = "1.4.0"', 'dynamic = ["version"]')
            + '[tool.hatch.version]\nsource = "uv-dynamic-versioning"\n',
        },
        refused="UV_DYNAMIC_VERSIONING_BYPASS",
        wsgi="shop:app",
    ),
    Shape(
        "pdm, a version from git without git",
        {
            **FLAT,
            "pyproject.toml": '[build-system]\nrequires = ["pdm-backend"]\nbuild-backend = "pdm.backend"\n'
            + PROJECT.replace('version = "1.4.0"', 'dynamic = ["version"]')
            + "[tool.pdm.version]\nsource = 'scm'\n",
        },
        refused="PDM_BUILD_SCM_VERSION",
        wsgi="shop:app",
    ),
]

VERSIONS += [
    project(
        "hatch-vcs, with a module that its build writes",
        {
            **FLAT,
            "shop/__init__.py": FLAT["shop/__init__.py"] + "from shop._version import __version__\n",
            ".gitignore": "_version.py\n",
            "pyproject.toml": '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n'
            'build-backend = "hatchling.build"\n'
            + PROJECT.replace('version = "1.4.0"', 'dynamic = ["version"]')
            + SCRIPT
            + '[tool.hatch.version]\nsource = "vcs"\n[tool.hatch.build.hooks.vcs]\nversion-file = "shop/_version.py"\n',
        },
        tag="v1.4.0",
        probe="import shop; print(shop.__version__.partition('+')[0], shop.COLOUR)",
    ),
    project(
        "flit-scm",
        {
            **FLAT,
            "shop/__init__.py": '"""A shop."""\n'
            + "from ._version import version as __version__\n"
            + FLAT["shop/__init__.py"],
            "pyproject.toml": '[build-system]\nrequires = ["flit_scm"]\nbuild-backend = "flit_scm:buildapi"\n'
            '[project]\nname = "shop"\ndynamic = ["version", "description"]\ndependencies = ["shapes-left"]\n'
            f"{SCRIPT}[tool.setuptools_scm]\nwrite_to = 'shop/_version.py'\n",
        },
        tag="v1.4.0",
        probe="import shop, importlib.metadata as m; print(m.version('shop').partition('+')[0], shop.COLOUR)",
    ),
    Shape(
        "a source file of a package in the source",
        {"requirements.txt": "./vendor/core\n", **{f"vendor/{k[5:]}": v for k, v in CORE.items()}},
        probe=SEE,
        says="core one",
        change=("vendor/core/src/core/__init__.py", "one", "two"),
        then="core two",
    ),
    Shape(
        "a project above the application root, without a list of its own",
        {
            **{f"web/{name}": text for name, text in FLAT.items()},
            "setup.py": SETUP.format(more="package_dir={'': 'web'}, install_requires=['shapes-left']"),
        },
        subdir="web",
        probe=PROBE,
        says="1.4.0 blue",
        change=("web/shop/__init__.py", "blue", "green"),
        then="1.4.0 green",
        wsgi="shop:app",
    ),
]

POETRY_ALONE = (
    '[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = "^3.9"\n'
    'shapes-left = "~1.0"\nshapes-right = {version = "^1", python = ">=3.9"}\n'
    'shapes-dev = {version = "*", optional = true}\n[build-system]\nrequires = ["poetry-core"]\n'
    'build-backend = "poetry.core.masonry.api"\n'
)
VERSIONS += [
    Shape(
        "Poetry without a package and without a lock",
        {"pyproject.toml": POETRY_ALONE},
        probe=versions("shapes-left", "shapes-right"),
        says="1.0 1.0",
        change=("pyproject.toml", "~1.0", "1.1"),
        then="1.1 1.0",
    ),
    Shape(
        "gunicorn: pinned old for Poetry",
        {"pyproject.toml": POETRY_ALONE.replace('shapes-left = "~1.0"', 'gunicorn = "20.1.0"')},
        server=GUNICORN,
        refused="asks for gunicorn 20.1.0",
    ),
]

SHAPES = [*BACKENDS, *LISTS, *SETTINGS, *VERSIONS]
