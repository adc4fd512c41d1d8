# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The complete plays in the READMEs of the roles, run as they are written; and what changes when a user changes them.

One of them runs always, the others in the full matrix.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from pyweb_places import Place, wait_until
from pyweb_playbooks import Run, ansible_playbook
from pyweb_readmes import Play, plays

SHOP = """\
from flask import Flask

app = Flask(__name__)


@app.get("/healthz")
def healthz():
    return "ok"


@app.get("/answer")
def answer():
    return "ANSWER"
"""
SERVERS = [
    "gunicorn",
    pytest.param("uwsgi", marks=pytest.mark.matrix),
    pytest.param("granian", marks=pytest.mark.matrix),
]


@pytest.fixture(scope="module")
def alone(places: list[Place]) -> Iterator[Place]:
    (place,) = (place for place in places if place.name.endswith("-alone"))
    yield place
    place.run("systemctl disable --now shop beat || true; rm -rf /etc/systemd/system/shop* /etc/systemd/system/beat*")


@pytest.fixture(scope="module")
def play_on(alone: Place, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Runs a play on the host, from a folder with the inventory. The application is beside it, as in the guide."""
    folder = tmp_path_factory.mktemp("readme")
    servers, shop = folder / "my-servers", folder / "shop"
    (servers / "inventory").mkdir(parents=True)
    shop.mkdir()
    reached = {"web": {"hosts": {alone.name: alone.reached}}}
    (servers / "inventory" / "hosts.json").write_text(json.dumps(reached))
    (shop / "requirements.txt").write_text("flask\n")

    def run(play: Play, answer: str = "one") -> Run:
        (shop / "shop.py").write_text(SHOP.replace("ANSWER", answer))
        # The package index of a test host may be behind a proxy with its own authority.
        (servers / "play.yml").write_text(yaml.safe_dump([{**play, "environment": {"UV_SYSTEM_CERTS": "1"}}]))
        return ansible_playbook(str(servers / "play.yml"), servers / "inventory", timeout=600)

    return run


def unchanged(run: Run, place: Place) -> bool:
    counts = run.counts(place.name)
    return run.status == 0 and counts["changed"] == 0


def example(role: str) -> Play:
    return copy.deepcopy(plays(role)[0])


# Sends a request to a unix socket, by HTTP or by the protocol of uWSGI, and prints the body of the response.
ASK = """\
import socket, struct, sys
path, page, protocol = sys.argv[1:]
client = socket.socket(socket.AF_UNIX)
client.connect(path)
if protocol == "uwsgi":
    given = {"REQUEST_METHOD": "GET", "PATH_INFO": page, "QUERY_STRING": "", "SERVER_NAME": "shop", "SERVER_PORT": "80",
             "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_URI": page, "CONTENT_LENGTH": "", "HTTP_HOST": "shop"}
    words = b"".join(struct.pack("<H", len(word)) + word.encode() for pair in given.items() for word in pair)
    client.sendall(struct.pack("<BHB", 0, len(words), 0) + words)
else:
    client.sendall(f"GET {page} HTTP/1.1\\r\\nHost: shop\\r\\nConnection: close\\r\\n\\r\\n".encode())
print(client.makefile("rb").read().decode().partition("\\r\\n\\r\\n")[2].strip())
"""


def answer(place: Place, path: str, page: str = "/", protocol: str = "http") -> str:
    return place.run(f"python3 - {path} {page} {protocol}", given=ASK, check=False).strip()


def processes(place: Place) -> int:
    return int(place.run("pgrep --count --uid shop || true"))


def with_supervisor(play: Play) -> Play:
    """The same play with supervisor instead of systemd."""
    variables = play["vars"]
    service = dict(variables.pop("systemd_services")[0])
    service.pop("type", None)
    variables["supervisor_programs"] = [service]
    play["tasks"][-1]["ansible.builtin.import_role"]["name"] = "pyweb.stack.supervisor"
    return play


@pytest.mark.parametrize("manager", ["systemd", pytest.param("supervisor", marks=pytest.mark.matrix)])
@pytest.mark.parametrize("server", SERVERS)
def test_a_changed_setting_reaches_the_running_server(
    server: str, manager: str, alone: Place, play_on: Callable[..., Run]
) -> None:
    play, protocol = example(server), "uwsgi" if server == "uwsgi" else "http"

    def welcomes() -> bool:
        return "Welcome to the shop" in answer(alone, "/run/shop/shop.sock", "/", protocol)

    if manager == "supervisor":
        alone.run("systemctl disable --now shop; rm -f /etc/systemd/system/shop.service; systemctl daemon-reload")
        play = with_supervisor(play)
    assert play_on(play).status == 0
    # Under supervisor, a server that runs is not yet one that is ready.
    wait_until(welcomes, 30)
    assert unchanged(play_on(play), alone)
    before = processes(alone)
    play["vars"][f"{server}_services"][0]["workers"] += 2
    assert play_on(play).status == 0
    wait_until(lambda: processes(alone) == before + 2, 20)
    wait_until(welcomes, 30)
    if manager == "supervisor":
        alone.run("supervisorctl stop shop; rm -f /etc/supervisor/conf.d/shop.conf; supervisorctl update")


def test_without_become_a_role_names_the_account_and_the_remedy(alone: Place, play_on: Callable[..., Run]) -> None:
    for role in ("nginx", "systemd"):
        play: dict[str, Any] = {**example(role), "become": False}
        play["tasks"] = play.get("tasks", [])[-1:]
        told = play_on(play).failure(alone.name)
        assert told.startswith(f"the tasks don't run as root on {alone.name}, but as 'deploy'. Set become: true")


@pytest.mark.matrix
@pytest.mark.parametrize("role", ["systemd", "supervisor", "python", "nginx"])
def test_a_role_does_what_its_example_says(role: str, alone: Place, play_on: Callable[..., Run]) -> None:
    for play in plays(role):
        assert play_on(copy.deepcopy(play)).status == 0
        assert unchanged(play_on(copy.deepcopy(play)), alone)
    if role in ("systemd", "supervisor"):
        assert "beat" in alone.run("ps -o args= -u beat")
        alone.run("systemctl disable --now beat supervisor || true")
    if role == "nginx":
        assert alone.ask("/static/none", headers={"Host": "shop.example.com"}).status_code == 404


@pytest.mark.matrix
def test_webapp_alone_switches_to_a_new_release(alone: Place, play_on: Callable[..., Run]) -> None:
    """After a play with the other roles has installed uv and the service of the application."""

    def live() -> str:
        return answer(alone, "/srv/webapps/shop/current.sock", "/answer")

    # The examples of the app servers have an account of this name, which the role refuses to take.
    alone.run("systemctl disable --now shop supervisor; pkill -u shop; sleep 1; userdel shop; rm -rf /opt/shop || true")
    play = example("webapp")
    assert play_on(play).status == 0
    assert live() == "one"
    only = {**play, "tasks": [{"ansible.builtin.import_role": {"name": "pyweb.stack.webapp"}}]}
    assert unchanged(play_on(only), alone)
    assert play_on(only, "two").status == 0
    assert live() == "two"
