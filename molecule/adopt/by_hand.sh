#!/bin/bash
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
# Five applications, each deployed as a tutorial does. One account owns all of them.
set -eux

# The certificate authorities of the machine may be those of a company.
export DEBIAN_FRONTEND=noninteractive UV_SYSTEM_CERTS=1
which nginx supervisord > /dev/null || (apt-get update && apt-get install -y --no-install-recommends nginx-light supervisor)
uv=$(command -v uv || echo /opt/pyweb/uv/bin/uv)
id sammy 2> /dev/null || useradd --create-home sammy
"$uv" venv --allow-existing /srv/venv
"$uv" pip install --python /srv/venv/bin/python flask gunicorn pyuwsgi
for name in one two three four five; do
    cp -r /opt/app "/srv/$name"
    chown -R sammy:sammy "/srv/$name"
done

# one: a server block in nginx.conf, gunicorn with a settings file in the background
cat > /srv/one/gun.conf.py << 'END'
import multiprocessing

bind = "127.0.0.1:8001"
workers = multiprocessing.cpu_count() * 2 + 1
timeout = 60
pidfile = "gunicorn.pid"
accesslog = "access.log"
errorlog = "debug.log"
END
cat > /etc/nginx/nginx.conf << 'END'
user www-data;
worker_processes auto;
pid /run/nginx.pid;
include /etc/nginx/modules-enabled/*.conf;

events {
    worker_connections 768;
}

http {
    sendfile on;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    error_log /var/log/nginx/error.log;
    gzip on;

    server {
        listen 80;
        server_name one.example.com;
        location / {
            proxy_pass http://127.0.0.1:8001/;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }
    }

    # The inventory does not serve this one.
    server {
        listen 80;
        server_name other.example.com;
        return 200 "other\n";
    }

    include /etc/nginx/conf.d/*.conf;
    include /etc/nginx/sites-enabled/*;
}
END
runuser -u sammy -- bash -c 'cd /srv/one && nohup /srv/venv/bin/gunicorn -c gun.conf.py app:app > nohup.out 2>&1 &'
printf '#!/bin/sh\ncd /srv/one && /srv/venv/bin/gunicorn -c gun.conf.py app:app &\n' > /etc/rc.local

# two: a unit with a unix socket, and a link in sites-enabled
chgrp www-data /srv/two
chmod 2770 /srv/two
usermod -aG sammy www-data
cat > /etc/systemd/system/two.service << 'END'
[Unit]
Description=Gunicorn instance to serve two
After=network.target

[Service]
User=sammy
Group=www-data
WorkingDirectory=/srv/two
Environment="PATH=/srv/venv/bin"
Environment="GREETING=two" "SECRET_KEY=not for logs"
ExecStart=/srv/venv/bin/gunicorn --workers 3 --bind unix:two.sock -m 007 app:app

[Install]
WantedBy=multi-user.target
END
cat > /etc/nginx/sites-available/two << 'END'
server {
    listen 80;
    server_name two.example.com www.two.example.com;

    location /static {
        alias /srv/two/static;
    }
    location / {
        include proxy_params;
        proxy_pass http://unix:/srv/two/two.sock;
    }
}
END
ln -s /etc/nginx/sites-available/two /etc/nginx/sites-enabled

# three: a program of supervisor
cat > /etc/supervisor/conf.d/three.conf << 'END'
[program:three]
command=/srv/venv/bin/gunicorn -w 4 -b 127.0.0.1:8003 app:app
directory=/srv/three
user=sammy
autostart=true
autorestart=true
redirect_stderr=true
environment=GREETING="three"
END
cat > /etc/nginx/conf.d/three.conf << 'END'
upstream three {
    server 127.0.0.1:8003;
}
server {
    listen 80;
    server_name three.example.com;
    location / {
        proxy_pass http://three;
        proxy_set_header Host $host;
    }
}
END

# four: uWSGI over TCP, which turns itself into a daemon
cat > /srv/four/uwsgi.ini << 'END'
[uwsgi]
base = /srv/four
chdir = %(base)
module = app:app
socket = 127.0.0.1:8004
processes = 2
threads = 2
master = true
vacuum = true
daemonize = /srv/four/uwsgi.log
END
cat > /etc/nginx/sites-available/four << 'END'
server {
    listen 80;
    server_name four.example.com;
    location / {
        include uwsgi_params;
        uwsgi_pass 127.0.0.1:8004;
    }
}
END
ln -s /etc/nginx/sites-available/four /etc/nginx/sites-enabled
runuser -u sammy -- /srv/venv/bin/uwsgi --ini /srv/four/uwsgi.ini

# five: uWSGI over a socket, as a unit that does not know die-on-term
cat > /srv/five/five.ini << 'END'
[uwsgi]
module = app
callable = app
master = true
processes = 3
socket = five.sock
chmod-socket = 666
vacuum = true
END
cat > /etc/systemd/system/five.service << 'END'
[Unit]
Description=uWSGI instance to serve five

[Service]
User=sammy
WorkingDirectory=/srv/five
ExecStart=/srv/venv/bin/uwsgi --ini five.ini
KillSignal=SIGQUIT

[Install]
WantedBy=multi-user.target
END
cat > /etc/nginx/sites-enabled/five << 'END'
server {
    listen 80;
    server_name five.example.com;
    location / {
        include uwsgi_params;
        uwsgi_pass unix:/srv/five/five.sock;
    }
}
END

systemctl daemon-reload
systemctl enable --now two five nginx supervisor
# Its socket appears a moment after its start.
timeout 20 sh -c 'until supervisorctl pid; do sleep 0.2; done'
supervisorctl update
nginx -t
systemctl restart nginx
