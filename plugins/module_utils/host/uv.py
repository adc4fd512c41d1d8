# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""uv, the installer of Python packages, in an environment of its own."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.uv_lock import HASHES, VERSION

REMEDY = "Check that the package python3-venv is installed, and that the host reaches the package index."
HASH_REMEDY = (
    f"{REMEDY} If pip says that the hashes do not match, the index has another file for uv {VERSION} than the one "
    "whose hash this collection contains: check the index or mirror (python_uv_index_url)."
)


def installed_version(home: str) -> str:
    """The version of uv in its environment, from the name of its metadata: starting it would take longer."""
    found = glob.glob(f"{glob.escape(home)}/lib/python3*/site-packages/uv-*.dist-info")
    if not found or not os.access(f"{home}/bin/uv", os.X_OK):
        return ""
    return os.path.basename(found[0]).removeprefix("uv-").removesuffix(".dist-info")


@contextlib.contextmanager
def index_in_environment(url: str) -> Iterator[None]:
    """Give pip the index in its environment: a command line is visible to all, and the address may hold a login."""
    before = os.environ.get("PIP_INDEX_URL")
    if url:
        os.environ["PIP_INDEX_URL"] = url
    try:
        yield
    finally:
        if url and before is None:
            del os.environ["PIP_INDEX_URL"]
        elif url and before is not None:
            os.environ["PIP_INDEX_URL"] = before


def requirement(version: str, scratch: str) -> tuple[list[str], str]:
    """The arguments by which pip installs a version of uv, and the remedy for a failure.

    The tested version is installed from a wheel whose hash is known. Of any other version, no hash is known.
    """
    if version != VERSION:
        return [f"uv=={version}"], REMEDY
    path = os.path.join(scratch, "uv.txt")
    with open(path, "w") as stream:
        stream.write(" ".join([f"uv=={version}", *(f"--hash={one}" for one in HASHES)]) + "\n")
    return ["--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", path], HASH_REMEDY


def apply(params: dict[str, Any], run: Run, check_mode: bool) -> tuple[dict[str, Any], None]:
    """Install uv's ``version`` into the folder ``home``, from ``index_url`` if that is set; raises HostError."""
    home, version = params["home"], params["version"]
    before = installed_version(home)
    if before == version:
        return {"changed": False}, None
    if not check_mode:
        must(run, "Making the environment of uv", ["python3", "-m", "venv", "--without-pip", home], REMEDY)
        # pip runs from Debian's wheel: an environment with a pip of its own takes a second longer.
        wheels = sorted(glob.glob("/usr/share/python-wheels/pip-*.whl"))
        pip = [f"{home}/bin/python", f"{wheels[-1]}/pip"] if wheels else [f"{home}/bin/python", "-m", "pip"]
        options = ["--quiet", "--no-cache-dir", "--disable-pip-version-check", "--timeout", "30", "--retries", "2"]
        with index_in_environment(params.get("index_url") or ""), tempfile.TemporaryDirectory() as scratch:
            arguments, remedy = requirement(version, scratch)
            must(run, "Installing uv", [*pip, "install", *options, *arguments], remedy)
    return {"changed": True, "before": before, "version": version}, None
