# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Certificates in the transaction, against a real nginx on loopback, with real handshakes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.certificates import Certificates
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.renewal import Renewal, program
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import Nginx
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction
from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import Authority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import fingerprint, inspect
from ansible_collections.pyweb.stack.plugins.module_utils.tls.files import read
from ansible_collections.pyweb.stack.plugins.module_utils.tls.serving import served
from ansible_collections.pyweb.stack.plugins.module_utils.tls.signing import HostAuthority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store, Wanted
from certificate_factory import Made, make
from nginx_instance import BINARY, Instance, free_port, killed_at, needs_nginx

pytestmark = [
    needs_nginx,
    pytest.mark.skipif(
        shutil.which("openssl") is None, reason="openssl is not installed here: apt-get install openssl"
    ),
]

NAMES = ["shop.example.com", "www.shop.example.com"]


class Secure:
    """A site with TLS on an instance of its own."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.port = free_port()
        self.folder = instance.conf / "pyweb/certificates"

    def site(self, answer: str, names: str = "shop.example.com") -> str:
        return f"""\
server {{
    listen 127.0.0.1:{self.instance.port};
    return 200 "plain";
}}
#@ if certificate:shop
server {{
    listen 127.0.0.1:{self.port} ssl;
    server_name {names};
    ssl_certificate @CERTIFICATES@/shop.pem;
    ssl_certificate_key @CERTIFICATES@/shop.pem;
    return 200 "{answer}";
}}
#@ end
"""

    def item(self, mode: str = "selfsigned", **more: Any) -> dict[str, Any]:
        return {
            "name": "shop",
            "mode": mode,
            "names": NAMES,
            "port": self.port,
            "http_port": self.instance.port,
            "certificate": "",
            "key": "",
            "certificate_path": "",
            "key_path": "",
        } | more

    def transaction(self, item: dict[str, Any], answer: str = "one", **params: Any) -> Transaction:
        given = self.instance.params({"shop": self.site(answer)})
        return Transaction(given | {"certificates": [item]} | params, BINARY, run_command)

    def run(self, item: dict[str, Any], answer: str = "one", check_mode: bool = False, **params: Any) -> dict[str, Any]:
        return self.transaction(item, answer, **params).run(check_mode)

    def get(self, ca: str | None = None, name: str = NAMES[0]) -> str:
        """The response to a browser that trusts the given authority, or by default the one of this test."""
        context = ssl.create_default_context(cafile=ca or str(self.folder / "ca.crt"))
        with (
            socket.create_connection(("127.0.0.1", self.port), 5) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            secure.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            answer = b""
            while data := secure.recv(4096):
                answer += data
            return answer.partition(b"\r\n\r\n")[2].decode()

    def fingerprint(self) -> str | None:
        return served(self.port, NAMES[0])


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    tmp_path.chmod(0o755)
    instance = Instance(tmp_path)
    yield Secure(instance)
    instance.stop()


def test_a_browser_that_trusts_the_authority_of_the_host_trusts_every_name_of_the_site(secure: Secure) -> None:
    outcome = secure.run(secure.item())
    assert outcome["ca"] == str(secure.folder / "ca.crt")
    assert [secure.get(name=name) for name in NAMES] == ["one", "one"]
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        secure.get(name="other.example.com")
    assert oct(os.stat(secure.folder / "shop.pem").st_mode)[-4:] == "0600"
    assert oct(os.stat(secure.folder / "ca.key").st_mode)[-4:] == "0600"


def test_check_and_run_tell_the_same_of_a_certificate_and_a_second_run_changes_nothing(secure: Secure) -> None:
    outcomes = [secure.run(secure.item(), check_mode=check) for check in (True, False, True, False)]
    assert [outcome["changed"] for outcome in outcomes] == [True, True, False, False]
    assert outcomes[0]["actions"] == outcomes[1]["actions"]
    assert "install certificate shop" in outcomes[0]["actions"]
    assert outcomes[0]["diff"] == outcomes[1]["diff"]
    assert "PRIVATE" not in json.dumps(outcomes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"names": [*NAMES, "new.example.com"]}, "it lacks new.example.com"),
        ({"mode": "provided"}, "another one is given"),
    ],
)
def test_a_certificate_that_will_not_do_any_more_is_replaced_and_served(
    secure: Secure, change: dict[str, Any], why: str
) -> None:
    secure.run(secure.item())
    before = secure.fingerprint()
    given = make(["shop.example.com", "*.shop.example.com"])
    if change.get("mode") == "provided":
        change = change | {"certificate": given.certificate, "key": given.key}
    outcome = secure.run(secure.item() | change)
    assert outcome["actions"] == ["install certificate shop", "reload"]
    assert any(why in diff["after"] for diff in outcome["diff"])
    assert secure.fingerprint() not in (None, before)


def test_an_authority_of_the_inventory_signs_instead_of_one_of_the_host(secure: Secure, tmp_path: Path) -> None:
    secure.run(secure.item())
    ca = make([], authority=True)
    params = {"ca_certificate": ca.certificate, "ca_key": ca.key}
    assert secure.run(secure.item(), **params)["actions"] == ["install certificate shop", "reload"]
    (tmp_path / "ca.crt").write_text(ca.certificate)
    assert secure.get(ca=str(tmp_path / "ca.crt")) == "one"
    assert not secure.run(secure.item(), **params)["changed"]


def test_a_configuration_that_nginx_refuses_takes_the_certificate_back_as_well(secure: Secure) -> None:
    secure.run(secure.item())
    before = (read(str(secure.folder / "shop.pem")), secure.fingerprint())
    with pytest.raises(NginxError, match="invalid number of arguments"):
        secure.run(secure.item(names=["other.example.com"]), answer='" foo bar "')
    assert (read(str(secure.folder / "shop.pem")), secure.fingerprint()) == before
    assert secure.get() == "one"


def shadow(secure: Secure) -> str:
    """A site of the same tree with the same name. nginx only warns, and uses the first of them."""
    other = make(NAMES)
    (secure.instance.folder / "other.pem").write_text(other.certificate + other.key)
    return (
        f"server {{ listen 127.0.0.1:{secure.port} ssl; server_name shop.example.com;\n"
        f"ssl_certificate {secure.instance.folder}/other.pem;\n"
        f"ssl_certificate_key {secure.instance.folder}/other.pem; }}\n"
    )


def test_a_tree_whose_certificate_is_not_served_is_not_served_either(secure: Secure) -> None:
    secure.run(secure.item())
    port = free_port()
    sites = {"first": shadow(secure), "shop": secure.site("two"), "third": secure.instance.site("more", port)}
    params = secure.instance.params(sites) | {"certificates": [secure.item()]}
    with pytest.raises(NginxError, match="serves another certificate for"):
        Transaction(params, BINARY, run_command).run(check_mode=False)
    assert wait_for(lambda: secure.instance.refuses(port), 20), "nginx still serves the tree that was rolled back"


def test_a_certificate_that_another_server_shadows_is_noticed_and_taken_back(secure: Secure) -> None:
    sites = {"first": shadow(secure), "shop": secure.site("one")}
    params = secure.instance.params(sites) | {"certificates": [secure.item()]}
    with pytest.raises(NginxError, match="serves another certificate for"):
        Transaction(params, BINARY, run_command).run(check_mode=False)
    assert not (secure.folder / "shop.pem").exists()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step"),
    [(HostAuthority, "sign"), (Certificates, "put_in_place"), (Nginx, "reload"), (Certificates, "verify")],
    ids=["sign", "put_in_place", "reload", "verify"],
)
def test_a_run_that_is_killed_while_it_changes_a_certificate_is_healed(
    secure: Secure, owner: type, step: str, before: bool
) -> None:
    secure.run(secure.item())
    wanted = secure.item(names=[*NAMES, "new.example.com"])
    killed_at(owner, step, before, lambda: secure.run(wanted))
    assert secure.get() == "one"
    secure.run(wanted)
    assert secure.fingerprint() == fingerprint(str(read(str(secure.folder / "shop.pem"))))
    found = inspect(*[str(read(str(secure.folder / "shop.pem")))] * 2)
    assert found.covers("new.example.com")
    assert not secure.run(wanted)["changed"]
    assert sorted(path.name for path in secure.folder.iterdir()) == ["ca.crt", "ca.key", "shop.pem"]


def test_a_pending_reload_is_done(secure: Secure, tmp_path: Path) -> None:
    """A renewal on the host, or a run that ended before its reload, leaves one."""
    paths = {"certificate_path": str(tmp_path / "host.crt"), "key_path": str(tmp_path / "host.key")}
    for number in (1, 2):
        given = make(NAMES)
        (tmp_path / "host.crt").write_text(given.certificate)
        (tmp_path / "host.key").write_text(given.key)
        site = secure.site("one").replace("@CERTIFICATES@/shop.pem", paths["certificate_path"], 1)
        site = site.replace("@CERTIFICATES@/shop.pem", paths["key_path"])
        params = secure.instance.params({"shop": site}) | {"certificates": [secure.item("provided", **paths)]}
        outcome = Transaction(params, BINARY, run_command).run(check_mode=False)
        assert outcome["actions"][-1] == ("start" if number == 1 else "reload")
        assert secure.fingerprint() == fingerprint(given.certificate)
        assert not Transaction(params, BINARY, run_command).run(check_mode=False)["changed"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"expired": True}, "has expired on"),
        ({"names": ["shop.example.com"]}, "but the site also answers to www.shop.example.com"),
        ({"other_key": True}, "its key belongs to another certificate"),
    ],
)
def test_a_given_certificate_that_will_not_do_changes_nothing(
    secure: Secure, wrong: dict[str, Any], words: str
) -> None:
    secure.run(secure.item())
    before = secure.fingerprint()
    given = make(wrong.get("names", NAMES), expired=wrong.get("expired", False))
    key = make(NAMES).key if "other_key" in wrong else given.key
    for check in (True, False):
        with pytest.raises(NginxError, match=words) as caught:
            secure.run(secure.item("provided", certificate=given.certificate, key=key), check_mode=check)
        assert "site 'shop'" in str(caught.value)
        assert "Nothing was changed" in str(caught.value)
    assert (secure.fingerprint(), secure.get()) == (before, "one")


@pytest.mark.parametrize("place", ["given", "on the host"])
def test_a_deployed_certificate_that_has_expired_stops_no_other_change(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    given = make(NAMES, days=30)
    paths = {"certificate_path": str(tmp_path / "host.crt"), "key_path": str(tmp_path / "host.key")}

    def put(made: Made) -> dict[str, Any]:
        if place == "given":
            return secure.item("provided", certificate=made.certificate, key=made.key)
        (tmp_path / "host.crt").write_text(made.certificate)
        (tmp_path / "host.key").write_text(made.key)
        return secure.item("provided", **paths)

    def run(item: dict[str, Any], answer: str) -> Transaction:
        site = secure.site(answer)
        if place != "given":
            site = site.replace("@CERTIFICATES@/shop.pem", paths["certificate_path"], 1)
            site = site.replace("@CERTIFICATES@/shop.pem", paths["key_path"])
        params = secure.instance.params({"shop": site}) | {"certificates": [item]}
        transaction = Transaction(params, BINARY, run_command)
        transaction.run(check_mode=False)
        return transaction

    run(put(given), "one")
    later = time.time() + 60 * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    transaction = run(put(given), "two")
    assert secure.fingerprint() == fingerprint(given.certificate)
    assert any("'shop' has ended on" in warning for warning in transaction.warnings)
    # A run that brings another one is refused still.
    with pytest.raises(NginxError, match="it has expired on"):
        run(put(make(NAMES, days=31)), "three")
    assert secure.fingerprint() == fingerprint(given.certificate)


def test_a_certificate_that_ends_soon_is_told_and_one_with_time_is_not(secure: Secure) -> None:
    for days, told in ((20, True), (40, False)):
        given = make(NAMES, days=days)
        transaction = secure.transaction(secure.item("provided", certificate=given.certificate, key=given.key))
        transaction.run(check_mode=False)
        assert any("ends in" in warning and "'shop'" in warning for warning in transaction.warnings) is told


@pytest.mark.attack("low", "Another account reads a private key with wrong modes")
def test_a_key_that_others_could_read_is_protected_again_and_told(secure: Secure) -> None:
    secure.run(secure.item())
    for name in ("shop.pem", "ca.key"):
        (secure.folder / name).chmod(0o644)
    assert len(secure.run(secure.item(), check_mode=True)["actions"]) == 2
    transaction = secure.transaction(secure.item())
    assert transaction.run(False)["actions"] == [f"protect {secure.folder}/{name}" for name in ("shop.pem", "ca.key")]
    assert sum("replace that key" in warning for warning in transaction.warnings) == 2
    assert [oct(os.stat(secure.folder / name).st_mode)[-4:] for name in ("shop.pem", "ca.key")] == ["0600"] * 2
    assert not secure.run(secure.item())["changed"]


def test_a_site_of_an_application_that_failed_keeps_its_certificate_and_its_renewal(secure: Secure) -> None:
    def run(answer: str, names: list[str], **more: Any) -> dict[str, Any]:
        place = "location /app { proxy_pass http://unix:/srv/webapps/shop/current.sock; }"
        site = f"# Owner: webapps\n{secure.site(answer, names[0]).replace('return', f'{place} return')}"
        given = secure.instance.params({"shop": site}) | {"certificates": [secure.item(names=names)]} | more
        return Transaction(given | {"owners": ["webapps", "nginx_sites"]}, BINARY, run_command).run(False)

    run("one", NAMES)
    before = secure.fingerprint()
    run("two", ["new.example.com"], held=["shop"])
    assert secure.get() == "one"
    assert secure.fingerprint() == before
    # The next run that builds the application serves the new domain.
    run("two", ["new.example.com"])
    assert secure.get(name="new.example.com") == "two"


def test_the_renewal_of_a_site_that_stays_is_listed_once_with_its_own_names(tmp_path: Path) -> None:
    store = Store(str(tmp_path), str(tmp_path), Authority("", "", ""))

    def renewal(names: tuple[str, ...]) -> Renewal:
        wanted = Wanted("shop", "selfsigned", names, 443, 80)
        return Renewal({"service": "", "timer": ""}, True, {}, Certificates(store, [wanted]), run_command)

    (tmp_path / "plan.json").write_text(json.dumps(renewal(("old.example.com",)).plan))
    now = renewal(("new.example.com",))
    now.keep({"shop"})
    assert [one["names"] for one in now.plan["certificates"]] == [["old.example.com"]]
    now.keep(set())
    assert [tuple(one["names"]) for one in now.plan["certificates"]] == [("new.example.com",)]


def test_a_certificate_of_a_site_that_is_gone_is_removed_with_its_key(secure: Secure) -> None:
    secure.run(secure.item())
    secure.instance.run(shop=secure.instance.site("plain"))
    assert not (secure.folder / "shop.pem").exists()


# --- ACME, as far as it goes without an authority (the scenario tls has one) ---------------------------------------


def dehydrated(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A fake ACME client that runs the script of a test."""
    (folder / "bin").mkdir()
    program = folder / "bin/dehydrated"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")


def challenge_site(secure: Secure) -> str:
    listen = f"listen 127.0.0.1:{secure.instance.port};"
    text = secure.site("one").replace('return 200 "plain";', 'location / { return 200 "plain"; }')
    return text.replace(listen, f"{listen}\n    location ^~ /.well-known/acme-challenge/ {{ alias @CHALLENGES@/; }}")


def acme(secure: Secure, fetch: bool, check_mode: bool = False) -> dict[str, Any]:
    params = secure.instance.params({"shop": challenge_site(secure)})
    if os.geteuid() == 0:  # only root can open pytest's folder
        params["files"][0]["content"] = "user root;\n" + params["files"][0]["content"]
    params |= {
        "certificates": [secure.item("acme")],
        "acme": {"directory": "https://authority.test/dir", "email": "", "ca_bundle": ""},
        "fetch": fetch,
    }
    return Transaction(params, BINARY, run_command).run(check_mode)


def authority(tmp_path: Path, secure: Secure, monkeypatch: pytest.MonkeyPatch) -> tuple[Made, Path]:
    """A fake ACME client that gets this certificate and records each order in a file."""
    given, orders = make(NAMES), tmp_path / "orders"
    (tmp_path / "chain").write_text(given.certificate)
    (tmp_path / "key").write_text(given.key)
    folder = f"{secure.instance.folder}/state/acme/certificates/shop"
    script = (
        f"mkdir -p {folder} && cp {tmp_path}/chain {folder}/fullchain.pem && cp {tmp_path}/key {folder}/privkey.pem"
    )
    dehydrated(tmp_path, monkeypatch, f"echo order >>{orders}; {script}")
    return given, orders


def test_a_site_comes_up_over_http_then_gets_its_certificate(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _orders = authority(tmp_path, secure, monkeypatch)
    assert acme(secure, fetch=False)["due"] == ["shop"]
    assert (secure.instance.get(), secure.fingerprint()) == ("plain", None)
    assert acme(secure, fetch=True, check_mode=True)["actions"] == ["order certificate shop"]
    assert secure.fingerprint() is None
    assert acme(secure, fetch=True)["due"] == []
    assert secure.fingerprint() == fingerprint(given.certificate)
    assert not acme(secure, fetch=False)["changed"]


class HangsUp(socketserver.TCPServer):
    """Another server that holds the port, and closes every connection."""

    allow_reuse_address = True  # otherwise its closed connections would block the port for a minute


def test_a_certificate_that_nginx_could_not_serve_is_not_ordered_again(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authority issues the same certificate only a few times a week."""
    given, orders = authority(tmp_path, secure, monkeypatch)
    acme(secure, fetch=False)
    with HangsUp(("127.0.0.1", secure.port), socketserver.BaseRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        for _ in range(2):
            with pytest.raises(NginxError, match=f"Port {secure.port} is taken"):
                acme(secure, fetch=True)
            assert secure.instance.get() == "plain"
        other.shutdown()
    acme(secure, fetch=True)
    assert secure.fingerprint() == fingerprint(given.certificate)
    assert orders.read_text() == "order\n"
    assert not list((secure.instance.folder / "state/acme/unused").iterdir()), "there is a key but once"


def test_an_order_that_fails_leaves_http_and_says_what_the_authority_said(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dehydrated(tmp_path, monkeypatch, """echo 'ERROR: ["detail"]	"no valid A records found for shop"' >&2; exit 1""")
    acme(secure, fetch=False)
    with pytest.raises(NginxError) as caught:
        acme(secure, fetch=True)
    for word in ("site 'shop'", "no valid A records found for shop", "DNS", "port 80"):
        assert word in str(caught.value)
    assert (secure.instance.get(), secure.fingerprint()) == ("plain", None)


def test_nobody_is_asked_for_a_certificate_whose_proof_nginx_does_not_give(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dehydrated(tmp_path, monkeypatch, f"touch {tmp_path}/asked; exit 1")
    params = secure.instance.params({"shop": secure.site("one")}) | {
        "certificates": [secure.item("acme")],
        "fetch": True,
    }
    secure.instance.run(shop=secure.site("one"))
    with pytest.raises(NginxError, match="nginx itself does not answer"):
        Transaction(params, BINARY, run_command).run(check_mode=False)
    assert not (tmp_path / "asked").exists()


# --- the timer ----------------------------------------------------------------------------------------------------


def timer(secure: Secure, transaction: Transaction) -> subprocess.CompletedProcess[str]:
    """Run the timer's command with the plan that the transaction would write for it."""
    plan = Renewal(
        {"service": "", "timer": "", "cron": ""}, False, transaction.renewal.plan, transaction.certificates, run_command
    )
    (secure.instance.folder / "plan.json").write_text(json.dumps(plan.plan))
    path = secure.instance.folder / "certificates.pyz"
    path.write_bytes(program())
    # Without this virtual environment, because a host has only the system Python.
    return subprocess.run(
        [sys.executable, "-I", "-S", str(path), str(secure.instance.folder / "plan.json")],
        capture_output=True,
        text=True,
        check=False,
    )


def age(secure: Secure) -> None:
    """Put a certificate of the host's authority in place that is near its end."""
    store = Store(str(secure.folder), "", Authority())
    wanted = Wanted("shop", "selfsigned", tuple(NAMES), secure.port)
    old = make(NAMES, days=20, signer=(read(store.host_authority.path), read(store.host_authority.key_path)))
    (secure.folder / "shop.pem").write_text(store.source(wanted) + old.certificate + old.key)


def test_the_timer_renews_what_is_near_its_end_and_nginx_serves_it(secure: Secure) -> None:
    transaction = secure.transaction(secure.item())
    transaction.run(check_mode=False)
    answer = timer(secure, transaction)
    assert (answer.returncode, answer.stdout) == (0, "")
    age(secure)
    before = secure.fingerprint()
    answer = timer(secure, transaction)
    assert answer.returncode == 0, answer.stderr
    assert "shop: renewed, because it ends on" in answer.stdout
    assert secure.fingerprint() not in (None, before)
    assert secure.get() == "one"


def test_the_timer_takes_back_what_nginx_will_not_load_and_fails(secure: Secure) -> None:
    transaction = secure.transaction(secure.item())
    transaction.run(check_mode=False)
    age(secure)
    text, before = read(str(secure.folder / "shop.pem")), secure.fingerprint()
    (secure.instance.conf / "conf.d").mkdir()
    (secure.instance.conf / "conf.d/broken.conf").write_text("foo bar;\n")
    answer = timer(secure, transaction)
    assert answer.returncode == 1
    assert 'unknown directive "foo"' in answer.stderr
    assert "The previous certificates are back" in answer.stderr
    assert (read(str(secure.folder / "shop.pem")), secure.fingerprint()) == (text, before)


def test_the_timer_does_not_order_again_what_nginx_would_not_load(
    secure: Secure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, orders = authority(tmp_path, secure, monkeypatch)
    acme(secure, fetch=False)
    acme(secure, fetch=True)
    old = make(NAMES, days=20)
    path = secure.folder / "shop.pem"
    path.write_text(f"{path.read_text().splitlines()[0]}\n{old.certificate}{old.key}")
    secure.instance.reload_by_hand()
    params = secure.instance.params({"shop": challenge_site(secure)}) | {"certificates": [secure.item("acme")]}
    params["acme"] = {"directory": "https://authority.test/dir"}
    transaction = Transaction(params, BINARY, run_command)
    (secure.instance.conf / "conf.d").mkdir()
    broken = secure.instance.conf / "conf.d/broken.conf"
    broken.write_text("foo bar;\n")
    for _ in range(2):
        assert timer(secure, transaction).returncode == 1
        assert old.key in path.read_text()
    broken.unlink()
    answer = timer(secure, transaction)
    assert answer.returncode == 0, answer.stderr
    assert secure.fingerprint() == fingerprint(given.certificate)
    assert orders.read_text() == "order\n" * 2, "the first, and one renewal"


def test_the_timer_signals_nobody_but_nginx(secure: Secure) -> None:
    """The pid file of a killed nginx may contain the process id of another process."""
    transaction = secure.transaction(secure.item())
    transaction.run(check_mode=False)
    age(secure)
    other = subprocess.Popen(["sleep", "60"])
    pid_file = secure.instance.folder / "nginx.pid"
    right = pid_file.read_text()
    try:
        pid_file.write_text(f"{other.pid}\n")
        answer = timer(secure, transaction)
        assert (answer.returncode, "nginx does not run" in answer.stderr) == (1, True)
        assert other.poll() is None
    finally:
        pid_file.write_text(right)
        other.kill()
        other.wait()
