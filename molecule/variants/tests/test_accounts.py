# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""What an application writes, at whatever moment, is for itself and for nginx; the other accounts can't read it."""

from __future__ import annotations

import json

import pytest
from conftest import SITE
from pyweb_places import everywhere

WRITER = {"Host": "writer.example.com"}
HOME = "/srv/webapps/writer"
AUTHORS = ("release", "import", "worker", "tick", "web", "command")
STRANGERS = ("hello", "second", "nobody")

# Which of the paths given on standard input an account may list, read, or (sockets) connect to.
TRIED = """
import json, os, stat, sys
paths = sys.stdin.read().split("\\0")[:-1]
sockets = [path for path in paths if path.endswith(".sock")]
print(json.dumps([path for path in paths if os.access(path, os.W_OK if path in sockets else os.R_OK)]))
"""


WRITE = """
env -u http_proxy python3 -c "
import urllib.request
request = urllib.request.Request('http://127.0.0.1/write', headers={'Host': 'writer.example.com'})
urllib.request.urlopen(request)"
if [ -e /etc/systemd/system/writer.tick.service ]; then systemctl start writer.tick.service
else env -i PATH=/usr/bin:/bin $(grep -rhoE '/[^ ]*writer\\.tick[^ ]*' /etc/cron.d | head -n 1); fi
"""

pytestmark = pytest.mark.usefixtures("on_site", "written")


@pytest.fixture(scope="session")
def written(sites, run_playbook):
    """Everything that can write has written."""
    everywhere(lambda place: place.run(WRITE), sites)
    given = {"app": "writer", "command": "echo commanded >uploads/by-command"}
    # A run executes the command on its first host only.
    runs = everywhere(lambda place: run_playbook("pyweb.stack.run", given, "--limit", place.name), sites)
    assert [run.status for run in runs] == [0, 0, 0]


def readable(host, account: str) -> list[str]:
    drop = f"setpriv --reuid {account} --regid $(id -g {account}) --init-groups"
    find = f"find {HOME} /run/webapps/writer /run/webapps/writer.sockets ! -type l -print0"
    return json.loads(host.check_output(f"cd / && {find} | {drop} python3 -c %s", TRIED))


@pytest.mark.attack("4", "Another account reads or lists files of an application")
@pytest.mark.parametrize("account", STRANGERS)
def test_no_other_account_can_read_or_list_anything(host, account):
    assert readable(host, account) == []
    drop = f"setpriv --reuid {account} --regid $(id -g {account}) --init-groups"
    for path in (f"{HOME}/shared/data/by-import", f"{HOME}/current/src/by-build", f"{HOME}/current/env"):
        assert host.run(f"{drop} cat {path}").rc == 1
        assert host.file(path).exists


@pytest.fixture
def there(host, author):
    if author == "release" and host.backend.host != "variants-supervisor":
        pytest.skip("release commands run on the first host")


@pytest.mark.parametrize("author", AUTHORS)
def test_whatever_writes_has_the_same_umask(host, there, author):
    file = host.file(f"{HOME}/shared/uploads/by-{author}")
    assert (file.user, file.group, file.mode) == ("writer", "writer", 0o640)


def test_a_folder_that_nginx_does_not_serve_is_not_for_nginx_either(host):
    www = "setpriv --reuid www-data --regid www-data --init-groups"
    assert host.run(f"{www} cat {HOME}/shared/data/by-import").rc == 1
    assert host.run(f"{www} ls {HOME}").rc == 2
    assert host.file(f"{HOME}/shared/data/by-import").mode == 0o640


@pytest.mark.parametrize("author", [*AUTHORS, "album"])
def test_nginx_serves_what_was_uploaded(http, there, author):
    folder = "albums/" if author == "album" else ""
    answer = http(f"/uploads/{folder}by-{author}", headers=WRITER)
    assert answer.status_code == 200
    assert "application/octet-stream" in answer.headers["Content-Type"]


def test_the_application_reads_its_own_code(host):
    drop = "setpriv --reuid writer --regid writer --init-groups"
    assert host.check_output(f"{drop} cat {HOME}/current/src/by-build") == "built"
    assert host.run(f"{drop} sh -c 'echo >>{HOME}/current/src/by-build'").rc != 0


# As 0.1.0 has left them
OPEN = f"""
for path in {HOME} {HOME}/releases {HOME}/venvs {HOME}/shared {HOME}/shared/uploads; do
    python3 -c 'import os, sys; os.removexattr(sys.argv[1], "system.posix_acl_access")' $path 2>/dev/null
    chmod 0755 $path
done
python3 -c 'import os, sys; os.removexattr(sys.argv[1], "system.posix_acl_default")' {HOME}/shared/uploads
chown root:root {HOME} {HOME}/releases {HOME}/venvs
"""


@pytest.fixture(scope="session")
def opened(sites, written, run_playbook):
    """Folders as an earlier version has left them, then verify, a check, and two runs."""
    everywhere(lambda place: place.run(OPEN), sites)
    before = {place.name: place.run("pgrep -u writer -f 'gunicorn|granian|uwsgi'") for place in sites}
    limit = ("--limit", ",".join(SITE))
    runs = [run_playbook("pyweb.stack.verify", {}, *limit)]
    runs += [run_playbook("pyweb.stack.site", {}, *limit, *more) for more in (["--check"], [], [])]
    return runs, before


def test_verify_tells_of_an_open_folder(host, opened):
    message = opened[0][0].failure(host.backend.host)
    assert f"no other account can read its files: the account hello can read {HOME}: run the playbook" in message


def test_a_run_closes_what_an_earlier_version_left_open(host, http, facts, opened):
    runs, before = opened
    assert [run.status for run in runs[1:]] == [0, 0, 0]
    assert [run.counts(facts.name)["changed"] for run in runs[1:]] == [1, 1, 0]
    assert host.check_output("pgrep -u writer -f 'gunicorn|granian|uwsgi'") == before[facts.name].strip()
    assert readable(host, "hello") == []
    assert http("/uploads/by-web", headers=WRITER).status_code == 200
