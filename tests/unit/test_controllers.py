# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The files on other controllers than Debian: macOS and WSL; and the scenario with each supported ansible-core."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
# Made by commands, so that no other controller gets them.
MADE = {".git", ".venv", ".cache", ".ansible", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
# Folders of programs for test hosts, which are Debian.
FOR_HOSTS = ("molecule/", "tests/bench/", "roles/")

# Bash before version 4, as on macOS, takes these for errors, or does something else.
NEWER_THAN_BASH_3 = {
    r"\b(?:declare|local|typeset) -[a-zA-Z]*[Anlug]": "declare -A, -n, -l, -u and -g",
    r"\b(?:mapfile|readarray|coproc)\b": "mapfile, readarray and coproc",
    r"\$\{\w+(?:,,?|\^\^?|@[A-Za-z])": "changes of case and ${x@Q}",
    r"&>>|\|&": "&>> and |&",
    r"\bglobstar\b": "globstar",
}
# The programs of GNU that macOS lacks, and switches that its own programs lack.
GNU_ONLY = {
    r"\b(?:sha256sum|md5sum|realpath|nproc|tac|timeout|setsid|getent|shuf)\b": "a program",
    r"\bsed (?:-[a-zA-Z]+ )*-i\b|\bsed -r\b": "sed -i and -r",
    r"\breadlink -f\b": "readlink -f",
    r"\bstat (?:-c|--)": "stat -c",
    r"\bdate (?:-d|--)": "date -d",
    r"\bgrep (?:-\w+ )*-\w*P": "grep -P",
    r"\bxargs (?:-\w+ )*-r\b": "xargs -r",
    r"\bcp -\w*[aT]|\bln -\w*T": "cp -a, cp -T and ln -T",
    r"\bbase64 -w": "base64 -w",
    r"\bflock\b": "flock",
}


def paths() -> Iterator[str]:
    """The paths of all files and folders that belong to the checkout."""
    folders = [CHECKOUT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.name in MADE or path.name.endswith(".tar.gz"):
                continue
            yield path.relative_to(CHECKOUT).as_posix()
            if path.is_dir() and not path.is_symlink():
                folders.append(path)


def shell_programs() -> list[Path]:
    """The files that a shell runs on the controller."""
    found = [CHECKOUT / "Makefile"]
    for name in paths():
        path = CHECKOUT / name
        if path.is_file() and not path.is_symlink() and not name.startswith(FOR_HOSTS):
            with path.open("rb") as stream:
                if re.match(rb"#!.*\b(?:ba|da|k|z)?sh\b", stream.readline(100)):
                    found.append(path)
    return found


def test_no_two_names_differ_only_in_case() -> None:
    known = list(paths())
    assert "README.md" in known
    assert "roles/webapp/tasks/main.yml" in known
    assert [name for name, count in Counter(name.casefold() for name in known).items() if count > 1] == []


def test_names_are_valid_on_windows() -> None:
    reserved = re.compile(r'[<>:"\\|?*\x00-\x1f]|[ .](?:/|$)|(?:^|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|/|$)', re.I)
    assert [name for name in paths() if reserved.search(name)] == []


@pytest.mark.parametrize("path", shell_programs(), ids=lambda path: path.name)
def test_shell_programs_of_the_controller_run_on_macos(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    found = [
        f"{path.name}: {what}: {line.strip()}"
        for line in lines
        for pattern, what in {**NEWER_THAN_BASH_3, **GNU_ONLY}.items()
        if re.search(pattern, line)
    ]
    assert found == []


def test_the_patterns_find_what_macos_lacks() -> None:
    for line in ("declare -A found", "mapfile -t x", "echo ${name,,}", "x &>> log", "sed -i s/a/b/ c", "readlink -f x"):
        assert any(re.search(pattern, line) for pattern in {**NEWER_THAN_BASH_3, **GNU_ONLY}), line
    assert {path.name for path in shell_programs()} >= {"Makefile", "environment.sh"}


def test_the_scenario_has_each_supported_ansible_core() -> None:
    hosts = yaml.safe_load((CHECKOUT / "molecule/controllers/inventory/hosts.yml").read_text())["controllers"]["hosts"]
    tried = {core for host in hosts.values() for core in host["cores"]}
    wanted = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"]
    first, after = (int(minor) for minor in re.findall(r"2\.(\d+)", wanted))
    assert tried == {f"2.{minor}" for minor in range(first, after)}
    assert {host["old"] for host in hosts.values() if "old" in host} == {f"2.{first - 1}"}
