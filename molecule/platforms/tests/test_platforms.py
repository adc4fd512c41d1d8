# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The site on the oldest Debian and on a host that behaves like Ubuntu: answers, a change, a rollback, the sandbox."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import urllib3
import urllib3.exceptions
from pyweb_places import Place, everywhere

HELLO = Path(__file__).resolve().parents[3] / "examples" / "hello"
TLS = "emperor.example.com"


pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


def page_over_tls(address: str, path: str) -> urllib3.BaseHTTPResponse:
    """The response of the application that has a certificate of the host's own authority."""
    pool = urllib3.HTTPSConnectionPool(address, 443, cert_reqs="CERT_NONE", server_hostname=TLS, timeout=10)
    return pool.request("GET", path, headers={"Host": TLS}, retries=False)


def lines_of_hello(place: Place) -> str:
    return place.ask("/facts").json()["release"]


def test_both_applications_answer(http, facts):
    assert "It works" in http("/").text
    assert http("/static/style.css").status_code == 200
    assert http("/", headers={"Host": TLS}).headers["Location"] == f"https://{TLS}/"
    assert page_over_tls(facts.address, "/healthz").status == 200
    assert b"uwsgi" in page_over_tls(facts.address, "/").data.lower()


@pytest.mark.attack("low", "A visitor without the name of a site completes a TLS handshake")
def test_a_handshake_for_an_unknown_host_is_rejected(facts):
    pool = urllib3.HTTPSConnectionPool(facts.address, 443, cert_reqs="CERT_NONE", server_hostname="other.example.com")
    with pytest.raises(urllib3.exceptions.SSLError):
        pool.request("GET", "/", retries=False)


def test_http2_is_on_by_the_word_that_this_nginx_knows(host, facts):
    found = host.check_output("nginx -T 2>&1")
    version = tuple(int(number) for number in re.findall(r"\d+", host.check_output("nginx -v 2>&1"))[:3])
    assert ("http2 on;" in found) == (version >= (1, 25, 1))
    assert ("ssl http2;" in found) == (version < (1, 25, 1))
    assert ("keepalive_min_timeout" in found) == (version >= (1, 27, 4))
    assert "[warn]" not in found


def test_systemd_knows_every_directive_of_the_units(host, facts):
    if facts.init != "systemd":
        # Two web processes, a background process, and cron, nginx and the program that starts all after a boot.
        assert host.run("supervisorctl status").stdout.count("RUNNING") == 6
        return
    release = host.check_output("basename $(readlink /srv/webapps/hello/current)")
    unit = f"hello@{release}.service"
    shown = host.check_output(f"systemctl show {unit} -p ProtectProc,ProtectSystem,SystemCallFilter,KeyringMode")
    assert "ProtectProc=invisible" in shown
    assert "ProtectSystem=strict" in shown
    assert "KeyringMode=private" in shown
    assert re.search(r"SystemCallFilter=.*\bread\b", shown)
    complaints = host.run("journalctl --boot --no-pager --grep 'Unknown (key|lvalue|section)' _PID=1").stdout
    assert "pyweb" not in complaints
    assert "hello" not in complaints


def test_a_change_is_deployed_and_rolled_back(places: list[Place], run_playbook, tmp_path_factory):
    copy = tmp_path_factory.mktemp("changed") / "hello"
    shutil.copytree(HELLO, copy)
    with (copy / "hello.py").open("a") as stream:
        stream.write("\nCHANGED = True\n")
    before = everywhere(lines_of_hello, places)
    run = run_playbook("pyweb.stack.site", {"hello": str(copy)}, timeout=900)
    assert run.status == 0, run.output
    # One line for each system that is not tested, none for Debian 11.
    said = sorted(re.findall(r"Hosts with (.+): expected to work, but not tested", run.output))
    assert said == ["Debian GNU/Linux forky", "Ubuntu 24.04"], run.output
    after = everywhere(lines_of_hello, places)
    assert all(old != new for old, new in zip(before, after, strict=True))
    run = run_playbook("pyweb.stack.rollback", {"app": "hello"}, timeout=900)
    assert run.status == 0, run.output
    assert everywhere(lines_of_hello, places) == before
    assert all(page_over_tls(place.address, "/healthz").status == 200 for place in places)


# Holds the lock as unattended upgrades do, with their name, until apt has waited for it for some seconds.
HOLDER = """
import contextlib, fcntl, glob, time

def runs(program):
    for path in glob.glob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if open(path).read().strip() == program:
                return True

open("/proc/self/comm", "w").write("unattended-upgr")
with open("/var/lib/dpkg/lock-frontend", "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    end = time.monotonic() + 250
    while time.monotonic() < end and not runs("apt-get"):
        time.sleep(1)
    time.sleep(5)
"""


def test_a_run_waits_for_unattended_upgrades_and_names_them(places: list[Place], run_playbook):
    place = next(place for place in places if place.name == "platforms-ubuntu")
    holder = place.begin(f"python3 -c {shlex.quote(HOLDER)}")
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    run = run_playbook("pyweb.stack.site", {"python_packages": ["tree"]}, "--limit", place.name, timeout=900)
    assert run.status == 0, run.output
    assert holder.wait(300) == 0
    assert re.search(r"platforms-ubuntu: apt is in use by unattended-upgr \(process \d+\)", run.output), run.output
    assert place.run("dpkg-query --show tree")


def test_needrestart_has_not_stopped_an_installation(host, facts):
    if not facts.variables.get("like_ubuntu"):
        pytest.skip("needrestart is on another host")  # reason: only the host like Ubuntu has it
    assert host.package("needrestart").is_installed
    assert host.check_output("dpkg --audit") == ""
