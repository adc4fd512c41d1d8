# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The environment variables of the containers. Pure.

The programs for compose read files of variables in different ways. Some remove quotes, replace ``$NAME`` or end a value
at ``#``. Others keep every character. So a value with any but harmless characters is written in base64, under another
name. The program ``bin/run`` decodes it, unless compose.override.yaml has replaced the value.
"""

from __future__ import annotations

import base64
import fnmatch
import re
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.variables import text_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.compose.order import Order

# The file with the variables of the inventory, which only its owner can read.
FILE = "secrets.env"
HARMLESS = re.compile(r"[A-Za-z0-9_./:@+,-]*")
ENCODED = "PYWEB_BASE64_"
# Names that act on the start commands themselves, as patterns of a shell. compose.override.yaml does not replace them.
EARLY = "PATH=*|LD_*|PYTHON*"
# podman reads lines of up to 64 KiB.
LONGEST = 60_000
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

HEAD = """\
# Managed by pyweb.stack: the environment variables of {name} with their secrets. Changes made here are replaced.
# A value with special characters is in base64, under the name {encoded}NAME. The program bin/run decodes it.
# To replace a value, set NAME in compose.override.yaml, under environment.
"""


def own_variables(order: Order) -> dict[str, str]:
    """The variables of the inventory. Lists of folders begin with those of the application."""
    found = {key: text_of(value, order.application) for key, value in order.app["env"].items()}
    usual = usual_variables(order)
    for name in ("PATH", "PYTHONPATH"):
        if name in found:
            found[name] = joined(usual[name], found[name])
    return found


def usual_variables(order: Order) -> dict[str, str]:
    """The variables that each program of the application has on a host as well."""
    app, release = order.app, order.release
    found = {
        "HOME": order.cache,
        "USER": order.name,
        "LOGNAME": order.name,
        "SHELL": "/bin/sh",
        "VIRTUAL_ENV": order.venv,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
        "FLASK_APP": str(app["wsgi"]),
        "WEBAPP_NAME": order.name,
        "WEBAPP_RELEASE": "compose",
        "WEBAPP_ROOT": order.application,
        "WEBAPP_SERVER": str(app["server"]),
        "WEBAPP_PROCESS_MANAGER": "compose",
        "PATH": f"{order.venv}/bin:{SYSTEM_PATH}",
        "PYTHONPATH": joined(f"{release}/entry", order.application, f"{order.application}/src"),
    }
    if app["site"]["path"] != "/":
        found["SCRIPT_NAME"] = str(app["site"]["path"])
    return found


def joined(*lists: str) -> str:
    return ":".join(dict.fromkeys(folder for one in lists for folder in one.split(":") if folder))


def plain_variables(order: Order) -> dict[str, str]:
    """The variables that are no secrets. compose gives them precedence over a file, so the inventory's are left out."""
    return {key: value for key, value in usual_variables(order).items() if key not in order.app["env"]}


def too_long(order: Order) -> list[str]:
    """The names of the variables whose values do not fit into a line."""
    return [
        key for key, value in own_variables(order).items() if any(len(line) > LONGEST for line in lines_of(key, value))
    ]


def env_file(order: Order) -> str:
    lines = [f"{line}\n" for key, value in own_variables(order).items() for line in lines_of(key, value)]
    return HEAD.format(name=order.name, encoded=ENCODED) + "".join(lines)


def lines_of(key: str, value: Any) -> list[str]:
    if HARMLESS.fullmatch(value):
        return [f"{key}={value}"]
    encoded = f"{ENCODED}{key}={base64.b64encode(value.encode('utf-8', 'surrogateescape')).decode()}"
    is_early = any(fnmatch.fnmatchcase(f"{key}=", pattern) for pattern in EARLY.split("|"))
    return [encoded] if is_early else [f"{key}=see-{ENCODED}{key}", encoded]
