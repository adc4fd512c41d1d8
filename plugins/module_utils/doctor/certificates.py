# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at the certificates of sites, on the disk and as nginx serves them. Changes nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import mode_of
from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import Authority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import (
    NO_CHECK_TIME,
    PARTIAL_CHAIN,
    Certificate,
    CertificateError,
    described,
    fingerprint,
    inspect,
)
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store, Wanted

PATIENCE = 5.0


def look_at_certificate(item: dict[str, Any], folder: str, patience: float = PATIENCE) -> dict[str, Any]:
    """One certificate: the file that nginx should serve (``disk``), and the one that it serves (``shown``)."""
    wanted = Wanted(**{**item, "names": tuple(item["names"])})
    store = Store(folder, "", Authority())
    found: dict[str, Any] = {
        "site": wanted.name,
        "mode": wanted.mode,
        "names": list(wanted.names),
        "port": wanted.port,
        "path": wanted.certificate_path or store.path(wanted),
        "key": mode_of(wanted.key_path or store.path(wanted)),
        "disk": {},
        "problem": "",
        "shown": {},
    }
    certificate, key = store.texts(wanted)
    if certificate and key:
        try:
            found["disk"] = as_dict(inspect(certificate, key), wanted)
        except CertificateError as error:
            found["problem"] = str(error)
    with contextlib.suppress(OSError, ValueError):
        found["shown"] = look_at_shown(wanted, found["disk"], patience)
    return found


def as_dict(certificate: Certificate, wanted: Wanted) -> dict[str, Any]:
    return {
        "fingerprint": certificate.fingerprint,
        "names": list(certificate.names),
        "missing": certificate.missing(list(wanted.names)),
        "ends": certificate.ends,
        "due_at": certificate.due_at,
        "end_date": certificate.end_date,
    }


def look_at_shown(wanted: Wanted, disk: dict[str, Any], patience: float) -> dict[str, Any]:
    """The certificate that nginx serves on the port, in full if it differs from the one on the disk."""
    pem, _words = ask_for(wanted, patience)
    if fingerprint(pem) == disk.get("fingerprint"):
        return disk
    try:
        # Python shows the names and dates only of a certificate that the client trusts.
        _pem, words = ask_for(wanted, patience, trusted=pem)
    except ssl.SSLError:
        return {"fingerprint": fingerprint(pem), "names": [], "missing": list(wanted.names), "ends": 0.0}
    return as_dict(described(words, fingerprint(pem)), wanted)


def ask_for(wanted: Wanted, patience: float, trusted: str = "") -> tuple[str, dict[str, Any]]:
    """The certificate that nginx serves, and its fields."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if trusted:
        context.load_verify_locations(cadata=trusted)
        context.verify_flags |= PARTIAL_CHAIN | NO_CHECK_TIME
    else:
        context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", wanted.port), patience) as plain,
        context.wrap_socket(plain, server_hostname=wanted.server_name or None) as secure,
    ):
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b""), secure.getpeercert() or {}
