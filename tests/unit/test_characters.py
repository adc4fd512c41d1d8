# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Every text of every input: control characters in it are refused before a host is touched, or are quoted."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.python_archives import wrong_archives
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import servers, services
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.validation import checked_inventory
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import supervisor, supervisor_settings, systemd
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing import site as publishing
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import granian, gunicorn, uwsgi
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import input_problems, role_names
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options

# Besides these, half of a surrogate pair: YAML can write it, UTF-8 can't.
CHARACTERS = ["\n", "\r", "\0", "\x1b", "\x7f", "\ud800"]

# A right value for every input, with every text that its specification knows.
SITE = """
domains: [shop.example.com]
redirects: [www.shop.example.com]
tls: {mode: provided, certificate: cert.pem, key: key.pem, plain_paths: [PREFIX/up]}
max_body_size: 16m
header_preset: basic
headers: {X-Header: value}
error_pages: [{status: [502], page: PAGE}]
rate_limit: {rate: 10r/s}
basic_auth: {realm: Staff, users: {ann: "$6$salt$hash"}}
allow: [192.0.2.1]
deny: [192.0.2.2]
satisfy: all
maintenance: {page: PAGE, allow: [192.0.2.3], open_paths: [/up]}
log_format: json
extra: "add_header A b;"
"""
LOCATION = """
path: /api/
max_temp_file_size: 1m
cache: {bypass_cookies: [session], max_size: 10m}
max_body_size: 1m
header_preset: basic
headers: {X-Header: value}
error_pages: [{status: [502], page: PAGE}]
rate_limit: {rate: 10r/s}
basic_auth: {realm: Staff, users: {ann: "$6$salt$hash"}}
allow: [192.0.2.1]
deny: [192.0.2.2]
satisfy: all
extra: "add_header A b;"
"""


def has_image(given: dict[str, Any]) -> bool:
    return given.get("runtime") == "container" or any(given["source"].get(key) for key in ("image", "containerfile"))


def site(text: str, page: str, prefix: str = "") -> dict[str, Any]:
    return yaml.safe_load(text.replace("PAGE", page).replace("PREFIX", prefix))


def app(name: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        **yaml.safe_load("""
            state: present
            python:
              {interpreter: python3, requirements: [r.txt], packages: [redis], index_url: "https://pypi.example.org/",
               extra_index_urls: ["https://pypi.example.org/"], extras: [a], groups: [b], ca_bundle: /etc/ca.pem}
            wsgi: shop:create_app("x")
            server: gunicorn
            workers: auto
            gunicorn: {access_log_format: "%(h)s", logconfig_dict: {version: "1"}, worker_class: gthread}
            granian: {access_log_fmt: "%(addr)s"}
            uwsgi: {procname-prefix: shop, cheaper: "1"}
            env: {PASSWORD: secret}
            files: [{path: config/secrets.toml, content: "token = 1"}]
            shared: [instance]
            commands: {build: [make], release: [flask db upgrade]}
            health: {path: /up}
            processes: [{name: worker, command: work, stop_signal: TERM, limits: {memory: 512M, cpu: 50%}}]
            jobs:
              - {name: nightly, command: clean, schedule: "1 2 * * *", timezone: UTC, limits: {memory: 512M, cpu: 50%}}
            limits: {memory: 2G, cpu: 150%}
            systemd: {ProtectHome: read-only, Environment: [A=1, B=2]}
            process_manager: systemd
            container: {base: trixie, packages: [libpq5]}
        """),
        "name": name,
        "source": source,
        **more,
    }


WEBAPPS = [
    app(
        "shop",
        {
            "git": "ssh://git@git.example.com/shop.git",
            "version": "v1",
            "key": "deploy_key",
            "host_key": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tr"],
            "subdir": "backend",
        },
        site={
            **site(SITE, "errors/sorry.html", "/shop"),
            "path": "/shop",
            "static": [
                {
                    "url": "/static/",
                    "path": "static",
                    "package": "shop",
                    "fallback": "index.html",
                    "charset": "utf-8",
                }
            ],
            "locations": [site(LOCATION, "errors/sorry.html")],
            "max_temp_file_size": "1m",
            "cache": {"bypass_cookies": ["session"], "max_size": "10m"},
        },
    ),
    app(
        "a",
        {"archive": "https://example.com/a.tgz", "checksum": "sha256:" + "0" * 64},
        site={"port": 81},
        adopts={"unit": "a.service"},
    ),
    app("b", {"path": "shop", "include": [".env"]}, site={"port": 82}, adopts={"program": "b"}),
    app("c", {"package": "shop==1.4.2"}, site={"port": 83}, adopts={"command": "gunicorn c:app"}),
    app(
        "d",
        {"image": "registry.example.com/shop:1", "registry": {"username": "ann", "password": "secret"}},
        site={"port": 84},
        # An image has them already.
        python={},
        container={},
    ),
    app(
        "e",
        {"path": "shop", "containerfile": "Containerfile", "context": "web", "platform": "linux/amd64"},
        site={"port": 85},
        python={},
        container={},
    ),
    app(
        "f",
        {"path": "shop"},
        site={"port": 86},
        python={},
        runtime="container",
        container={"containerfile": "Containerfile", "context": "web", "platform": "linux/amd64"},
    ),
]
SITES = [
    {
        **site(SITE, "/srv/sorry.html"),
        "name": "own",
        "state": "present",
        "domains": ["own.example.com"],
        "redirects": ["www.own.example.com"],
        "upstreams": [
            {"name": "backend", "protocol": "http", "balance": "ip_hash", "servers": [{"address": "app1:5000"}]}
        ],
        "locations": [
            {
                **site(LOCATION, "/srv/sorry.html"),
                "path": "/",
                "upstream": "backend",
                "instead": {"exists": "/run/x", "upstream": "uwsgi:unix:/run/x.sock"},
                "maintenance": site(SITE, "/srv/sorry.html")["maintenance"],
            },
            {"path": "/f/", "alias": "/srv/f/", "fallback": ["/srv/g/"], "internal": True, "internal_for": "backend"},
            {"path": "/g/", "alias": "/srv/g/", "page": "index.html", "charset": "utf-8"},
        ],
        "links_root": "/srv",
        "health_checks": [{"name": "shop", "path": "/up"}],
        "access_log": "/var/log/a.log",
        "error_log": "/var/log/e.log",
    }
]
SYSTEMD = yaml.safe_load("""
- name: shop
  state: present
  description: A shop
  command: [/usr/bin/shop, serve]
  type: oneshot
  user: shop
  group: shop
  working_directory: /srv
  environment: {A: b}
  runtime_directory: {path: /run/shop, owner: shop, group: shop, mode: "0755"}
  sockets: {paths: [/run/shop/shop.sock], group: www-data, mode: "0660", condition_path: /srv/shop/sockets}
  stop_signal: TERM
  timer: {on_calendar: [daily]}
  restart: "no"
  limits: {memory: 1G, cpu: 50%}
  writable_paths: [/srv/shop]
  settings: {Service: {Nice: "5"}}
""")
PROGRAMS = yaml.safe_load("""
- name: shop
  state: present
  command: [/usr/bin/shop, serve]
  user: shop
  group: shop
  directory: /srv
  environment: {A: b}
  runtime_directory: {path: /run/shop, owner: shop, group: shop, mode: "0755"}
  sockets: {paths: [/run/shop/shop.sock], group: www-data, mode: "0660", condition_path: /srv/shop/sockets}
  autorestart: "true"
  stopsignal: TERM
  stdout_logfile: /var/log/shop.log
  stdout_logfile_maxbytes: 10MB
  settings: {priority: "5"}
- {name: nightly, command: [/usr/bin/clean], schedule: "1 2 * * *"}
""")
GROUPS = [{"name": "all", "state": "present", "programs": ["shop"]}]
GUNICORN = yaml.safe_load("""
- {name: shop, directory: /srv/shop, wsgi_app: "shop:app", bind: "unix:/run/shop.sock", program: [/usr/bin/gunicorn],
   chdir: /srv, ready_file: /run/ready, settings: {access_log_format: "%(h)s"}}
""")
UWSGI = yaml.safe_load("""
- {name: shop, directory: /srv/shop, module: "shop:app", socket: /run/shop.sock, http_socket: /run/h.sock,
   stats: /run/s.sock, program: [/usr/bin/uwsgi], chdir: /srv, ready_file: /run/ready,
   settings: {procname-prefix: shop}}
""")
GRANIAN = yaml.safe_load("""
- {name: shop, directory: /srv/shop, target: "shop:app", bind: "unix:/run/shop.sock", program: [/usr/bin/python3],
   chdir: /srv, ready_file: /run/ready, settings: {access_log_fmt: "%(addr)s"}}
""")


# Every list of items: a right value, and what is wrong with another one.
ARCHIVES = [
    {
        "path": "files/cpython-3.13.5+20250612-x86_64-unknown-linux-gnu-install_only.tar.gz",
        "checksum": f"sha256:{'0' * 64}",
    }
]
DAEMON = {
    "minfds": 4096,
    "logfile_maxbytes": "50MB",
    "inet_http_server": {"port": "127.0.0.1:9001", "username": "ops", "password": "x"},
}
STATUS_PAGE = {
    "domain": "status.example.com",
    "tls": {"mode": "provided", "certificate": "web.pem", "key": "web.key"},
    "basic_auth": {"realm": "Restricted", "users": {"alice": "$apr1$x$y"}},
    "allow": ["10.0.0.0/8"],
}
LISTS: dict[str, tuple[Any, Callable[[Any], list[str]]]] = {
    "webapps": (WEBAPPS, lambda value: checked_inventory(value)[1]),
    "nginx_sites": (SITES, lambda value: checked_inventory([], own_sites=value)[1]),
    "webapp_status_site": (
        STATUS_PAGE,
        lambda value: (
            input_problems({"webapp_status_site": value})
            + checked_inventory([], own_sites=publishing.status_sites(value))[1]
        ),
    ),
    "python_archives": (ARCHIVES, wrong_archives),
    "systemd_services": (SYSTEMD, systemd.problems),
    "supervisor_programs": (PROGRAMS, supervisor.problems),
    "supervisor_groups": (GROUPS, lambda value: supervisor.problems(PROGRAMS, value)),
    "supervisor_daemon": (DAEMON, lambda value: supervisor_settings.checked(value)[1]),
    "gunicorn_services": (GUNICORN, gunicorn.wrong_services),
    "uwsgi_services": (UWSGI, uwsgi.wrong_services),
    "granian_services": (GRANIAN, granian.wrong_services),
}
# Made by the roles of the app servers, and written by a module that takes any text.
MADE_BY_ROLES = {"webapp_release_files"}
SINGLE: dict[str, Any] = {
    "webapp_rollout": {"first": "1", "batch": "25%", "pause": 0, "watch": 0, "unreachable": "stop"},
    "nginx_acme_ca_bundle": "/etc/ca.pem",
    "nginx_acme_email": "ops@example.com",
    "nginx_ca_certificate": "ca.pem",
    "nginx_ca_key": "ca.key",
    "nginx_extra": "gzip on;",
    "balancer_address": "192.0.2.1",
    "balancer_port": 8080,
    "balancer_source_addresses": ["192.0.2.1"],
    "balancer_web_hosts": ["web1"],
    **{
        f"{role}{kind}_packages": ["nginx"]
        for role in ("balancer", "nginx", "python", "supervisor")
        for kind in ("", "_required")
    },
    "nginx_balancers": ["192.0.2.1"],
    "nginx_trusted_proxies": ["10.0.0.0/8"],
    "python_downloads_json": "/etc/pyweb/downloads.json",
    "python_downloads_mirror": "https://mirror.example.org/pythons",
    "python_uv_index_url": "https://pypi.example.org/simple",
    "webapp_foreign_applications": ["blog"],
}

# Texts that may have these characters, and why that does no harm. A zero byte and half of a pair are refused in all.
SEVERAL_LINES = {
    "webapps.env.PASSWORD": "the environment's file quotes it for the shell",
    "webapps.files.content": "written as it is, into a file of its own",
    "webapps.gunicorn.access_log_format": "written as a literal of Python",
    "webapps.gunicorn.logconfig_dict.version": "written as a literal of Python",
    "webapps.granian.access_log_fmt": "written as a literal of Python",
    "webapps.site.extra": "printed as it is, on purpose; nginx itself checks it before it is loaded",
    "webapps.site.locations.extra": "the same",
    "webapps.site.tls.certificate": "a path or a PEM text, read on the controller before a host is touched",
    "webapps.site.tls.key": "the same",
    "nginx_sites.extra": "the same as of webapps",
    "nginx_sites.locations.extra": "the same",
    "nginx_sites.tls.certificate": "the same",
    "nginx_sites.tls.key": "the same",
    "webapp_status_site.tls.certificate": "the same",
    "webapp_status_site.tls.key": "the same",
    "nginx_ca_certificate": "the same",
    "nginx_ca_key": "the same",
    "nginx_extra": "the same",
    "systemd_services.command": "systemd_quote escapes it",
    "systemd_services.environment.A": "systemd_quote escapes it",
    "systemd_services.runtime_directory.group": "systemd_quote escapes it",
    "systemd_services.runtime_directory.mode": "systemd_quote escapes it",
    "systemd_services.runtime_directory.owner": "systemd_quote escapes it",
    "systemd_services.runtime_directory.path": "systemd_quote escapes it",
    "systemd_services.writable_paths": "systemd_quote escapes it",
    "gunicorn_services.settings.access_log_format": "written as a literal of Python",
    "granian_services.settings.access_log_fmt": "written as a literal of Python",
}


def texts(value: Any, spec: dict[str, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts in a value, apart from those that are one of a few."""
    options = spec.get("options")
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, options[key] if options else {"type": "raw"}, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            element = {"type": spec.get("elements", "raw"), "options": options}
            yield from texts(item, element, (*path, index))
    elif isinstance(value, str) and "choices" not in spec:
        yield path


def name_of(path: tuple[Any, ...]) -> str:
    return ".".join(str(step) for step in path if isinstance(step, str))


def known(options: dict[str, Any], place: str = "") -> Iterator[str]:
    """The names of all texts and dictionaries that a specification has."""
    for key, spec in options.items():
        if spec.get("options"):
            yield from known(spec["options"], f"{place}{key}.")
        elif spec.get("elements", spec.get("type")) in ("str", "path", "raw", "dict") and "choices" not in spec:
            yield f"{place}{key}"


def changed(value: Any, path: tuple[Any, ...], character: str) -> Any:
    if not path:
        return value[:1] + character + value[1:]
    copied = copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], character)
    return copied


def found(name: str) -> tuple[Any, Callable[[Any], list[str]]]:
    if name in LISTS:
        return LISTS[name]
    spec = next(options[name] for role in role_names() if name in (options := role_options(role)))
    value = SINGLE.get(name, spec.get("default"))
    if name == "webapp_root":
        return value, lambda changed: checked_inventory([], changed)[1]
    return value, lambda changed: input_problems({name: changed})


INPUTS = {name: spec for role in role_names() for name, spec in role_options(role).items() if name not in MADE_BY_ROLES}


def test_the_examples_have_every_text_that_a_specification_knows() -> None:
    there = {
        name_of((name, *path))
        for name, spec in INPUTS.items()
        if (value := found(name)[0])
        for path in texts(value, spec)
    }
    missing = [name for name in known(INPUTS) if not any(f"{one}.".startswith(f"{name}.") for one in there)]
    assert missing == []


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_a_right_value_is_right(name: str) -> None:
    value, problems = found(name)
    assert problems(value) == []


@pytest.mark.attack("20", "A text of the inventory holds a newline or another control character")
@pytest.mark.parametrize("name", sorted(INPUTS))
def test_control_characters_are_refused_or_harmless(name: str) -> None:
    value, problems = found(name)
    passed = set()
    for path in texts(value, INPUTS[name]):
        here = name_of((name, *path))
        for character in CHARACTERS:
            if not problems(changed(value, path, character)):
                passed.add(here if character not in ("\0", "\ud800") else f"{here} with {character!r}")
    assert passed == {here for here in SEVERAL_LINES if f"{here}.".startswith(f"{name}.")}


CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def accepted(name: str) -> Iterator[Any]:
    """Every value with a control character that is accepted."""
    value, problems = found(name)
    for path in texts(value, INPUTS[name]):
        for character in CHARACTERS:
            other = changed(value, path, character)
            if not problems(other):
                yield other


@pytest.mark.attack("20", "A control character in an input adds a line to a unit file")
def test_no_line_of_a_unit_file_has_a_control_character() -> None:
    for items in accepted("systemd_services"):
        for unit in systemd.units(systemd.checked(items)[0]):
            lines = [line for section in unit["vars"]["unit"]["sections"] for line in section["lines"]]
            assert not [line for line in lines if CONTROL.search(line)]


@pytest.mark.attack("20", "A control character in an input adds a setting of gunicorn")
def test_no_setting_of_gunicorn_has_a_control_character() -> None:
    for items in accepted("gunicorn_services"):
        for file in gunicorn.files_of(items, shlex.quote):
            values = [value for _key, value in file["vars"].get("settings", [])]
            assert not [value for value in values if CONTROL.search(value)]


@pytest.mark.parametrize("manager", ["systemd", "supervisor"])
def test_definitions_of_applications_that_are_accepted_are_accepted(manager: str) -> None:
    facts = {"init": "systemd", "cpus": 2, "memory_bytes": 2**31, "supervisor": True}
    for webapps in [WEBAPPS, *accepted("webapps")]:
        # An image needs systemd.
        fitting = [one for one in webapps if manager == "systemd" or not has_image(one)]
        apps, problems, *_ = checked_inventory([{**one, "process_manager": manager} for one in fitting])
        assert problems == []
        assert systemd.problems(services.systemd_services(apps, facts)) == []
        assert supervisor.problems(services.supervisor_programs(apps, facts)) == []
        assert gunicorn.wrong_services(servers.server_services("gunicorn", apps, facts)) == []
