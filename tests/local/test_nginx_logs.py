# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The logs of nginx are closed to other accounts from their first line on. Addresses of pages can contain tokens."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.host.waiting import wait_for
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.log_files import close_log, create_logs, logs_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.rotation import with_signal, written_elsewhere
from hostile_account import Attacker, needs_root
from nginx_instance import Instance, needs_nginx


def logged_site(nginx: Instance) -> tuple[str, Path]:
    log = nginx.folder / "log/shop.access.log"
    return nginx.site("one").replace("return", f'access_log "{log}";\n    return'), log


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


@needs_nginx
@needs_root
@pytest.mark.attack("4", "An application reads the access log of another one, with the tokens in its addresses")
def test_no_other_account_reads_a_log(nginx: Instance, attacker: Attacker) -> None:
    site, log = logged_site(nginx)
    nginx.run(shop=site)
    assert nginx.get() == "one"
    assert wait_for(lambda: "GET / " in log.read_text(), 5)
    told = attacker.run("try: open(sys.argv[1])\nexcept OSError as error: print(error.strerror)", str(log))
    assert (told, mode(log)) == ("Permission denied\n", "0o640")


@pytest.fixture
def nginx(short_path: Path) -> Iterator[Instance]:
    """An nginx in a folder that its workers can pass: they open logs again themselves."""
    short_path.chmod(0o755)
    instance = Instance(short_path)
    yield instance
    instance.stop()


@needs_nginx
def test_a_log_that_was_open_is_closed_and_still_written(nginx: Instance) -> None:
    site, log = logged_site(nginx)
    nginx.run(shop=site)
    log.chmod(0o644)
    outcomes = [nginx.run(check_mode=check, shop=site) for check in (True, False, False)]
    assert [outcome["actions"] for outcome in outcomes] == [[f"protect {log}"], [f"protect {log}"], []]
    assert mode(log) == "0o640"
    # logrotate moves a log away, and makes nginx open it again.
    log.rename(f"{log}.1")
    create_logs([str(log)])
    os.kill(nginx.master, signal.SIGUSR1)
    assert wait_for(lambda: bool(nginx.get()) and "GET / " in log.read_text(), 10)
    assert mode(log) == "0o640"


@needs_nginx
def test_an_open_log_of_an_earlier_site_is_closed_at_once(nginx: Instance) -> None:
    site, log = logged_site(nginx)
    log.touch(0o644)
    nginx.run(shop=site)
    assert mode(log) == "0o640"
    assert nginx.run(shop=site)["actions"] == []


@needs_root
@pytest.mark.attack("11", "An application links a log of nginx to a file of root, so that root creates or opens it")
def test_a_log_in_a_folder_of_an_account_is_left_alone(attacker: Attacker) -> None:
    outside = attacker.folder.parent / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    attacker.run("os.symlink(sys.argv[1], 'a.log'); os.symlink(sys.argv[1] + '.new', 'b.log')", str(outside))
    paths = [str(attacker.folder / name) for name in ("a.log", "b.log", "c.log")]
    create_logs(paths)
    for path in paths:
        close_log(path)
    assert mode(outside) == "0o644"
    assert sorted(os.listdir(attacker.folder)) == ["a.log", "b.log"]
    assert not (attacker.folder.parent / "outside.new").exists()


def test_the_logs_of_a_configuration() -> None:
    text = """
    access_log /var/log/nginx/shop.access.log pyweb_combined buffer=64k;
    access_log off;
    error_log "/var/log/nginx/shop error.log";
    error_log syslog:server=192.0.2.1;
    error_log /etc/nginx/pyweb/trees/1/loaded emerg;
        access_log "/var/log/nginx/shop.api.log";
    # access_log /var/log/nginx/none.log;
    """
    assert logs_of([text], "/etc/nginx/pyweb") == [
        "/var/log/nginx/shop error.log",
        "/var/log/nginx/shop.access.log",
        "/var/log/nginx/shop.api.log",
    ]


# Rotation

RULE = """\
/var/log/nginx/*.log {
	sharedscripts
	postrotate
		invoke-rc.d nginx rotate >/dev/null 2>&1
	endscript
}
"""


@needs_nginx
def test_a_rotation_signals_nginx_without_the_service_helper(nginx: Instance) -> None:
    """As on a host whose policy-rc.d forbids services: the command of the rule itself has to work."""
    site, log = logged_site(nginx)
    rule = nginx.conf / "logrotate"
    rule.write_text(RULE)
    outcomes = [nginx.run(check_mode=check, shop=site) for check in (True, False, False)]
    said = ["signal nginx after a rotation of its logs" in outcome["actions"] for outcome in outcomes]
    assert said == [True, True, False]
    assert "invoke-rc.d nginx" not in rule.read_text()
    command = rule.read_text().partition("postrotate\n")[2].partition("endscript")[0]
    assert nginx.get() == "one"
    log.rename(f"{log}.1")
    create_logs([str(log)])
    master = int((nginx.folder / "nginx.pid").read_text())
    assert written_elsewhere(master, [str(log)]) == [{"log": str(log), "written": f"{log}.1"}]
    subprocess.run(["/bin/sh", "-ec", command], check=True)
    assert wait_for(lambda: written_elsewhere(master, [str(log)]) == [], 5)
    assert nginx.get() == "one"
    assert wait_for(lambda: "GET / " in log.read_text(), 5)


def test_a_rule_of_an_operator_stays() -> None:
    own = RULE.replace("invoke-rc.d nginx rotate", "/usr/local/bin/own")
    assert with_signal(own, "/run/nginx.pid") == own
    changed = with_signal(RULE, "/run/nginx.pid")
    assert '\t\t[ ! -s /run/nginx.pid ] || kill -USR1 "$(cat /run/nginx.pid)"\n\tendscript' in changed
    assert with_signal(changed, "/run/nginx.pid") == changed
