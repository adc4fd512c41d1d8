# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Which certificate this host serves on a port."""

from __future__ import annotations

import socket
import ssl
from hashlib import sha256


def server_name(names: list[str]) -> str:
    """A name that a client may request; empty for the default site."""
    return names[0].replace("*.", "www.", 1) if names else ""


def served(port: int, name: str, timeout: float = 5.0) -> str | None:
    """The fingerprint of the certificate that a client gets for the name on a port of this host; None without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection(("127.0.0.1", port), timeout)
        with plain, context.wrap_socket(plain, server_hostname=name or None) as secure:
            return sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
    except (OSError, ValueError):
        return None
