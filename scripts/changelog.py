#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Writes CHANGELOG.md from changelogs/changelog.yaml (released versions) and changelogs/fragments/ (the next version).

    scripts/changelog.py            write CHANGELOG.md
    scripts/changelog.py --check    check the fragments, and fail where CHANGELOG.md is not current
    scripts/changelog.py --release  move the fragments into changelog.yaml: the version in galaxy.yml is released

The next version is the one in galaxy.yml.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import html
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import translations
import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
# The inputs of antsibull-changelog: its own folder, and the plugins whose version_added it lists.
INPUTS = ("galaxy.yml", "changelogs", "plugins", "roles", "meta")
# The date does not appear in CHANGELOG.md; changelog.yaml has it.
UNRELEASED = "1970-01-01"


class Failure(Exception):
    """The changelog is wrong; the message says what to do."""


def antsibull(folder: pathlib.Path, *arguments: str) -> None:
    command = ["antsibull-changelog", *arguments]
    result = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    if result.returncode:
        raise Failure(f"{' '.join(command)} failed:\n{(result.stdout + result.stderr).strip()}")


def fragments(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted((folder / "changelogs" / "fragments").glob("*.yml"))


def collect(folder: pathlib.Path, date: str) -> None:
    """Moves the fragments in `folder` into its changelog.yaml, and writes CHANGELOG.md there."""
    version = yaml.safe_load((folder / "galaxy.yml").read_text())["version"]
    released = yaml.safe_load((folder / "changelogs" / "changelog.yaml").read_text())["releases"]
    if version not in released:
        antsibull(folder, "release", "--reload-plugins", "--date", date)
    elif fragments(folder):
        names = ", ".join(path.name for path in fragments(folder))
        raise Failure(f"{version} is released, but there are new fragments ({names}): raise `version` in galaxy.yml.")
    else:
        antsibull(folder, "generate", "--reload-plugins")
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(readable(changelog.read_text()))


def readable(markdown: str) -> str:
    """The same document without needless escapes: antsibull-changelog escapes every punctuation mark."""
    markdown = re.sub(r"<code>([^<`]+)</code>", lambda found: f"`{unescaped(found[1])}`", markdown)
    markdown = re.sub(r"(?<=\w)\\_(?=\w)", "_", markdown)
    return re.sub(r"(?<!^\* )\\([-,.:;'\"/()?=%@&{}])", r"\1", markdown, flags=re.MULTILINE)


def unescaped(code: str) -> str:
    return html.unescape(re.sub(r"\\(\W|_)", r"\1", code))


def rendered(scratch: pathlib.Path) -> str:
    """The current CHANGELOG.md, made in a copy, because antsibull-changelog removes the fragments that it has read."""
    for name in INPUTS:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, scratch / name, ignore=shutil.ignore_patterns("__pycache__", ".plugin-cache.yaml"))
        else:
            shutil.copy(source, scratch / name)
    collect(scratch, UNRELEASED)
    return (scratch / "CHANGELOG.md").read_text()


def check(wanted: str) -> None:
    antsibull(CHECKOUT, "lint")
    antsibull(CHECKOUT, "lint-changelog-yaml", "--strict", "changelogs/changelog.yaml")
    present = (CHECKOUT / "CHANGELOG.md").read_text()
    if present != wanted:
        changes = difflib.unified_diff(
            present.splitlines(), wanted.splitlines(), "CHANGELOG.md", "wanted", lineterm="", n=0
        )
        raise Failure("\n".join([*changes][:40]) + "\nCHANGELOG.md is not current: run `make changelog`.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--release", action="store_true")
    wish = parser.parse_args()
    if wish.release:
        translations.main(arguments=["--strict"])
        collect(CHECKOUT, datetime.datetime.now(datetime.UTC).date().isoformat())
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        wanted = rendered(pathlib.Path(scratch))
    if wish.check:
        check(wanted)
    else:
        (CHECKOUT / "CHANGELOG.md").write_text(wanted)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failure, translations.Failure) as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
