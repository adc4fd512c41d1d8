# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that starts nginx and supervisord on a host without an init, such as a restarted container."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.processes.ownership import MARK

PROGRAM = "/usr/local/sbin/pyweb-start"
# The mark of the program's last run: the start time of the process 1 that it found.
STARTED = "/run/pyweb/started"

# /run may be empty after a restart, or hold the pid files of the former processes. Each program of supervisor makes its
# own folders and sockets in /run.
CONTENT = f"""\
#!/bin/sh
# {MARK} (role supervisor). Starts nginx and supervisord, which starts the applications.
#   pyweb-start               stays, and ends all of them gracefully after SIGTERM
#   pyweb-start --background  returns when they run
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LANG=C.UTF-8
export PATH LANG
cd /
umask 022
config=/etc/supervisor/supervisord.conf
pid=/run/nginx.pid
supervisor=

is_process() {{ # NAME PID: whether a process with this ID runs this program
    [ -n "$2" ] && [ "$(cat "/proc/$2/comm" 2>/dev/null)" = "$1" ]
}}

nginx_runs() {{ is_process nginx "$(cat $pid 2>/dev/null)"; }}

start_nginx() {{
    command -v nginx >/dev/null || return 0
    for _try in 1 2 3 4 5; do
        nginx_runs && return 0
        # The number may belong to another process now.
        rm -f $pid
        nginx </dev/null && return 0
        sleep 1
    done
    echo "pyweb-start: nginx does not start, see above" >&2
    return 1
}}

# Certificates are renewed by cron. If there are jobs, supervisor runs it.
start_cron() {{
    [ -e /etc/cron.d/pyweb-certificates ] && [ ! -e /etc/supervisor/conf.d/pyweb-cron.conf ] || return 0
    command -v cron >/dev/null || return 0
    is_process cron "$(cat /run/crond.pid 2>/dev/null)" || cron
}}

runs() {{ supervisorctl -c $config pid >/dev/null 2>&1; }}

stop() {{
    trap '' TERM INT QUIT
    if nginx_runs; then
        kill -QUIT "$(cat $pid)"
        for _try in $(seq 100); do nginx_runs || break; sleep 0.1; done
    fi
    [ -z "$supervisor" ] || kill -TERM "$supervisor" 2>/dev/null
    stopped=yes
}}

mkdir -p /run/pyweb
cut -d' ' -f22 /proc/1/stat >{STARTED}
stopped=
[ "$1" = --background ] || trap stop TERM INT QUIT
start_nginx || exit 1
start_cron
if [ ! -e $config ]; then
    [ "$1" = --background ] && exit 0
    while nginx_runs && [ -z "$stopped" ]; do sleep 1 & wait $!; done
    [ -n "$stopped" ]
    exit
fi
if [ "$1" = --background ]; then
    runs || supervisord -c $config </dev/null || exit 1
    for _try in $(seq 150); do runs && exit 0; sleep 0.1; done
    echo "pyweb-start: supervisord does not answer, see /var/log/supervisor/supervisord.log" >&2
    exit 1
fi
supervisord -n -c $config </dev/null &
supervisor=$!
# A signal ends a wait early.
while kill -0 $supervisor 2>/dev/null; do wait $supervisor; done
# An end without a signal to this program is a failure, so that the container is restarted.
[ -n "$stopped" ]
"""
