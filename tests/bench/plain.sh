#!/bin/sh
# The script that an administrator would write instead of a playbook, for one application on one host.
# run.py compares the collection with it.
#
#     plain.sh SOURCE_FOLDER UV_VERSION SSH_COMMAND…
#
# Reaches the state that the collection reaches for the example: nginx in front (no default site, no version, headers
# that a visitor can't forge, static files), gunicorn on a unix socket that only nginx's group can open, a dedicated
# account, a sandboxed unit that starts at boot, code and environment that the application can't write. Skips steps that
# are already done. It lacks the features of the collection: releases, health checks before the switch, rollback,
# preflight checks, messages.
set -eu
source=$1 uv_version=$2
shift 2

tar -C "$source" --exclude=__pycache__ -cz . | "$@" 'sudo sh -c "rm -rf /srv/hello.new && mkdir /srv/hello.new && tar -C /srv/hello.new -xz --no-same-owner"'

"$@" "sudo sh -s -- '$uv_version'" <<'REMOTE'
set -eu
uv_version=$1
home=/srv/hello
export DEBIAN_FRONTEND=noninteractive UV_SYSTEM_CERTS=1 UV_NO_PROGRESS=1

# Installs standard input as a file; succeeds only if the file changed.
put() {
    cat >"$1.new" || exit 1
    if cmp -s "$1.new" "$1"; then rm "$1.new"; return 1; fi
    chmod "$2" "$1.new" && chown "root:${3:-root}" "$1.new" && mv "$1.new" "$1" || exit 1
}

dpkg-query -W -f '${db:Status-Abbrev}\n' nginx python3-venv 2>/dev/null | grep -c '^ii' | grep -qx 2 || {
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends nginx python3-venv >/dev/null
}

[ -x /opt/uv/bin/uv ] || {
    python3 -m venv /opt/uv
    /opt/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "uv==$uv_version"
}

id hello >/dev/null 2>&1 || useradd --system --home-dir "$home" --shell /usr/sbin/nologin hello
mkdir -p "$home" "$home/entry"

restart=false
cmp -s /srv/hello.new/requirements.txt "$home/installed.txt" || {
    [ -x "$home/venv/bin/python" ] || /opt/uv/bin/uv venv --quiet --python /usr/bin/python3 "$home/venv"
    /opt/uv/bin/uv pip install --quiet --compile-bytecode --python "$home/venv/bin/python" -r /srv/hello.new/requirements.txt gunicorn
    cp /srv/hello.new/requirements.txt "$home/installed.txt"
    restart=true
}
if diff -rq /srv/hello.new "$home/src" >/dev/null 2>&1; then
    rm -rf /srv/hello.new
else
    rm -rf "$home/src"
    mv /srv/hello.new "$home/src"
    restart=true
fi

put "$home/env" 0640 hello <<'END' && restart=true
PYTHONPATH=/srv/hello/entry:/srv/hello/src
PYTHONDONTWRITEBYTECODE=1
LANG=C.UTF-8
WEBAPP_NAME=hello
WEBAPP_SERVER=gunicorn
WEBAPP_PROCESS_MANAGER=systemd
END

put "$home/entry/entry.py" 0644 <<'END' && restart=true
from hello import app
from werkzeug.middleware.proxy_fix import ProxyFix

application = ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)
END

workers=$((2 * $(nproc) + 1))
put "$home/gunicorn.conf.py" 0644 <<END && restart=true
wsgi_app = "entry:application"
bind = "unix:/run/hello/hello.sock"
proc_name = "hello"
workers = $workers
threads = 4
timeout = 30
worker_tmp_dir = "/dev/shm"
control_socket_disable = True
END

put /etc/systemd/system/hello.service 0644 <<'END' && { systemctl daemon-reload; systemctl --quiet enable hello; restart=true; }
[Unit]
Description=The web application hello
After=network.target
StartLimitIntervalSec=120
StartLimitBurst=5

[Service]
Type=notify
User=hello
Group=hello
EnvironmentFile=/srv/hello/env
WorkingDirectory=/srv/hello/src
ExecStartPre=+/usr/bin/install -d -o hello -g www-data -m 0710 /run/hello
ExecStart=/srv/hello/venv/bin/gunicorn --config /srv/hello/gunicorn.conf.py
Restart=on-failure
RestartSec=0.5
TimeoutStopSec=35
KillMode=mixed
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths=-/run/hello
ProtectHome=yes
ProtectProc=invisible
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=@chown @setuid
SystemCallErrorNumber=EPERM
KeyringMode=private
UMask=0027

[Install]
WantedBy=multi-user.target
END

mkdir -p /etc/systemd/system/nginx.service.d
put /etc/systemd/system/nginx.service.d/restart.conf 0644 <<'END' && systemctl daemon-reload
[Service]
Restart=on-failure
RestartSec=500ms
END

reload=false
[ ! -e /etc/nginx/sites-enabled/default ] || { rm /etc/nginx/sites-enabled/default; reload=true; }
put /etc/nginx/conf.d/headers.conf 0644 <<'END' && reload=true
map $http_host $visitor_port_suffix {
    default "";
    "~(?<visitor_suffix>:[0-9]+)$" $visitor_suffix;
}
map $host $visitor_host {
    default $host$visitor_port_suffix;
    "" $hostname;
}
END
put /etc/nginx/sites-enabled/hello.conf 0644 <<'END' && reload=true
upstream hello {
    server unix:/run/hello/hello.sock;
}

server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name "";
    server_tokens off;
    client_max_body_size 16m;

    location ^~ /static/ {
        alias /srv/hello/src/static/;
        add_header Cache-Control no-cache;
        location ~ /\. {
            return 404;
        }
    }

    location / {
        proxy_pass http://hello;
        proxy_http_version 1.1;
        proxy_redirect off;
        proxy_set_header Host $visitor_host;
        proxy_set_header Connection "";
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $visitor_host;
        proxy_set_header X-Forwarded-Port $server_port;
        proxy_set_header X-Forwarded-Prefix "";
        proxy_set_header X-Request-ID $request_id;
        proxy_set_header Forwarded "";
        proxy_set_header X-Forwarded-Protocol "";
        proxy_set_header X-Forwarded-Ssl "";
        proxy_set_header Proxy "";
        proxy_read_timeout 35s;
        proxy_send_timeout 35s;
    }
}
END

$restart && systemctl restart hello
systemctl is-active --quiet hello || systemctl start hello
if $reload; then
    nginx -t -q
    systemctl --quiet enable nginx
    systemctl reload-or-restart nginx
fi

python3 - <<'END'
import sys, time, urllib.request

for attempt in range(300):
    try:
        urllib.request.urlopen("http://127.0.0.1/healthz", timeout=5).read()
        sys.exit()
    except OSError as error:
        problem = error
        time.sleep(0.1)
sys.exit(f"The application does not answer: {problem}")
END
REMOTE
