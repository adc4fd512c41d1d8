# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""HTTP connections that the standard library lacks: over a unix socket, and over TLS with any certificate."""

from __future__ import annotations

import http.client
import socket
import ssl


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class SecureConnection(http.client.HTTPConnection):
    """HTTP over TLS that accepts any certificate. The module nginx_config checks certificates; this is for answers."""

    def __init__(self, address: str, port: int, name: str, timeout: float) -> None:
        super().__init__(address, port, timeout=timeout)
        self._name = name

    def connect(self) -> None:
        super().connect()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock, server_hostname=self._name)
