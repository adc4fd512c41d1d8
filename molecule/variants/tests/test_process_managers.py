# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Applications on each process manager, moved from one to the other under their visitors' eyes, and taken away."""

from __future__ import annotations

import threading
import time

import pytest
import requests
from conftest import SITE
from pyweb_places import everywhere

SECOND = {"Host": "second.example.com"}
APPS = {"hello": {}, "second": SECOND}

# The process manager of every application after the converge.
NAMED = {
    "variants-supervisor": {"hello": "supervisor", "second": "supervisor"},
    "variants-noinit": {"hello": "supervisor", "second": "supervisor"},
    "variants-mixed": {"hello": "systemd", "second": "supervisor"},
}
# The other way round, for the host that has both.
SWITCHED = {"hello": "supervisor", "second": "systemd"}

pytestmark = pytest.mark.usefixtures("on_site")


@pytest.fixture(scope="session")
def verified(run_playbook):
    return run_playbook("pyweb.stack.verify", {}, "--limit", ",".join(SITE))


def test_every_promise_of_a_deployed_site_is_kept(host, verified):
    assert verified.status == 0
    for app in APPS:
        assert f"{app} on {host.backend.host}:" in verified.message(host.backend.host)


def systemd_instances(host, app: str) -> list[str]:
    """All units of an application that systemd has loaded, and the links that enable them."""
    if not host.file("/run/systemd/system").is_directory:
        return []
    units = host.check_output(f"systemctl list-units --all --plain --no-legend '{app}@*.service'").splitlines()
    # A query loads a unit that does not run.
    loaded = [line.split()[0] for line in units if line.split()[2] != "inactive"]
    links = host.check_output(f"find /etc/systemd/system -name '{app}@*.service' -type l -printf '%f\\n'").split()
    return sorted({*loaded, *links})


def supervisor_instances(host, app: str) -> list[str]:
    """All programs of an application that supervisor has, and their files."""
    if not host.file("/etc/supervisor/conf.d").is_directory:
        return []
    status = host.run("supervisorctl status").stdout.splitlines()
    programs = [line.split()[0] for line in status if line.startswith(f"{app}-")]
    files = host.check_output(f"find /etc/supervisor/conf.d -name '{app}-*.conf' -printf '%f\\n'").split()
    return sorted({*programs, *(name.removesuffix(".conf") for name in files)})


def assert_kept_by(host, http, app: str, manager: str) -> None:
    """One instance of the live release, on the manager that was named, and nothing on the other."""
    told = http("/facts", headers=APPS[app]).json()
    release = told["release"]
    assert told["process_manager"] == manager
    assert host.file(f"/srv/webapps/{app}/current").linked_to.endswith(f"/{release}")
    if manager == "systemd":
        assert systemd_instances(host, app) == [f"{app}@{release}.service"]
        assert supervisor_instances(host, app) == []
        assert host.service(f"{app}@{release}").is_running
        assert host.service(f"{app}@{release}").is_enabled
    else:
        assert supervisor_instances(host, app) == [f"{app}-{release}"]
        assert systemd_instances(host, app) == []
        assert "RUNNING" in host.check_output(f"supervisorctl status {app}-{release}")
    masters = host.check_output(f"pgrep -u {app} -f bin/gunicorn").split()
    assert len(masters) == 2  # the master and its worker, and none of another release


@pytest.mark.parametrize("app", APPS)
def test_each_application_is_kept_by_what_was_named(host, http, facts, app):
    assert_kept_by(host, http, app, NAMED[facts.name][app])


def test_supervisor_itself_is_kept_alive(host, facts):
    if facts.init == "systemd":
        assert host.service("supervisor").is_running
        assert host.service("supervisor").is_enabled
    else:
        pid = host.check_output("supervisorctl pid")
        assert host.check_output(f"ps -o ppid= -p {pid}").strip() == "1"


def test_a_killed_supervisord_is_back_within_seconds_where_systemd_is(host, http, facts):
    if facts.init != "systemd":
        pytest.skip("without an init, the next run brings it back: see the scenario background")
    kept = [app for app, manager in NAMED[facts.name].items() if manager == "supervisor"]
    begun = time.monotonic()
    host.check_output("kill -9 $(supervisorctl pid)")
    back = dict.fromkeys(kept, 0.0)
    while not all(back.values()):
        assert time.monotonic() - begun < 20
        for app in kept:
            try:
                serves = http("/facts", headers=APPS[app]).status_code == 200
            except requests.RequestException:
                # The process ended while it answered.
                serves = False
            if not serves:
                back[app] = 0.0
            elif not back[app] and "RUNNING" in host.run("supervisorctl status").stdout:
                back[app] = time.monotonic() - begun
    print(f"{facts.name}: supervisord and its programs were back after {max(back.values()):.1f} s")
    assert max(back.values()) < 10
    for app in kept:
        assert_kept_by(host, http, app, "supervisor")


# The host that has both: each application goes to the other manager


class Visitor(threading.Thread):
    """Asks again and again, and remembers what was not right."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address, self.asked, self.wrong, self.over = address, 0, [], threading.Event()

    def run(self) -> None:
        session = requests.Session()
        session.trust_env = False
        while not self.over.is_set():
            for headers in APPS.values():
                self.asked += 1
                try:
                    answer = session.get(f"http://{self.address}/facts", headers=headers, timeout=10)
                    if answer.status_code != 200:
                        self.wrong.append(answer.status_code)
                except requests.RequestException as error:
                    self.wrong.append(str(error))
            time.sleep(0.02)


@pytest.fixture
def on_mixed(host):
    if host.backend.host != "variants-mixed":
        pytest.skip("only one process manager here")


@pytest.fixture(scope="session")
def switched(sites, run_playbook):
    """Two runs with the managers exchanged, and a visitor during the first."""
    (mixed,) = [place for place in sites if place.name == "variants-mixed"]
    visitor = Visitor(mixed.address)
    visitor.start()
    first = run_playbook("pyweb.stack.site", {"managers": SWITCHED}, "--limit", mixed.name)
    visitor.over.set()
    visitor.join()
    return first, run_playbook("pyweb.stack.site", {"managers": SWITCHED}, "--limit", mixed.name), visitor


@pytest.mark.parametrize("app", APPS)
def test_a_switch_of_the_manager_leaves_nothing_on_the_old_one(on_mixed, host, http, switched, app):
    assert switched[0].status == 0
    assert_kept_by(host, http, app, SWITCHED[app])


def test_visitors_do_not_notice_a_switch_of_the_manager(on_mixed, switched):
    visitor = switched[2]
    assert visitor.asked > 50
    assert visitor.wrong == []


def test_a_run_after_a_switch_changes_nothing(on_mixed, facts, switched):
    assert switched[1].status == 0
    assert switched[1].counts(facts.name)["changed"] == 0


# Everywhere: the second application is taken away, then its data


@pytest.fixture(scope="session")
def provision(run_playbook):
    """Runs the site playbook for all hosts, with what was decided about the process managers of one."""
    decided = f"{{{{ {SWITCHED} if inventory_hostname == 'variants-mixed' else {{}} }}}}"
    return lambda given: run_playbook("pyweb.stack.site", {"managers": decided, **given}, "--limit", ",".join(SITE))


# An upload, and what a hostile application leaves: a process outside its session, a crontab, files in public folders.
LEFTOVERS = r"""
set -e
echo kept >/srv/webapps/second/shared/uploads/file
cat >/tmp/leave.py <<'END'
import os, signal, time
os.setsid()
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
for path in ("/dev/shm/left", "/var/tmp/left"):
    open(path, "w").close()
os.makedirs("/tmp/left/" + "d/" * 200)
time.sleep(100000)
END
setpriv --reuid second --regid second --clear-groups python3 /tmp/leave.py >/dev/null 2>&1 </dev/null &
mkdir -p /var/spool/cron/crontabs
echo '* * * * * true' >/var/spool/cron/crontabs/second
for _ in $(seq 50); do ! test -d /tmp/left || break; sleep 0.1; done
test -f /dev/shm/left
"""
LEFT = "/dev/shm/left /var/tmp/left /tmp/left /var/spool/cron/crontabs/second"


@pytest.fixture(scope="session")
def removed(provision, sites, switched):
    """Two runs without the second application, after an upload to it."""
    everywhere(lambda place: place.run(LEFTOVERS), sites)
    return [provision({"second_state": "absent"}) for _ in range(2)]


@pytest.fixture(scope="session")
def purged(provision, removed):
    return [provision({"second_state": "absent", "second_purge": True}) for _ in range(2)]


def assert_gone(host, http) -> None:
    assert systemd_instances(host, "second") == []
    assert supervisor_instances(host, "second") == []
    assert not host.file("/etc/systemd/system/second@.service").exists
    assert not host.file("/etc/supervisor/templates/second@.conf").exists
    assert host.run("pgrep -u second").rc != 0
    assert host.run(f"ls -d {LEFT} 2>/dev/null").stdout == ""
    assert not host.file("/etc/systemd/system/second@.socket").exists
    assert host.run("ls -d /run/webapps/second*").rc != 0
    # Its domain is one like any other now, and the default site answers.
    assert http("/facts", headers=SECOND).json()["application"] == "hello"


def test_an_application_that_is_taken_away_leaves_its_data_alone(host, http, removed):
    assert removed[0].status == 0
    assert_gone(host, http)
    assert host.file("/srv/webapps/second").listdir() == ["shared"]
    assert host.file("/srv/webapps/second/shared/uploads/file").content_string == "kept\n"
    assert host.user("second").exists
    assert host.user("second").shell == "/usr/sbin/nologin"
    assert "'second': it is removed, and had left on the host: 1 processes:" in " ".join(removed[0].output.split())


def test_a_run_after_a_removal_changes_nothing(host, removed):
    assert removed[1].status == 0
    assert removed[1].counts(host.backend.host)["changed"] == 0


def test_a_purge_takes_data_and_account_too(host, http, purged):
    assert purged[0].status == 0
    assert_gone(host, http)
    assert not host.file("/srv/webapps/second").exists
    assert not host.user("second").exists
    assert host.run("getent group second").rc == 2
    assert host.file("/var/lib/pyweb/retired-ids.json").content_string.count(",") <= 3


def test_a_run_after_a_purge_changes_nothing(host, purged):
    assert purged[1].status == 0
    assert purged[1].counts(host.backend.host)["changed"] == 0


def test_the_other_application_never_noticed(host, http, facts, purged):
    assert_kept_by(host, http, "hello", {**NAMED, "variants-mixed": SWITCHED}[facts.name]["hello"])
