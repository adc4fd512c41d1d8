# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Releases whose source is an image: their code, their environment, their command, and what is refused.

No program runs in the image here: it names the interpreter of this machine. The scenario `containers` runs them.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.building.given_image import has_image
from ansible_collections.pyweb.stack.plugins.module_utils.plan.releases import needed_source
from ansible_collections.pyweb.stack.plugins.module_utils.release.environments import fault_of
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BUILT,
    Layout,
    NoImage,
    ReleaseError,
    read_manifest,
)
from ansible_collections.pyweb.stack.plugins.module_utils.switching import own_command
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import origin_of
from given_images import docker_archive

from local.test_building import ID, NAME, Bench, account, bench, needs_root, public, uv

__all__ = ["account", "bench", "public", "uv"]

PYTHON = os.path.realpath("/usr/bin/python3")
APP = b"def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
SYSTEM: list[Any] = [("bin/sh", b"sh", 0o755), (PYTHON[1:], b"", 0o755), ("usr/bin/python3", "->", Path(PYTHON).name)]
SYSTEM += [("usr/bin/gunicorn", b"", 0o755)]
CODE: list[Any] = ["app/", ("app/app.py", APP, 0o600), ("app/run.sh", b"", 0o700), ("app/static/a.css", b"", 0o644)]
CODE += [("app/here", "->", "static/a.css"), ("app/.venv/pyvenv.cfg", b"", 0o644), ("app/.venv/x", "->", "/etc")]
CODE += [("app/.git/config", b"", 0o644)]
OTHER = "20261121T020203Z-ab12cd34"


def spec(bench: Bench, code: list[Any], /, image: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    config = {"Env": ["PATH=/usr/bin", "COLOUR=red and 'blue'", "UID=7", "GREETING=image"], **(image or {})}
    path = docker_archive(bench.folder / "shop.tar", [SYSTEM, code], **config)
    source = {**origin_of({"image": str(path)}, []).description, "upload": str(path), **changes.pop("source", {})}
    environment = {"WEBAPP_SERVER": changes.pop("server", "gunicorn")}
    return {**bench.spec({}), "source": source, "environment": environment, **changes}


def built(bench: Bench, given: dict[str, Any], identity: str = ID) -> Path:
    assert bench.build_spec(given, identity).state == BUILT
    return Path(bench.layout.release(identity))


def refused(bench: Bench, given: dict[str, Any]) -> str:
    with pytest.raises(ReleaseError) as error:
        bench.build_spec(given)
    return str(error.value)


@needs_root
def test_a_release_has_the_code_the_python_and_the_variables_of_its_image(bench: Bench) -> None:
    release = built(bench, spec(bench, CODE, env={"GREETING": "inventory"}, shared=["data"]))
    found = {str(path.relative_to(release / "src")) for path in (release / "src").rglob("*")}
    assert found == {"app.py", "run.sh", "static", "static/a.css", "here", "data"}
    modes = {name: (release / "src" / name).stat().st_mode & 0o777 for name in ("app.py", "run.sh")}
    assert modes == {"app.py": 0o644, "run.sh": 0o755}
    assert bench.run("python", "-c", "import app, sys; print(app.__file__, sys.executable)").split() == [
        str(release / "src/app.py"),
        "/usr/bin/python3",
    ]
    told = json.loads(bench.run("python", "-c", "import json, os; print(json.dumps(dict(os.environ)))"))
    assert (told["COLOUR"], told["GREETING"]) == ("red and 'blue'", "inventory")
    assert (told["HOME"], told.get("VIRTUAL_ENV"), told.get("UID")) == (bench.layout.cache, None, None)
    assert told["PATH"].startswith(f"{release}/venv/bin:/usr/bin:")
    manifest = read_manifest(bench.layout, ID)
    assert manifest
    assert manifest.image.startswith("given1-")
    assert fault_of(bench.layout, manifest) is None


@needs_root
def test_a_change_of_settings_needs_no_archive_and_shares_the_environment(bench: Bench) -> None:
    given = spec(bench, CODE)
    given["source"]["wanted"] = True
    assert needed_source(given, bench.layout.root)["source"]["wanted"]
    first = built(bench, given)
    assert not needed_source(given, bench.layout.root)["source"]["wanted"]
    assert has_image(given["source"], bench.layout.root)
    os.unlink(bench.folder / "shop.tar")
    second = built(bench, {**given, "env": {"A": "b"}}, OTHER)
    assert os.readlink(first / "venv") == os.readlink(second / "venv")
    assert os.readlink(first / "image") == os.readlink(second / "image")


@needs_root
def test_an_image_without_code_in_its_working_folder_imports_from_its_packages(bench: Bench) -> None:
    release = built(bench, spec(bench, [], {"WorkingDir": ""}, wsgi="wsgiref.simple_server:demo_app"))
    assert list((release / "src").iterdir()) == []


@needs_root
def test_a_subfolder_of_an_image_is_the_application_root(bench: Bench) -> None:
    code = [("app/back/app.py", APP, 0o644)]
    release = built(bench, spec(bench, code, source={"subdir": "back"}))
    assert bench.run("pwd").strip() == str(release / "src/back")


REFUSED: list[tuple[list[Any], dict[str, Any], dict[str, Any], str]] = [
    (
        [("usr/bin/.wh.gunicorn", b"", 0)],
        {},
        {},
        r"no program 'gunicorn' in its PATH \(/usr/bin\)\. Install gunicorn where",
    ),
    ([("usr/bin/.wh.python3", b"", 0)], {}, {}, "no python3 in its PATH"),
    (CODE, {}, {"server": "granian"}, "no program 'granian'"),
    (CODE, {"Cmd": None}, {"server": "image"}, "has no command"),
    (CODE, {"Cmd": ["serve\x1b"]}, {"server": "image"}, r"no program 'serve\\x1b'"),
    ([], {}, {}, "there is no module 'app'"),
    ([*CODE, ("app/out", "->", "/etc/passwd")], {}, {}, "has the link 'out', which leads to '/etc/passwd', outside"),
    ([*CODE, ("app/out", "->", "../etc/passwd")], {}, {}, "outside of the source"),
    (CODE, {}, {"source": {"subdir": "other"}}, "is not a folder in the source"),
]


@needs_root
@pytest.mark.parametrize(("code", "image", "changes", "says"), REFUSED, ids=range(len(REFUSED)))
def test_an_image_that_cannot_serve_is_refused(
    bench: Bench, code: list[Any], image: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    assert re.search(says, refused(bench, spec(bench, code, image, **changes)))


@needs_root
@pytest.mark.parametrize("code", [[("../evil", b"", 0o644)], [("usr/bin/.wh.gunicorn", b"", 0)]])
def test_nothing_of_a_refused_image_stays(bench: Bench, code: list[Any]) -> None:
    with pytest.raises(NoImage):
        bench.build_spec(spec(bench, code))
    assert os.listdir(bench.layout.releases) == os.listdir(bench.layout.venvs) == []
    assert os.listdir(Path(bench.layout.root, ".images")) == [".lock"]


@needs_root
def test_the_command_of_an_image_gets_the_socket_for_http_alone(bench: Bench) -> None:
    words = "echo $LISTEN_FDS $COLOUR; [ -e /proc/self/fd/3 ] && echo open; [ ! -e /proc/self/fd/4 ]"
    image = {"Entrypoint": ["/bin/sh", "-c"], "Cmd": [words]}
    release = built(bench, spec(bench, CODE, image, server="image", import_check=False, wsgi=None))
    owner, start = pwd.getpwnam(NAME), 'export LISTEN_PID=$$; exec "$0" 3</dev/null 4</dev/null'
    answer = subprocess.run(
        ["/bin/sh", "-c", start, str(release / "bin/web")],
        env={"LISTEN_FDS": "2"},
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert answer[:4] == ["1", "red", "and", "'blue'"]
    assert answer[4:] == ["open"]
    assert (release / "image_command").read_text().startswith("/bin/sh -c 'echo ")


@needs_root
def test_a_command_that_listens_on_a_port_is_explained(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = bench.layout
    release = built(
        bench, spec(bench, CODE, {"Cmd": ["gunicorn", "-b", "0:80"]}, server="image", wsgi=None, import_check=False)
    )
    assert release.name == ID
    assert own_command.listens_elsewhere(layout, ID, 60) == ""
    monkeypatch.setattr(own_command, "ports_of", lambda _layout: [8000])
    assert own_command.listens_elsewhere(layout, ID, 5) == ""
    assert own_command.listens_elsewhere(layout, ID, 60) == "it listens on the port 8000 instead"
    assert own_command.own_command_hint(layout, ID).startswith("The command of the image is: gunicorn -b 0:80\nIt must")
    assert own_command.own_command_hint(Layout("other", layout.root), ID) == ""
