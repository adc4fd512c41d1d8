# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The site of the documents: its navigation, its links, and its diagrams. `make docs` builds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyweb_documents import CHECKOUT, PAGES, blocks
from test_documents import load_script

docs_site = load_script("docs_site")
SETTINGS = CHECKOUT / ".config" / "docs" / "mkdocs.yml"


def pages_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for item in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else ():
        yield from pages_of(item)


# Navigation


def test_the_navigation_has_every_page_once() -> None:
    nav = list(pages_of(yaml.safe_load(SETTINGS.read_text())["nav"]))  # a safe loader
    pages = {*docs_site.documents().values()}
    assert sorted(pages - {*nav}) == [], "add these pages to nav in .config/docs/mkdocs.yml"
    assert sorted({*nav} - pages) == [], "remove these pages from nav in .config/docs/mkdocs.yml"
    assert len(nav) == len({*nav})


# Links


@pytest.mark.parametrize(
    ("path", "target", "wanted"),
    [
        ("README.md", "docs/guides/start.md#the-host", "guides/start.md#the-host"),
        ("README.md", "roles/nginx/README.md", "roles/nginx.md"),
        ("README.md", "#the-roles", "#the-roles"),
        ("docs/guides/start.md", "../platforms.md", "../platforms.md"),
        ("docs/guides/start.md", "../../roles/systemd/README.md#the-sandbox", "../roles/systemd.md#the-sandbox"),
        ("docs/guides/howto/upgrade.md", "../../../CHANGELOG.md", "../../changelog.md"),
        ("docs/fleet.md", "decisions/README.md", "decisions/index.md"),
        ("roles/nginx/README.md", "../../docs/guides/tls.md", "../guides/tls.md"),
        ("docs/applications.md", "../molecule/site/converge.yml", f"{docs_site.FORGE}/molecule/site/converge.yml"),
        ("docs/fleet.md", "https://example.com/a.md", "https://example.com/a.md"),
    ],
)
def test_a_link_leads_to_the_same_place_on_the_site(path: str, target: str, wanted: str) -> None:
    assert docs_site.moved(target, path) == wanted


def test_only_links_change() -> None:
    text = "[a `b[]`](docs/fleet.md) `[c](docs/fleet.md)` ![d](docs/e.png)\n\n```sh\n[f](docs/fleet.md)\n```\n"
    changed = docs_site.page(text, "README.md")
    code = "```sh\n[f](docs/fleet.md)\n```\n"
    assert changed == f"[a `b[]`](fleet.md) `[c](docs/fleet.md)` ![d]({docs_site.FORGE}/docs/e.png)\n\n{code}"


def test_every_link_between_pages_leads_to_a_page_of_the_site() -> None:
    places = {*docs_site.documents().values()}
    for path, place in docs_site.documents().items():
        text = docs_site.page((CHECKOUT / path).read_text(), path)
        for piece in docs_site.PIECE.finditer(text):
            target = (piece["target"] or "").partition("#")[0]
            if target.endswith(".md") and ":" not in target:
                found = docs_site.posixpath.normpath(f"{docs_site.posixpath.dirname(place)}/{target}".lstrip("/"))
                assert found in places, f"{path}: {target}"


# Diagrams

DIAGRAMS = [
    pytest.param(block.text, id=f"{path.relative_to(CHECKOUT)}-{block.line}")
    for path in PAGES
    for block in blocks(path.read_text())
    if block.language == "mermaid"
]
NAME = r"[A-Za-z]\w*"
TEXT = r'(?:\["[^"\[\]]+"\])?'
NODES = rf"{NAME}{TEXT}(?: & {NAME}{TEXT})*"
ARROW = r'(?:-->|-\.->|---|==>)(?:\|"[^"|]+"\|)?'
FLOWCHART = re.compile(rf"{NODES}(?: {ARROW} {NODES})*|subgraph {NAME}{TEXT}|end|direction (?:LR|TB)")
MESSAGE = re.compile(rf"(?P<one>{NAME})(?:->>|-->>|-\)|--\))(?P<other>{NAME}): .+")
NOTE = re.compile(rf"Note (?:over|left of|right of) (?P<over>{NAME}(?:,{NAME})?): .+")
PARTICIPANT = re.compile(rf"participant (?P<name>{NAME})(?: as .+)?")
FRAME = re.compile(r"(?P<frame>alt|opt|loop|par|else|and|end)\b.*")
# Words that a diagram of this kind can't have as a name, and characters that end a statement.
RESERVED = re.compile(r"(?i)\bend\b")


def problems_of(diagram: str) -> list[str]:
    """The lines of a diagram that Mermaid may not read, of the parts of its language that the documents use."""
    first, *lines = [line.strip() for line in diagram.strip().splitlines()]
    if re.fullmatch(r"flowchart (?:LR|TB|TD)", first):
        return flowchart_problems(lines)
    if first == "sequenceDiagram":
        return sequence_problems(lines)
    return [f"unknown diagram: {first}"]


def flowchart_problems(lines: list[str]) -> list[str]:
    wrong = [line for line in lines if not FLOWCHART.fullmatch(line) or (RESERVED.match(line) and line != "end")]
    if sum(line.startswith("subgraph ") for line in lines) != lines.count("end"):
        wrong.append("a subgraph has no end")
    return wrong


def sequence_problems(lines: list[str]) -> list[str]:
    known, wrong, open_frames = set(), [], 0
    for line in lines:
        if found := PARTICIPANT.fullmatch(line):
            known.add(found["name"])
            continue
        if found := FRAME.fullmatch(line):
            open_frames += {"end": -1, "else": 0, "and": 0}.get(found["frame"], 1)
            continue
        found = MESSAGE.fullmatch(line) or NOTE.fullmatch(line)
        names = set(re.split(",", ",".join(found.groups()))) if found else {"?"}
        # A semicolon ends a statement.
        if not names <= known or ";" in line or "#" in line:
            wrong.append(line)
    return wrong + ([] if open_frames == 0 else ["a frame has no end"])


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_a_diagram_can_be_read(diagram: str) -> None:
    assert problems_of(diagram) == []


@pytest.mark.parametrize(
    ("diagram", "problem"),
    [
        ("graph LR\n  a --> b", "unknown diagram: graph LR"),
        ("flowchart LR\n  a -> b", "a -> b"),
        ('flowchart LR\n  a["one" --> b', 'a["one" --> b'),
        ("flowchart LR\n  subgraph a", "a subgraph has no end"),
        ("sequenceDiagram\n  participant A\n  A->>B: x", "A->>B: x"),
        ("sequenceDiagram\n  participant A\n  Note over A: x; y", "Note over A: x; y"),
        ("sequenceDiagram\n  participant A\n  alt x\n  A->>A: y", "a frame has no end"),
    ],
)
def test_a_wrong_diagram_is_found(diagram: str, problem: str) -> None:
    assert problems_of(diagram) == [problem]


def test_the_pictures_of_the_stack_a_run_a_switch_and_a_fleet_exist() -> None:
    found = {str(param.id).rpartition("-")[0] for param in DIAGRAMS}
    assert {"docs/architecture.md", "docs/guides/releases.md", "docs/fleet.md"} <= found


def test_the_program_of_the_diagrams_is_fixed_by_checksum() -> None:
    lines = (CHECKOUT / "requirements" / "mermaid.lock").read_text().splitlines()
    assert re.fullmatch(r"\d+\.\d+\.\d+ [0-9a-f]{64}", "".join(line for line in lines if not line.startswith("#")))


def test_the_site_loads_nothing_from_other_servers() -> None:
    settings = yaml.safe_load(SETTINGS.read_text())  # a safe loader
    assert settings["theme"]["font"] is False
    assert "repo_url" not in settings
    assert [one for one in [*settings["extra_css"], *settings["extra_javascript"]] if ":" in one] == []
    styles = (Path(SETTINGS).parent / "look" / "site.css").read_text()
    assert "url(" not in styles
