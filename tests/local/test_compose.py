# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The playbook compose: the folder that it writes, brought up by podman-compose and by docker-compose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compose_folder
import pytest
from compose_folder import IMAGE, Engine, docker, make_image, podman_settings
from pyweb_playbooks import CHECKOUT, Run, ansible_playbook

ODD = "a 'b' \"c\" $HOME ${X} `id` #d \\n %\nline two\n"
COUNTER: dict[str, Any] = {
    "name": "counter",
    "source": {"path": str(CHECKOUT / "tests/apps/counter")},
    "wsgi": "counter:app",
    "proxy_fix": True,
    "shared": ["instance"],
    "env": {"PLAIN": "simple", "EMPTY": "", "ODD": ODD},
    "files": [{"path": "secret.json", "content": "from the inventory"}],
    "commands": {"release": ["python counter.py migrate"]},
    "processes": [{"name": "worker", "command": "exec python counter.py work", "count": 2, "stop_timeout": 10}],
    "jobs": [{"name": "nightly", "command": "python counter.py job", "schedule": "daily"}],
    "site": {"domains": ["shop.example.com"], "static": [{"url": "/static/", "path": "static"}]},
}
# Their address leads nowhere: a connection would make the host unreachable.
INVENTORY = {"web": {"hosts": {"shop.example.com": {"ansible_host": "192.0.2.1", "ansible_port": 9}}}}
PORTS = {"podman": 18091, "docker": 18092}


def run(tmp_path: Path, to: Path, *arguments: str, **changes: Any) -> Run:
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps(INVENTORY))
    given = tmp_path / "variables.json"
    given.write_text(json.dumps({"webapps": [{**COUNTER, **changes}], "app": "counter", "to": str(to)}))
    return ansible_playbook("compose.yml", inventory, "--extra-vars", f"@{given}", *arguments)


def test_the_folder_is_written_without_a_connection(tmp_path: Path) -> None:
    to = tmp_path / "to"
    predicted = run(tmp_path, to, "--check")
    assert (predicted.counts("shop.example.com")["changed"], to.exists()) == (1, False)
    first = run(tmp_path, to)
    assert (first.status, first.counts("shop.example.com")["changed"]) == (0, 1)
    assert "set $" not in (to / "compose.yaml").read_text()
    # The roles have rendered these files.
    site = (to / "nginx/sites/counter.conf").read_text()
    assert "server app:8000" in site
    assert "server_name shop.example.com localhost 127.0.0.1;" in site
    configuration = "".join(path.read_text() for path in (to / "nginx").rglob("*") if path.is_file())
    for words in ("@TREE@", "#@ ", "listen [", "/loaded", "user www-data", "/var/log/nginx", "ssl_"):
        assert words not in configuration
    assert "bind = '0.0.0.0:8000'" in (to / "current/gunicorn.conf.py").read_text()
    second = run(tmp_path, to)
    assert (second.status, second.counts("shop.example.com")["changed"]) == (0, 0)


def test_the_image_has_the_packages_of_a_container_of_hosts(tmp_path: Path) -> None:
    container = {"base": "bookworm", "packages": ["libpq5"]}
    assert run(tmp_path, tmp_path / "to", runtime="container", container=container).status == 0
    written = (tmp_path / "to/image/Containerfile").read_text()
    assert "FROM python:3.11-slim-bookworm\n" in written
    assert written.count("--no-install-recommends libpq5 ") == 2


def test_problems_are_reported_together_and_nothing_is_written(tmp_path: Path) -> None:
    failed = run(tmp_path, tmp_path / "to", commands={"build": ["make"]}, python={"ca_bundle": "/etc/ca.pem"})
    message = failed.failure("shop.example.com")
    assert message.startswith("2 problems found before anything was written:")
    assert message.endswith("Nothing was written.")
    assert not (tmp_path / "to").exists()


def test_compose_override_replaces_also_an_encoded_value(tmp_path: Path) -> None:
    """Else an application on a laptop would use the database of the inventory, although the user has named another."""
    to = tmp_path / "to"
    assert run(tmp_path, to, env={"DATABASE": "a://b?c=1", "ODD": ODD, "PLAIN": "simple"}).status == 0
    lines = (to / "secrets.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    program = (to / "current/bin/run").read_text().replace("cd /srv/webapps/counter/current/src", f"cd {tmp_path}")
    dump = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]

    def seen(**override: str) -> dict[str, str]:
        environment = {"PATH": os.environ["PATH"], **given, **override}
        answer = subprocess.run(["sh", "-c", program, "run", *dump], env=environment, capture_output=True, check=True)
        found: dict[str, str] = json.loads(answer.stdout)
        return found

    first, second = seen(), seen(DATABASE="a://laptop?c=2", ODD="")
    assert [first[name] for name in ("DATABASE", "ODD", "PLAIN")] == ["a://b?c=1", ODD, "simple"]
    assert [second[name] for name in ("DATABASE", "ODD", "PLAIN")] == ["a://laptop?c=2", "", "simple"]
    assert not [name for name in {*first, *second} if name.startswith("PYWEB_BASE64")]


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, Engine]]:
    if lacking := compose_folder.missing(request.param):
        pytest.skip(f"{', '.join(lacking)} not installed")  # reason: these engines are no requirement of the tests
    # Docker's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="pyweb-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        podman = Engine(["podman-compose"], ["podman"], podman_settings(folder))
        make_image(podman, folder)
        if request.param == "podman":
            yield "podman", podman
        else:
            with docker(podman, folder) as found:
                yield "docker", found


def ask(port: int, path: str, host: str = "") -> tuple[int, str]:
    headers = {"Host": host} if host else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers), timeout=5
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def wait(port: int, path: str, status: int = 200) -> str:
    until = time.monotonic() + 60
    while (answer := ask(port, path))[0] != status:
        assert time.monotonic() < until, f"{path} responds with {answer}"
        time.sleep(0.3)
    return answer[1]


def build(engine: Engine, folder: Path) -> None:
    """Build the image with the network of this machine, where the networks of the engine lead nowhere."""
    if engine.engine != ["docker"]:
        return
    lines = (folder / "compose.yaml").read_text().split("\n")
    tag = next(line.split()[1] for line in lines if "image: pyweb-counter" in line)
    engine.run(["docker", "build", "--network", "host", "-t", tag, "-f", "image/Containerfile", "image"], folder)


@pytest.mark.matrix
def test_the_folder_serves_the_site(tmp_path: Path, engine: tuple[str, Engine]) -> None:
    name, program = engine
    port, to = PORTS[name], tmp_path / f"pywebcompose{name}"
    images = ("-e", f"base=localhost/{IMAGE}", "-e", f"front=localhost/{IMAGE}", "-e", f"port={port}")
    assert run(tmp_path, to, *images).status == 0
    build(program, to)
    try:
        program.do(to, "up", "-d")
        # The three URLs of the tutorial.
        assert "start page" in wait(port, "/")
        assert "administration" in wait(port, "/admin")
        assert "static folder" in wait(port, "/static/")
        assert "start page" in ask(port, "/", "shop.example.com")[1]
        assert ask(port, "/", "unknown.example.com") == (0, "")
        inside = json.loads(wait(port, "/facts"))
        assert (inside["user"], inside["writable"], inside["no_new_privileges"]) == (10001, [], "1")
        assert int(inside["capabilities"], 16) == 0
        environment = inside["environment"]
        assert [environment[key] for key in ("PLAIN", "EMPTY", "ODD")] == ["simple", "", ODD]
        assert inside["secret"] == "from the inventory"
        assert (inside["host"], inside["scheme"]) == (f"127.0.0.1:{port}", "http")
        program.do(to, "run", "--rm", "app", "/srv/webapps/counter/current/bin/nightly")
        counts = json.loads(wait(port, "/count"))
        assert counts.keys() == {"release", "worker 1", "worker 2", "job"}
        program.do(to, "exec", "-T", "app", "/srv/webapps/counter/current/compose/health")

        # A change of code needs no new image.
        code = (to / "current/src/counter.py").read_text()
        (to / "current/src/counter.py").write_text(code.replace("start page", "changed page"))
        program.do(to, "restart", "app")
        until = time.monotonic() + 60
        while "changed page" not in ask(port, "/")[1]:
            assert time.monotonic() < until, ask(port, "/")
            time.sleep(0.3)

        program.do(to, "down")
        assert program.left(to, "ps", "-a", "--format", "{{.Names}}") == []
        # The data of shared folders outlives it.
        assert program.left(to, "volume", "ls", "--format", "{{.Name}}") == [f"{to.name}_shared"]
        if name == "docker":
            assert program.left(to, "network", "ls", "--format", "{{.Name}}") == []
    finally:
        program.do(to, "down", "-v")
        program.run([*program.engine, "network", "rm", f"{to.name}_default"], to, check=False)
    assert program.left(to, "volume", "ls", "--format", "{{.Name}}") == []
