#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Build the documents as a site, in .cache/docs/site. `make docs` runs it.

The documents stay as they are on the forge. This program copies them to .cache/docs/pages, with addresses that fit a
site, and points links to other files of the repository at the forge. Then it runs the site generator.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDER = CHECKOUT / ".cache" / "docs"
# The settings of the generator, and the styles of the site.
SETTINGS = CHECKOUT / ".config" / "docs"
# The environment that scripts/environment.sh has made.
ENVIRONMENT = CHECKOUT / ".venv" / "docs"
FORGE = "https://github.com/pyweb/stack/blob/main"

# Documents outside of docs/, and their places on the site.
OTHERS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
# Code stays as it is. The text of a link may contain code.
PIECE = re.compile(
    r"^ *```.*?^ *```[ ]*$|(?P<text>!?\[(?:[^\]`]|`[^`\n]*`)*\])\((?P<target>[^)\s]+)\)|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)


def place(path: str) -> str | None:
    """The place on the site of a document in the repository; None if the site does not have it."""
    if path in OTHERS:
        return OTHERS[path]
    if found := re.fullmatch(r"roles/(\w+)/README\.md", path):
        return f"roles/{found[1]}.md"
    if found := re.fullmatch(r"docs/(.+\.md)", path):
        # The first page of a folder.
        return re.sub(r"(^|/)README\.md$", r"\1index.md", found[1])
    return None


def moved(target: str, path: str) -> str:
    """A link in the document ``path``, as the site needs it."""
    if re.match(r"[a-z]+:|#", target):
        return target
    name, hash_, fragment = target.partition("#")
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    own, other = place(path), place(whole)
    assert own is not None
    if other is None:
        return f"{FORGE}/{whole}{hash_}{fragment}"
    return posixpath.relpath(other, posixpath.dirname(own) or ".") + hash_ + fragment


def page(text: str, path: str) -> str:
    """A document with its links moved."""

    def replaced(piece: re.Match[str]) -> str:
        return f"{piece['text']}({moved(piece['target'], path)})" if piece["target"] else piece[0]

    return PIECE.sub(replaced, text)


def documents() -> dict[str, str]:
    """The documents of the site: paths in the repository, and places on the site."""
    found = [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md"), *CHECKOUT.glob("roles/*/README.md")]
    paths = sorted(str(path.relative_to(CHECKOUT)) for path in found)
    return {path: target for path in paths if (target := place(path))}


def copy_pages(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path, target in documents().items():
        to = folder / target
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(page((CHECKOUT / path).read_text(encoding="utf-8"), path), encoding="utf-8")
    for picture in (CHECKOUT / "docs").rglob("*"):
        if picture.suffix in (".png", ".svg", ".html"):
            to = folder / picture.relative_to(CHECKOUT / "docs")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, to)
    shutil.copytree(SETTINGS / "look", folder / "look")
    shutil.copy(ENVIRONMENT / "mermaid.min.js", folder / "look")


def main() -> int:
    copy_pages(FOLDER / "pages")
    # The generator needs the tag for the function that makes anchors. Safe loaders of YAML refuse it.
    settings = (SETTINGS / "mkdocs.yml").read_text(encoding="utf-8").replace("slugify: ", "slugify: !!python/name:")
    (FOLDER / "mkdocs.yml").write_text(settings, encoding="utf-8")
    # An earlier build may have pages that no longer exist.
    shutil.rmtree(FOLDER / "site", ignore_errors=True)
    # The generator has its cache in the current folder.
    command = [str(ENVIRONMENT / "bin" / "zensical"), "build", "--strict", "--clean"]
    result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if result.returncode:
        # Its report, without its own traceback.
        print((result.stdout + result.stderr).partition("Traceback")[0].rstrip(), file=sys.stderr)
        return 1
    site = FOLDER.relative_to(CHECKOUT) / "site"
    print(f"The site is in {site}. To read it: python3 -m http.server --bind 127.0.0.1 --directory {site} 8000")
    return 0


if __name__ == "__main__":
    sys.exit(main())
