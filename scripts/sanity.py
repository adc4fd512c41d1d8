#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Checks the built collection as Galaxy does: `ansible-test sanity`, then galaxy-importer.

ansible-test installs the versions of its tools that ansible-core names into virtual environments below .cache/sanity.
Exceptions stand in tests/sanity/, each with its reason.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import ansible_test

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache" / "sanity"
COLLECTION = CACHE / "ansible_collections" / "pyweb" / "stack"
IMPORTER = CHECKOUT / ".venv" / "importer" / "bin"
# Tests that are left out, and why.
SKIPPED = {
    "shellcheck": "Debian's shellcheck is no part of the locked environment, and the collection ships no shell scripts",
    "pslint": "the collection has no PowerShell",
}
# ansible-test would fetch this script from the network to put pip into an environment; Python brings a pip of its own.
GET_PIP = "import ensurepip\n\nensurepip.bootstrap()\n"
# The Python whose imports are checked. Host code is checked for its oldest Python by `make lint`.
PYTHON = "{}.{}".format(*sys.version_info)
IMPORTER_SETTINGS = """\
[galaxy-importer]
# It runs above, and would need a container here.
run_ansible_test = False
# `make lint` runs the same ansible-lint with our settings, which are stricter.
run_ansible_lint = False
# `make lint` runs ruff.
run_flake8 = False
run_ansible_doc = True
check_changelog = True
"""


# Lines of pip and galaxy-importer about each package and plugin.
NOISE = ("Collecting ", "  Downloading ", "  Using cached ", "     ", "Looking in ", "Processing ", "Loading ",
         "Installing collected", "Successfully installed", "Using cached pip")  # fmt: skip


def run(command: list[str], folder: pathlib.Path, environment: dict[str, str]) -> list[str]:
    """Run a command and show what matters of its output; return what is wrong."""
    wrong = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if not line.startswith(NOISE):
                print(line, end="", flush=True)
            if "All targets skipped" in line:
                wrong.append("no file of the collection was checked")
    return [*wrong, f"status {process.returncode}"] if process.returncode else wrong


def build() -> pathlib.Path:
    """Build the collection, and unpack it with the lists of exceptions where ansible-test wants it."""
    shutil.rmtree(CACHE / "ansible_collections", ignore_errors=True)
    COLLECTION.mkdir(parents=True)
    for stale in CACHE.glob("*.tar.gz"):
        stale.unlink()
    command = ["ansible-galaxy", "collection", "build", str(CHECKOUT), "--output-path", str(CACHE)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = CACHE.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(COLLECTION, filter="data")
    shutil.copytree(CHECKOUT / "tests" / "sanity", COLLECTION / "tests" / "sanity")
    # ansible-test checks what git does not ignore, and this checkout's git ignores .cache.
    subprocess.run(["git", "init", "--quiet"], cwd=COLLECTION, check=True)
    return archive


def pip_version() -> str:
    """The version of pip that this ansible-test wants in its environments."""
    source = pathlib.Path(ansible_test.__path__[0]) / "_internal" / "python_requirements.py"
    found = re.search(r"pip='([\d.]+)'", source.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{source} names no version of pip. Adapt scripts/sanity.py to this ansible-core.")
    return found[1]


def test_sanity() -> list[str]:
    home = CACHE / "home"
    script = home / ".ansible" / "test" / "cache" / f"get_pip_{pip_version().replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    skips = [word for name in SKIPPED for word in ("--skip-test", name)]
    command = ["ansible-test", "sanity", "--local", "--python", PYTHON, "--color", "no", *skips]
    return run(command, COLLECTION, {**environment, "HOME": str(home)})


def test_import(archive: pathlib.Path) -> list[str]:
    settings = CACHE / "galaxy-importer.cfg"
    settings.write_text(IMPORTER_SETTINGS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"GALAXY_IMPORTER_CONFIG": str(settings), "PATH": f"{IMPORTER}:{environment['PATH']}"}
    return run([str(IMPORTER / "python"), "-m", "galaxy_importer.main", str(archive)], CACHE, environment)


def main() -> int:
    archive = build()
    results = {"ansible-test sanity": test_sanity(), "galaxy-importer": test_import(archive)}
    for name, wrong in results.items():
        print(f"{name}: {', '.join(wrong) or 'ok'}")
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
