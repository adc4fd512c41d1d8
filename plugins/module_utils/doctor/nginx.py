# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at nginx: its process, its configuration and its error logs. Changes nothing."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import time
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.doctor.units import properties
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.complaints import explain
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.log_files import logs_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.rotation import written_elsewhere
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.server import Nginx
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.trees import Trees
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

# Bytes from the end of a log.
LOG_BYTES = 64 * 1024


def look_at_nginx(run: Run, systemd: bool, conf_dir: str) -> dict[str, Any]:
    """Whether nginx is installed, runs, runs the configuration on the disk, and would start again."""
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
        if not pid_there:  # the test leaves an empty file
            with contextlib.suppress(OSError):
                os.unlink(pid_file)
    found |= {
        "running": master is not None,
        "pid": master,
        "live": live,
        "loaded": nginx.loaded(master),
        "logs_elsewhere": logs_elsewhere(nginx, master, live),
    }
    if systemd:
        _rc, out, _err = run(["systemctl", "show", "--property=UnitFileState,Result,Restart", "nginx.service"])
        shown = properties(out)
        found["enabled"] = shown.get("UnitFileState") == "enabled"
        found["result"] = shown.get("Result", "")
        found["restart"] = shown.get("Restart", "")
    return found


def logs_elsewhere(nginx: Nginx, master: int | None, live: str | None) -> list[dict[str, str]]:
    """The logs that nginx does not write to since a rotation, each with the file that it writes to instead."""
    if master is None or live is None:
        return []
    texts = nginx.trees.content(live).values()
    return written_elsewhere(master, logs_of(texts, nginx.trees.home))


def nginx_errors(path: str, mark: str, after: float) -> list[str]:
    """The errors in a log since the time ``after`` that contain ``mark``."""
    when = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(after))
    lines = lines_of(tail(path, LOG_BYTES))
    return [line for line in lines if line >= when and mark in line and re.search(r"\[(error|crit|alert)\]", line)]


def sites_of(conf_dir: str = "/etc/nginx") -> list[str] | None:
    """The sites in nginx's configuration. None if another tool configures nginx."""
    if not os.path.isdir(f"{conf_dir}/pyweb"):
        return None
    return [tail(path, 1 << 20) for path in glob.glob(f"{conf_dir}/pyweb/current/sites/*.conf")]


def is_configured(layout: Layout, sites: list[str] | None) -> bool:
    """Whether a site of nginx leads to the application. True if another tool configures nginx."""
    return sites is None or any(layout.current_socket in site for site in sites)
