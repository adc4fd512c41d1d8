# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""nginx under systemd: a real nginx, and a systemctl that records what it is asked for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import renewal, system_files, transaction
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import Transaction
from nginx_instance import BINARY, Instance, needs_nginx

pytestmark = [needs_nginx, pytest.mark.skipif(os.geteuid() != 0, reason="the units of systemd belong to root")]

TIMER = "pyweb-certificates.timer"


class Systemd:
    """A host with systemd: its commands, and the state of nginx's unit."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.asked: list[str] = []
        self.enabled = False
        self.fails = ""

    def run(self, argv: list[str]) -> tuple[int, str, str]:
        if argv[0] != "systemctl":
            return run_command(argv)
        words = " ".join(argv[1:])
        if words.startswith("show "):
            active = "active" if self.instance.transaction().nginx.master() else "inactive"
            return 0, f"ActiveState={active}\nUnitFileState={'en' if self.enabled else 'dis'}abled\n", ""
        self.asked.append(words)
        if self.fails and words.startswith(self.fails):
            return 1, "", "Access denied\n"
        if words == "start nginx.service":
            subprocess.run([str(BINARY), "-c", f"{self.instance.conf}/nginx.conf"], check=True)
        self.enabled = self.enabled or words == "enable nginx.service"
        return 0, "", ""

    def transaction(self, **params: Any) -> Transaction:
        given = self.instance.params({"shop": self.instance.site("one")})
        return Transaction({**given, "init": "systemd", "drop_in": "[Service]\n", **params}, BINARY, self.run)

    def certificate(self) -> dict[str, Any]:
        """Parameters for a certificate of the host's own, and for the timer that renews it."""
        item = {"name": "shop", "mode": "selfsigned", "names": ["shop.example.com"], "port": 1, "http_port": 80}
        paths = {"certificate": "", "key": "", "certificate_path": "", "key_path": ""}
        texts = {"service": "[Service]\n", "timer": "[Timer]\n", "cron": "none\n"}
        return {"certificates": [{**item, **paths}], "renewal": texts}


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Systemd]:
    os.chmod(tmp_path, 0o755)
    units = tmp_path / "units"
    (units / "nginx.service.d").mkdir(parents=True)
    monkeypatch.setattr(system_files, "DROP_IN", f"{units}/nginx.service.d/pyweb.conf")
    for name in ("PROGRAM", "OLD_PROGRAM", "SERVICE", "TIMER", "CRON"):
        monkeypatch.setattr(renewal, name, str(units / os.path.basename(getattr(renewal, name))))
    instance = Instance(tmp_path)
    yield Systemd(instance)
    instance.stop()


def test_systemd_starts_nginx_and_enables_it_and_a_second_run_asks_for_nothing(systemd: Systemd) -> None:
    outcome = systemd.transaction().run(check_mode=False)
    assert outcome["actions"][2:] == ["install drop-in", "reload systemd", "enable", "start"]
    assert systemd.asked == [
        "daemon-reload",
        "reset-failed nginx.service",
        "start nginx.service",
        "enable nginx.service",
    ]
    assert systemd.instance.get() == "one"
    systemd.asked.clear()
    again = systemd.transaction()
    assert not again.run(check_mode=False)["changed"]
    assert again.witnesses is not None
    assert systemd.asked == []


def test_a_check_asks_systemd_to_change_nothing(systemd: Systemd) -> None:
    assert systemd.transaction(**systemd.certificate()).run(check_mode=True)["changed"]
    assert systemd.asked == []


def test_a_unit_that_can_not_be_enabled_is_an_error_with_systemd_s_words(systemd: Systemd) -> None:
    systemd.fails = "enable"
    with pytest.raises(NginxError, match=r"Enabling nginx\.service.*Access denied"):
        systemd.transaction().run(check_mode=False)
    systemd.fails = ""
    assert systemd.transaction().run(check_mode=False)["actions"] == ["enable"]


def test_a_failed_start_leaves_no_tree_live(systemd: Systemd) -> None:
    systemd.fails = "start"
    with pytest.raises(NginxError, match="nginx could not start: nginx says: Access denied"):
        systemd.transaction().run(check_mode=False)
    assert systemd.instance.trees() == []


def test_systemd_runs_the_timer_and_stops_it_when_there_is_nothing_to_renew(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which certificate nginx serves is the subject of other tests.
    monkeypatch.setattr(transaction.Certificates, "verify", lambda _self: None)
    given = systemd.certificate()
    systemd.transaction(**given).run(check_mode=False)
    assert f"enable --now {TIMER}" in systemd.asked
    assert Path(renewal.PROGRAM).read_bytes() == renewal.program()
    assert Path(renewal.TIMER).read_text() == "[Timer]\n"
    assert not Path(renewal.CRON).exists()
    systemd.asked.clear()
    outcome = systemd.transaction(renewal=given["renewal"]).run(check_mode=False)
    assert outcome["actions"] == ["renew certificates by a timer"]
    assert systemd.asked == [f"disable --now {TIMER}", "daemon-reload"]
    assert not Path(renewal.PROGRAM).exists()
    assert not Path(renewal.TIMER).exists()


def test_a_run_that_waits_too_long_for_another_names_the_lock(
    systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT", 0.2)
    with systemd.transaction().lock(), pytest.raises(NginxError, match=r"holds .*pyweb/\.lock"):
        systemd.transaction().run(check_mode=False)
