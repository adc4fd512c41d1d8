#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Builds the collection, installs it into an empty folder and uses it from there, as a user without the checkout."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
# The entries of an installed collection; any other entry is there by mistake.
EXPECTED = {
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "README.zh-CN.md",
    "SECURITY.md",
    "changelogs",
    "docs",
    "examples",
    "meta",
    "playbooks",
    "plugins",
    "roles",
    "verify",
}
UNWANTED = {"__pycache__", ".venv", ".cache", ".ansible", ".git", ".pytest_cache", ".ruff_cache", "tests", "molecule"}


class Failure(Exception):
    """The built collection is not what it should be."""


def run(argv: Sequence[str], folder: pathlib.Path, collections: pathlib.Path | None = None) -> str:
    """Runs one of Ansible's commands, with no settings but its own and no collections but the installed ones."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    # Ansible takes what it finds in the folder it is started in for settings, but that folder is ours and empty.
    environment |= {"HOME": str(folder), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    if collections:
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
        environment["ANSIBLE_COLLECTIONS_SCAN_SYS_PATH"] = "false"
    result = subprocess.run(list(argv), cwd=folder, env=environment, text=True, capture_output=True, check=False)
    if result.returncode:
        raise Failure(f"{' '.join(argv)} failed:\n{(result.stdout + result.stderr).strip()[-3000:]}")
    return result.stdout


def wrong_files(installed: pathlib.Path) -> list[str]:
    """Entries of the installed tree that should not be there."""
    found = [
        f"{path.name} is not a part of the collection" for path in installed.iterdir() if path.name not in EXPECTED
    ]
    for path in installed.rglob("*"):
        name = path.relative_to(installed)
        if path.is_symlink():
            found.append(f"{name} is a link")
        elif path.name in UNWANTED or path.suffix == ".pyc":
            found.append(f"{name} belongs to the checkout")
    return found


def check_documentation(collections: pathlib.Path, folder: pathlib.Path) -> int:
    """Has ansible-doc show the whole collection, and every role on its own; returns how many entries it shows."""
    dump = run(["ansible-doc", "--metadata-dump", "--no-fail-on-errors", "pyweb.stack"], folder, collections)
    # The dump also has Ansible's keywords.
    known = {kind: plugins for kind, plugins in json.loads(dump)["all"].items() if plugins and kind != "keyword"}
    wrong = [
        f"{kind} {name}: {told['error']}"
        for kind, plugins in known.items()
        for name, told in plugins.items()
        if "error" in told
    ]
    roles = sorted(path.parent.name for path in (CHECKOUT / "roles").glob("*/meta"))
    for role in roles:
        if "ptions (" not in run(["ansible-doc", "--type", "role", f"pyweb.stack.{role}"], folder, collections):
            wrong.append(f"role {role}: ansible-doc shows no inputs")
    if wrong or not roles:
        raise Failure("Not everything is documented:\n" + "\n".join(wrong))
    return sum(len(plugins) for kind, plugins in known.items() if kind != "role") + len(roles)


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        collections = folder / "collections"
        run(["ansible-galaxy", "collection", "build", str(CHECKOUT), "--output-path", scratch], folder)
        (archive,) = folder.glob("pyweb-stack-*.tar.gz")
        run(["ansible-galaxy", "collection", "install", str(archive), "-p", str(collections), "--offline"], folder)
        installed = collections / "ansible_collections" / "pyweb" / "stack"
        if wrong := wrong_files(installed):
            raise Failure(
                "The built collection holds what it should not (see build_ignore in galaxy.yml):\n" + "\n".join(wrong)
            )
        documented = check_documentation(collections, folder)
        playbooks = sorted(path.stem for path in (installed / "playbooks").glob("*.yml"))
        inventory = folder / "hosts.yml"
        inventory.write_text("web:\n  hosts:\n    web1.example.com:\n")
        for playbook in playbooks:
            run(
                ["ansible-playbook", "--syntax-check", "-i", str(inventory), f"pyweb.stack.{playbook}"],
                folder,
                collections,
            )
        print(f"{archive.name}: {documented} roles and plugins documented, playbooks: {', '.join(playbooks)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
