# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Requirements files, indexes, and packages of the inventory."""

from __future__ import annotations

from project_shapes.shape import APP, Shape, versions

LEFT = "import shapes_left; print(shapes_left.VERSION)"
BOTH = versions("shapes-left", "shapes-right")


def plain(name: str, text: str, **more: object) -> Shape:
    files = {"requirements.txt": text, **more.pop("files", {})}  # type: ignore[dict-item]
    given: dict[str, object] = {"probe": LEFT, "says": "1.1"}
    return Shape(name, files, **{**given, **more})  # type: ignore[arg-type]


SHAPES = [
    plain("requirements.txt", "shapes-left\n", change=("requirements.txt", "left", "left==1.0"), then="1.0"),
    plain(
        "included files",
        "-r more/base.txt\n",
        files={"more/base.txt": "-r deep/own.txt\nshapes-right\n", "more/deep/own.txt": "shapes-left\n"},
        probe=BOTH,
        says="1.1 1.0",
        change=("more/deep/own.txt", "shapes-left", "shapes-left==1.0"),
        then="1.0 1.0",
    ),
    plain(
        "constraints",
        "-c limits.txt\nshapes-left\n",
        files={"limits.txt": "shapes-left<1.1\nshapes-right==0.1\n"},
        says="1.0",
        change=("limits.txt", "shapes-left<1.1", "shapes-left<2,>1.0"),
        then="1.1",
    ),
    plain(
        "two files of the inventory",
        "shapes-left\n",
        files={"prod.txt": "shapes-right\n"},
        python={"requirements": ["requirements.txt", "prod.txt"]},
        probe=BOTH,
        says="1.1 1.0",
        change=("prod.txt", "shapes-right", "shapes-right\nshapes-left<1.1"),
        then="1.0 1.0",
    ),
    plain("packages of the inventory", "", python={"packages": ["shapes-left==1.0"]}, says="1.0"),
    plain(
        "packages beside requirements",
        "shapes-left\n",
        python={"packages": ["shapes-right"]},
        probe=BOTH,
        says="1.1 1.0",
    ),
    plain(
        "markers",
        "shapes-left==1.0 ; python_version < '3'\nshapes-left==1.1 ; python_version >= '3'\n",
        change=(
            "requirements.txt",
            "'3'\nshapes-left==1.1 ; python_version >=",
            "'3'\nshapes-left==1.0 ; python_version >=",
        ),
        then="1.0",
    ),
    plain(
        "an extra",
        "shapes-many[big]\n",
        probe=versions("shapes-many", "shapes-right"),
        says="1.0 1.0",
    ),
    plain(
        "a wheel in the source",
        "./wheels/shapes_local-1.0-py3-none-any.whl\n",
        probe=versions("shapes-local"),
        says="1.0",
    ),
    plain(
        "a folder of wheels",
        "--no-index\n--find-links wheels\nshapes-local\n",
        probe=versions("shapes-local"),
        says="1.0",
    ),
    plain("an index in the requirements", "--extra-index-url @INDEX@\nshapes-left\n", python={"extra_index_urls": []}),
    plain(
        "a private index of the inventory",
        "shapes-private\n",
        python={"index_url": "@PRIVATE@", "extra_index_urls": []},
        probe=versions("shapes-private"),
        says="1.0",
    ),
    plain(
        "variables in the address of a private index",
        "--extra-index-url http://${INDEX_USER}:${INDEX_PASSWORD}@127.0.0.1:@PRIVATE_PORT@/simple/\nshapes-private\n",
        env={"INDEX_USER": "deploy", "INDEX_PASSWORD": "hunter2"},
        probe=versions("shapes-private"),
        says="1.0",
    ),
    plain("a requirement in git", "shapes-git @ git+file://@GIT@\n", probe=versions("shapes-git"), says="1.0"),
    Shape(
        "a script with its own metadata",
        {
            "app.py": f"# /// script\n# dependencies = ['shapes-left']\n# ///\nimport shapes_left\n{APP}",
            "requirements.txt": "shapes-left\n",
        },
        probe=LEFT,
        says="1.1",
    ),
    plain(
        "a package that uses pkg_resources, with a pin",
        "shapes-resources\nsetuptools<81\n",
        probe=versions("shapes-resources"),
        says="1.0",
    ),
]
