# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Programs of supervisor that watch other programs."""

from __future__ import annotations

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
