# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The Debian packages that the builds of requirements without wheels need. Pure."""

from __future__ import annotations

import re

COMPILER = ["build-essential", "python3-dev"]

# The packages for the builds of well-known requirements.
LIBRARIES = {
    "cffi": ["libffi-dev"],
    "cryptography": ["libssl-dev", "cargo", "pkg-config"],
    "gssapi": ["libkrb5-dev"],
    "h5py": ["libhdf5-dev", "pkg-config"],
    "lxml": ["libxml2-dev", "libxslt1-dev"],
    "mysqlclient": ["default-libmysqlclient-dev", "pkg-config"],
    "pillow": ["libjpeg-dev", "zlib1g-dev"],
    "psycopg": ["libpq-dev"],
    "psycopg2": ["libpq-dev"],
    "pycairo": ["libcairo2-dev", "pkg-config"],
    "pycurl": ["libcurl4-openssl-dev", "libssl-dev"],
    "pygraphviz": ["libgraphviz-dev"],
    "pyodbc": ["unixodbc-dev"],
    "python-ldap": ["libldap2-dev", "libsasl2-dev"],
    "uwsgi": [],
    "xmlsec": ["libxmlsec1-dev", "pkg-config"],
}
# The packages of programs that a build starts.
PROGRAMS = {
    **{name: ["build-essential"] for name in ("gcc", "cc", "g++", "c++", "make", "ld", "as", "ar")},
    **{name: ["cargo"] for name in ("rustc", "cargo")},
    **{name: [name] for name in ("cmake", "gfortran", "pkg-config", "swig", "autoconf", "m4", "bison", "flex", "git")},
    "libtool": ["libtool"],
    "mysql_config": ["default-libmysqlclient-dev"],
    "ninja": ["ninja-build"],
    "pg_config": ["libpq-dev"],
    "pkgconf": ["pkg-config"],
    "xml2-config": ["libxml2-dev"],
    "xslt-config": ["libxslt1-dev"],
    "curl-config": ["libcurl4-openssl-dev", "libssl-dev"],
    "krb5-config": ["libkrb5-dev"],
    "cups-config": ["libcups2-dev"],
}
KNOWN = "|".join(re.escape(name) for name in sorted(PROGRAMS, key=len, reverse=True))
# How builds say that a program is missing.
MISSING_PROGRAM = re.compile(
    rf"No such file or directory: '(?:\S*-)?({KNOWN})(?:-\d+)?'"
    rf"|command '(?:\S*/|\S*-)?({KNOWN})(?:-\d+)?' failed: No such file"
    rf"|[Uu]nable to execute '?(?:\S*-)?({KNOWN})\b"
    rf"|\b({KNOWN})(?: executable|: command|: program)? (?:was )?not found"
    rf"|Do you have ({KNOWN}) in your PATH"
    r"|can't find (Rust) compiler"
)
# The packages of headers, by the first part of their paths.
HEADERS = {
    "Python.h": ["python3-dev"],
    "bzlib.h": ["libbz2-dev"],
    "cairo.h": ["libcairo2-dev"],
    "curl": ["libcurl4-openssl-dev"],
    "cups": ["libcups2-dev"],
    "expat.h": ["libexpat1-dev"],
    "ffi.h": ["libffi-dev"],
    "ft2build.h": ["libfreetype-dev"],
    "gdal.h": ["libgdal-dev"],
    "geos_c.h": ["libgeos-dev"],
    "gmp.h": ["libgmp-dev"],
    "graphviz": ["libgraphviz-dev"],
    "gssapi": ["libkrb5-dev"],
    "hdf5.h": ["libhdf5-dev"],
    "jpeglib.h": ["libjpeg-dev"],
    "krb5.h": ["libkrb5-dev"],
    "lber.h": ["libldap2-dev", "libsasl2-dev"],
    "ldap.h": ["libldap2-dev", "libsasl2-dev"],
    "libpq-fe.h": ["libpq-dev"],
    "libxml": ["libxml2-dev", "libxslt1-dev"],
    "libxslt": ["libxml2-dev", "libxslt1-dev"],
    "lzma.h": ["liblzma-dev"],
    "magic.h": ["libmagic-dev"],
    "mysql.h": ["default-libmysqlclient-dev"],
    "openssl": ["libssl-dev"],
    "pcre.h": ["libpcre3-dev"],
    "pcre2.h": ["libpcre2-dev"],
    "pcap.h": ["libpcap-dev"],
    "portaudio.h": ["portaudio19-dev"],
    "re2": ["libre2-dev"],
    "sasl": ["libsasl2-dev"],
    "snappy-c.h": ["libsnappy-dev"],
    "snappy.h": ["libsnappy-dev"],
    "sql.h": ["unixodbc-dev"],
    "sqlite3.h": ["libsqlite3-dev"],
    "systemd": ["libsystemd-dev", "pkg-config"],
    "uuid": ["uuid-dev"],
    "xmlsec": ["libxmlsec1-dev", "pkg-config"],
    "yaml.h": ["libyaml-dev"],
    "zlib.h": ["zlib1g-dev"],
    "zmq.h": ["libzmq3-dev"],
    "zstd.h": ["libzstd-dev"],
}


def usual_packages(name: str) -> list[str]:
    """The packages with which a requirement is usually built."""
    return [*COMPILER, *LIBRARIES.get(name.lower().replace("_", "-"), [])]


def package_of_program(program: str) -> list[str]:
    """The packages of a missing program. A compiler is seldom all that a build needs."""
    found = PROGRAMS.get(program, ["cargo"] if program == "Rust" else [])
    return COMPILER if found == ["build-essential"] else [*found]


def package_of_header(header: str, name: str) -> list[str]:
    """The packages of a missing header; those of the requirement where the header is not known."""
    known = HEADERS.get(header.rpartition("/")[2]) or HEADERS.get(header.partition("/")[0])
    return [*known] if known else usual_packages(name)


def package_of_library(library: str) -> list[str]:
    """The packages of a library that the linker did not find."""
    names = {"ssl": "libssl-dev", "crypto": "libssl-dev", "z": "zlib1g-dev", "pq": "libpq-dev", "ffi": "libffi-dev"}
    names |= {"ldap": "libldap2-dev", "lber": "libldap2-dev", "xml2": "libxml2-dev", "xslt": "libxslt1-dev"}
    names |= {"mariadb": "default-libmysqlclient-dev", "mysqlclient": "default-libmysqlclient-dev"}
    return [names.get(library, f"lib{library.lower()}-dev")]
