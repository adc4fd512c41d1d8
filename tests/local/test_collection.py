# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The documentation that ansible-doc reads, and the files that git tracks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (CHECKOUT / "roles").iterdir() if path.is_dir() and any(path.iterdir()))

# Package registries and mirrors, by the words their hosts have in common; written apart, so that this file holds none.
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(words))
        for words in (
            ("pypi", "org"),
            ("files", "pythonhosted", "org"),
            ("registry", "npmjs", "org"),
            ("deb", "debian", "org"),
            ("docker", "io"),
            ("quay", "io"),
            ("ghcr", "io"),
            ("galaxy", "ansible", "com"),
        )
    )
)
MACHINE_PATHS = re.compile(
    r"(?<![\w.-])(?:/work/|/tmp/w/|/root/(?!\.)|/home/(?!\{|conda|deploy|forge|\$|NAME|shop|\.)[a-z]+/)"
)


def tracked_files() -> Iterator[Path]:
    """The files that git tracks or would add; without git, all files except those excluded by name."""
    command = ["git", "-C", str(CHECKOUT), "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run([*command, "--exclude-standard"], capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [CHECKOUT / name for name in listed.stdout.split("\0") if name]
    else:
        found = [
            path
            for path in CHECKOUT.rglob("*")
            if not {".venv", ".cache", ".ansible", ".git", ".collections"} & set(path.relative_to(CHECKOUT).parts)
        ]
    yield from (path for path in found if path.is_file() and not path.is_symlink())


# Plugins


@pytest.fixture(scope="module")
def documentation() -> dict[str, dict[str, Any]]:
    """The output of ansible-doc for this checkout, by kind and name."""
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"), "ANSIBLE_NOCOLOR": "1"}
    # Use the program beside this Python, even if the environment is not on the PATH.
    command = [
        str(Path(sys.executable).with_name("ansible-doc")),
        "--metadata-dump",
        "--no-fail-on-errors",
        "pyweb.stack",
    ]
    result = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["all"]


def test_every_plugin_is_documented(documentation: dict[str, dict[str, Any]]) -> None:
    wrong = []
    for kind in ("filter", "lookup", "module"):
        for name, told in documentation[kind].items():
            if "error" in told:
                wrong.append(f"{kind} {name}: {told['error']}")
            elif not told.get("examples") or (kind != "lookup" and not told.get("return")):
                wrong.append(f"{kind} {name}: needs EXAMPLES and RETURN")
    assert not wrong, "\n".join(wrong)


def test_ansible_doc_knows_every_module_lookup_and_role(documentation: dict[str, dict[str, Any]]) -> None:
    for kind, folder in (("module", "modules"), ("lookup", "lookup")):
        wanted = {f"pyweb.stack.{path.stem}" for path in (CHECKOUT / "plugins" / folder).glob("[a-z]*.py")}
        assert wanted == set(documentation[kind])
    assert {f"pyweb.stack.{role.name}" for role in ROLES} == set(documentation["role"])


# Files


def test_nothing_names_a_registry_or_this_machine() -> None:
    wrong = []
    for path in tracked_files():
        name = str(path.relative_to(CHECKOUT))
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, 1):
            if found := REGISTRY_HOSTS.search(line):
                wrong.append(f"{name}:{number}: names the registry {found[0]}")
            if name != "tests/local/test_collection.py" and (found := MACHINE_PATHS.search(line)):
                wrong.append(f"{name}:{number}: a path of one machine: {found[0]}")
    assert not wrong, "\n".join(wrong)
