# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The whole site, asked from outside as a visitor and from inside as its operator."""

from __future__ import annotations

import json
import re
import stat

import pytest
import testinfra

HTTPBIN = {"Host": "httpbin.example.com"}
APPS = ("hello", "httpbin", "hello-inside")


def visitor_address(http):
    """The address that the host sees this machine at."""
    return http("/ip", headers=HTTPBIN).json()["origin"]


# What a visitor meets


def test_the_example_page_says_that_it_works_and_how(http, facts):
    answer = http("/")
    assert answer.status_code == 200
    for text in ("It works", "gunicorn", "systemd" if facts.init == "systemd" else "supervisor", facts.address):
        assert text in answer.text


def test_the_application_sees_the_visitors_scheme_host_and_address(http, facts):
    seen = http("/facts").json()
    assert seen["scheme"] == "http"
    assert seen["host"] == facts.address
    assert seen["your_address"] == visitor_address(http)


def test_the_running_release_is_the_current_one(http, host):
    assert host.file("/srv/webapps/hello/current").linked_to.endswith(http("/facts").json()["release"])


@pytest.mark.attack("low", "A visitor forges address, scheme or host by headers")
def test_a_visitor_cannot_forge_address_scheme_or_host(http, facts):
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example.com",
        "X-Real-IP": "203.0.113.9",
    }
    seen = http("/facts", headers=forged).json()
    assert (seen["scheme"], seen["host"], seen["your_address"]) == ("http", facts.address, visitor_address(http))


def test_static_files_come_from_nginx_with_a_validator(http, host):
    answer = http("/static/style.css")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/css")
    assert http("/static/style.css", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert not answer.headers["Last-Modified"].endswith("1970 00:00:00 GMT")


def test_an_application_below_a_path_links_into_its_path(http):
    answer = http("/inside/", headers=HTTPBIN)
    assert answer.status_code == 200
    assert 'href="/inside/static/style.css"' in answer.text
    assert http("/inside/static/style.css", headers=HTTPBIN).status_code == 200
    assert http("/inside/facts", headers=HTTPBIN).json()["mounted_at"] == "/inside"


@pytest.mark.parametrize("domain", ["httpbin.example.com", "bin.example.com"])
def test_httpbin_is_told_the_visitors_request(http, domain):
    told = http("/get?a=1", headers={"Host": domain}).json()
    assert told["url"] == f"http://{domain}/get?a=1"
    assert told["args"] == {"a": "1"}
    assert told["origin"] == visitor_address(http)


def test_httpbin_headers_name_the_visitors_host(http):
    assert http("/headers", headers=HTTPBIN).json()["headers"]["Host"] == "httpbin.example.com"


def test_httpbin_redirects_stay_on_the_site(http):
    answer = http("/redirect-to?url=/get", headers=HTTPBIN)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/get")


def test_five_megabytes_are_posted_and_come_back_whole(http):
    import base64

    body = bytes(range(256)) * (5 * 1024 * 4)
    answer = http("/post", method="POST", headers={**HTTPBIN, "Content-Type": "application/octet-stream"}, data=body)
    assert answer.status_code == 200
    assert base64.b64decode(answer.json()["data"].partition("base64,")[2]) == body


def test_a_stream_arrives_whole(http):
    lines = http("/stream/20", headers=HTTPBIN).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(20))


def test_a_redirected_domain_leads_to_the_first(http):
    answer = http("/get?a=1", headers={"Host": "www.example.com"})
    assert (answer.status_code, answer.headers["Location"]) == (301, "http://httpbin.example.com/get?a=1")


def test_nginx_does_not_tell_its_version(http):
    answer = http("/")
    assert (answer.status_code, answer.headers["Server"]) == (200, "nginx")
    # A page that nginx makes up itself names it.
    answer = http("/static/no-such-file.css")
    assert (answer.status_code, answer.headers["Server"]) == (404, "nginx")
    assert "nginx" in answer.text
    assert "nginx/" not in answer.text


def test_the_distributions_welcome_page_is_gone(http):
    assert http("/").status_code == 200
    assert "Welcome to nginx" not in http("/").text
    assert http("/index.nginx-debian.html").status_code == 404


# What its operator finds


def test_nothing_but_nginx_listens_for_the_applications(host):
    def programs(kind, account="root"):
        # In a container without an init, root does not see the programs of other accounts.
        drop = f"setpriv --reuid {account} --regid $(id -g {account}) --clear-groups"
        listening = host.check_output(f"{drop} ss -Hln{kind}p").splitlines()
        return {line.partition("LISTEN")[2].split()[2]: set(re.findall(r'\("([^"]+)",pid', line)) for line in listening}

    public = programs("t")
    assert "nginx" in public["0.0.0.0:80"]
    for address, found in public.items():
        assert found in ({"nginx"}, {"sshd"}), address
    for app in APPS:
        socket = host.check_output(f"readlink /srv/webapps/{app}/current.sock")
        # systemd keeps the sockets that it passes.
        assert programs("x", app)[socket] - {"systemd"} == {"gunicorn"}


@pytest.mark.parametrize("name", APPS)
def test_processes_run_as_the_applications_own_account(host, facts, name):
    users = {process.user for process in host.process.filter(comm="gunicorn")} | {
        line.split()[0] for line in host.check_output("ps -eo user:32,args").splitlines() if "/bin/gunicorn" in line
    }
    assert name in users
    assert users == set(APPS)


def test_only_nginx_can_reach_a_socket(host):
    folder = host.file("/run/webapps/hello")
    assert (folder.user, folder.group, folder.mode) == ("hello", "www-data", 0o710)
    socket = host.check_output("readlink /srv/webapps/hello/current.sock")
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{socket}')"
    assert host.run(f'setpriv --reuid www-data --regid www-data --clear-groups python3 -c "{connect}"').rc == 0
    assert host.run(f'setpriv --reuid httpbin --regid httpbin --clear-groups python3 -c "{connect}"').rc != 0


@pytest.mark.attack("4", "Another account reads the secrets of an application")
def test_secrets_are_for_root_and_the_application_alone(host):
    env = host.file("/srv/webapps/hello/current/env")
    assert (env.user, env.group, env.mode) == ("root", "hello", 0o640)
    for account, status in (("hello", 0), ("www-data", 1), ("httpbin", 1)):
        drop = f"setpriv --reuid {account} --regid {account} --clear-groups"
        assert host.run(f"{drop} cat /srv/webapps/hello/current/env").rc == status


def test_the_environment_arrives_exactly(host, facts):
    wanted = next(app for app in facts.variables["webapps"] if app["name"] == "hello")["env"]["SECRET_KEY"]
    pid = host.check_output("pgrep -u hello -f bin/gunicorn | head -n 1")
    # As the account itself: in a container root may not look into another account's process.
    environment = host.check_output(f"setpriv --reuid hello --regid hello --clear-groups cat /proc/{pid}/environ")
    assert f"SECRET_KEY={wanted}" in environment.split("\0")


def test_the_application_cannot_edit_its_own_code(host):
    live, drop = "/srv/webapps/hello/current", "setpriv --reuid hello --regid hello --clear-groups"
    for path in ("src/hello.py", "venv/bin/python", "env", "gunicorn.conf.py"):
        assert host.file(f"{live}/{path}").exists
        assert host.run(f"{drop} test -w {live}/{path}").rc == 1
    assert host.file(f"{live}/src/uploads").linked_to == "/srv/webapps/hello/shared/uploads"
    assert host.run(f"{drop} test -w {live}/src/uploads/").rc == 0


def test_the_web_process_is_an_instance_named_by_its_release(host, facts, http):
    release = http("/facts").json()["release"]
    if facts.init == "systemd":
        unit = f"hello@{release}.service"
        assert host.service(unit).is_running
        assert host.service(unit).is_enabled
        assert host.check_output(f"systemctl show -p MainPID --value {unit}") != "0"
    else:
        assert "RUNNING" in host.check_output(f"supervisorctl status hello-{release}")


def test_nginx_comes_back_after_a_boot_under_systemd(host, facts):
    if facts.init == "systemd":
        assert host.service("nginx").is_enabled
        assert host.check_output("systemctl show -p Restart --value nginx") == "always"
    else:
        assert host.process.filter(comm="nginx", user="root")


def test_supervisors_socket_is_in_run_and_for_root_alone(host, facts):
    if facts.init == "systemd":
        assert not host.package("supervisor").is_installed
    else:
        socket = host.file("/run/supervisor.sock")
        assert (socket.user, stat.S_IMODE(socket.mode)) == ("root", 0o700)


def test_every_process_answers_to_init_not_to_a_session(host, facts):
    """A daemon that hangs on the SSH session of the run would end with it."""
    parents = host.check_output("ps -o ppid= -p $(pgrep -u root -o nginx)").split()
    assert parents == ["1"]


@pytest.mark.parametrize("app", ["hello", "httpbin"])
def test_hosts_with_the_same_python_have_resolved_once(request, app):
    inventory = request.config.getoption("ansible_inventory")
    found = testinfra.get_hosts(["ansible://site"], ansible_inventory=inventory, sudo=True)
    heads = {
        host.backend.host: host.check_output(f"head -n 2 /srv/webapps/{app}/current/resolution.toml") for host in found
    }
    inputs, versions = heads["site-debian12"].split("\n")
    assert versions.startswith("# The versions: ")
    assert heads["site-noinit"].split("\n") == [inputs, versions]
    assert heads["site-debian13"].split("\n")[0] != inputs, "another Python"


def test_the_deployment_is_on_record(host):
    lines = [json.loads(line) for line in host.file("/srv/webapps/hello/deployments.log").content_string.splitlines()]
    assert lines[-1]["result"] == "live"
    assert lines[-1]["by"] not in ("", "unknown")
    assert "secret" not in host.file("/srv/webapps/hello/deployments.log").content_string
