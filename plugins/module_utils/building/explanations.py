# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Explain why uv could not install a requirement. Pure."""

from __future__ import annotations

import re

# The Debian packages that well-known requirements without wheels are built with.
LIBRARIES = {
    "gssapi": ["libkrb5-dev"],
    "mysqlclient": ["default-libmysqlclient-dev", "pkg-config"],
    "psycopg2": ["libpq-dev"],
    "pycairo": ["libcairo2-dev", "pkg-config"],
    "pycurl": ["libcurl4-openssl-dev", "libssl-dev"],
    "pygraphviz": ["libgraphviz-dev"],
    "python-ldap": ["libldap2-dev", "libsasl2-dev"],
    "xmlsec": ["libxmlsec1-dev", "pkg-config"],
}

# Remedies for common failures: a pattern that matches uv's output, and what to try.
REMEDIES = (
    (
        r"hash mismatch",
        "The index has another file for this version of a package than the one whose hash was recorded, so it may have "
        "been replaced: compare the package on your index or mirror with the original.",
    ),
    (
        r"was not found in the package registry|there are no versions of|there is no version of",
        "A requirement has no such name or version; check its spelling in the requirements.",
    ),
    (
        r"(?s)\A(?=.*certificate)(?=.*(unknownissuer|invalid peer|verify))",
        "The index's certificate is not trusted: add your company's authority to the host's certificate store, "
        "or name it as python.ca_bundle.",
    ),
    (
        r"dns error|failed to lookup|connection refused|tcp connect error",
        "The package index can't be reached from the host: check its network, or name a mirror as python.index_url.",
    ),
    (
        r"(?s)requires-python|does not satisfy python|\A(?=.*requires)(?=.*python>=)",
        "A requirement needs another Python; change its version, or name another python.interpreter.",
    ),
    (
        r"failed to build|build backend",
        "A requirement has no wheel for this Python and could not be built; let python_packages install what its "
        "build needs ({build_needs}), or choose a version with a wheel.",
    ),
    (r"no space left", "The disk is full; make room."),
)


def build_needs(output: str) -> list[str]:
    """The Debian packages that a failed build probably lacks, by uv's output in lower case."""
    failed = re.findall(r"failed to build `?([a-z0-9_.-]+?)(?:[=@ `]|$)", output)
    libraries = [package for name in failed for package in LIBRARIES.get(name.replace("_", "-"), [])]
    return ["build-essential", "python3-dev", *dict.fromkeys(libraries)]


def explained(output: str) -> str:
    """The remedy for a common failure of uv; empty for any other."""
    lowered = output.lower()
    for pattern, remedy in REMEDIES:
        if re.search(pattern, lowered):
            return remedy.format(build_needs=" ".join(build_needs(lowered))) + " "
    return ""
