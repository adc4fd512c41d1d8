#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at a host before anything on it is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check the whole model and look at the host before anything is changed
version_added: 0.1.0
description:
  - On the controller, checks the applications and sites of the inventory and reports every problem at once, each with
    the value found and the
    remedy.
  - On the host, gathers in one trip the few facts that the roles use, and finds out whether something there stands in
    the way. Changes nothing.
  - Sets C(ansible_facts['pyweb']), so that a role needs no trip to find its packages installed.
author: The pyweb.stack contributors
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  webapps:
    description:
      - The applications, as the role P(pyweb.stack.webapp#role) takes them. By default the variable C(webapps) of the
        host; of that one also templates that can't be resolved are told with their place. Read by the action plugin
        alone.
    type: list
    elements: raw
  app:
    description:
      - The application that a run is for; it must be one of O(webapps). Read by the action plugin alone.
    type: str
    default: ""
  app_required:
    description:
      - Whether a run must be for one application. Read by the action plugin alone.
    type: bool
    default: false
  process_manager:
    description:
      - What keeps the processes alive where an application does not say.
    type: str
    default: auto
  keep_releases:
    description:
      - How many releases are kept of each application.
    type: raw
    default: 5
  sources:
    description:
      - Whether releases are to be built, so that the sources must be there and the host must have room for them. Read
        by the action plugin alone.
    type: bool
    default: true
  packages:
    description:
      - The Debian packages whose presence the roles want to know.
    type: list
    elements: str
    default: []
  ports:
    description:
      - The ports that nginx is to listen on. Filled by the action plugin.
    type: list
    elements: int
    default: []
  certificates:
    description:
      - Certificates that are said to be on the host, as M(pyweb.stack.nginx_config) takes them. Filled by the action
        plugin.
    type: list
    elements: dict
    default: []
  uv_home:
    description:
      - Folder of uv's virtual environment.
    type: path
    default: /opt/pyweb/uv
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
  names:
    description:
      - The names that accounts, groups and units are to get. Filled by the action plugin.
    type: list
    elements: str
    default: []
  interpreters:
    description:
      - The interpreters that the applications want. Filled by the action plugin.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check everything before anything changes
  pyweb.stack.preflight:
    webapps: "{{ webapps }}"
    packages: "{{ nginx_packages + python_packages }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    pyweb:
      description:
        - C(distribution) (id, version, codename), C(init) (V(systemd) or V(none)), C(cpus), C(memory_bytes),
          C(packages) (installed ones of
          those asked for), C(uv) (its version, or empty), C(supervisor) (whether it is installed), C(timers) (whether
          an application may have some), C(listeners) on the ports asked for, C(stamps) (what earlier runs found to be
          as wanted, and nobody has touched since), C(clashes) (what of the system has a name that was asked for),
          C(interpreters) (path and version of those asked for), C(pythons) (all that are installed), C(disks),
          C(maintenance) (how applications are closed for it), C(ahead) (seconds by which the host's clock is ahead
          of the controller's), C(certificate_problems) (what is wrong with certificates on the host), C(sources)
          (what the controller has settled of the sources, such as the commit of a git repository).
      type: dict
"""

import contextlib  # the documentation stands first in a module
import glob
import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import listeners

# Control groups, as a container sees its own.
GROUPS = "/sys/fs/cgroup"


def distribution(path: str = "/etc/os-release") -> dict[str, str]:
    found = {}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            key, separator, value = line.strip().partition("=")
            if separator:
                found[key] = value.strip('"')
    return {
        "id": found.get("ID", ""),
        "version": found.get("VERSION_ID", ""),
        "codename": found.get("VERSION_CODENAME", ""),
    }


def installed(wanted: list[str], path: str = "/var/lib/dpkg/status") -> list[str]:
    """Which packages are installed, from dpkg's own list: reading it is ten times faster than asking dpkg."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except FileNotFoundError:
        return []
    names = "|".join(re.escape(name) for name in wanted)
    if not names:
        return []
    found = set(re.findall(rf"^Package: ({names})\nStatus: \S+ \S+ installed$", text, re.MULTILINE))
    return sorted(found)


def certificate_problems(items: list[dict[str, Any]]) -> list[str]:
    """What is wrong with certificates that are said to be here."""
    if not items:
        return []
    # Only now: the host compiles what it imports, and few have any.
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
                f"nginx_sites '{wanted.name}'.tls: its certificate {wanted.certificate_path} won't do: {error}."
            )
    return problems


def memory_bytes(groups: str = GROUPS) -> int:
    """The memory that processes may use: the machine's, or a container's limit if that is lower."""
    with open("/proc/meminfo", encoding="ascii") as stream:
        total = int(stream.readline().split()[1]) * 1024
    for names in (["memory.max"], ["memory/memory.limit_in_bytes"]):
        limit = limits(groups, names)
        total = min([total, *limit])
    return total


def cpus(groups: str = GROUPS) -> int:
    """The processors that processes may use: those of the affinity mask, or a container's quota if that is lower."""
    count = len(os.sched_getaffinity(0))
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        limit = limits(groups, names)
        if len(limit) == 2:
            count = min(count, max(1, limit[0] // limit[1]))
    return count


def limits(groups: str, names: list[str]) -> list[int]:
    """The figures in files of control groups, of the first or second version; none where there is no limit."""
    try:
        words = " ".join(Path(groups, name).read_text(encoding="ascii") for name in names).split()
    except OSError:
        return []
    # "max" in the second version, "-1" in the first.
    return [int(word) for word in words] if all(word.isdigit() for word in words) else []


def uv_version(home: str) -> str:
    """The version of uv in its environment, from the name of its metadata: starting it would cost more."""
    found = glob.glob(f"{home}/lib/python3*/site-packages/uv-*.dist-info")
    if not found or not os.access(f"{home}/bin/uv", os.X_OK):
        return ""
    return os.path.basename(found[0]).removeprefix("uv-").removesuffix(".dist-info")


def ports_in_use(ports: list[int]) -> list[dict[str, Any]]:
    if not ports:
        return []
    return [
        {"port": listener.port, "address": listener.address, "program": listener.program, "pid": listener.pid}
        for listener in listeners()
        if listener.port in ports
    ]


# Where packages and administrators put units; the first counts.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def clashes(name: str, root: str) -> list[str]:
    """What of this host has an application's name already, and is not this collection's."""
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


def interpreter(name: str) -> dict[str, str]:
    """Path and version (such as 3.11) of a Python; empty where it is not there, or no Python."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if not path:
        return {"path": "", "version": ""}
    told = re.fullmatch(r"python(3\.\d+)", os.path.basename(os.path.realpath(path)))
    if told:
        return {"path": path, "version": told[1]}
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([path, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    except (subprocess.SubprocessError, OSError):
        return {"path": path, "version": ""}
    return {"path": path, "version": answer.stdout.strip()}


def pythons() -> list[str]:
    """The names of all Pythons in the usual places."""
    names = (os.path.basename(path) for folder in SYSTEM_PATH.split(":") for path in glob.glob(f"{folder}/python3.*"))
    return sorted({name for name in names if re.fullmatch(r"python3\.\d+", name)})


def maintenance(name: str, root: str) -> dict[str, Any]:
    """How an application is closed for maintenance, as its switch says; empty where nobody ever switched it."""
    with contextlib.suppress(OSError, ValueError), open(f"{root}/{name}/maintenance.json", encoding="utf-8") as stream:
        return json.load(stream)
    return {}


def disk(path: str) -> dict[str, Any]:
    """Space, in bytes and files, on the disk that a folder is on, or will be."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return {
        "path": path,
        "size": found.f_blocks * found.f_frsize,
        "free": found.f_bavail * found.f_frsize,
        "files": found.f_files,
        "files_free": found.f_favail,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "webapps": {"type": "list", "elements": "raw"},
            "app": {"type": "str", "default": ""},
            "app_required": {"type": "bool", "default": False},
            "process_manager": {"type": "str", "default": "auto"},
            "keep_releases": {"type": "raw", "default": 5},
            "packages": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "certificates": {"type": "list", "elements": "dict", "default": []},
            "uv_home": {"type": "path", "default": "/opt/pyweb/uv"},
            "root": {"type": "path", "default": "/srv/webapps"},
            "names": {"type": "list", "elements": "str", "default": []},
            "interpreters": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    params = module.params
    facts = {
        "distribution": distribution(),
        "init": "systemd" if os.path.isdir("/run/systemd/system") else "none",
        "cpus": cpus(),
        "memory_bytes": memory_bytes(),
        "packages": installed(params["packages"]),
        "uv": uv_version(params["uv_home"]),
        "supervisor": os.path.exists("/etc/supervisor/supervisord.conf"),
        "timers": bool(glob.glob("/etc/systemd/system/*.*.timer")),
        "root": os.geteuid() == 0,
        "listeners": ports_in_use(params["ports"]),
        "stamps": stamps.valid(),
        "maintenance": {name: switch for name in params["names"] if (switch := maintenance(name, params["root"]))},
        "clashes": {name: clashes(name, params["root"]) for name in params["names"]},
        "interpreters": {name: interpreter(name) for name in params["interpreters"]},
        "pythons": pythons(),
        "disks": [disk(path) for path in (params["root"], "/var/cache")],
        "time": time.time(),
        "certificate_problems": certificate_problems(params["certificates"]),
    }
    module.exit_json(changed=False, ansible_facts={"pyweb": facts})


if __name__ == "__main__":
    main()
