# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Properties of other systems that this machine can have for the time of a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.busy import apt_holder
from nginx_instance import BINARY

# In a network of its own, without IPv6 as a sysctl turns it off. Prints the listening sockets.
WITHOUT_IPV6 = """
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 || exit 9
"$1" -c "$2" || exit 8
cat /proc/net/tcp6
"$1" -c "$2" -s stop
"""
CONFIGURATION = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 8099; listen [::]:8099; }}
}}
"""


@pytest.mark.skipif(BINARY is None, reason="nginx is not installed here: apt-get install nginx-light")
def test_nginx_can_listen_on_ipv6_addresses_where_a_sysctl_turned_them_off(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("not root")  # reason: only root makes a network of its own
    (tmp_path / "nginx.conf").write_text(CONFIGURATION.format(folder=tmp_path))
    argv = ["unshare", "--net", "sh", "-c", WITHOUT_IPV6, "sh", str(BINARY), str(tmp_path / "nginx.conf")]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode in (1, 9):
        pytest.skip(result.stderr)  # reason: a container can have these settings read-only
    assert result.returncode == 0, result.stderr
    assert f":{8099:04X} " in result.stdout


def test_a_process_that_holds_a_lock_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "lock-frontend"
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert apt_holder((str(lock),))["pid"] == holder.pid
        holder.communicate("\n")
    assert apt_holder((str(lock),)) == {}
