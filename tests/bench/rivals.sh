#!/bin/sh
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
# What our site is measured against, on the same host: the plain site of a tutorial on port 8081 (the distribution's own
# nginx.conf, proxy_pass to four sync workers on a port), and nginx with a configuration tuned by hand on port 8082.
set -eu
app=$1
release=$(readlink -f "/srv/webapps/$app/current")
mkdir -p /etc/bench

systemctl stop bench-tutorial 2>/dev/null || true
systemd-run --quiet --collect --unit=bench-tutorial --uid="$app" --working-directory="$release/src" \
    "$release/venv/bin/gunicorn" --workers 4 --bind 127.0.0.1:5000 hello:app

sed -e 's|/run/nginx.pid|/run/bench-tutorial.pid|' -e 's|include /etc/nginx/conf.d/.*||' \
    -e 's|include /etc/nginx/sites-enabled/.*|include /etc/bench/tutorial.site;|' \
    /etc/nginx/nginx.conf.before-pyweb >/etc/bench/tutorial.conf
cat >/etc/bench/tutorial.site <<'SITE'
server {
    listen 8081;
    server_name _;
    location / {
        proxy_pass http://127.0.0.1:5000;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
}
SITE

cat >/etc/bench/bare.conf <<BARE
user www-data;
worker_processes auto;
pid /run/bench-bare.pid;
error_log /var/log/nginx/bare.error.log;
events {
    worker_connections 4096;
}
http {
    include /etc/nginx/mime.types;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000;
    access_log /var/log/nginx/bare.access.log combined buffer=64k;
    server {
        listen 8082;
        location /static/ {
            alias $release/src/static/;
        }
    }
}
BARE
for name in tutorial bare; do
    nginx -q -t -c "/etc/bench/$name.conf"
    nginx -c "/etc/bench/$name.conf"
done
