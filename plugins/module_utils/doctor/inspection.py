# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the applications of a host, and at all that stands between them and their visitors. Changes nothing.

What comes back is plain data; what it means is decided on the controller (plugin_utils: doctor, checks, status).
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.background import (
    job_timers,
    look_at_jobs,
    look_at_processes,
    process_units,
)
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.certificates import look_at_certificate
from ansible_collections.pyweb.stack.plugins.module_utils.host.acl import permits
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of, user
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.probe import Answer, Question, ask
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import explain
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import Nginx
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import Trees
from ansible_collections.pyweb.stack.plugins.module_utils.processes.managers import ProcessManagerError, process_manager
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_rpc import (
    Rpc,
    SupervisorError,
    read_daemon,
    tail,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import OWN_VARIABLES, masked
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, Manifest, read_manifest

Run = Callable[[list[str]], tuple[int, str, str]]

# Seconds that a visitor of the doctor's waits. What takes longer is no answer for a health check.
PATIENCE = 5.0
# Lines of an application's log that are looked through for its last traceback.
LOG_LINES = 200
# Bytes from the end of a log of nginx's.
LOG_BYTES = 64 * 1024
# Files of a static folder that are looked at for one to ask for.
STATIC_ENTRIES = 1000
# Files of an application that are tried as another account, where its folder does not keep all of them out at once.
EXPOSURE_ENTRIES = 20_000

# What systemd tells of an instance: its state, how it ended, and how far it is confined.
UNIT_PROPERTIES = (
    "Id",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "Restart",
    "MainPID",
    "ExecMainStatus",
    "ExecMainCode",
    "User",
    "NoNewPrivileges",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "RestrictSUIDSGID",
    "CapabilityBoundingSet",
    "MemoryMax",
    "Job",
    "ActiveEnterTimestampMonotonic",
)


# --- the host ---------------------------------------------------------------------------------------------------------


def look_at_host(run: Run, root: str, conf_dir: str = "/etc/nginx") -> dict[str, Any]:
    """What all applications of a host share."""
    systemd = os.path.isdir("/run/systemd/system")
    return {
        "time": time.time(),
        "init": "systemd" if systemd else "none",
        "memory": memory(),
        "disks": [disk(path) for path in dict.fromkeys((root, "/var/log", "/run")) if os.path.isdir(path)],
        "listeners": [
            {
                "port": found.port,
                "address": found.address,
                "program": found.program,
                "pid": found.pid,
                "account": user(found.uid),
            }
            for found in listeners()
        ],
        "nginx": look_at_nginx(run, systemd, conf_dir),
        "supervisor": look_at_supervisor(),
    }


def memory() -> dict[str, int]:
    """Bytes of memory there are, and that a program could still have."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream}
    return {"total": found["MemTotal"], "available": found.get("MemAvailable", found["MemFree"])}


def disk(path: str) -> dict[str, Any]:
    """Free space for accounts other than root, in bytes and in files."""
    found = os.statvfs(path)
    return {
        "path": path,
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "files": found.f_files,
        "files_free": found.f_favail,
    }


def look_at_nginx(run: Run, systemd: bool, conf_dir: str) -> dict[str, Any]:
    """Whether nginx is there, runs, runs what is on the disk, and would start again."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    pid_file = "/run/nginx.pid"
    nginx = Nginx(binary, conf_dir, pid_file, "/var/log/nginx/error.log", systemd, Trees(conf_dir), run)
    found: dict[str, Any] = {"installed": binary is not None, "running": False, "complaint": "", "enabled": None}
    if binary is None:
        return found
    master = nginx.master()
    live = nginx.trees.live()
    pid_there = os.path.exists(pid_file)
    try:
        nginx.test(nginx.entry)
    except NginxError as error:
        folder = os.path.realpath(nginx.trees.folder(live)) if live else conf_dir
        content = nginx.trees.content(live) if live else {}
        found["complaint"] = explain(str(error), folder, content)
    finally:
        if not pid_there:  # the test leaves an empty one
            with contextlib.suppress(OSError):
                os.unlink(pid_file)
    found |= {
        "running": master is not None,
        "pid": master,
        "live": live,
        "loaded": nginx.loaded(master),
    }
    if systemd:
        _rc, out, _err = run(["systemctl", "show", "--property=UnitFileState,Result,Restart", "nginx.service"])
        shown = properties(out)
        found["enabled"] = shown.get("UnitFileState") == "enabled"
        found["result"] = shown.get("Result", "")
        found["restart"] = shown.get("Restart", "")
    return found


def look_at_supervisor() -> str:
    """Supervisor's daemon: ``none`` (not installed), ``running`` or ``down``."""
    if not os.path.exists("/etc/supervisor/supervisord.conf"):
        return "none"
    try:
        return "running" if Rpc(read_daemon(), timeout=PATIENCE).alive() else "down"
    except SupervisorError:
        return "down"


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def nginx_errors(path: str, mark: str, after: float) -> list[str]:
    """The lines of an error log that tell of trouble since a moment, and hold a mark."""
    when = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(after))
    lines = tail(path, LOG_BYTES).splitlines()
    return [line for line in lines if line >= when and mark in line and re.search(r"\[(error|crit|alert)\]", line)]


# --- one application --------------------------------------------------------------------------------------------------


def look_at_apps(
    specs: list[dict[str, Any]], root: str, group: str, run: Run, conf_dir: str = "/etc/nginx"
) -> list[dict[str, Any]]:
    """Every application; they are asked side by side, so that one that hangs delays nobody."""
    layouts = [Layout(spec["name"], root) for spec in specs]
    asked = time.time()
    with ThreadPoolExecutor(max_workers=32) as pool:
        direct = [pool.submit(ask_direct, spec, at) for spec, at in zip(specs, layouts, strict=True)]
        front = [pool.submit(ask_front, spec) for spec in specs]
        static = [[pool.submit(look_at_static, spec, item, group) for item in spec["static"]] for spec in specs]
        folder = f"{conf_dir}/pyweb/certificates"
        shown = [[pool.submit(look_at_certificate, item, folder) for item in spec["certificates"]] for spec in specs]
    # After the questions, for their traces in the logs; and without threads, for a look as another account is a fork.
    if os.path.isdir("/run/systemd/system"):
        run(["journalctl", "--sync"])
    lives = [live_manifest(at) for at in layouts]
    units = look_at_units(specs, layouts, lives, run)
    found = [
        look_at_app(spec, at, live, group, run, units, asked)
        for spec, at, live in zip(specs, layouts, lives, strict=True)
    ]
    for number, entry in enumerate(found):
        entry["direct"], entry["front"] = direct[number].result().as_dict(), front[number].result().as_dict()
        entry["static"] = [folder.result() for folder in static[number]]
        entry["certificates"] = [one.result() for one in shown[number]]
    return found


def live_manifest(layout: Layout) -> Manifest | None:
    live = layout.current_release()
    return read_manifest(layout, live) if live else None


def ask_direct(spec: dict[str, Any], layout: Layout) -> Answer:
    return ask(Question(unix_socket=layout.current_socket, **spec["question"]), PATIENCE)


def ask_front(spec: dict[str, Any]) -> Answer:
    return ask(Question(port=spec["port"], **spec["question"]), PATIENCE)


def look_at_units(
    specs: list[dict[str, Any]], layouts: list[Layout], lives: list[Manifest | None], run: Run
) -> dict[str, dict[str, str]]:
    """The units of the live releases and of the jobs, by their names: one question for all of them."""
    names = []
    for spec, at, live in zip(specs, layouts, lives, strict=True):
        if live and live.process_manager == "systemd":
            names += [f"{at.name}@{live.id}.service", *process_units(live)]
        names += job_timers(at, spec["jobs"])
    if not names or not os.path.isdir("/run/systemd/system"):
        return {}
    _rc, out, _err = run(["systemctl", "show", f"--property={','.join(UNIT_PROPERTIES)}", *names])
    blocks = [properties(block) for block in out.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def look_at_app(
    spec: dict[str, Any],
    layout: Layout,
    manifest: Manifest | None,
    group: str,
    run: Run,
    units: dict[str, dict[str, str]],
    asked: float,
) -> dict[str, Any]:
    """One application; ``asked`` is when it was asked, for what the logs say of that."""
    name, live = layout.name, layout.current_release() or ""
    manager = manifest.process_manager if manifest else ""
    variables = release_variables(layout, live) if live else {}
    log = look_at_log(manager, name, live, run) if manifest else ""
    secrets = {key: value for key, value in variables.items() if key not in OWN_VARIABLES}
    sites = [f"/var/log/nginx/{name}.error.log", "/var/log/nginx/error.log"]
    errors = [line for path in sites for line in nginx_errors(path, f"/{name}/current.sock", asked)]
    processes = look_at_processes(manifest, process_manager(manager, run), units) if manifest else []
    jobs = look_at_jobs(layout, spec["jobs"], units, run)
    for one in (*processes, *jobs):
        one["traceback"] = masked(last_traceback(one["log"]), secrets)
        one["log"] = masked("\n".join(one["log"].splitlines()[-5:]), secrets)
    return {
        "name": name,
        "account": has_account(name),
        "question": spec["question"],
        "deployed": bool(live) or os.path.isdir(layout.releases),
        "release": live,
        "state": manifest.state if manifest else "",
        "revision": manifest.revision if manifest else "",
        "since": since(layout, live) or (manifest.created if manifest else ""),
        "process_manager": manager,
        "server": variables.get("WEBAPP_SERVER", ""),
        "configured": is_configured(layout),
        "maintenance": in_maintenance(layout),
        "socket": look_at_socket(layout, group),
        "process": look_at_process(manager, name, live, run, units),
        "log": masked("\n".join(log.splitlines()[-5:]), secrets),
        "traceback": masked(last_traceback(log), secrets),
        "nginx_errors": errors[-3:],
        "processes": processes,
        "jobs": jobs,
        "files": look_at_files(layout, live) if live else {},
        "exposed": look_at_exposure(layout),
    }


def in_maintenance(layout: Layout) -> bool:
    with contextlib.suppress(OSError, ValueError), open(layout.path("maintenance.json"), encoding="utf-8") as stream:
        return bool(json.load(stream)["enabled"])
    return False


def is_configured(layout: Layout, conf_dir: str = "/etc/nginx") -> bool:
    """Whether a site of nginx leads to the application; also where nginx is configured by somebody else."""
    files = glob.glob(f"{conf_dir}/pyweb/current/sites/*.conf")
    return not os.path.isdir(f"{conf_dir}/pyweb") or any(layout.current_socket in tail(path, 1 << 20) for path in files)


def has_account(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


def since(layout: Layout, live: str) -> str:
    """When the live release took over, as the log of deployments has it."""
    when = ""
    for line in tail(layout.history, LOG_BYTES).splitlines():
        with contextlib.suppress(ValueError, AttributeError):
            entry = json.loads(line)
            if entry.get("release") == live and entry.get("result") == "live":
                when = entry["time"]
    return when


def release_variables(layout: Layout, identity: str) -> dict[str, str]:
    """The environment of a release, as its launcher reads it."""
    try:
        with open(os.path.join(layout.release(identity), "env"), encoding="utf-8") as stream:
            words = shlex.split(stream.read())
    except (OSError, ValueError):
        return {}
    return dict(word.partition("=")[::2] for word in words)


# --- the socket -------------------------------------------------------------------------------------------------------


def look_at_socket(layout: Layout, group: str) -> dict[str, Any]:
    """The link that nginx follows, where it leads, and whether nginx may go there."""
    link = layout.current_socket
    target = os.readlink(link) if os.path.islink(link) else ""
    there = bool(target) and os.path.exists(target)
    folder = os.path.dirname(target) if target else ""
    found = {
        "link": target,
        "expected": layout.socket(layout.current_release() or ""),
        "there": there,
        "is_socket": there and stat.S_ISSOCK(os.stat(target).st_mode),
        "folder": mode_of(folder) if folder else {},
        "blocked": "",
        "nginx": "",
        "stranger": "",
    }
    if there:
        account, groups = web_account(group)
        found["blocked"] = blocked_at(layout.home, account, groups) or blocked_at(target, account, groups)
        found["nginx"] = connect_as(account, groups, link)
        found["stranger"] = connect_as(65534, [65534], target)
    return found


def web_account(group: str) -> tuple[int, list[int]]:
    """The account that nginx works as: it has the name of its group on Debian."""
    try:
        owner = pwd.getpwnam(group)
    except KeyError:
        return 65534, [65534]
    return owner.pw_uid, os.getgrouplist(group, owner.pw_gid)


def connect_as(uid: int, groups: list[int], path: str) -> str:
    """Try to connect as another account: ``ok``, or what the kernel says. Empty where we may not try."""
    if os.geteuid() != 0:
        return ""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # no Python beyond this line may raise: the parent's clean-up must not run twice
        word = b"?"
        try:
            os.setgroups(groups)
            os.setgid(groups[0])
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2)
                connection.connect(path)
            word = b"ok"
        except OSError as error:
            word = (error.strerror or str(error)).encode()
        finally:
            os.write(writer, word)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(child, 0)
    return said


def blocked_at(path: str, uid: int, groups: list[int]) -> str:
    """The first folder on the way that an account can't pass, or the file itself; empty where the way is free."""
    parts = path.split("/")
    for end in range(2, len(parts) + 1):
        part = "/".join(parts[:end])
        try:
            found = os.stat(part)
        except OSError:
            return ""
        wanted = 1 if stat.S_ISDIR(found.st_mode) else 2 if stat.S_ISSOCK(found.st_mode) else 4
        if not permits(part, uid, groups, wanted):
            return part
    return ""


# --- who may read -----------------------------------------------------------------------------------------------------


def strangers(name: str, root: str) -> list[pwd.struct_passwd]:
    """The accounts that may read nothing of an application: those of the other applications, and nobody."""
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    others = [entry for entry in accounts.values() if os.path.dirname(entry.pw_dir) == root and entry.pw_name != name]
    return [*others, *([accounts["nobody"]] if "nobody" in accounts else [])]


def look_at_exposure(layout: Layout) -> dict[str, str]:
    """What of an application another account can read: the first path, and the account. Empty where none can.

    Tried as each account, which needs root.
    """
    if os.geteuid() != 0:
        return {}
    folders = [path for path in (layout.home, os.path.dirname(layout.socket("any"))) if os.path.isdir(path)]
    accounts = [
        (entry.pw_name, entry.pw_uid, os.getgrouplist(entry.pw_name, entry.pw_gid))
        for entry in strangers(layout.name, layout.root)
    ]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # no Python beyond this line may raise: the parent's clean-up must not run twice
        found: dict[str, str] = {}
        try:
            found = first_exposed(folders, accounts)
        except OSError as error:
            found = {"path": f"{layout.home} ({error.strerror or error})", "account": "nobody"}
        finally:
            os.write(writer, json.dumps(found).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return json.loads(said or b"{}")


def first_exposed(folders: list[str], accounts: list[tuple[str, int, list[int]]]) -> dict[str, str]:
    for name, uid, groups in accounts:
        os.setgroups(groups)
        # access() answers for the real account; the effective one stays root's, which can list everything.
        os.setresgid(groups[0], 0, 0)
        os.setresuid(uid, 0, 0)
        for folder in folders:
            path = readable_below(folder)
            if path:
                return {"path": path, "account": name}
    return {}


def readable_below(folder: str) -> str:
    """The first path that the real account of this process can list, read or connect to; empty where there is none."""
    waiting, seen = [folder], 0
    while waiting and seen < EXPOSURE_ENTRIES:
        path = waiting.pop()
        if os.access(path, os.R_OK):
            return path
        if not os.access(path, os.X_OK):
            continue
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_symlink():
                    is_socket = stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
                    if os.access(entry.path, os.W_OK if is_socket else os.R_OK):
                        return entry.path
    return ""


# --- processes --------------------------------------------------------------------------------------------------------


def look_at_process(manager: str, name: str, live: str, run: Run, units: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The instance of the live release: its state, its processes, how often it had to be started again."""
    found: dict[str, Any] = {"state": "absent", "restarts": 0, "pid": 0, "workers": 0, "memory": 0, "enabled": False}
    if not manager:
        return found
    try:
        provider = process_manager(manager, run)
        found["state"] = provider.state(name, live)
        found["restarts"] = provider.restarts(name, live)
        found["others"] = [one for one in provider.instances(name) if one != live]
    except ProcessManagerError as error:
        found["error"] = str(error)
    if manager == "systemd":
        unit = units.get(f"{name}@{live}.service", {})
        found["unit"] = {key: value for key, value in unit.items() if key != "Id"}
        found["pid"] = int(unit.get("MainPID") or 0)
        found["enabled"] = bool(glob.glob(f"/etc/systemd/system/*.wants/{name}@{live}.service"))
    else:
        with contextlib.suppress(SupervisorError):
            info = Rpc(read_daemon(), timeout=PATIENCE).info(f"{name}-{live}") or {}
            found["pid"], found["said"] = int(info.get("pid") or 0), str(info.get("spawnerr") or "")
        found["autorestart"] = autorestart(tail(f"/etc/supervisor/conf.d/{name}-{live}.conf", LOG_BYTES))
        found["enabled"] = os.path.exists(f"/etc/supervisor/conf.d/{name}-{live}.conf")
    if found["pid"]:
        family = descendants(found["pid"])
        found["workers"] = sum(1 for _pid, parent, _state in family if parent == found["pid"])
        found["memory"] = sum(memory_of(pid) for pid, _parent, _state in family)
        # "T": stopped by a signal or a debugger, neither dead nor able to answer.
        found["stopped"] = bool(family) and all(state in "Tt" for _pid, _parent, state in family)
    return found


def autorestart(definition: str) -> str:
    """What a supervisor program's file says of a program that ends; empty where it says nothing."""
    found = re.findall(r"(?m)^autorestart\s*=\s*(\w+)", definition)
    return found[-1] if found else ""


def descendants(master: int) -> list[tuple[int, int, str]]:
    """A process and all that it has started: (pid, parent, state)."""
    children: dict[int, list[tuple[int, int, str]]] = {}
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{entry}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
            one = (int(entry), int(fields[1]), fields[0].decode())
            children.setdefault(one[1], []).append(one)
            if one[0] == master:
                found.append(one)
    for pid, _parent, _state in found:
        found += children.get(pid, [])
    return found


def memory_of(pid: int) -> int:
    """Bytes of memory that a process costs: its own and its part of what it shares, where the kernel tells us that."""
    for path, key in ((f"/proc/{pid}/smaps_rollup", "Pss:"), (f"/proc/{pid}/status", "RssAnon:")):
        with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
    return 0


def look_at_log(manager: str, name: str, live: str, run: Run) -> str:
    try:
        return process_manager(manager, run).log(name, live, LOG_LINES)
    except ProcessManagerError:
        return ""


def last_traceback(log: str) -> str:
    """The last traceback of a log, from its last frame of the application's own to the exception."""
    lines = log.splitlines()
    starts = [number for number, line in enumerate(lines) if "Traceback (most recent call last):" in line]
    if not starts:
        return ""
    block = []
    for line in lines[starts[-1] + 1 :]:
        block.append(line)
        if line and not line.startswith((" ", "\t")):  # the exception itself ends it
            break
    own = [number for number, line in enumerate(block) if line.lstrip().startswith("File") and "/src/" in line]
    return "\n".join(block[own[-1] if own else max(0, len(block) - 4) :])


# --- files ------------------------------------------------------------------------------------------------------------


def look_at_static(spec: dict[str, Any], item: dict[str, str], group: str) -> dict[str, Any]:
    """A folder that nginx serves itself: whether it is there, may be read, and what comes back for a file of it."""
    folder = item["folder"].rstrip("/")
    found: dict[str, Any] = {"url": item["url"], "folder": folder, "there": os.path.isdir(folder), "blocked": ""}
    if not found["there"]:
        return found
    uid, groups = web_account(group)
    found["blocked"] = blocked_at(folder, uid, groups)
    sample = first_file(folder)
    if sample:
        found["blocked"] = found["blocked"] or blocked_at(os.path.join(folder, sample), uid, groups)
        found["asked"] = item["url"] + sample
        question = Question(port=spec["port"], **{**spec["question"], "path": found["asked"]})
        found["answer"] = ask(question, PATIENCE).as_dict()
    return found


def first_file(folder: str) -> str:
    """A file of a folder whose name needs no quoting in a URL, as a path below the folder."""
    seen = 0
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            seen += 1
            relative = os.path.relpath(os.path.join(base, name), folder)
            if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", relative) and "/." not in relative:
                return relative
            if seen > STATIC_ENTRIES:
                return ""
    return ""


def look_at_files(layout: Layout, live: str) -> dict[str, Any]:
    """Who owns what must be nobody else's."""
    release = layout.release(live)
    paths = {
        "env": os.path.join(release, "env"),
        "manifest": os.path.join(release, "release.json"),
        "key": layout.path(".fingerprint_key"),
        "source": os.path.join(release, "src"),
        "python": os.path.join(release, "venv", "bin", "python"),
    }
    found = {key: mode_of(path) for key, path in paths.items()}
    found["python"] = {"there": os.path.exists(paths["python"]), "path": paths["python"], "venvs": layout.venvs}
    return found
