# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Servers that people wrote, in a real nginx that the role takes over: they stay until a site serves the same."""

from __future__ import annotations

import http.client
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.handmade import Handmade
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.processes import master
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import Nginx
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.system_files import SystemFiles
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction
from nginx_instance import BINARY, Instance, free_port, killed_at, needs_nginx, run_module

OLD = """\
pid {folder}/nginx.pid;
error_log {folder}/log/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
    include conf.d/*.conf;
    include sites-enabled/*;
}}
"""


def start(nginx: Instance, http_text: str = "", **files: str) -> None:
    """An nginx as people set it up: with an nginx.conf of their own."""
    for folder in ("conf.d", "sites-available", "sites-enabled", "vhosts"):
        (nginx.conf / folder).mkdir(exist_ok=True)
    (nginx.conf / "nginx.conf").write_text(OLD.format(folder=nginx.folder, http=http_text))
    for path, text in files.items():
        folder, _slash, name = path.partition("__")
        (nginx.conf / folder.replace("_", "-").replace("conf-d", "conf.d") / name).write_text(text)
    subprocess.run([str(BINARY), "-c", str(nginx.conf / "nginx.conf")], check=True)
    # The command returns before the daemon has written its number and set its title.
    until = time.monotonic() + 30
    while not master(str(nginx.folder / "nginx.pid")):
        assert time.monotonic() < until
        time.sleep(0.02)


def server(port: int, answer: str, names: str = "", more: str = "") -> str:
    name = f"server_name {names};" if names else ""
    return f'server {{ listen 127.0.0.1:{port}{more}; {name} return 200 "{answer}"; }}\n'


def own(nginx: Instance, port: int, answer: str, names: str, folder: Path) -> str:
    """A site of an application, as the role renders it."""
    return (
        f"# Owner: webapps\nupstream {answer} {{\n    server unix:{folder}/current.sock;\n}}\n"
        f"server {{\n    listen 127.0.0.1:{port};\n    server_name {names};\n"
        f'    return 200 "{answer}";\n}}\n'
    )


def run(nginx: Instance, check_mode: bool = False, **sites: str) -> tuple[dict[str, Any], str]:
    transaction = Transaction({**nginx.params(sites), "owners": ["webapps"]}, BINARY, run_command)
    return run_module(transaction, check_mode), "\n".join(transaction.warnings)


def get(port: int, host: str = "") -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/", headers={"Host": host} if host else {})
    return connection.getresponse().read().decode()


def released(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "current.sock").symlink_to("there.sock")


@needs_nginx
def test_a_server_of_nginx_conf_stays(nginx: Instance, tmp_path: Path) -> None:
    port = free_port()
    start(nginx, server(port, "by hand", "old.example.com"))
    told, _warned = run(nginx, shop=own(nginx, nginx.port, "new", "shop.example.com", tmp_path / "shop"))
    assert told["waiting"] == []
    assert (get(port), get(nginx.port, "shop.example.com")) == ("by hand", "new")
    told, _warned = run(nginx, shop=own(nginx, nginx.port, "new", "shop.example.com", tmp_path / "shop"))
    assert told["actions"] == []
    assert get(port) == "by hand"
    assert (nginx.conf / "nginx.conf.before-pyweb").exists()


@needs_nginx
@pytest.mark.parametrize("place", ["entry", "conf_d__shop.conf", "sites_enabled__shop", "link", "vhosts__shop"])
def test_a_server_answers_until_the_release_is_live(nginx: Instance, tmp_path: Path, place: str) -> None:
    folder, text = tmp_path / "webapps/shop", server(nginx.port, "by hand", "shop.example.com www.example.com")
    inside = text if place == "entry" else "include vhosts/*;" if place.startswith("vhosts") else ""
    start(nginx, inside, **({place: text} if "__" in place else {}))
    if place == "link":
        (nginx.conf / "sites-available/shop").write_text(text)
        (nginx.conf / "sites-enabled/shop").symlink_to("../sites-available/shop")
        subprocess.run([str(BINARY), "-c", str(nginx.conf / "nginx.conf"), "-s", "reload"], check=True)
    site = own(nginx, nginx.port, "new", "shop.example.com", folder)
    told, warned = run(nginx, shop=site)
    assert told["waiting"] == ["shop"]
    assert get(nginx.port, "shop.example.com") == "by hand"
    assert "no longer from" not in warned
    assert not stamps.valid()
    released(folder)
    told, warned = run(nginx, check_mode=True, shop=site)
    assert told["changed"]
    told, warned = run(nginx, shop=site)
    assert told["waiting"] == []
    assert get(nginx.port, "shop.example.com") == "new"
    assert get(nginx.port, "www.example.com") == "by hand"
    assert "nginx now serves shop.example.com from the inventory" in warned
    told, warned = run(nginx, shop=site)
    assert (told["actions"], warned) == ([], "")
    assert stamps.valid()
    kept = [path for path in nginx.conf.rglob("*") if path.is_file() and path.read_text() == text]
    assert kept or place == "entry"


@needs_nginx
def test_the_default_server_of_a_port_stays_the_default(nginx: Instance, tmp_path: Path) -> None:
    start(nginx, sites_enabled__a=server(nginx.port, "by hand", "_"), sites_enabled__b=server(nginx.port, "b", "b.org"))
    site = own(nginx, nginx.port, "new", "shop.example.com", tmp_path / "shop")
    for _run in range(2):
        run(nginx, shop=site)
        hosts = ("unknown.example.com", "b.org", "shop.example.com")
        assert [get(nginx.port, host) for host in hosts] == ["by hand", "b", "new"]


@needs_nginx
def test_settings_of_the_replaced_nginx_conf_still_reach_its_servers(nginx: Instance, tmp_path: Path) -> None:
    start(
        nginx,
        'add_header X-Old yes; map $host $who { default "mapped"; }\n'
        f'server {{ listen 127.0.0.1:{nginx.port}; return 200 "$who"; }}',
        sites_enabled__b=server(nginx.port, "b", "b.org"),
    )
    run(nginx, shop=own(nginx, free_port(), "new", "shop.example.com", tmp_path / "shop"))
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=5)
    for host, body in (("x.org", "mapped"), ("b.org", "b")):
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        assert (answer.read().decode(), answer.headers["X-Old"]) == (body, "yes")


@needs_nginx
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step"),
    [(Handmade, "keep"), (Handmade, "replace"), (SystemFiles, "write_entry"), (Nginx, "reload")],
    ids=["keep", "replace", "write_entry", "reload"],
)
def test_a_run_that_is_killed_is_healed(nginx: Instance, tmp_path: Path, owner: type, step: str, before: bool) -> None:
    folder = tmp_path / "webapps/shop"
    released(folder)
    # The second server has nothing to do with the application.
    text = server(nginx.port, "by hand", "shop.example.com") + server(nginx.port, "blog", "blog.example.com")
    other = free_port()
    start(nginx, server(other, "entry", "entry.org"), sites_enabled__shop=text)
    site = own(nginx, nginx.port, "new", "shop.example.com", folder)
    killed_at(owner, step, before, lambda: run(nginx, shop=site))
    assert get(nginx.port, "shop.example.com") in ("by hand", "new")
    assert get(other) == "entry"
    run(nginx, shop=site)
    assert (get(nginx.port, "shop.example.com"), get(other)) == ("new", "entry")
    assert get(nginx.port, "blog.example.com") == "blog"
    assert run(nginx, shop=site)[0]["actions"] == []
    assert text in [path.read_text() for path in (nginx.conf / "before-pyweb").rglob("shop*") if path.is_file()]


@needs_nginx
def test_a_file_that_a_killed_run_has_begun_is_not_loaded(nginx: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "webapps/shop"
    released(folder)
    text = "upstream old { server 127.0.0.1:1; }\n" + server(nginx.port, "by hand", "shop.example.com")
    start(nginx, sites_enabled__shop=text)
    (nginx.conf / "sites-enabled/shop.0a1b2c3d.new").write_text(text)
    run(nginx, shop=own(nginx, nginx.port, "new", "shop.example.com", folder))
    assert get(nginx.port, "shop.example.com") == "new"
    assert [path.name for path in (nginx.conf / "sites-enabled").iterdir()] == ["shop"]


@needs_nginx
def test_a_rewritten_file_keeps_its_mode_and_its_bytes(nginx: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "webapps/shop"
    released(folder)
    start(nginx)
    path = nginx.conf / "sites-enabled/shop"
    kept = server(nginx.port, "blog", "blog.example.com")
    path.write_bytes(b"# Gr\xf6\xdfe\n" + f"{server(nginx.port, 'by hand', 'shop.example.com')}{kept}".encode())
    path.chmod(0o600)
    run(nginx, shop=own(nginx, nginx.port, "new", "shop.example.com", folder))
    assert path.read_bytes().startswith(b"# Gr\xf6\xdfe\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert get(nginx.port, "blog.example.com") == "blog"


@needs_nginx
@pytest.mark.parametrize("pattern", ["conf.d/*", "sites-enabled/*.conf", "conf.d/*.conf"])
def test_files_of_patterns_that_differ_are_loaded_once(nginx: Instance, tmp_path: Path, pattern: str) -> None:
    folder, _slash, last = pattern.partition("/")
    names = ["a.conf", *(["b"] if last == "*" else [])]
    ports = {name: free_port() for name in names}
    start(nginx)
    text = (nginx.conf / "nginx.conf").read_text()
    for loaded in ("include conf.d/*.conf;", "include sites-enabled/*;"):
        text = text.replace(loaded, "")
    (nginx.conf / "nginx.conf").write_text(text.replace("access_log off;", f"access_log off; include {pattern};"))
    for name in names:
        (nginx.conf / folder / name).write_text(
            f"upstream {name} {{ server 127.0.0.1:1; }} {server(ports[name], name)}"
        )
    subprocess.run([str(BINARY), "-c", str(nginx.conf / "nginx.conf"), "-s", "reload"], check=True)
    for _run in range(2):
        run(nginx, shop=own(nginx, nginx.port, "new", "shop.example.com", tmp_path / "shop"))
        assert [get(ports[name]) for name in names] == names


@needs_nginx
def test_a_configuration_that_nginx_refuses_puts_every_file_back(nginx: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "webapps/shop"
    released(folder)
    text = server(nginx.port, "by hand", "shop.example.com")
    start(nginx, server(nginx.port, "entry", "entry.org"), sites_enabled__shop=text)
    before = {path: path.read_text() for path in nginx.conf.rglob("*") if path.is_file()}
    site = own(nginx, nginx.port, "new", "shop.example.com", folder).replace("return 200", "retrun 200")
    with pytest.raises(NginxError, match="refuses"):
        run(nginx, shop=site)
    after = {path: path.read_text() for path in nginx.conf.rglob("*") if path.is_file() and "pyweb/" not in str(path)}
    assert after == before
    assert get(nginx.port, "shop.example.com") == "by hand"
