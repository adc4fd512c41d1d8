# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Two balancers obtain certificates of a real ACME authority, whose proofs reach only one of them."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.request

import pytest
from conftest import CHECKOUT, assert_settled
from pyweb_places import Place, everywhere

DOMAIN, AUTHORITY = "secure.example.com", "authority.example.com"
# As in the scenario tls. The names are resolved by the file /etc/hosts, and nothing is refused or delayed by chance.
START = r"""
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends pebble >/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=AUTHORITY \
    -addext subjectAltName=DNS:AUTHORITY -keyout /etc/ssl/authority.key -out /etc/ssl/authority.crt 2>/dev/null
cat >/etc/authority.json <<'END'
{"pebble": {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "0.0.0.0:15000",
 "certificate": "/etc/ssl/authority.crt", "privateKey": "/etc/ssl/authority.key", "httpPort": 80, "tlsPort": 443,
 "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": 7776000}}
END
systemd-run --quiet --unit=authority --setenv=PEBBLE_VA_NOSLEEP=1 --setenv=PEBBLE_WFE_NONCEREJECT=0 \
    --setenv=PEBBLE_AUTHZREUSE=0 /usr/bin/pebble -config /etc/authority.json
cat /etc/ssl/authority.crt
""".replace("AUTHORITY", AUTHORITY)


@pytest.fixture
def authority(webs, balancers) -> Place:
    """A host of Debian 13 that serves no visitors as authority. It finds the domain at the first balancer alone."""
    place = webs[3]
    certificate = place.run(START, timeout=300)
    # A container engine mounts this file, so it can't be replaced.
    place.run(f"echo '{balancers[0].address} {DOMAIN}' >>/etc/hosts")
    for balancer in balancers:
        balancer.run(f"echo '{place.address} {AUTHORITY}' >>/etc/hosts")
        balancer.run("cat >/etc/ssl/authority.crt", given=certificate)
    return place


def root_of(authority: Place) -> str:
    """The root that the authority made when it was started."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({}))
    return opener.open(f"https://{authority.address}:15000/roots/0", timeout=10).read().decode()


def serial_and_status(balancer: Place, trusted: str) -> tuple[str, int]:
    """The serial number of the certificate that a browser accepts, and the status of the response."""
    context = ssl.create_default_context(cadata=trusted)
    plain = socket.create_connection((balancer.address, 443), timeout=10)
    with context.wrap_socket(plain, server_hostname=DOMAIN) as secure:
        certificate = secure.getpeercert()
        connection = http.client.HTTPConnection(DOMAIN)
        connection.sock = secure
        connection.request("GET", "/")
        return str(certificate["serialNumber"]), connection.getresponse().status


@pytest.mark.matrix(whole=True)
def test_both_balancers_get_certificates_although_the_proofs_reach_only_one(
    webs, balancers, traffic, deploy, numbers, authority
):
    mirror = {
        "name": "secure",
        "source": {"path": str(CHECKOUT / "tests/apps/mirror")},
        "wsgi": "mirror:app",
        "workers": 1,
        "health": {"path": "/healthz"},
        "site": {"domains": [DOMAIN], "tls": {"mode": "acme"}},
    }
    given = {
        "more": [mirror],
        "nginx_acme_directory": f"https://{AUTHORITY}:14000/dir",
        "nginx_acme_ca_bundle": "/etc/ssl/authority.crt",
    }
    build = next(numbers)
    with traffic() as visitors:
        run = deploy(build, **given)
    assert run.status == 0, run.output
    visitors.assert_nothing_was_lost()
    trusted = root_of(authority)
    found = everywhere(lambda balancer: serial_and_status(balancer, trusted), balancers)
    assert [status for _serial, status in found] == [200, 200]
    assert found[0][0] != found[1][0], "each balancer has a certificate of its own"
    assert_settled(webs, build)
    again = deploy(build, **given)
    assert [again.counts(place.name)["changed"] for place in (*webs, *balancers)] == [0] * 6
