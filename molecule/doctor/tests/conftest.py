# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of the scenario, and words for what is done to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import pyweb_places
import requests
import yaml

TESTS = Path(__file__).resolve().parent
INVENTORY = TESTS.parent / "inventory" / "group_vars" / "web.yml"
APPS = [app["name"] for app in yaml.safe_load(INVENTORY.read_text())["webapps"]]
# The applications that a case may break. `sealed` has a certificate, and nothing breaks `neighbour`.
ILL = [name for name in APPS if name not in ("sealed", "neighbour")]

PRELUDE = r"""
home=/srv/webapps/$name
release=$(basename "$(readlink $home/current)")
source=$home/releases/$release/src
socket=/run/webapps/$name.sockets/$release.sock
if [ -d /run/systemd/system ]; then
    web() { systemctl "$1" "$name@$release"; }
    reborn() { systemctl --no-block restart "$name@$release"; }
    again() { systemctl reset-failed "$name@$release"; systemctl restart "$name@$release"; }
    front() { systemctl "$1" nginx; }
else
    web() { supervisorctl "$1" "$name-$release"; }
    reborn() { supervisorctl restart "$name-$release" >/dev/null 2>&1 & }
    again() { supervisorctl restart "$name-$release"; }
    front() {
        if [ $1 = start ]; then nginx; return; fi
        kill -QUIT $(cat /run/nginx.pid)
        for _ in $(seq 300); do pgrep -x nginx >/dev/null || break; sleep 0.1; done
    }
fi
logged() {
    for _ in $(seq 200); do
        if [ -d /run/systemd/system ]; then journalctl -u "$name@$release"; else cat /var/log/supervisor/$name-*; fi |
            grep -q "$1" && return
        sleep 0.3
    done
    return 1
}
until_it() {
    for _ in $(seq 200); do "$@" && return; sleep 0.3; done
    return 1
}
listens() { ss -Hltn "sport = :$1" | grep -q .; }
silent() { ! listens "$1"; }
says() { # STATUS: what a visitor of the site gets; nothing where the connection is closed
    [ "$(python3 - $name.example.com <<'END'
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", timeout=9)
try:
    connection.request("GET", "/", headers={"Host": sys.argv[1]})
    print(connection.getresponse().status)
except (OSError, http.client.HTTPException):
    print("nothing")
END
    )" = "$1" ]
}
does() { # MOOD STATUS: what a visitor gets three times for a feature that the health URL does not ask
    echo $1 >$home/shared/mood/mood
    python3 - $name.example.com $2 <<'END'
import http.client, sys
for _number in range(3):
    connection = http.client.HTTPConnection("127.0.0.1", timeout=9)
    connection.request("POST", "/do", headers={"Host": sys.argv[1]})
    assert connection.getresponse().status == int(sys.argv[2])
END
    sleep 1.2 # nginx writes its log once a second
}
dies() { # a worker, three times
    for _ in 1 2 3; do
        worker=$(pgrep -P $(master) | head -1); kill -9 $worker
        until_it sh -c "pgrep -P $(master) | grep -qvx $worker"
    done
    until_it says 404
}
well() { rm -f $home/shared/mood/mood $home/shared/mood/notes.db; again; }
ended() { # the process, so that it had to be started again
    if [ -d /run/systemd/system ]; then
        systemctl show -p ActiveState -p NRestarts "$name@$release" | grep -q 'ActiveState=failed\|NRestarts=[1-9]'
    else
        supervisorctl status "$name-$release" | grep -q 'BACKOFF\|FATAL\|EXITED'
    fi
}
kept() { # by supervisor: whether the application runs again
    supervisorctl status "$name-$release" | grep -q RUNNING
}
worker() { # STATE: the worker is in it; or RESTARTS: it was started again that often
    if [ -d /run/systemd/system ]; then
        systemctl show -p ActiveState -p NRestarts "$name.worker@$release" | grep -qx "ActiveState=$1\|NRestarts=$1"
    elif [ "$1" = failed ]; then
        supervisorctl status "$name.worker-$release" | grep -q FATAL
    else
        [ "$(grep -c "spawned: '$name.worker-$release'" /var/log/supervisor/supervisord.log)" -gt "$((spawned + $1))" ]
    fi
}
worker_again() {
    if [ -d /run/systemd/system ]; then
        systemctl reset-failed "$name.worker@$release"
        systemctl restart "$name.worker@$release"
    else
        supervisorctl restart "$name.worker-$release"
        spawned=$(grep -c "spawned: '$name.worker-$release'" /var/log/supervisor/supervisord.log)
    fi >/dev/null 2>&1
}
job() {
    if [ -d /run/systemd/system ]; then systemctl start $name.nightly; else /etc/supervisor/scheduled/$name.nightly; fi
}
sealed=/etc/nginx/pyweb/certificates/sealed.pem
shows() { # FILE: nginx shows its certificate
    mark="openssl x509 -noout -fingerprint"
    [ "$(openssl s_client -connect 127.0.0.1:443 -servername sealed.example.com 2>/dev/null </dev/null | $mark)" = \
        "$($mark -in "$1")" ]
}
seal() { # FILE: have nginx show its certificate, and keep the right one
    [ -e /var/tmp/sealed.pem ] || cp -p $sealed /var/tmp/sealed.pem
    cp "$1" $sealed && nginx -s reload && until_it shows "$1"
}
unseal() {
    mv /var/tmp/sealed.pem $sealed && nginx -s reload && until_it shows $sealed
}
master() { pgrep -o -u $name -f bin/gunicorn; }
"""


class Place(pyweb_places.Place):
    """One host, as its operator and as its visitors reach it."""

    @property
    def init(self) -> str:
        return "none" if self.name.endswith("noinit") else "systemd"

    def do(self, script: str, app: str = "ailing") -> str:
        """The output of a script that may use the functions of PRELUDE."""
        return self.run(f"name={app}\n{PRELUDE}{script}\n")

    def visit(self, app: str, path: str = "/") -> requests.Response:
        return self.ask(path, headers={"Host": f"{app}.example.com"}, allow_redirects=False)


@pytest.fixture(scope="session")
def places(scenario_inventory: str, places: list[pyweb_places.Place]) -> list[Place]:
    return [Place(place.name, place.inventory) for place in places]
