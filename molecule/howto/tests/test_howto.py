# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The applications of the how-tos do on a host what the pages say."""

from __future__ import annotations

import re
import socket

import pytest
import requests
from pyweb_places import wait_until

HEADERS = {name: {"Host": f"{name}.example.com"} for name in ("chat", "reports", "ledger")}
REPORTS = "/srv/webapps/reports/shared/celery"


@pytest.fixture
def shop(http):
    """Asks the shop over https, as a browser does."""
    requests.packages.urllib3.disable_warnings()
    return lambda path, method="GET", **options: http(
        f"https://shop.example.com{path}", method, verify=False, **options
    )


@pytest.fixture(autouse=True)
def by_name(facts, monkeypatch):
    """The names of the pages lead to the host, for SNI too."""
    resolve = socket.getaddrinfo

    def found(name, *rest, **more):
        return resolve(facts.address if str(name).endswith(".example.com") else name, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)


# Django


def test_pages_of_django_name_files_with_a_hash_that_browsers_keep(shop):
    page = shop("/admin/login/")
    assert page.status_code == 200
    style = re.search(r'href="(/static/admin/css/base\.[0-9a-f]{12}\.css)"', page.text)
    answer = shop(f"{style[1]}")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]


def test_django_knows_the_visitor_and_the_scheme(shop):
    told = shop("/visitor").json()
    assert told["secure"] is True
    assert re.fullmatch(r"[0-9.]+", told["address"])


def test_a_form_passes_the_csrf_check_without_further_settings(shop):
    """Django compares the header Origin with the scheme and the host of the request."""
    page = shop("/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    form = {"username": "nobody", "password": "wrong", "csrfmiddlewaretoken": token, "next": "/admin/"}
    headers = {"Origin": "https://shop.example.com", "Referer": "https://shop.example.com/admin/login/"}
    cookie = {"csrftoken": page.cookies["csrftoken"]}
    answer = shop("/admin/login/", "POST", data=form, headers=headers, cookies=cookie)
    assert answer.status_code == 200
    assert "errornote" in answer.text
    foreign = {**headers, "Origin": "https://evil.example.com"}
    assert shop("/admin/login/", "POST", data=form, headers=foreign, cookies=cookie).status_code == 403


def test_nginx_serves_an_upload_of_django(shop):
    place = shop("/upload", "POST", files={"file": ("note.txt", b"a note")}).text
    assert shop(f"{place}").text == "a note"


def test_commands_of_the_page_work(host):
    run = "sudo -u shop /srv/webapps/shop/current/bin/run"
    assert "[X] 0001_initial" in host.check_output(f"{run} python manage.py showmigrations auth")
    create = (
        "env DJANGO_SUPERUSER_PASSWORD=x python manage.py createsuperuser --noinput --username a --email a@example.com"
    )
    assert host.run(f"{run} {create}").rc == 0 or "already taken" in host.run(f"{run} {create}").stderr


# FastAPI


def test_fastapi_knows_the_visitor_and_shows_its_api(http):
    told = http("/visitor", headers=HEADERS["chat"]).json()
    assert told["url"] == "http://chat.example.com/visitor"
    assert re.fullmatch(r"[0-9.]+", told["address"])
    assert http("/docs", headers=HEADERS["chat"]).status_code == 200


def test_the_websocket_of_fastapi_answers_through_nginx(facts):
    request = (
        "GET /ws/echo HTTP/1.1\r\nHost: chat.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection((facts.address, 80), timeout=10) as visitor:
        visitor.sendall(request.encode())
        assert visitor.recv(4096).startswith(b"HTTP/1.1 101")
        visitor.sendall(b"\x81\x82\0\0\0\0hi")  # a masked frame
        assert visitor.recv(4096) == b"\x81\x02hi"


# Celery


def test_the_processes_of_celery_run(host):
    for name in ("reports.worker", "reports.worker.2", "reports.beat"):
        assert (
            host.check_output(f"systemctl list-units --plain --no-legend --state=running '{name}@*'").count("\n") == 0
        )
    wait_until(lambda: host.file(f"{REPORTS}/ticks").exists, 20)


def test_a_worker_finishes_its_task_at_a_restart(host, http, run_playbook):
    first = host.check_output("readlink /srv/webapps/reports/current").rpartition("/")[2]
    assert http("/reports?name=long&seconds=8", "POST", headers=HEADERS["reports"]).text == "queued\n"
    run = run_playbook("pyweb.stack.restart", {"app": "reports"})
    assert run.status == 0, run.output
    wait_until(lambda: f"long {first}" in host.file(f"{REPORTS}/reports").content_string, 20)
    http("/reports?name=short&seconds=0", "POST", headers=HEADERS["reports"])
    second = host.check_output("readlink /srv/webapps/reports/current").rpartition("/")[2]
    assert second != first
    wait_until(lambda: f"short {second}" in host.file(f"{REPORTS}/reports").content_string, 20)


def test_only_its_group_reaches_redis(host):
    assert host.check_output("stat -c '%U:%G %a' /run/redis/redis-server.sock") == "redis:redis 770"
    assert not host.socket("tcp://127.0.0.1:6379").is_listening
    ping = "redis-cli -s /run/redis/redis-server.sock ping"
    assert "Permission denied" in host.run(f"runuser -u chat -- {ping}").stderr


# PostgreSQL


def test_entries_are_in_the_database(http, host):
    assert http("/entries?text=first", "POST", headers=HEADERS["ledger"]).text == "added\n"
    assert "first" in http("/entries", headers=HEADERS["ledger"]).json()
    count = host.check_output("sudo -u ledger psql ledger --tuples-only --command 'select count(*) from entry'")
    assert int(count) >= 1


def test_no_other_account_can_use_the_role(host):
    other = host.run("runuser -u chat -- psql --username ledger ledger --command 'select 1'")
    assert "Peer authentication failed" in other.stderr


def test_the_backup_can_be_restored(host):
    host.check_output("systemctl start ledger.backup.service")
    dump = "/srv/webapps/ledger/shared/backups/ledger.dump"
    assert host.file(dump).size > 0
    assert host.run(f"sudo -u ledger pg_restore --clean --if-exists --dbname ledger {dump}").rc == 0


def test_a_command_of_the_database_runs_from_the_controller(run_playbook, facts):
    run = run_playbook("pyweb.stack.run", {"app": "ledger", "command": 'psql ledger -c "select count(*) from entry"'})
    assert run.status == 0, run.output
    assert "(1 row)" in run.output
