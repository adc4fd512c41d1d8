# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run uv for a build, and explain its failures."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.building.variables import proxies, with_variables_of_uv
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import walk
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import existing_account

# Seconds. Long enough to compile a large package; what takes longer is stuck.
UV_TIMEOUT = 1800

# How uv brings files from its cache into an environment.
HARDLINK, COPY = "hardlink", "copy"
# The words of uv if it can't link a file after it has linked another of the same package.
UNLINKED = re.compile(r"failed to hard[- ]?link", re.I)

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


def run_uv(build: Build, arguments: list[str], doing: str, cwd: str = "") -> None:
    """Run uv as the build account; ``doing`` completes "could not"."""
    environment = environment_of_uv(build)
    try:
        with with_variables_of_uv(build, [build.uv, *arguments], environment) as command:
            answer = build.build_with(command, cwd or build.root, environment, UV_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise build.error(
            f"could not {doing} within {UV_TIMEOUT} seconds. Check that the host reaches the package index."
        ) from None
    if answer.returncode != 0:
        output = without_credentials(answer.stderr, build.spec["python"])
        raise build.error(
            f"could not {doing}. {hint_of_uv(answer.stderr)}uv ended with status {answer.returncode}. Its "
            f"output:\n{tail(output, 18)}"
        )


def cache_of(build: Build) -> str:
    return os.path.join(build.layout.build, "uv")


def link_mode(build: Build) -> str:
    """HARDLINK if all files of uv's cache belong to the build account, else COPY.

    Root takes the files of an environment under all their names, and the kernel lets an account link its own files
    alone. uv fails if it can link some files of a package and not all of them.
    """
    builder = existing_account(build.name, build.builder).pw_uid
    try:
        for visit in walk(cache_of(build)):
            if any(status.st_uid != builder for status in visit.files.values()):
                return COPY
    except FileNotFoundError:
        return HARDLINK
    except OSError:
        return COPY
    return HARDLINK


def environment_of_uv(build: Build) -> dict[str, str]:
    python = build.spec["python"]
    environment = {
        "UV_CACHE_DIR": cache_of(build),
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",  # the same, for uv before 0.10
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
    }
    environment |= environment_of_indexes(python)
    if python.get("ca_bundle"):
        environment["SSL_CERT_FILE"] = python["ca_bundle"]
        if not os.path.isfile(python["ca_bundle"]):
            raise build.error(
                f"python.ca_bundle '{python['ca_bundle']}' is not a file on the host. Put it there, or leave it "
                "out to use the host's certificate store."
            )
    return {**environment, **proxies()}


def environment_of_indexes(python: dict[str, Any]) -> dict[str, str]:
    """The package indexes for uv, which asks UV_INDEX in its order, then those of requirements files, then the default.

    A package comes from the first index that has it, in any version. So the named index is asked before the extra ones:
    none of these can replace its packages. It is also the default, in place of the public index. Without a named index,
    the extra ones are asked before the public one.
    """
    environment = {"UV_INDEX_STRATEGY": "first-index"}
    indexes = indexes_of(python)
    if indexes:
        environment["UV_INDEX"] = " ".join(indexes)
    if python.get("index_url"):
        environment["UV_DEFAULT_INDEX"] = python["index_url"]
    return environment


def indexes_of(python: dict[str, Any]) -> list[str]:
    """The package indexes that the inventory names."""
    return [index for index in (python.get("index_url"), *(python.get("extra_index_urls") or [])) if index]


def without_credentials(text: str, python: dict[str, Any]) -> str:
    """The text without the credentials of the indexes that the inventory names."""
    for url in indexes_of(python):
        credentials = re.match(r"[a-z+]+://([^/@]+)@", url)
        if credentials:
            text = text.replace(credentials.group(1), "***")
    return text


def build_needs(output: str) -> list[str]:
    """The Debian packages that a failed build probably lacks, by uv's output in lower case."""
    failed = re.findall(r"failed to build `?([a-z0-9_.-]+?)(?:[=@ `]|$)", output)
    libraries = [package for name in failed for package in LIBRARIES.get(name.replace("_", "-"), [])]
    return ["build-essential", "python3-dev", *dict.fromkeys(libraries)]


def hint_of_uv(output: str) -> str:
    """The remedy for a common failure of uv; empty for any other."""
    lowered = output.lower()
    for pattern, remedy in REMEDIES:
        if re.search(pattern, lowered):
            return remedy.format(build_needs=" ".join(build_needs(lowered))) + " "
    return ""
