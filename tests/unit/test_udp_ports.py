# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""HTTP/3 opens a UDP port, and the run prints a warning about it."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.nginx.udp_ports import opened_warnings, udp_ports
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import listen_lines

TLS = "\n".join(f"    {line}" for line in listen_lines(443, True, True))
OTHER = "\n".join(listen_lines(8443, False, True))


def test_the_ports_of_http_3_are_found() -> None:
    assert udp_ports([TLS, OTHER]) == {443, 8443}
    assert udp_ports(["\n".join(listen_lines(443, True, False)), "# listen 443 quic;"]) == set()


def test_a_new_port_is_announced_once() -> None:
    (warning,) = opened_warnings([], [TLS])
    assert "UDP port 443" in warning
    assert "nginx_http3: false" in warning
    assert opened_warnings([TLS], [TLS]) == []
    assert "UDP port 8443," in opened_warnings([TLS], [TLS, OTHER])[0]
    assert opened_warnings([TLS], []) == []
