# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs of supervisor that watch other programs."""

from __future__ import annotations

# Without systemd, a program of supervisor restarts nginx. A clean stop removes the pid file before nginx exits, so the
# file is read again after the exit. A killed nginx leaves the pid file and its workers, which still hold the ports.
# After a restart of a container, the number in an old pid file can be that of another process, which is left alone.
NGINX_WATCH = "pyweb-nginx"


WATCH = (
    "while sleep 0.3; do pid=$(cat /run/nginx.pid 2>/dev/null); "
    'if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != nginx ] && '
    '[ "$(cat /run/nginx.pid 2>/dev/null)" = "$pid" ]; then '
    'echo "nginx ($pid) has gone without being stopped: starting it"; [ -e "/proc/$pid" ] || kill -QUIT "-$pid"; '
    "nginx; fi; done"
)


# supervisord polls its programs once a second. It detects an exit in one poll and restarts the program in the next. It
# also polls when a program writes output, so this program writes two lines when another one exits. Without pidfd, only
# the polls of supervisord remain.
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
