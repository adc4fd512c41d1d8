# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run uv for a build, and explain its failures."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.building import network
from ansible_collections.pyweb.stack.plugins.module_utils.building.build import Build
from ansible_collections.pyweb.stack.plugins.module_utils.host.trees import walk
from ansible_collections.pyweb.stack.plugins.module_utils.release.programs import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import MissingPackages, existing_account

# Seconds. Long enough to compile a large package; what takes longer is stuck.
UV_TIMEOUT = 1800

# How uv brings files from its cache into an environment.
HARDLINK, COPY = "hardlink", "copy"
# The words of uv if it can't link a file after it has linked another of the same package.
UNLINKED = re.compile(r"failed to hard[- ]?link", re.I)

# Variables of the application that describe its own processes.
OWN_VARIABLES = frozenset({"HOME", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV"})

PROXIES = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
)

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
    *network.REMEDIES,
    (
        r"hash mismatch",
        "The index has another file for this version of a package than the one whose hash was recorded, so it may have "
        "been replaced: compare the package on your index or mirror with the original.",
    ),
    (
        r"required (?:uv )?version .*does not match",
        "[tool.uv] of the source requires another version of uv: set python_uv_version to one that it accepts.",
    ),
    (
        r"404 not found",
        "A file is no longer in the index. If its version was recorded by an earlier release, resolve all versions "
        "again with -e webapp_upgrade_packages=true, or name another version in the requirements.",
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
        r"no module named .?pkg_resources",
        "A requirement is built with pkg_resources, which newer versions of setuptools no longer contain. Choose a "
        "newer version of the requirement, or limit what builds use: set UV_BUILD_CONSTRAINT in env to a file of the "
        "source with the line 'setuptools<81'.",
    ),
    (
        r"unable to (?:detect|determine) version|setuptools-scm was unable|could not determine the version",
        "The version of the project comes from git, and the source has no tag that names it. Add a tag such as v1.0 to "
        "the repository, or set SETUPTOOLS_SCM_PRETEND_VERSION in env.",
    ),
    (
        r"failed to build|build backend",
        "A requirement has no wheel for this Python and could not be built; let python_packages install what its "
        "build needs ({build_needs}), or choose a version with a wheel.",
    ),
    (r"no space left", "The disk is full; make room."),
)


def run_uv(
    build: Build,
    arguments: list[str],
    doing: str,
    cwd: str = "",
    in_source: bool = False,
    indexes: list[str] | None = None,
) -> None:
    """Run uv as the build account; ``doing`` completes "could not".

    With ``in_source``, uv also reads [tool.uv] of the source, as on the machine of its author. ``indexes`` are asked
    after those of the inventory.
    """
    command = [build.uv, *arguments]
    environment = environment_of_uv(build)
    if in_source:
        del environment["UV_NO_CONFIG"]
    if indexes:
        environment["UV_INDEX"] = " ".join([environment.get("UV_INDEX", ""), *indexes]).strip()
    try:
        answer = build.build_with(command, cwd or build.root, environment, UV_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise build.error(
            f"could not {doing} within {UV_TIMEOUT} seconds. Check that the host reaches the package index."
        ) from None
    if answer.returncode != 0:
        if network.lacks_git(answer.stderr):
            raise MissingPackages(
                build.name, f"could not {doing}: it needs git, which is not on the host. Run apt install git.", ["git"]
            )
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
        **variables_for_uv(build.spec["env"]),
        # No settings of the build account: a package could have put them there.
        "XDG_CONFIG_HOME": "/nonexistent",
        "UV_CACHE_DIR": cache_of(build),
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",  # the same, for uv before 0.10
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        # Some files of the cache are root's, and uv can't link these. An installation chooses for itself.
        "UV_LINK_MODE": COPY,
    }
    environment |= {**network.network_environment(), **environment_of_indexes(python)}
    if python.get("ca_bundle"):
        environment["SSL_CERT_FILE"] = python["ca_bundle"]
        if not os.path.isfile(python["ca_bundle"]):
            raise build.error(
                f"python.ca_bundle '{python['ca_bundle']}' is not a file on the host. Put it there, or leave it "
                "out to use the host's certificate store."
            )
    return {**environment, **{name: os.environ[name] for name in PROXIES if name in os.environ}}


def variables_for_uv(env: dict[str, Any]) -> dict[str, str]:
    """The variables of the application, for requirements with ${NAME}, and for packages that are built."""
    return {key: str(value) for key, value in env.items() if key not in OWN_VARIABLES and not key.startswith("LD_")}


def environment_of_indexes(python: dict[str, Any]) -> dict[str, str]:
    """The package indexes for uv, which asks UV_INDEX in its order, then those of requirements files, then the default.

    A package comes from the first index that has it, in any version. So the named index is asked before the extra ones:
    none of these can replace its packages. It is also the default, in place of the public index. Without a named index,
    the extra ones are asked before the public one.
    """
    environment = {"UV_INDEX_STRATEGY": python.get("index_strategy") or "first-index"}
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
