# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Facts about a host that are gathered before anything on it is changed. Changes nothing."""

from __future__ import annotations

import contextlib
import glob
import grp
import json
import os
import pwd
import re
import shutil
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.adoption.facts import handmade
from ansible_collections.pyweb.stack.plugins.module_utils.draining.flag import drained
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.interpreters import version_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners
from ansible_collections.pyweb.stack.plugins.module_utils.host.machine import (
    cpus,
    disk,
    distribution,
    installed_packages,
    memory_bytes,
    platform,
)
from ansible_collections.pyweb.stack.plugins.module_utils.host.pythons import closed_folder, find, owner_of, state
from ansible_collections.pyweb.stack.plugins.module_utils.host.uv import installed_version
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.busy import apt_holder, boots_first
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.orphans import Places, orphans
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.resolutions import recorded
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.revisions import revisions
from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import FOLDER, TIMER

# Where packages and administrators put units; the first counts.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# The certificates that nginx serves; the role nginx writes them.
CERTIFICATES = "/etc/nginx/pyweb/certificates"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def gather(params: dict[str, Any]) -> dict[str, Any]:
    """All facts, for the parameters of the module preflight."""
    names, root = params["names"], params["root"]
    return {
        "distribution": distribution(),
        "platform": {**platform(), "first_boot": boots_first(), "apt_holder": apt_holder()},
        "init": "systemd" if os.path.isdir("/run/systemd/system") else "none",
        "cpus": cpus(),
        "memory_bytes": memory_bytes(),
        "packages": installed_packages(params["packages"]),
        "uv": installed_version(params["uv_home"]),
        "supervisor": os.path.exists("/etc/supervisor/supervisord.conf"),
        "timezone": timezone(),
        "timers": bool(glob.glob("/etc/systemd/system/*.*.timer")),
        "root": os.geteuid() == 0,
        "listeners": ports_in_use(params["ports"]),
        "stamps": stamps.valid(),
        "resolutions": recorded(names, root) if params.get("fleet") else {},
        "revisions": revisions(names, root),
        "releases": {name: live_release(name, root) for name in names},
        "maintenance": {name: switch for name in names if (switch := maintenance(name, root))},
        "clashes": {name: clashes(name, root) for name in names},
        "interpreters": {name: interpreter(name, root) for name in params["interpreters"]},
        "pythons": pythons(),
        "provided_pythons": state(params["pythons"]),
        "disks": [disk(path) for path in (root, "/var/cache")],
        "time": time.time(),
        "certificate_problems": certificate_problems(params["certificates"]),
        "orphans": orphans(params["known"], Places(root)),
        "handmade": handmade(root),
        "drained": drained() or {},
        "deployed_certificates": deployed_certificates(params["expired"]),
        "status_site": any(map(os.path.lexists, (TIMER, FOLDER))),
    }


def live_release(name: str, root: str) -> str:
    """The release of an application that is live now; empty if there is none."""
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(os.path.join(root, name, "current")))
    return ""


def certificate_problems(items: list[dict[str, Any]]) -> list[str]:
    """Problems of certificates that the inventory expects on this host."""
    if not items:
        return []
    # Imported only here, because the host compiles all imports, and few hosts have such certificates.
    from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import Authority
    from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
    from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store, Wanted

    store, problems = Store("", "", Authority()), []
    for item in items:
        wanted = Wanted(**{**item, "names": tuple(item["names"])})
        try:
            store.look(wanted, time.time())
        except CertificateError as error:
            problems.append(
                f"nginx_sites '{wanted.name}'.tls: its certificate {wanted.certificate_path} is not usable: {error}."
            )
    return problems


def deployed_certificates(expired: dict[str, str]) -> list[str]:
    """The sites whose expired certificate, which has this fingerprint, is deployed on this host already."""
    if not expired:
        return []
    from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import deployed_fingerprint

    paths = {name: f"{CERTIFICATES}/{os.path.basename(name)}.pem" for name in expired}
    return [name for name, wanted in expired.items() if deployed_fingerprint(paths[name]) == wanted]


def ports_in_use(ports: list[int]) -> list[dict[str, Any]]:
    if not ports:
        return []
    return [
        {
            "port": listener.port,
            "address": listener.address,
            "program": listener.program,
            "pid": listener.pid,
            "account": account_name(listener.uid),
        }
        for listener in listeners()
        if listener.port in ports
    ]


def account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def clashes(name: str, root: str) -> list[str]:
    """Accounts, groups and services of other software that have the name of an application."""
    found = []
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        with contextlib.suppress(KeyError):
            grp.getgrnam(name)
            found.append(f"the host already has a group '{name}', which the application's account needs.")
    else:
        if account.pw_dir != f"{root}/{name}":
            found.append(
                f"the host already has an account '{name}' with the home {account.pw_dir}, which is not this "
                "collection's."
            )
    for folder in UNIT_FOLDERS:
        path = f"{folder}/{name}@.service"
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            if "pyweb.stack" not in stream.readline():
                found.append(f"the host already has a service '{name}@' ({path}), which is not this collection's.")
            break
    return found


def interpreter(name: str, root: str = "/srv/webapps") -> dict[str, str]:
    """Path and version (such as 3.11) of a Python, and the file that its links lead to, ``real``.

    The version is empty if the program is not one.
    """
    if re.fullmatch(r"3\.[0-9.]+", name):
        python = find(lambda version: f"{version}.".startswith(f"{name}."), ".".join(name.split(".")[:2]))
        return {"path": python.path if python else "", "version": name if python else ""}
    path = shutil.which(name, path=SYSTEM_PATH)
    if not path:
        return {"path": "", "version": ""}
    real = os.path.realpath(path)
    closed = closed_folder(path)
    if closed and not real.startswith(f"{os.path.realpath(root)}/"):
        return {"path": path, "real": real, "version": "", "closed": closed, "owner": owner_of(closed)}
    name_version = re.fullmatch(r"python(3\.\d+)", os.path.basename(real))
    version = name_version[1] if name_version else version_of(path, root).rpartition("-")[2]
    return {"path": path, "real": real, "version": version}


def pythons() -> list[str]:
    """The names of all Pythons in the folders of the system."""
    names = (os.path.basename(path) for folder in SYSTEM_PATH.split(":") for path in glob.glob(f"{folder}/python3.*"))
    return sorted({name for name in names if re.fullmatch(r"python3\.\d+", name)})


def maintenance(name: str, root: str) -> dict[str, Any]:
    """The maintenance switch of an application; empty if it was never used."""
    with contextlib.suppress(OSError, ValueError), open(f"{root}/{name}/maintenance.json", encoding="utf-8") as stream:
        switch: dict[str, Any] = json.load(stream)
        return switch
    return {}


def timezone(path: str = "/etc/localtime") -> str:
    """The name of the host's time zone; empty if it is unknown."""
    return os.path.realpath(path).partition("/zoneinfo/")[2]
