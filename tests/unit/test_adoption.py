# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inventory of applications that were deployed by hand: read as text, and nothing executed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.adoption.handmade_processes import (
    callable_of,
    handmade_processes,
    server_of,
    unit_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.adoption.old_services import disabled, matches, plain
from ansible_collections.pyweb.stack.plugins.module_utils.adoption.retirement import still_used
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.adoption import later_for_nginx, without_front
from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.commands import (
    pairs_of,
    python_literals,
    reading_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.inventory import inventory_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.sites import spelling
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.adopted import notices

SOCKET_UNIT = """\
[Unit]
Description=Gunicorn instance to serve myproject
After=network.target

[Service]
User=deploy
Group=www-data
WorkingDirectory=/home/deploy/myproject
Environment="PATH=/home/deploy/myproject/venv/bin" "FLASK_ENV=production"
Environment=SECRET_KEY=abc%%def
ExecStart=/home/deploy/myproject/venv/bin/gunicorn --workers 3 --bind unix:myproject.sock -m 007 wsgi:app

[Install]
WantedBy=multi-user.target
"""
SITE = """\
server {
    listen 80;
    server_name shop.example.com www.shop.example.com;
    client_max_body_size 20M;

    location /static { alias /home/deploy/myproject/static; expires 30d; }
    location / {
        include proxy_params;
        proxy_pass http://unix:/home/deploy/myproject/myproject.sock;
    }
}
"""
NGINX_CONF = """\
worker_processes 1;
events { worker_connections 1024; }
http {
    include mime.types;
    sendfile on;
    server {
        listen 80;
        server_name 127.0.0.1;
        location / {
            proxy_pass http://127.0.0.1:5000/;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }
    }
}
"""
CONF_PY = '''\
"""Settings of a tutorial."""
import multiprocessing
import gevent.monkey
gevent.monkey.patch_all()
debug = True
loglevel = "debug"
bind = "127.0.0.1:5000"
pidfile = "log/gunicorn.pid"
accesslog = "log/access.log"
errorlog = "log/debug.log"
daemon = True
workers = multiprocessing.cpu_count() * 2 + 1
worker_class = "gevent"
max_requests = 1000
x_forwarded_for_header = "X-FORWARDED-FOR"
if workers > 4:
    workers = 4
def post_fork(server, worker):
    pass
'''
UWSGI_INI = """\
[uwsgi]
base = /var/www/shop
socket = 127.0.0.1:3031
chdir = %(base)
wsgi-file = run.py
callable = app
processes = 4
threads = 2
master = true
vacuum = true
die-on-term = true
buffer-size = 32768
daemonize = /var/log/uwsgi/shop.log
home = %(base)/venv
harakiri = 60
stats = 127.0.0.1:9191
touch-reload = $(HOME)/x
nonsense = 1
"""


def command(text: str, /, **more: Any) -> dict[str, Any]:
    return {"words": shlex.split(text), "cwd": "/srv/app", "user": "", "files": {}, "project": {}, **more}


def apps_of(found: dict[str, Any]) -> tuple[list[dict[str, Any]], str, dict[str, str]]:
    """The applications of an inventory, its text, and its secrets."""
    written = inventory_of("web1", found, "web1.secrets.yml")
    yaml.SafeLoader.add_constructor("!unsafe", lambda loader, node: node.value)
    data = yaml.safe_load(written.inventory)
    return data["webapps"], written.inventory, yaml.safe_load(written.secrets) or {}


@pytest.mark.parametrize(
    ("line", "callable_name", "values", "settings"),
    [
        ("gunicorn -w 4 -b 127.0.0.1:8000 app:app", "app:app", {"workers": 4}, {}),
        ("/venv/bin/python3 /venv/bin/gunicorn -w4 app:app", "app:app", {"workers": 4}, {}),
        ("python3 -m gunicorn --workers=2 --threads 4 'shop:create_app()'", "shop:create_app()",
         {"workers": 2, "threads": 4}, {}),
        ("gunicorn -k gevent --timeout 120 --max-requests=500 --preload app:app", "app:app", {"timeout": 120},
         {"worker_class": "gevent", "max_requests": 500, "preload_app": True}),
        ("gunicorn --access-logfile - --error-logfile - --capture-output mysite.wsgi", "mysite.wsgi", {},
         {"capture_output": True}),
        ("gunicorn app:app -b :8000 -D", "app:app", {}, {}),
        ("gunicorn -w", "", {}, {}),
        ("gunicorn --workers many app:app", "app:app", {}, {}),
    ],
)  # fmt: skip
def test_command_lines_of_gunicorn(
    line: str, callable_name: str, values: dict[str, int], settings: dict[str, Any]
) -> None:
    found = reading_of("gunicorn", shlex.split(line), {})
    assert (found.callable, found.values, found.settings) == (callable_name, values, settings)


@pytest.mark.parametrize(
    ("line", "callable_name", "binds", "values"),
    [
        ("uwsgi --http 127.0.0.1:5000 --module app:app --processes 4", "app:app", ["127.0.0.1:5000"], {"workers": 4}),
        ("uwsgi -s /tmp/app.sock --manage-script-name --mount /=app:app", "app:app", ["/tmp/app.sock"], {}),
        ("uwsgi --socket 127.0.0.1:3031 --wsgi-file myflaskapp.py --callable app --processes 4 --threads 2",
         "myflaskapp:app", ["127.0.0.1:3031"], {"workers": 4, "threads": 2}),
        ("uwsgi --http-socket :9090 -w wsgi -M -p 3", "wsgi:application", [":9090"], {"workers": 3}),
        ("uwsgi --ini gone.ini", "", [], {}),
    ],
)  # fmt: skip
def test_command_lines_of_uwsgi(line: str, callable_name: str, binds: list[str], values: dict[str, int]) -> None:
    found = reading_of("uwsgi", shlex.split(line), {})
    assert (found.callable, found.binds, found.values) == (callable_name, binds, values)
    assert bool(found.notes) == ("gone.ini" in line)


def test_a_settings_file_of_gunicorn_is_read_as_literals() -> None:
    found = reading_of("gunicorn", ["gunicorn", "-c", "conf.py", "-w", "3", "app:app"], {"conf.py": CONF_PY})
    assert found.values == {"workers": 3}
    assert found.binds == ["127.0.0.1:5000"]
    assert found.settings == {"loglevel": "debug", "worker_class": "gevent", "max_requests": 1000}
    notes = "\n".join(found.notes)
    for words in (
        "cpu_count() * 2 + 1: workers: auto",
        "gevent.monkey.patch_all()",
        "if workers > 4",
        "post_fork",
        "debug",
    ):
        assert words in notes


@pytest.mark.attack("1", "The settings file of an old deployment tries to run code on the controller that reads it")
@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.system('touch /tmp/owned')\n",
        "workers = __import__('os').system('touch /tmp/owned')\n",
        "bind = [x for x in ().__class__.__base__.__subclasses__()]\n",
        "workers = '{{ lookup(\"pipe\", \"id\") }}'\nproc_name = '{% raw %}{{ 1 }}'\n",
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "-" * 100_000 + "1",
        "\x00",
        "\ud800",
        "workers = 10 ** 10 ** 10\n",
    ],
)  # fmt: skip
def test_hostile_settings_files_run_nothing(text: str) -> None:
    literals, notes = python_literals(text)
    assert "system" not in str(literals)
    assert literals or notes
    process = command("gunicorn -c conf.py app:app", files={"conf.py": text}, pid=7)
    apps, written, _secrets = apps_of({"processes": [process]})
    assert apps[0]["wsgi"] == "app:app"
    for line in written.splitlines():
        assert "{{" not in line or line.lstrip().startswith("#") or "!unsafe" in line


def test_a_unit_with_a_socket_and_a_site() -> None:
    unit = command(
        "/home/deploy/myproject/venv/bin/gunicorn --workers 3 --bind unix:myproject.sock -m 007 wsgi:app",
        name="myproject.service",
        text=SOCKET_UNIT,
        serves=True,
        cwd="/home/deploy/myproject",
        user="deploy",
        project={"folder": "/home/deploy/myproject", "lists": ["requirements.txt"], "repository": "", "python": "3.11"},
    )
    process = command("gunicorn", unit="myproject.service")
    found = {
        "units": [unit],
        "processes": [process],
        "nginx": [{"path": "/etc/nginx/sites-enabled/myproject", "text": SITE, "is_main": False}],
    }
    apps, text, secrets = apps_of(found)
    assert len(apps) == 1
    app = apps[0]
    assert app["name"] == "myproject"
    assert app["wsgi"] == "wsgi:app"
    assert app["workers"] == 3
    assert app["adopts"] == {"unit": "myproject.service"}
    assert app["env"] == {"FLASK_ENV": "production", "SECRET_KEY": "{{ adopted_myproject_secret_key }}"}
    assert secrets == {"adopted_myproject_secret_key": "abc%def"}
    assert "abc%def" not in text
    assert app["site"] == {
        "domains": ["shop.example.com", "www.shop.example.com"],
        "max_body_size": "20m",
        "static": [{"url": "/static/", "path": "static"}],
    }
    assert "To correct" not in text


def test_a_process_behind_a_server_of_nginx_conf() -> None:
    process = command("/usr/bin/python3 /usr/local/bin/gunicorn -c conf.py app:app", files={"conf.py": CONF_PY})
    found = {
        "processes": [{**process, "addresses": ["127.0.0.1:5000"], "pid": 9}],
        "nginx": [{"path": "/etc/nginx/nginx.conf", "text": NGINX_CONF, "is_main": True}],
        "starters": [{"path": "/etc/rc.local", "line": "cd /srv/app && gunicorn -c conf.py app:app &"}],
    }
    apps, text, _secrets = apps_of(found)
    assert apps[0]["adopts"] == {"command": "/usr/bin/python3 /usr/local/bin/gunicorn -c conf.py app:app"}
    assert "domains" not in apps[0].get("site", {})
    assert "/etc/rc.local starts it at boot" in text
    assert normalised(apps)[1] == []


def test_a_program_of_supervisor_and_its_worker() -> None:
    web = command(
        "/srv/blog/venv/bin/gunicorn -w 2 -b 0.0.0.0:8000 blog:app",
        name="blog",
        path="/etc/supervisor/conf.d/blog.conf",
        settings={"environment": 'A="1",DB_PASSWORD="p,=\\"x%%",LANG=C'},
        serves=True,
        cwd="/srv/blog",
    )
    worker = command("celery -A blog worker", name="blog-worker", settings={}, serves=False, cwd="/srv/blog")
    apps, text, secrets = apps_of({"programs": [web, worker]})
    assert apps[0]["adopts"] == {"program": "blog"}
    assert apps[0]["env"] == {"A": "1", "DB_PASSWORD": "{{ adopted_blog_db_password }}", "LANG": "C"}
    assert secrets == {"adopted_blog_db_password": 'p,="x%'}
    assert "celery -A blog worker" in text


@pytest.mark.parametrize(
    ("target", "socket"), [("127.0.0.1:3031", "127.0.0.1:3031"), ("unix:/run/shop.sock", "/run/shop.sock")]
)
def test_uwsgi_over_tcp_and_over_a_socket(target: str, socket: str) -> None:
    ini = UWSGI_INI.replace("127.0.0.1:3031", socket)
    passed = f"include uwsgi_params; uwsgi_pass {target};"
    site = f"server {{ listen 8080; server_name shop.example.com; location / {{ {passed} }} }}"
    process = command("uwsgi --ini shop.ini", files={"shop.ini": ini}, cwd="/var/www/shop", pid=3)
    found = {"processes": [process], "nginx": [{"path": "/etc/nginx/conf.d/shop.conf", "text": site}]}
    apps, text, _secrets = apps_of(found)
    app = apps[0]
    assert (app["server"], app["wsgi"], app["workers"], app["threads"]) == ("uwsgi", "run:app", 4, 2)
    assert app["timeout"] == 60
    assert app["site"] == {"domains": ["shop.example.com"], "port": 8080}
    assert "touch-reload = $(HOME)/x has a placeholder" in text
    assert "nonsense = 1 is not taken over: it is not an option of uWSGI" in text
    assert "base = " not in text
    assert normalised(apps)[1] == []


@pytest.mark.attack("19", "A host answers with texts that would add lines or templates to the inventory of adopt.yml")
@pytest.mark.parametrize(
    "found",
    [
        {},
        {"nginx": 3, "units": "x", "programs": {}, "processes": [None, 1, {}], "starters": [[]]},
        {
            "processes": [
                {"words": ["gunicorn", "{{ 7 * 7 }}", "a:b"], "cwd": "/{{ 1 }}", "project": {"repository": "{{ 2 }}"}}
            ]
        },
        {"processes": [{"words": ["gunicorn", 5, "\nwebapps: evil"], "files": [], "project": 4, "cwd": "/a\n- b: c"}]},
        {"units": [{"serves": True, "name": "x.service", "text": 'Environment="A', "words": ["gunicorn", "a:b"]}]},
        {"nginx": [{"path": "/x", "text": "server { server { { } } } } location" * 200, "is_main": True}]},
        {"nginx": [{"path": "/x", "text": "{" * 5000}]},
    ],
)
def test_hostile_answers_of_a_host_give_yaml(found: dict[str, Any]) -> None:
    apps, text, _secrets = apps_of(found)
    assert isinstance(apps, list)
    assert all(line.startswith(("#", " ", "---", "webapps:")) or not line for line in text.splitlines())
    assert all("{{" not in line or line.lstrip().startswith("#") or "!unsafe" in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("line", "server", "name"),
    [
        ("gunicorn app:app", "gunicorn", "app:app"),
        ("/v/bin/python /v/bin/gunicorn a.b:c", "gunicorn", "a.b:c"),
        ("python3.11 -m gunicorn a:b", "gunicorn", "a:b"),
        ("python3 -u -m uvicorn a:b", "uvicorn", "a:b"),
        ("uwsgi --ini a.ini", "uwsgi", ""),
        ("python3 manage.py gunicorn", "", ""),
        ("flask run", "flask", ""),
        ("flask shell", "", ""),
        ("vim gunicorn", "", ""),
    ],
)
def test_app_servers_are_known_by_their_command_lines(line: str, server: str, name: str) -> None:
    words = shlex.split(line)
    assert server_of(words) == server
    assert not server or callable_of(words) == name


def test_the_title_of_a_process_names_its_application() -> None:
    assert server_of(["gunicorn: master [shop:app]"]) == "gunicorn"
    assert callable_of(["gunicorn: master [shop:app]"]) == "shop:app"
    assert matches(["gunicorn: master [shop:app]"], ["gunicorn", "-w", "3", "shop:app"])
    assert not matches(["gunicorn: master [blog:app]"], ["gunicorn", "-w", "3", "shop:app"])


@pytest.mark.parametrize(
    ("line", "is_same"),
    [
        ("gunicorn -w 4 app:app", True),
        ("/v/bin/python3 /v/bin/gunicorn -w 4 app:app", True),
        ("python3 -m gunicorn -w 4 app:app", True),
        ("gunicorn -w 4 app:app2", False),
        ("gunicorn -w 4 app:app --reload", False),
        ("bash -c gunicorn -w 4 app:app", False),
    ],
)
def test_a_command_matches_its_whole_command_line_only(line: str, is_same: bool) -> None:
    assert matches(shlex.split(line), shlex.split("nohup gunicorn -w 4 app:app &")) is is_same
    assert plain([]) == []


def test_a_program_that_is_disabled_stays_defined() -> None:
    text = "[program:a]\ncommand=x\nautostart=true\n\n[program:b]\nautostart=true\ncommand=y\n"
    found = disabled(text, "a")
    assert (
        found
        == "[program:a]\nautostart=false\nautorestart=false\ncommand=x\n\n[program:b]\nautostart=true\ncommand=y\n"
    )
    assert disabled(found, "a") == found
    assert disabled(text, "c") == text


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/two.service\n", "two.service"),
        ("0::/machine.slice/libpod-1.scope/container/system.slice/two.service/sub\n", "two.service"),
        ("12:pids:/init.service/system.slice/two.service\n0::/\n", "two.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", ""),
        ("", ""),
    ],
)
def test_the_unit_of_a_process(cgroups: str, unit: str) -> None:
    assert unit_of(cgroups) == unit


def test_pairs_of_supervisor() -> None:
    assert dict(pairs_of('A=1, B=\'x,y\', C="z\\""')) == {"A": "1", "B": "x,y", "C": 'z"'}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("localhost:8000", "127.0.0.1:8000", True),
        (":8000", "0.0.0.0:8000", True),
        ("unix:/run/a.sock", "/run/a.sock", True),
        ("unix:/run/a.sock:", "unix://run/a.sock", True),
        ("10.0.0.1:80", "127.0.0.1:80", False),
        ("/run/a.sock", "/run/b.sock", False),
    ],
)
def test_spellings_of_an_address(one: str, other: str, same: bool) -> None:
    assert (spelling(one) == spelling(other)) is same


# The reports of site.yml


def app(**changes: Any) -> dict[str, Any]:
    base = {"name": "shop", "source": {"path": "shop"}, "wsgi": "shop:app", "site": {"domains": ["shop.org"]}}
    apps, problems = normalised([{**base, **changes}])
    assert not problems
    return apps[0]


SHOP = {
    "title": "shop.org",
    "path": "/etc/nginx/nginx.conf",
    "keys": [[80, "shop.org"]],
    "targets": ["http://127.0.0.1:8000"],
}
BLOG = {"title": "blog.org", "path": "/etc/nginx/nginx.conf", "keys": [[80, "blog.org"]], "targets": []}
GUNICORN = {
    "pid": 7,
    "server": "gunicorn",
    "callable": "x:app",
    "unit": "old.service",
    "program": "",
    "addresses": ["127.0.0.1:8000"],
}


def test_servers_and_processes_by_hand_are_reported_with_what_will_happen() -> None:
    texts = notices([app()], {"servers": [SHOP, BLOG], "processes": [GUNICORN]})
    assert len(texts) == 3
    assert "shop.org on port 80" in texts[0]
    assert "responds until webapps 'shop' has a live release" in texts[0]
    assert "blog.org" in texts[1]
    assert "It stays" in texts[1]
    assert "set adopts: {unit: old.service}" in texts[2]
    adopted = notices([app(adopts={"unit": "old"})], {"servers": [SHOP], "processes": [GUNICORN]})
    assert adopted[1].endswith("stopped and disabled when the release is live.")
    apps = [app(adopts={"unit": "old"}, switch="stop_first")]
    assert "both run" in notices(apps, {"servers": [SHOP], "processes": [GUNICORN]})[1]


@pytest.mark.parametrize(
    "found", [{}, {"servers": 1, "processes": "x"}, {"servers": [{}], "processes": [{**GUNICORN, "addresses": [3]}]}]
)
def test_hostile_facts_are_no_reports(found: dict[str, Any]) -> None:
    assert notices([app()], found) == []


# Later stages of a run


@pytest.mark.parametrize(
    ("nginx", "pending"),
    [
        ({}, {"certificates": False, "waiting": []}),
        ({"due": ["shop"]}, {"certificates": True, "waiting": []}),
        ({"waiting": ["shop"]}, {"certificates": True, "waiting": ["shop"]}),
        ({"retiring": ["shop"]}, {"certificates": True, "waiting": []}),
        ({"waiting": 3}, {"certificates": False, "waiting": []}),
    ],
)
def test_a_site_that_waits_is_served_in_the_stage_switch(nginx: dict[str, Any], pending: dict[str, Any]) -> None:
    assert later_for_nginx(nginx) == pending
    switch = without_front({"name": "shop", "front_port": 80}, pending)
    assert (switch["front_port"] is None) == bool(pending["waiting"])


@pytest.mark.attack("1", "A host names a unit and a variable so that the second file sets a variable of Ansible")
@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("ansible", 'SSH_COMMON_ARGS="-oProxyCommand=id ://a:b@"'),
        ("ansible", "BECOME_PASSWORD=x"),
        ("webapp", "ROOT=/tmp/://a:b@"),
    ],
)
def test_no_host_names_a_variable_of_the_controller(name: str, variable: str) -> None:
    unit = command("gunicorn app:app", name=f"{name}.service", text=f"Environment={variable}\n", serves=True)
    _apps, _text, secrets = apps_of({"units": [unit]})
    assert len(secrets) == 1
    assert all(key.startswith("adopted_") for key in secrets)


@pytest.mark.attack("1", "A host writes a reference to a variable of the controller into its settings")
@pytest.mark.parametrize("key", ["GREETING", "TOKEN"])
def test_a_reference_that_a_host_wrote_is_not_resolved(key: str) -> None:
    text = f'Environment={key}="{{{{ vault_password }}}}"\n'
    unit = command("gunicorn app:app", name="shop.service", text=text, serves=True)
    written = inventory_of("web1", {"units": [unit]}, "web1.secrets.yml")
    assert "!unsafe '{{ vault_password }}'" in written.inventory + written.secrets


def test_two_secrets_have_two_variables() -> None:
    text = "Environment=A_TOKEN=one\nEnvironment=A-TOKEN=two\n"
    unit = command("gunicorn app:app", name="shop.service", text=text, serves=True)
    _apps, _text, secrets = apps_of({"units": [unit]})
    assert sorted(secrets.values()) == ["one", "two"]


def test_a_secret_of_a_command_line_is_in_the_second_file_only() -> None:
    process = command("gunicorn -e SECRET_KEY=hidden-value app:app", pid=3)
    apps, text, secrets = apps_of({"processes": [process]})
    assert "hidden-value" not in text
    assert secrets[apps[0]["adopts"]["command"].strip("{ }")] == "gunicorn -e SECRET_KEY=hidden-value app:app"


def test_a_password_of_a_neighbour_is_in_no_comment() -> None:
    unit = command("gunicorn app:app", name="shop.service", text="", serves=True)
    worker = command("celery -b redis://:hidden-value@db/0", name="worker.service", text="", serves=False)
    _apps, text, _secrets = apps_of({"units": [unit, worker]})
    assert "Beside it runs worker: celery" in text
    assert "hidden-value" not in text


def test_the_account_of_a_process_is_not_the_owner_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"gunicorn\0app:app\0")
    (folder / "stat").write_text("7 (gunicorn) S 1 7 7")
    (folder / "status").write_text("Name:\tgunicorn\nUid:\t4711\t4711\t4711\t4711\n")
    assert [one.uid for one in handmade_processes("/srv/webapps", str(tmp_path))] == [4711]


def test_a_socket_at_a_relative_path_is_known_by_its_whole_path(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"gunicorn\0app:app\0")
    (folder / "stat").write_text("7 (gunicorn) S 1 7 7")
    (folder / "cwd").symlink_to("/home/deploy/shop")
    (folder / "fd/3").symlink_to("socket:[99]")
    (tmp_path / "net").mkdir()
    line = "0000: 00000002 00000000 00010000 0001 01 99 shop.sock"
    (tmp_path / "net/unix").write_text(f"Num RefCount Protocol Flags Type St Inode Path\n{line}\n")
    assert [one.addresses for one in handmade_processes("/srv/webapps", str(tmp_path))] == [
        ["/home/deploy/shop/shop.sock"]
    ]


class Serving:
    """An old service that listens on one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def addresses(self) -> list[str]:
        return [self.address]


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("/run/shop.sock", "http://unix:/run/shop.sock"),
        ("/run/shop.sock", "http://unix:/run/shop.sock:/"),
        ("/run/shop.sock", "http://unix:/run/shop.sock:/api/"),
        ("127.0.0.1:8000", "http://localhost:8000/"),
        ("0.0.0.0:8000", "http://10.0.0.5:8000"),
    ],
)
@pytest.mark.parametrize("folder", ["conf.d", "pyweb/current/sites"])
def test_a_service_that_another_server_needs_is_used(tmp_path: Path, folder: str, address: str, target: str) -> None:
    path = tmp_path / folder / "blog.conf"
    path.parent.mkdir(parents=True)
    (tmp_path / "nginx.conf").write_text("# nginx role of pyweb.stack\n")
    path.write_text(f"server {{ server_name blog; location / {{ proxy_pass {target}; }} }}")
    service: Any = Serving(address)
    assert still_used(service, str(tmp_path)) == [f"blog in {path}"]


@pytest.mark.attack("1", "The repository of an old deployment is a folder of the controller, or a program there")
@pytest.mark.parametrize(
    "address", ["/srv/private", "file:///srv/private", "../private", "ext::sh", "--upload-pack=id", "ssh://-oProxy/x"]
)
def test_no_repository_is_a_path_of_the_controller(address: str) -> None:
    project = {"repository": address, "top": "/srv"}
    unit = command("gunicorn app:app", name="shop.service", text="", serves=True, project=project)
    apps, _text, _secrets = apps_of({"units": [unit]})
    assert apps[0]["source"] == {"path": "shop"}


@pytest.mark.parametrize(
    "address", ["https://example.com/a/b.git", "git@example.com:a/b.git", "ssh://git@h/x", "h:a/b"]
)
def test_a_repository_of_another_host_is_the_source(address: str) -> None:
    unit = command("gunicorn app:app", name="shop.service", text="", serves=True, project={"repository": address})
    apps, _text, _secrets = apps_of({"units": [unit]})
    assert "git" in apps[0]["source"]


@pytest.mark.parametrize("value", ["{'a': {'b': 1j}}", "{'a': [b'x', ...]}", "[{1, 2}]"])
def test_any_literal_can_be_written(value: str) -> None:
    process = command("gunicorn -c c.py app:app", files={"c.py": f"secure_scheme_headers = {value}"}, pid=3)
    apps, _text, _secrets = apps_of({"processes": [process]})
    assert apps[0]["name"] == "app"
