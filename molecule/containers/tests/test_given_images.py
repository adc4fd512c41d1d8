# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications that come with their image: from an archive, from a registry, and with the command of the image."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyweb_places import Place, everywhere

Playbook = Callable[..., Any]

MAKER = Path(__file__).with_name("given_image.py").read_text()
LOAD = Path(__file__).parents[3] / "tests" / "load" / "load.py"
BOXED = {"Host": "boxed.example.com"}
LOGIN = {"username": "ann", "password": "s3cret", "plain_http": True}
SERVE = "gunicorn --bind 0.0.0.0:8000 boxed:app"
# Another package of the host could have it already.
REGISTRY = """version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}}
http: {addr: ':5000'}
auth: {htpasswd: {realm: registry, path: /etc/docker/registry/accounts}}
"""
# The password s3cret, with the fewest rounds.
ACCOUNTS = "ann:$2b$04$isHzU19dvbGDpIahxQomIOS72F/HtQHEBfBzgNWovdUVPR0jHxJvm\n"


def make(place: Place, *words: str) -> None:
    place.run(f"python3 - {' '.join(map(shlex.quote, words))}", given=MAKER, timeout=300)


def archive(place: Place, folder: Path, version: str, command: str = SERVE) -> Path:
    """The archive of an image on the controller."""
    path = folder / f"{version}.tar"
    make(place, "archive", f"/var/tmp/{version}.tar", version, *command.split())
    with path.open("wb") as stream:
        subprocess.run(place.command(f"cat /var/tmp/{version}.tar"), stdout=stream, check=True, timeout=300)
    return path


def start_registry(place: Place) -> str:
    """A registry with an account; its address."""
    place.run("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy docker-registry", timeout=300)
    place.run("cat >/etc/docker/registry/config.yml", given=REGISTRY)
    place.run("cat >/etc/docker/registry/accounts", given=ACCOUNTS)
    place.run("systemctl restart docker-registry && sleep 2 && systemctl is-active docker-registry")
    return f"{place.address}:5000"


def wanted(image: str, **more: Any) -> dict[str, Any]:
    registry = {} if image.startswith("/") else {"registry": more.pop("registry", LOGIN)}
    return {"boxed_source": {"image": image, **registry}, "boxed_container": {}, "greeting": "given", **more}


def deploy(run_playbook: Playbook, given: dict[str, Any] | None = None) -> Any:
    """Run the playbook site. Hosts that share few processors take long to unpack an image."""
    return run_playbook("pyweb.stack.site", given or {}, timeout=900)


def version(place: Place) -> str:
    return place.ask("/slow?seconds=0", headers=BOXED).text.strip()


def state(place: Place) -> tuple[str, str, str]:
    return (
        place.ask("/", headers=BOXED).text,
        place.run("ls /srv/webapps/.images"),
        place.run("ls /srv/webapps/boxed/releases"),
    )


def succeeded(run: Any) -> None:
    assert run.status == 0, run.output[-3000:]


@contextlib.contextmanager
def load(places: list[Place]) -> Iterator[None]:
    """Requests to all hosts during a deployment, none of which may fail."""
    words = ["--host", BOXED["Host"], "--rate", "20", "--seconds", "1800", "--slow", "1"]
    clients = [
        subprocess.Popen([sys.executable, str(LOAD), f"http://{place.address}/", *words], stdout=subprocess.PIPE)
        for place in places
    ]
    try:
        time.sleep(1)
        yield
        time.sleep(1)
    finally:
        for client in clients:
            client.send_signal(signal.SIGTERM)
        said = [client.communicate(timeout=60)[0].decode() for client in clients]
    assert [client.returncode for client in clients] == [0, 0], said


@pytest.mark.matrix(whole=True)
def test_an_archive_of_an_image_is_deployed_and_rolled_back(
    places: list[Place], run_playbook: Playbook, tmp_path: Path
) -> None:
    succeeded(deploy(run_playbook))
    # One image for hosts with different systems.
    path = archive(places[0], tmp_path, "one")
    with load(places):
        succeeded(deploy(run_playbook, wanted(str(path))))
        assert everywhere(version, places) == ["one", "one"]
        for place in places:
            found = place.ask("/seen", headers=BOXED).json()
            assert (found["debian"], found["account"], found["there"]) == ("bookworm", "boxed", [])
            assert found["writable"] == ["data", "/tmp"]
            assert "given1-" in place.run("ls /srv/webapps/.images")
            place.run("systemctl start boxed.tick.service")
            assert " bookworm " in place.ask("/notes", headers=BOXED).text.splitlines()[-1]
            assert place.run("find /srv/webapps/.images/given1-*/root -perm /6000 -o ! -user root") == ""
        again = deploy(run_playbook, wanted(str(path)))
        succeeded(again)
        assert [again.counts(place.name)["changed"] for place in places] == [0, 0]
        succeeded(run_playbook("pyweb.stack.verify", wanted(str(path))))
        succeeded(run_playbook("pyweb.stack.rollback", {"app": "boxed", "confirm": "boxed"}))
        assert everywhere(version, places) == ["slow", "slow"]
    succeeded(deploy(run_playbook, {"release_hold": False, **wanted(str(path))}))
    assert everywhere(version, places) == ["one", "one"]


@pytest.mark.matrix(whole=True)
def test_a_tag_of_a_registry_is_deployed_when_it_names_another_image(
    places: list[Place], run_playbook: Playbook, tmp_path: Path
) -> None:
    succeeded(deploy(run_playbook, {"release_hold": False}))
    address = start_registry(places[0])
    for number in ("one", "two", "three"):
        make(places[0], "archive", f"/var/tmp/{number}.tar", number, *SERVE.split())
    image = f"{address}/team/shop:1"
    with load(places):
        for number in ("one", "two"):
            make(places[0], "push", f"/var/tmp/{number}.tar", address, "team/shop", "1")
            succeeded(deploy(run_playbook, wanted(image)))
            assert everywhere(version, places) == [number, number]
        # The command of the image inherits the socket, whatever it binds.
        succeeded(deploy(run_playbook, wanted(image, boxed_server="image")))
        assert everywhere(version, places) == ["two", "two"]
        before = everywhere(state, places)
        again = deploy(run_playbook, wanted(image, boxed_server="image"))
        assert [again.counts(place.name)["changed"] for place in places] == [0, 0]
    # The log has the commands of this test, too.
    for place in places:
        assert place.run("grep -rl 's3cre[t]' /srv/webapps /etc/systemd /run/pyweb /var/log 2>/dev/null || true") == ""

    mistakes = {
        "has not got the image": wanted(f"{address}/team/shop:2"),
        "refuses the image": wanted(image, registry={**LOGIN, "password": "wr0ng"}),
        "does not answer for the image": wanted(f"{places[0].address}:5001/team/shop:1"),
    }
    for words, given in mistakes.items():
        run = deploy(run_playbook, given)
        assert run.status != 0
        assert words in run.output, run.output[-3000:]
        assert "wr0ng" not in run.output
        assert "s3cret" not in run.output
        assert everywhere(state, places) == before

    make(places[0], "archive", "/var/tmp/port.tar", "port", "python3", "-m", "http.server", "8000")
    make(places[0], "push", "/var/tmp/port.tar", address, "team/shop", "port")
    run = deploy(run_playbook, wanted(f"{address}/team/shop:port", boxed_server="image"))
    assert run.status != 0
    # The first batch has one host. The other one keeps its release.
    first, other = (run.failure(place.name) for place in places)
    assert "it listens on the port 8000 instead" in first, run.output[-3000:]
    assert "descriptor 3" in first
    assert f"it failed on {places[0].name}, so this host does not switch" in other
    assert everywhere(version, places) == ["two", "two"]
    succeeded(deploy(run_playbook, {"release_hold": False}))
