# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The folder for compose: its services, variables, image and nginx, what it refuses, and how it is written."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.pythons import Request
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.entries import Entry, Tree, text
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.making import ComposeError, make
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import Order, base_image, default_port
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.programs import server_files
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.site import nginx_templates
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.variables import env_file
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.writing import FolderError, differences, write
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import applications

SERVERS = {"gunicorn": "gunicorn>=22.0", "uwsgi": "pyuwsgi>=2.0.28", "granian": "granian>=2.8.9,<2.9"}
ODD = "a 'b' \"c\" $HOME ${X} `id` #d \\n %\nline two\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of an application with the common parts."""
    folder = tmp_path / "shop"
    (folder / "static").mkdir(parents=True)
    (folder / "instance").mkdir()
    (folder / "shop.py").write_text("app = None\n")
    (folder / "static" / "style.css").write_text("p {}\n")
    (folder / "instance" / "first.txt").write_text("seed\n")
    (folder / "requirements.txt").write_text("flask>=3\n")
    return folder


def order(source: Path, port: int = 8080, base: str = "", **changes: Any) -> Order:
    site = {"static": [{"url": "/static/", "path": "static"}], **changes.pop("site", {})}
    given = {"name": "shop", "source": {"path": str(source)}, "wsgi": "shop:app", "site": site, **changes}
    (app,) = applications([given])
    return Order(app, "/srv/webapps", base, "nginx:stable", port, {}, (), SERVERS, "0.13.8")


def render(_role: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each template as its name and variables, in place of the text that Ansible renders."""
    return [
        {**item, "content": f"{item['template']} {json.dumps(item['vars'], default=str)}"}
        if "template" in item
        else item
        for item in items
    ]


def made(wanted: Order, to: Path, *, writes: bool = True) -> tuple[list[str], list[str]]:
    return make(wanted, to, [], render, writes=writes)


def services(to: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((to / "compose.yaml").read_text())["services"]
    return found


# Services


def test_the_application_has_no_rights_that_it_does_not_need(source: Path, tmp_path: Path) -> None:
    process = {"name": "worker", "command": "work"}
    made(order(source, shared=["instance"], processes=[process]), tmp_path / "to")
    found = services(tmp_path / "to")
    assert {*found} == {"release", "app", "process-worker", "nginx"}
    for service in found.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service["user"].startswith("0")
        assert all(mount.split(":")[2].startswith("ro") for mount in service["volumes"] if mount.startswith("./"))


def test_nginx_gets_the_folders_that_it_serves_and_no_code(source: Path, tmp_path: Path) -> None:
    made(order(source), tmp_path / "to")
    assert [mount.split(":")[0] for mount in services(tmp_path / "to")["nginx"]["volumes"]] == [
        "./nginx",
        "./current/src/static",
    ]


def test_release_commands_end_before_the_processes_start(source: Path, tmp_path: Path) -> None:
    commands = {"release": ["flask db upgrade"]}
    made(order(source, commands=commands, processes=[{"name": "a", "command": "b", "count": 2}]), tmp_path / "to")
    found = services(tmp_path / "to")
    for name in ("app", "process-a", "process-a.2"):
        assert found[name]["depends_on"] == {"release": {"condition": "service_completed_successfully"}}
    assert found["process-a.2"]["command"][-1] == "2"
    assert "'exec flask db upgrade'" in (tmp_path / "to/current/compose/prepare").read_text()
    assert "restart" not in found["release"]
    # The first service in the order of the dependencies builds the image.
    assert [name for name in found if "build" in found[name]] == ["release"]


def test_an_application_without_data_leaves_no_volume(source: Path, tmp_path: Path) -> None:
    made(order(source), tmp_path / "to")
    assert "volumes" not in yaml.safe_load((tmp_path / "to/compose.yaml").read_text())
    assert {*services(tmp_path / "to")} == {"app", "nginx"}


def test_limits_and_times_are_those_of_the_inventory(source: Path, tmp_path: Path) -> None:
    made(order(source, timeout=50, limits={"memory": "512M", "cpu": "150%", "tasks": 99}), tmp_path / "to")
    app = services(tmp_path / "to")["app"]
    assert (app["mem_limit"], app["cpus"], app["pids_limit"]) == (512 * 1024**2, 1.5, 99)
    assert app["stop_grace_period"] == "55s"


def test_compose_replaces_nothing_in_the_settings(source: Path, tmp_path: Path) -> None:
    site = {"static": [{"url": "/static/", "path": "static"}], "domains": ["shop.example.com"]}
    made(order(source, wsgi="shop:create_app('$HOME')", site=site), tmp_path / "to")
    assert services(tmp_path / "to")["app"]["environment"]["FLASK_APP"] == "shop:create_app('$$HOME')"


# Variables


def test_harmless_values_stay_readable_and_others_are_encoded(source: Path) -> None:
    lines = env_file(order(source, env={"PLAIN": "redis://cache:6379/0", "EMPTY": "", "ODD": ODD})).splitlines()
    assert "PLAIN=redis://cache:6379/0" in lines
    assert "EMPTY=" in lines
    (encoded,) = [line for line in lines if line.startswith("PYWEB_BASE64_ODD=")]
    assert base64.b64decode(encoded.partition("=")[2]).decode() == ODD
    # The own name shows where the value is, and shows bin/run whether compose.override.yaml has replaced it.
    assert "ODD=see-PYWEB_BASE64_ODD" in lines


def test_names_that_act_on_the_start_commands_have_only_the_encoded_value(source: Path) -> None:
    env = dict.fromkeys(("PATH", "LD_PRELOAD", "PYTHONPATH"), "/a b")
    names = [line.partition("=")[0] for line in env_file(order(source, env=env)).splitlines() if line[0] != "#"]
    assert names == ["PYWEB_BASE64_PATH", "PYWEB_BASE64_LD_PRELOAD", "PYWEB_BASE64_PYTHONPATH"]


def test_secrets_are_in_one_file_that_only_the_owner_can_read(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    made(order(source, env={"SECRET_KEY": "very-secret"}), to)
    holders = [path for path in to.rglob("*") if path.is_file() and "very-secret" in path.read_text()]
    assert holders == [to / "secrets.env"]
    assert (holders[0].stat().st_mode & 0o777, to.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "SECRET_KEY" not in (to / "compose.yaml").read_text()


def test_the_report_warns_of_databases_of_the_inventory(source: Path, tmp_path: Path) -> None:
    warning = "compose.override.yaml before the start"
    assert warning in " ".join(made(order(source, env={"DATABASE_URL": "x"}), tmp_path / "with")[1])
    assert warning not in " ".join(made(order(source), tmp_path / "without")[1])


def test_a_variable_of_the_inventory_wins(source: Path, tmp_path: Path) -> None:
    wanted = order(source, env={"LANG": "de_DE.UTF-8", "PATH": "/opt/bin"})
    made(wanted, tmp_path / "to")
    # compose gives the file the lower precedence.
    assert not {"LANG", "PATH"} & services(tmp_path / "to")["app"]["environment"].keys()
    lines = env_file(wanted)
    assert "LANG=de_DE.UTF-8\n" in lines
    assert "PATH=/srv/webapps/shop/venv/bin:" in lines
    assert ":/opt/bin\n" in lines


# The image


def test_the_image_has_the_dependencies_and_no_code(source: Path, tmp_path: Path) -> None:
    made(order(source, python={"packages": ["redis"]}), tmp_path / "to")
    context = tmp_path / "to/image"
    assert sorted(str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()) == [
        "Containerfile",
        "lists/pyweb-packages.txt",
        "lists/pyweb-server.txt",
        "lists/source/requirements.txt",
    ]
    assert (context / "lists/pyweb-server.txt").read_text() == "gunicorn>=22.0\n"


def test_code_needs_no_new_image_and_dependencies_do(source: Path, tmp_path: Path) -> None:
    made(order(source), tmp_path / "to")
    before = services(tmp_path / "to")["app"]["image"]
    (source / "shop.py").write_text("app = 1\n")
    changed, _report = made(order(source), tmp_path / "to")
    assert changed == ["current/src/shop.py"]
    assert services(tmp_path / "to")["app"]["image"] == before
    (source / "requirements.txt").write_text("flask>=3.1\n")
    made(order(source), tmp_path / "to")
    assert services(tmp_path / "to")["app"]["image"] != before


@pytest.mark.parametrize(
    ("interpreter", "request_", "base"),
    [
        (None, Request(), "python:3.13-slim"),
        ("3.12", Request(), "python:3.12-slim"),
        ("python3.11", Request(), "python:3.11-slim"),
        (None, Request(requires=">=3.10,<3.12"), "python:3.11-slim"),
        (None, Request(version="3.12.4"), "python:3.12-slim"),
    ],
)
def test_the_base_image_has_the_python_that_is_asked_for(interpreter: str | None, request_: Request, base: str) -> None:
    assert base_image(interpreter, request_) == (base, "")


@pytest.mark.parametrize(
    ("suite", "base"),
    [("bookworm", "python:3.11-slim-bookworm"), ("noble", "python:3.12-slim"), ("sid", "python:3.13-slim")],
)
def test_a_container_of_hosts_has_the_same_system_here(suite: str, base: str) -> None:
    assert base_image(None, Request(), suite) == (base, "")


def test_a_base_with_another_python_is_refused() -> None:
    assert "'bookworm' has Python 3.11" in base_image(None, Request(requires=">=3.12"), "bookworm")[1]


def test_an_interpreter_of_a_host_needs_a_base_image() -> None:
    assert "-e base=" in base_image("/opt/python/bin/python", Request())[1]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("base.txt", "--index-url https://me:hidden@index.example.com/simple\n"),
        ("pyproject.toml", '[[tool.uv.index]]\nurl = "https://me:hidden@index.example.com/simple"\n'),
        ("uv.toml", 'index-url = "https://me:hidden@index.example.com/simple"\n'),
    ],
)
def test_no_list_with_a_password_gets_into_the_image(source: Path, tmp_path: Path, name: str, written: str) -> None:
    (source / name).write_text(written)
    (source / "requirements.txt").write_text("-r base.txt\nflask\n" if name == "base.txt" else "flask\n")
    with pytest.raises(ComposeError, match=f"'{name}': an address contains a password") as error:
        made(order(source, python={"requirements": ["requirements.txt"]}), tmp_path / "to")
    assert "hidden" not in str(error.value)
    assert not (tmp_path / "to").exists()


def test_an_address_of_a_web_page_is_no_password(source: Path, tmp_path: Path) -> None:
    (source / "pyproject.toml").write_text('[project.urls]\nissues = "https://example.com/issues?open=1"\n')
    made(order(source, python={"requirements": ["requirements.txt"]}), tmp_path / "to")
    assert (tmp_path / "to/image/lists/source/pyproject.toml").exists()


# nginx and the app servers


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi", "granian"])
def test_nginx_reaches_the_port_of_the_app_server(source: Path, server: str) -> None:
    wanted = order(source, server=server, site={"domains": ["shop.example.com"], "tls": {"mode": "selfsigned"}})
    templates, _served, problems = nginx_templates(wanted)
    assert problems == []
    written = json.dumps(templates, default=str)
    port = 8001 if server == "uwsgi" else 8000
    assert f"app:{port}" in written
    assert ("uwsgi_pass" in written) is (server == "uwsgi")
    assert "current.sock" not in written
    site = json.dumps([file for file in templates if file["path"].startswith("sites/")])
    assert "ssl" not in site
    assert "listen 8080;" in site
    assert "server_name shop.example.com localhost 127.0.0.1;" in written
    settings = json.dumps(server_files(wanted))
    assert f"0.0.0.0:{port}" in settings
    assert "fd://" not in settings


def test_gunicorn_has_the_settings_of_a_host(source: Path) -> None:
    files = server_files(order(source, gunicorn={"max_requests": 9}, workers=3, threads=2))
    settings = dict(files[0]["vars"]["settings"])
    # nginx alone reaches the port, so it may state scheme and address of a visitor.
    assert settings["forwarded_allow_ips"] == "'*'"
    assert (settings["workers"], settings["threads"], settings["max_requests"]) == ("3", "2", "9")
    assert settings["limit_request_line"] == "0"


def test_ports_below_1024_are_moved(source: Path) -> None:
    assert (default_port(80), default_port(8443)) == (8080, 8443)


# Shared folders and files


def test_a_shared_folder_is_a_link_and_its_content_a_seed(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    made(order(source, shared=["instance", "uploads"], files=[{"path": "a.txt", "content": "x"}]), to)
    assert os.readlink(to / "current/src/instance") == "/srv/webapps/shop/shared/instance"
    assert (to / "current/seed/instance/first.txt").read_text() == "seed\n"
    assert os.readlink(to / "current/src/uploads") == "/srv/webapps/shop/shared/uploads"
    assert (to / "current/src/a.txt").read_text() == "x"


# Refusals


def test_every_thing_that_can_not_be_expressed_is_reported_at_once(source: Path, tmp_path: Path) -> None:
    (source / "requirements.txt").write_text("-e ./lib\nflask\n")
    (tmp_path / "to").mkdir()
    (tmp_path / "to/mine.txt").touch()
    wanted = order(
        source,
        commands={"build": ["npm run build"]},
        env={"LONG": "x" * 70_000},
        python={"index_url": "https://me:secret@index.example.com/simple", "ca_bundle": "/etc/ca.pem"},
    )
    with pytest.raises(ComposeError) as error:
        made(dataclasses.replace(wanted, base="not an image", port=99_999), tmp_path / "to")
    found = error.value.problems
    for words in (
        "commands.build: 'npm run build'",
        "env.LONG:",
        "'-e ./lib' needs files of the source",
        "an address contains a password",
        "python.ca_bundle:",
        "base is 'not an image'",
        "port is 99999",
        "which has other files",
    ):
        assert len([problem for problem in found if words in problem]) == 1, (words, found)
    assert not any("secret" in problem for problem in found)
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("setup.py", "from setuptools import setup\nsetup()\n", "only the code of the project"),
        ("pyproject.toml", "[project]\nname='a'\ndynamic=['dependencies']\n", "computed, or in the source"),
        ("requirements.txt", "--index-url https://${LOGIN}@index.example.com\n", "does not have the variable ${LOGIN}"),
    ],
)
def test_lists_that_need_the_code_are_refused(
    source: Path, tmp_path: Path, name: str, content: str, words: str
) -> None:
    (source / "requirements.txt").unlink()
    (source / name).write_text(content)
    with pytest.raises(ComposeError, match=r"python\.requirements") as error:
        made(order(source), tmp_path / "to")
    assert words in str(error.value)
    assert not (tmp_path / "to").exists()


def test_a_folder_in_the_source_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    for to in (source, source / "compose", tmp_path / "link/compose"):
        with pytest.raises(ComposeError, match="is in the folder of the source"):
            made(order(source), to)
    assert not (source / "compose").exists()


@pytest.mark.parametrize("server", ["gunicorn", "image"])
def test_an_application_with_an_image_is_refused_without_asking_its_registry(tmp_path: Path, server: str) -> None:
    wanted = order(tmp_path)
    wanted.app["server"] = server
    wanted.app["source"].update(image="registry.example.com/shop:1", path=None)
    with pytest.raises(ComposeError) as error:
        made(wanted, tmp_path / "to")
    assert error.value.problems == [
        "webapps 'shop'.source.image: the application has its image already, and compose can run it. This folder is "
        "for sources without one: set source.git or source.path alone."
    ]


# Writing


def test_a_second_run_changes_nothing_and_keeps_files_of_others(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    changed, report = made(order(source), to, writes=False)
    assert "compose.yaml" in changed
    assert report[0].startswith("Would write")
    assert not to.exists()
    assert made(order(source), to)[0] == changed
    (to / "compose.override.yaml").write_text("services: {}\n")
    assert made(order(source), to) == ([], [f"{to} is up to date.", *report[1:]])
    (source / "static/style.css").unlink()
    (source / "static/new.css").write_text("p {}\n")
    assert made(order(source), to)[0] == ["current/src/static/new.css", "current/src/static/style.css"]
    assert (to / "compose.override.yaml").exists()
    assert [path.name for path in (to / "current/src/static").iterdir()] == ["new.css"]


def tree(**files: str) -> Tree:
    return {path.replace("__", "/"): text(content) for path, content in files.items()}


def test_a_folder_of_another_application_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "to", tree(a="x"), "shop")
    with pytest.raises(FolderError, match="the folder of the application 'shop'"):
        write(tmp_path / "to", tree(a="y"), "other")
    assert (tmp_path / "to/a").read_text() == "x"


def test_files_folders_and_links_replace_each_other(tmp_path: Path) -> None:
    to = tmp_path / "to"
    write(to, tree(a__b="x"), "shop")
    write(to, tree(a="file"), "shop")
    assert (to / "a").read_text() == "file"
    write(to, {"a": Entry(link="b"), "b": Entry(is_folder=True)}, "shop")
    assert os.readlink(to / "a") == "b"
    write(to, tree(a__b="x"), "shop")
    assert (to / "a/b").read_text() == "x"
    assert not (to / "b").exists()
    assert differences(to, tree(a__b="x"), "shop") == []


def test_a_file_is_never_written_through_a_link(tmp_path: Path) -> None:
    to, outside = tmp_path / "to", tmp_path / "outside"
    outside.write_text("mine")
    write(to, tree(a="x"), "shop")
    (to / "a").unlink()
    (to / "a").symlink_to(outside)
    write(to, tree(a="y"), "shop")
    assert (outside.read_text(), (to / "a").read_text()) == ("mine", "y")
    (to / "folder").symlink_to(tmp_path)
    with pytest.raises(FolderError, match="was not written by this playbook"):
        write(to, tree(a="y", folder__outside="z"), "shop")
    assert outside.read_text() == "mine"


def test_a_folder_with_files_of_others_is_not_removed(tmp_path: Path) -> None:
    to = tmp_path / "to"
    write(to, tree(a__b="x"), "shop")
    (to / "a/mine").write_text("mine")
    with pytest.raises(FolderError, match="a folder with other files"):
        write(to, tree(a="x"), "shop")
    assert (to / "a/mine").read_text() == "mine"
