# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""From the application model to the inputs of the roles. Pure functions: what comes in decides what goes out."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import RELEASE, Layout
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import extra_lines
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import has_tls
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan import background
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import gunicorn, uwsgi

# Memory (bytes) that `workers: auto` reckons with for each worker: a Flask application with an ORM takes 60 to 120 MiB.
WORKER_MEMORY = 128 * 1024**2

# The callable of the module that wraps the application's own.
ENTRY = "pyweb_entry:application"
# Where the module nginx_config keeps the certificate that signs those of mode `selfsigned`.
CA = "/etc/nginx/pyweb/certificates/ca.crt"

# Seconds that a stop may take beyond the time that requests under way get.
STOP_MARGIN = 5

# Seconds that nginx keeps a connection to an application: at a rate where it matters that is dozens of requests, and
# visitors see a new release at once. One of this age may wait for a last request as long again; so this long after a
# switch no connection leads to the old release any more.
KEPT = 0.2
KEPT_AFTER_SWITCH = 2 * KEPT + 0.5
# Idle connections to an application that each worker of nginx keeps: as many as the threads of a few workers can use.
KEPT_CONNECTIONS = 16


# Where no init does it, supervisor watches over nginx. One that was stopped takes its pid file along before it goes: so
# that is looked at once more when it has gone. One that was killed leaves it behind, and workers that hold its ports.
NGINX_WATCH = "pyweb-nginx"
WATCH = (
    "while sleep 0.3; do pid=$(cat /run/nginx.pid 2>/dev/null); "
    'if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != nginx ] && '
    '[ "$(cat /run/nginx.pid 2>/dev/null)" = "$pid" ]; then '
    'echo "nginx ($pid) has gone without being stopped: starting it"; kill -QUIT "-$pid"; nginx; fi; done'
)

# supervisord looks at its programs once a second, so it notices one look late that a program has ended, and starts it
# again at the next. It also looks when a program writes: this one writes when another ends. Once an end is noticed, the
# second line has the program started. Where the system has no pidfd, supervisord's own looks remain.
WAKE = "pyweb-wake"
WAKE_CODE = """
import contextlib, os, select, time
parent, watched, ended = os.getppid(), {}, select.poll()
while os.getppid() == parent:
    with contextlib.suppress(OSError, AttributeError):
        with open(f"/proc/{parent}/task/{parent}/children") as listed:
            children = {int(pid) for pid in listed.read().split()} - {os.getpid()}
        for pid in children - set(watched.values()):
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                watched[pidfd] = pid
                ended.register(pidfd, select.POLLIN)
    for pidfd, _event in ended.poll(1000):
        ended.unregister(pidfd)
        os.close(pidfd)
        del watched[pidfd]
        for _look in range(2):
            print(flush=True)
            time.sleep(0.05)
"""
WAKE_PROGRAM = {
    "name": WAKE,
    "command": ["/usr/bin/python3", "-I", "-S", "-c", f"exec({WAKE_CODE!r})"],
    "stdout_logfile": "/dev/null",
    "stdout_logfile_maxbytes": "0",
}


class ModelError(ValueError):
    """The application model has problems; the message lists them all."""


def applications(webapps: Any) -> list[dict[str, Any]]:
    """The checked applications; raises ModelError with every problem."""
    apps, problems = normalised(webapps)
    if problems:
        raise ModelError("\n".join(problems))
    return apps


def unknown_app(name: str, names: list[str]) -> str:
    """What is said to who names an application that is none, or names none."""
    said = f"'{name}' is no application of this host" if name else "no application is named"
    return f"{said}. Name one with -e app=NAME; there are: {', '.join(names) or 'none'}."


def present(webapps: Any) -> list[dict[str, Any]]:
    return [app for app in applications(webapps) if app["state"] == "present"]


def worker_count(app: dict[str, Any], facts: dict[str, Any]) -> int:
    """Twice the cores plus one (gunicorn's recommendation), as many as fit into the memory, at least two.

    The cores are those that the application may use; the memory is half of the host's, for the other half is the
    system's and that of a second release during a switch, or the limit of the application if that is lower.
    """
    if app["workers"] != "auto":
        return int(app["workers"])
    cores, memory = facts["cpus"], facts["memory_bytes"] // 2
    if app["limits"]["cpu"]:
        cores = min(cores, max(1, int(app["limits"]["cpu"].rstrip("%")) // 100))
    if app["limits"]["memory"]:
        memory = min(memory, memory_bytes(app["limits"]["memory"]))
    return max(2, min(2 * cores + 1, memory // WORKER_MEMORY))


def memory_bytes(text: str) -> int:
    """Bytes of a size in systemd's notation."""
    unit = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}.get(text[-1])
    return int(text[:-1]) * unit if unit else int(text)


def stop_timeout(app: dict[str, Any]) -> int:
    """Seconds after which a process manager kills: later than the application server ends its last request."""
    uwsgi_serves = app["server"] == "uwsgi"
    return (app["timeout"] if uwsgi_serves else gunicorn.stop_seconds(app["gunicorn"], app["timeout"])) + STOP_MARGIN


def resolved_process_manager(app: dict[str, Any], default: str, facts: dict[str, Any]) -> str:
    chosen = app["process_manager"] or default
    if chosen == "auto":
        chosen = "systemd" if facts["init"] == "systemd" else "supervisor"
    return chosen


def release_directory(root: str, name: str, identity: str) -> str:
    return f"{root}/{name}/releases/{identity}"


def socket_path(name: str, identity: str) -> str:
    return f"/run/webapps/{name}/{identity}.sock"


def releases(
    webapps: Any,
    facts: dict[str, Any],
    process_manager: str = "auto",
    server_requirements: dict[str, str] | None = None,
    files: list[dict[str, Any]] | None = None,
    root: str = "/srv/webapps",
) -> list[dict[str, Any]]:
    """Input of the module webapp_release. The files are what the app servers' roles have rendered."""
    items = []
    for app in applications(webapps):
        item = {"name": app["name"], "state": app["state"], "purge": app["purge"]}
        if app["state"] == "present":
            manager = resolved_process_manager(app, process_manager, facts)
            environment = {"WEBAPP_SERVER": app["server"], "WEBAPP_PROCESS_MANAGER": manager}
            if app["site"]["path"] != "/":
                environment["SCRIPT_NAME"] = app["site"]["path"]
            item |= {
                # With what the preflight has settled of it: what was checked is what is deployed.
                "source": {**app["source"], **settled_commit(app, facts)},
                "python": app["python"],
                "server_packages": server_packages(app, server_requirements or {}),
                "wsgi": app["wsgi"],
                "protocol": protocol(app),
                "entry": entry(app),
                "environment": environment,
                "env": app["env"],
                "shared": app["shared"],
                "served": served_from_shared(app),
                "build_commands": app["commands"]["build"],
                "import_timeout": app["health"]["timeout"],
                "process_manager": manager,
                "limits": app["limits"],
                "processes": background.services(app),
                "jobs": bool(app["jobs"]),
                "server_files": [
                    *files_of_release(files or [], release_directory(root, app["name"], RELEASE)),
                    *background.launchers(app, root),
                ],
            }
        items.append(item)
    return items


def served_from_shared(app: dict[str, Any]) -> list[str]:
    """The folders below shared/ that nginx serves itself: static ones, and those of its pages."""
    found = set()
    for folder in app["shared"]:
        for item in app["site"]["static"]:
            path = posixpath.normpath(item["path"].strip("/") or ".")
            if within(path, folder):
                found.add(path)
            elif path == "." or within(folder, path):
                found.add(folder)
        found |= {posixpath.dirname(page) for page in pages_of_site(app["site"]) if within(page, folder)}
    return sorted(found)


def pages_of_site(site: dict[str, Any]) -> list[str]:
    """The files of the source that nginx sends instead of an answer."""
    listed = [page["page"] for place in (site, *site["locations"]) for page in place.get("error_pages") or []]
    closed = [site["maintenance"]["page"]] if (site["maintenance"] or {}).get("page") else []
    return [posixpath.normpath(page.strip("/")) for page in (*listed, *closed)]


def within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def files_of_release(files: list[dict[str, Any]], directory: str) -> list[dict[str, Any]]:
    """Those files that belong into a release, with paths relative to it."""
    return [
        {**file, "path": file["path"].removeprefix(f"{directory}/")}
        for file in files
        if file["path"].startswith(f"{directory}/")
    ]


def server_packages(app: dict[str, Any], requirements: dict[str, str]) -> list[str]:
    """What brings the application server into the environment."""
    requirement = requirements.get(app["server"], app["server"])
    if app["server"] == "gunicorn":
        return gunicorn.requirements(requirement, app["gunicorn"], app["site"]["websocket"])
    return [requirement]


def protocol(app: dict[str, Any]) -> str:
    """How the server calls the application."""
    return "asgi" if app["server"] == "gunicorn" and gunicorn.serves_asgi(app["gunicorn"]) else "wsgi"


def entry(app: dict[str, Any]) -> dict[str, Any] | None:
    """What a module of ours that wraps the callable has to do; None where the server can call it itself."""
    prefix = "" if app["site"]["path"] == "/" else app["site"]["path"]
    asgi = protocol(app) == "asgi"
    # gunicorn's WSGI workers know a prefix themselves.
    prefix = prefix if asgi or app["server"] == "uwsgi" else ""
    # These two close a connection without reading what is left of a request's body.
    # uWSGI knows no arguments of a factory, and no attributes, either: the module is always there.
    drain = app["server"] == "uwsgi" or app["gunicorn"].get("worker_class") == "asgi"
    if not (app["proxy_fix"] or drain or prefix):
        return None
    return {"protocol": protocol(app), "proxy_fix": app["proxy_fix"], "prefix": prefix, "drain": drain}


def settled_commit(app: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    """The commit that the preflight has settled. Facts may come from the host, so nothing else of a source does."""
    commit = facts.get("sources", {}).get(app["name"], {}).get("commit")
    known = app["source"].get("git") and isinstance(commit, str) and re.fullmatch(r"[0-9a-f]{40}", commit)
    return {"commit": commit} if known else {}


def booting_workers(app: dict[str, Any], facts: dict[str, Any]) -> int:
    workers = worker_count(app, facts)
    return uwsgi.booting_workers(app["uwsgi"], workers) if app["server"] == "uwsgi" else workers


def uwsgi_services(webapps: Any, facts: dict[str, Any], root: str = "/srv/webapps") -> list[dict[str, Any]]:
    """Input of the role uwsgi: one item for every application that it serves, for a release that has no name yet.

    It listens on two sockets. nginx speaks the uwsgi protocol to the one. The other speaks HTTP, as gunicorn's do, for
    the health check and for the moment of a switch from one server to another, when nginx still has the other's words.
    """
    items = []
    for app in present(webapps):
        if app["server"] != "uwsgi":
            continue
        directory = release_directory(root, app["name"], RELEASE)
        layout = Layout(app["name"], root)
        items.append(
            {
                "name": app["name"],
                "module": ENTRY if entry(app) else app["wsgi"],
                "workers": worker_count(app, facts),
                "threads": app["threads"],
                "timeout": app["timeout"],
                "settings": app["uwsgi"],
                "directory": directory,
                "http_socket": layout.socket(RELEASE),
                "socket": layout.uwsgi_socket(RELEASE),
                "stats": layout.socket(RELEASE).removesuffix(".sock") + ".stats.sock",
                "program": [f"{directory}/bin/run", "uwsgi"],
            }
        )
    return items


def gunicorn_services(webapps: Any, facts: dict[str, Any], root: str = "/srv/webapps") -> list[dict[str, Any]]:
    """Input of the role gunicorn: one item for every application that it serves, for a release that has no name yet."""
    items = []
    for app in present(webapps):
        if app["server"] != "gunicorn":
            continue
        directory = release_directory(root, app["name"], RELEASE)
        items.append(
            {
                "name": app["name"],
                "wsgi_app": ENTRY if entry(app) else app["wsgi"],
                "workers": worker_count(app, facts),
                "threads": app["threads"],
                "timeout": app["timeout"],
                "settings": app["gunicorn"],
                "directory": directory,
                "bind": f"unix:{socket_path(app['name'], RELEASE)}",
                "program": [f"{directory}/bin/run", "gunicorn"],
            }
        )
    return items


def runtime_directory(app: dict[str, Any], nginx_group: str) -> dict[str, str]:
    """The folder of the sockets: only the application and the web server may pass."""
    return {"path": f"/run/webapps/{app['name']}", "owner": app["name"], "group": nginx_group, "mode": "0710"}


def systemd_services(
    webapps: Any,
    facts: dict[str, Any],
    process_manager: str = "auto",
    root: str = "/srv/webapps",
    nginx_group: str = "www-data",
) -> list[dict[str, Any]]:
    """Input of the role systemd: template units for every application that it keeps, and timers for the jobs of all."""
    if facts["init"] != "systemd":
        return []
    items = []
    for app in applications(webapps):
        if app["state"] == "absent":
            items += [{"name": f"{app['name']}{rest}", "state": "absent"} for rest in ("@", ".*@", ".*")]
            continue
        jobs = background.systemd_jobs(app, root)
        if resolved_process_manager(app, process_manager, facts) == "systemd":
            items += [systemd_web(app, root, nginx_group), *background.systemd_processes(app, root)]
        elif not jobs and not facts.get("timers"):
            continue
        # Templates of processes that are no longer named may still be those of an older release.
        items += [*jobs, {"name": f"{app['name']}.*", "state": "absent"}]
    return items


def systemd_web(app: dict[str, Any], root: str, nginx_group: str) -> dict[str, Any]:
    """The web process of an application as a template unit."""
    return {
        **background.common(app, None, root),
        "name": f"{app['name']}@",
        "description": f"The web application {app['name']}, release %i",
        "command": [f"{release_directory(root, app['name'], '%i')}/bin/web"],
        "type": "notify",
        # Visitors wait for it.
        "restart_delay": 0.1,
        "runtime_directory": runtime_directory(app, nginx_group),
        "start_timeout": app["health"]["timeout"],
        "stop_timeout": stop_timeout(app),
    }


def supervisor_programs(
    webapps: Any,
    facts: dict[str, Any],
    process_manager: str = "auto",
    root: str = "/srv/webapps",
    nginx_group: str = "www-data",
    beside: Any = None,
) -> list[dict[str, Any]]:
    """Input of the role supervisor: template programs for every application that it keeps, and jobs without systemd.

    ``beside`` are applications that stay as they are, and so does what all of them share.
    """
    items = []
    for app in applications(webapps):
        if app["state"] == "absent":
            items += [{"name": f"{app['name']}{rest}", "state": "absent"} for rest in ("@", ".*@", ".*")]
        elif resolved_process_manager(app, process_manager, facts) == "supervisor":
            items += [supervisor_web(app, root, nginx_group), *background.supervisor_processes(app, root)]
            if facts["init"] != "systemd":
                items += [*background.supervisor_jobs(app, root), {"name": f"{app['name']}.*", "state": "absent"}]
    kept = any(item.get("state") != "absent" for item in items)
    if kept or not any(
        resolved_process_manager(app, process_manager, facts) == "supervisor" for app in present(beside or [])
    ):
        watch = {"name": NGINX_WATCH, "command": ["/bin/sh", "-c", WATCH]}
        shared = [WAKE_PROGRAM, *([watch] if facts["init"] != "systemd" else [])]
        items += shared if kept else [{"name": item["name"], "state": "absent"} for item in shared]
    # A host that never had supervisor needs nothing removed from it.
    return items if kept or facts.get("supervisor") else []


def supervisor_web(app: dict[str, Any], root: str, nginx_group: str) -> dict[str, Any]:
    """The web process of an application as a template program."""
    return {
        "name": f"{app['name']}@",
        "command": [f"{release_directory(root, app['name'], '%i')}/bin/web"],
        "user": app["name"],
        "directory": f"{root}/{app['name']}",
        "runtime_directory": runtime_directory(app, nginx_group),
        "stopwaitsecs": stop_timeout(app),
    }


def nginx_sites(
    webapps: Any, root: str = "/srv/webapps", maintenance: dict[str, dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Input of the role nginx: one site for every set of domains that the same applications serve.

    Applications that share a domain become locations of one site, the longest prefix winning. ``maintenance`` says by
    application how it is closed, as the switch on the host has it.
    """
    switches = maintenance or {}
    apps = {app["name"]: switched(app, switches.get(app["name"])) for app in present(webapps)}
    served: dict[tuple[int, str], list[str]] = {}
    for app in apps.values():
        for domain in app["site"]["domains"] or [""]:
            served.setdefault((app["site"]["port"], domain), []).append(app["name"])
    groups: dict[tuple[int, tuple[str, ...], bool], list[str]] = {}
    for (port, domain), names in served.items():
        groups.setdefault((port, tuple(names), domain == ""), []).append(domain)
    sites = []
    names_taken: set[str] = set()
    for (port, names, default), domains in groups.items():
        members = [apps[name] for name in names]
        site = {
            "name": free_name(names[0], names_taken),
            "domains": [] if default else domains,
            # Applications that share their domains, in whatever order, may all name the same redirect.
            "redirects": list(
                dict.fromkeys(
                    domain
                    for app in members
                    if not default and app["site"]["domains"][0] in domains
                    for domain in app["site"]["redirects"]
                )
            ),
            "port": port,
            "tls": {**members[0]["site"]["tls"], "plain_paths": plain_paths(members)},
            "max_body_size": max((app["site"]["max_body_size"] for app in members), key=size),
            **({"log_format": "json"} if any(app["site"]["log_format"] == "json" for app in members) else {}),
            # What one application says of itself must not hold for those that it shares its domains with.
            **(said(members[0], SITE_KEYS, root) if len(members) == 1 else {}),
            **kept_upstreams(members, root),
            "locations": [location for app in members for location in locations(app, root, alone=len(members) == 1)],
            "extra": extra(members),
        }
        sites.append(site)
    return sites


def switched(app: dict[str, Any], switch: dict[str, Any] | None) -> dict[str, Any]:
    """The application closed, or opened, by the switch on the host, whatever the inventory says of maintenance."""
    if not switch:
        return app
    usual = {"enabled": True, "page": None, "retry_after": 300, "allow": [], "open_paths": []}
    return {**app, "site": {**app["site"], "maintenance": {**usual, **(app["site"]["maintenance"] or {}), **switch}}}


def plain_paths(members: list[dict[str, Any]]) -> list[str]:
    """The health URLs of a site, which a balancer may ask for without TLS; a home page is not one."""
    if members[0]["site"]["tls"]["mode"] == "none":
        return []
    paths = [health_path(app["site"]["path"], app["health"]["path"]) for app in members if app["health"]["path"]]
    found = [path.partition("?")[0] for path in paths]
    found = [path for path in found if path.rstrip("/") not in ("", *mounts(members))]
    return list(dict.fromkeys([*members[0]["site"]["tls"]["plain_paths"], *found]))


def mounts(members: list[dict[str, Any]]) -> list[str]:
    return [app["site"]["path"].rstrip("/") for app in members]


def free_name(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(candidate)
    return candidate


def size(text: str) -> int:
    """Bytes of a size in nginx's notation; 0, which means no limit, counts as the largest."""
    unit = {"k": 1024, "m": 1024**2, "g": 1024**3}.get(text[-1].lower())
    number = int(text[:-1]) * unit if unit else int(text)
    return number or 1 << 62


# What a site of nginx and each of its locations may say alike; a folder knows those of the second list only.
SITE_KEYS = (
    "header_preset",
    "headers",
    "error_pages",
    "intercept_errors",
    "rate_limit",
    "connection_limit",
    "basic_auth",
    "allow",
    "deny",
    "satisfy",
    "gzip",
    "maintenance",
)
FOLDER_KEYS = tuple(
    key for key in SITE_KEYS if key not in ("intercept_errors", "rate_limit", "connection_limit", "maintenance")
)
PROXY_KEYS = ("buffering", "request_buffering", "max_temp_file_size", "cache")


def source_folder(app: dict[str, Any], root: str, release: str = "current") -> str:
    """Where the application root of the live release is, whatever its name; and that of the one before."""
    subdir = app["source"]["subdir"]
    return f"{root}/{app['name']}/{release}/src/" + (f"{subdir.strip('/')}/" if subdir else "")


def said(app: dict[str, Any], keys: tuple[str, ...], root: str) -> dict[str, Any]:
    """What of these keys an application's site says, as the role nginx says it: pages are paths of the host."""
    source, site = source_folder(app, root), app["site"]
    found = {key: site[key] for key in keys if site[key] is not None}
    if "error_pages" in found:
        found["error_pages"] = pages(found["error_pages"], source)
    if "maintenance" in found:
        maintenance = {**found["maintenance"]}
        if maintenance["page"]:
            maintenance["page"] = source + maintenance["page"]
        path = app["health"]["path"]
        if path:
            open_path = health_path(site["path"], path).split("?")[0]
            maintenance["open_paths"] = [*maintenance["open_paths"], open_path]
        else:
            # The health check of a deployment asks for the start page, on the host itself.
            maintenance["allow"] = [*maintenance["allow"], "127.0.0.1", "::1"]
        found["maintenance"] = maintenance
    return found


def pages(items: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    return [{**item, "page": source + item["page"]} for item in items]


def extra(members: list[dict[str, Any]]) -> str:
    """The directives of all applications of a site; each keeps its own line numbers where there are several."""
    own = [(app["name"], app["site"]["extra"].strip("\n")) for app in members if app["site"]["extra"].strip()]
    if len(members) == 1:
        return "\n".join(text for _name, text in own)
    return "\n".join("\n".join(extra_lines(text, f"extra of {name}")) for name, text in own)


def upstream(app: dict[str, Any], root: str) -> str:
    """Where the live release listens, in the words of the role nginx."""
    return f"unix:{root}/{app['name']}/current.sock"


def keepalive(app: dict[str, Any]) -> int:
    """Connections to keep: what is named, else some where a kept connection can't cost a request.

    gunicorn's threads serve them well, and a stopping worker still answers what arrives on one. Workers that replace
    themselves after so many requests are left out, for those of older versions close such a connection at once.
    """
    named = app["site"]["keepalive"]
    if named is not None:
        return named
    own = app["gunicorn"]
    threads = app["server"] == "gunicorn" and gunicorn.worker_class(own, app["threads"]) == "gthread"
    return KEPT_CONNECTIONS if threads and own.get("keepalive") != 0 and not own.get("max_requests") else 0


def kept_upstreams(members: list[dict[str, Any]], root: str) -> dict[str, Any]:
    """The upstreams of applications whose connections are kept; nothing where there are none."""
    kept = [
        {
            "name": app["name"],
            "servers": [{"address": upstream(app, root)}],
            "keepalive": keepalive(app),
            "keepalive_timeout": KEPT,
        }
        for app in members
        if keepalive(app)
    ]
    return {"upstreams": kept} if kept else {}


def locations(app: dict[str, Any], root: str, alone: bool = True) -> list[dict[str, Any]]:
    site = app["site"]
    prefix = "" if site["path"] == "/" else site["path"]
    main = {
        "path": site["path"],
        "upstream": app["name"] if keepalive(app) else upstream(app, root),
        "read_timeout": app["timeout"] + STOP_MARGIN,
        "websocket": site["websocket"],
        **({"instead": uwsgi_upstream(app, root)} if app["server"] == "uwsgi" else {}),
        **said(app, PROXY_KEYS, root),
        **({} if alone else {"max_body_size": site["max_body_size"], **said(app, SITE_KEYS, root)}),
    }
    items: list[dict[str, Any]] = [main]
    for item in site["locations"]:
        own = {key: value for key, value in item.items() if value is not None and (key, value) != ("extra", "")}
        if "error_pages" in own:
            own["error_pages"] = pages(own["error_pages"], source_folder(app, root))
        items.append({**main, **own, "path": f"{prefix}{item['path']}"})
    for item in site["static"]:
        folder = item["path"].strip("/") + "/"
        places = [source_folder(app, root, release) + folder for release in ("current", "previous")]
        items.append(
            {
                "path": f"{prefix}{item['url']}",
                "alias": places[0],
                "immutable": item["immutable"],
                **({"fallback": places[1:]} if item["previous_release"] else {}),
                **{key: True for key in ("precompressed", "internal") if item[key]},
                **({} if alone else said(app, FOLDER_KEYS, root)),
            }
        )
    return items


def uwsgi_upstream(app: dict[str, Any], root: str) -> dict[str, str]:
    """Where nginx finds uWSGI, for as long as the live release is one of uWSGI's; before and after it speaks HTTP."""
    layout = Layout(app["name"], root)
    return {"exists": layout.current_uwsgi, "upstream": f"uwsgi:unix:{layout.current_uwsgi_socket}"}


def activations(
    webapps: Any,
    builds: list[dict[str, Any]] | None,
    facts: dict[str, Any],
    process_manager: str = "auto",
    keep: int = 5,
    front: bool = True,
) -> list[dict[str, Any]]:
    """Input of the module webapp_activate: what has a new release, does not run, or is to be removed.

    Without ``builds`` it is input of the module webapp_release, which finds out which of all applications that are.
    """
    apps = applications(webapps)
    if builds is None:
        return [switch(app, facts, process_manager, keep, front) for app in apps]
    found = {build["name"]: build for build in builds if build["activate"]}
    return [
        {**switch(app, facts, process_manager, keep, front), "candidate": found[app["name"]]["candidate"]}
        for app in apps
        if app["name"] in found
    ]


def switch(app: dict[str, Any], facts: dict[str, Any], process_manager: str, keep: int, front: bool) -> dict[str, Any]:
    """What webapp_activate has to know of one application, whatever release is to take over."""
    known = (("systemd", facts["init"] == "systemd"), ("supervisor", facts.get("supervisor")))
    managers = [name for name, there in known if there]
    own = resolved_process_manager(app, process_manager, facts)
    site = app["site"]
    status = app["health"]["status"]
    return {
        "name": app["name"],
        "state": app["state"],
        "purge": app["purge"],
        "candidate": "",
        "process_managers": managers if own in managers else [*managers, own],
        "stop_timeout": stop_timeout(app),
        "keep": keep,
        "workers": booting_workers(app, facts),
        "most_workers": worker_count(app, facts),
        "release_commands": [],
        "front_port": site["port"] if front else None,
        "linger": KEPT_AFTER_SWITCH if keepalive(app) else 0,
        "front_tls_port": site["tls"]["port"] if front and has_tls(site) else None,
        "front_host": host_header(visited_name(app), site["port"], 80),
        # Whoever has no password, or the wrong address, is turned away by nginx: that too is a site at work.
        "front_status": [*status, 401, 403] if status and protected(site) else status,
        "health": {**health_question(app), "status": status, "timeout": app["health"]["timeout"]},
    }


def visited_name(app: dict[str, Any], domain: str = "") -> str:
    """A name that stands for many is no name that can be asked for."""
    return (domain or (app["site"]["domains"] or ["localhost"])[0]).replace("*.", "www.")


def front_port(app: dict[str, Any]) -> int:
    """Where visitors ask for an application."""
    site = app["site"]
    return site["tls"]["port"] if has_tls(site) else site["port"]


def health_question(app: dict[str, Any], domain: str = "") -> dict[str, str]:
    """The fields of a Question for an application's health: by its first domain, or by the one that is named."""
    secure = has_tls(app["site"])
    return {
        "path": health_path(app["site"]["path"], app["health"]["path"]),
        "host": host_header(visited_name(app, domain), front_port(app), 443 if secure else 80),
        "scheme": "https" if secure else "http",
    }


def protected(site: dict[str, Any]) -> bool:
    """Whether nginx itself may turn somebody away who asks for the health URL."""
    return any(site[key] for key in ("basic_auth", "allow", "deny"))


def host_header(domain: str, port: int, usual: int) -> str:
    return domain if port == usual else f"{domain}:{port}"


def release_commands(
    webapps: Any, builds_by_host: list[list[Any]], host: str, facts: dict[str, Any], process_manager: str = "auto"
) -> list[dict[str, Any]]:
    """Input of webapp_activate's stage ``commands``: the applications whose release commands this host has to run.

    ``builds_by_host`` holds pairs of host and builds, in the order of the play: the first host with a new release runs
    them, once for the whole deployment.
    """
    leaders: dict[str, tuple[str, str]] = {}
    for name, builds in builds_by_host:
        for build in builds:
            if build["candidate"] and build["action"] != "none":
                leaders.setdefault(build["name"], (name, build["candidate"]))
    items = []
    for app in present(webapps):
        leader, candidate = leaders.get(app["name"], ("", ""))
        if leader == host and app["commands"]["release"]:
            item = switch(app, facts, process_manager, 5, False)
            items.append({**item, "candidate": candidate, "release_commands": app["commands"]["release"]})
    return items


def switches(
    webapps: Any,
    facts: dict[str, Any],
    kind: str,
    app: str = "",
    release: str = "",
    process_manager: str = "auto",
    keep: int = 5,
) -> list[dict[str, Any]]:
    """Input of webapp_activate for a rollback or a restart of one application (restart: of all, if none is named)."""
    apps = present(webapps)
    names = [one["name"] for one in apps]
    if app not in names and (app or kind == "rollback"):
        raise ModelError(unknown_app(app, names))
    return [
        {**switch(one, facts, process_manager, keep, True), "switch": kind, "release": release}
        for one in apps
        if app in ("", one["name"])
    ]


def health_path(mount: str, path: str | None) -> str:
    """The path to ask for, as a visitor would: below the prefix that the application is mounted at."""
    prefix = "" if mount == "/" else mount
    return prefix + (path or "/")


def urls(webapps: Any, address: str, builds: list[dict[str, Any]]) -> list[str]:
    """One line for every application: where it is, and whether a release took over in this run."""
    found = {build["name"]: build for build in builds}
    lines = []
    for app in present(webapps):
        site = app["site"]
        secure = site["tls"]["mode"] != "none"
        scheme, port, usual = ("https", site["tls"]["port"], 443) if secure else ("http", site["port"], 80)
        path = site["path"] if site["path"].endswith("/") else site["path"] + "/"
        places = ", ".join(
            f"{scheme}://{host_header(domain, port, usual)}{path}" for domain in site["domains"] or [address]
        )
        build = found.get(app["name"], {})
        release = build.get("candidate") or build.get("current") or "a new release"
        lines.append(
            f"{app['name']} is at {places} (release {release}, "
            f"{'new' if build.get('action') != 'none' else 'unchanged'})"
        )
    if any(app["site"]["tls"]["mode"] == "selfsigned" for app in present(webapps)):
        lines.append(f"Browsers trust certificates of this host once they have imported {CA} of it")
    return lines


def release_table(apps: list[dict[str, Any]]) -> list[str]:
    """The releases of a host as lines of a table, the live one marked."""
    head = ("", "application", "release", "result", "revision", "built (UTC)", "by")
    rows = [head]
    for app in apps:
        for release in app["releases"]:
            live = release["id"] == app["current"]
            revision = release["revision"]
            short = revision[:12] if len(revision) == 40 else revision
            rows.append(
                (
                    "*" if live else "",
                    app["name"],
                    release["id"],
                    "live" if live else release["state"],
                    short,
                    release["created"].replace("T", " ").rstrip("Z"),
                    release["by"],
                )
            )
        if not app["releases"]:
            rows.append(("", app["name"], "none", "", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
