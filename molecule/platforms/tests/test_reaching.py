# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Other ways to reach a host and to become root there, and a host that is locked down. They run after the others."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyweb_places import Place

HELLO = Path(__file__).resolve().parents[3] / "examples" / "hello"
NAME = "platforms-ubuntu"
SUDO = "/etc/sudoers.d/deploy"
# A proxy that writes down what it is asked, and refuses it.
PROXY = """
import os, socket
with open("/run/asked-proxy.pid", "w") as stream:
    stream.write(str(os.getpid()))
with socket.create_server(("127.0.0.1", 3142)) as server:
    print("listening", flush=True)
    while True:
        client, _ = server.accept()
        with client:
            asked = client.recv(4096).split(b"\\r\\n")[0]
            with open("/run/asked-proxy", "ab") as stream:
                stream.write(asked + b"\\n")
            client.sendall(b"HTTP/1.1 403 Forbidden\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
"""


@pytest.fixture(scope="module")
def place(scenario_inventory: str) -> Place:
    return Place(NAME, Path(scenario_inventory))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(HELLO, tmp_path_factory.mktemp("reaching") / "hello"))


@pytest.fixture(scope="module")
def site(run_playbook: Callable[..., Any], source: Path) -> Callable[..., Any]:
    """Runs the site playbook on this host with connection variables."""

    def run(**variables: Any) -> Any:
        return run_playbook("pyweb.stack.site", {"hello": str(source), **variables}, "--limit", NAME, timeout=900)

    return run


def as_account(place: Place, command: str, *options: str, given: str = "") -> None:
    """Run a command on the host as the account of Ansible."""
    program, *words, _command = place.command("")
    argv = [program, *options, *words, command]
    subprocess.run(argv, input=given, text=True, capture_output=True, check=True, timeout=60)


@contextmanager
def changed(place: Place, before: str, after: str) -> Iterator[None]:
    """Change the host for the time of a test."""
    place.run(before)
    try:
        yield
    finally:
        place.run(after)


def assert_unchanged(run: Any) -> None:
    assert run.status == 0, run.output
    assert run.counts(NAME)["changed"] == 0


def test_a_locked_down_host_gets_a_release(place: Place, site: Callable[..., Any], source: Path) -> None:
    """With a small /tmp from which nothing runs, hidden processes, and a /usr that is read-only."""
    locked = """
        set -e
        mount -t tmpfs -o noexec,nosuid,nodev,size=16m tmpfs /tmp
        mount -o remount,hidepid=2 /proc
        mount --bind /usr /usr && mount -o remount,ro,bind /usr
        ! touch /usr/probe
    """
    free = "mount -o remount,rw,bind /usr; mount -o remount,hidepid=0 /proc; umount --lazy /tmp"
    release = place.ask("/facts").json()["release"]
    with changed(place, locked, free):
        with (source / "hello.py").open("a") as stream:
            stream.write("\nLOCKED_DOWN = True\n")
        run = site()
        assert run.status == 0, run.output
        assert place.ask("/facts").json()["release"] != release
        assert_unchanged(site())


def test_the_properties_of_ubuntu_are_those_of_this_host(place: Place) -> None:
    """prepare.yml has made them before the first run, so that all tests had them."""
    assert "Paket" in place.run("LC_ALL=de_DE.UTF-8 apt-get install no-such-package 2>&1", check=False)
    assert "+0545" in place.run("date +%z")
    assert "adm" in place.run("id --name --groups www-data")
    assert place.run("cat /etc/apt/sources.list.d/debian.sources").startswith("Types: deb")
    assert place.run("test -e /etc/apt/sources.list || echo gone") == "gone\n"


def test_su_and_sudo_with_a_password_work(place: Place, site: Callable[..., Any]) -> None:
    passwords = f"""
        set -e
        echo 'deploy:of-the-account' | chpasswd
        echo 'root:of-root' | chpasswd
        echo 'deploy ALL=(ALL:ALL) ALL' > {SUDO}.new
        chmod 440 {SUDO}.new
    """
    assert_unchanged(site())
    place.run(passwords)
    assert_unchanged(site(ansible_become_method="su", ansible_become_password="of-root"))
    # Only for the next run: without a password, no test can undo it.
    place.run(f"cp {SUDO} /run/sudo-of-deploy; mv {SUDO}.new {SUDO}")
    try:
        assert_unchanged(site(ansible_become_password="of-the-account"))
        refused = site()
    finally:
        back = f"sudo -S -p '' sh -c {shlex.quote(f'cp /run/sudo-of-deploy {SUDO}; chmod 440 {SUDO}')}"
        as_account(place, back, given="of-the-account\n")
    assert refused.status != 0
    # Its sudo speaks German, which Ansible does not understand.
    assert "--ask-become-pass" in refused.output


def test_sudo_that_asks_for_a_terminal_is_told_and_works_without_pipelining(
    place: Place, site: Callable[..., Any]
) -> None:
    place.run("echo 'Defaults requiretty' > /etc/sudoers.d/terminal")
    try:
        refused = site()
        works = site(ansible_pipelining=False)
    finally:
        as_account(place, "sudo rm /etc/sudoers.d/terminal", "-tt")
    assert refused.status != 0
    assert "Set ansible_pipelining: false" in refused.output
    assert_unchanged(works)


def test_a_host_is_reached_by_an_ipv6_address_behind_a_jump_host(place: Place, site: Callable[..., Any]) -> None:
    reached = place.reached
    options = reached["ansible_ssh_common_args"].replace("%C", "jump-%C")
    program, *words, _command = place.command("")
    # ssh replaces %h and %p there, but it does not know the %C of the path.
    words = ["ControlPath=none" if word.startswith("ControlPath=") else word for word in words]
    jump = shlex.join([program, "-W", "[%h]:%p", *words])
    run = site(ansible_host="::1", ansible_ssh_common_args=f"{options} -o {shlex.quote(f'ProxyCommand={jump}')}")
    assert run.status == 0, run.output
    assert "http://[::1]/" in run.output


def test_packages_come_through_the_proxy_of_apt(place: Place, site: Callable[..., Any]) -> None:
    holder = place.begin(f"exec python3 -c {shlex.quote(PROXY)}")
    assert holder.stdout
    assert holder.stdout.readline() == "listening\n"
    setting = 'Acquire::http::Proxy "http://127.0.0.1:3142";\nAcquire::https::Proxy "http://127.0.0.1:3142";\n'
    place.run("cat > /etc/apt/apt.conf.d/99proxy", given=setting)
    try:
        run = site(python_packages=["bc"])
    finally:
        place.run("rm /etc/apt/apt.conf.d/99proxy; kill $(cat /run/asked-proxy.pid)")
        holder.wait(60)
    assert run.status != 0
    assert "HTTP/1.1" in place.run("cat /run/asked-proxy")
    assert "403" in run.output
