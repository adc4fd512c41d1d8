# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The directives of a configuration of nginx, with their places in its text. Pure. The text is untrusted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# One token of nginx's language: spaces, a comment, a sign, or a word.
TOKEN = re.compile(
    r"\s+|(?P<comment>#[^\n]*)|(?P<sign>[{};])"
    r"|(?P<word>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{\w*\}|[^\s;{}\\])+)|.",
    re.DOTALL,
)
ESCAPE = re.compile(r"\\([\"'\\ ])")
# Deeper texts are not configurations that people write.
DEEPEST = 20


@dataclass
class Directive:
    """One directive: its words, the places where it starts and ends, and the directives of its block, if it has one."""

    words: list[str]
    start: int
    end: int = 0
    block: list[Directive] | None = None
    # The places of the words.
    places: list[tuple[int, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def arguments(self) -> list[str]:
        return self.words[1:]

    def named(self, *names: str) -> Iterator[Directive]:
        """The directives in its block that have one of these names."""
        return (one for one in self.block or () if one.name in names)

    def first(self, name: str) -> str:
        """The arguments of the first directive of this name in its block; empty if there is none."""
        return next((" ".join(one.arguments) for one in self.named(name)), "")


def parsed(text: str) -> list[Directive]:
    """The directives of a text, up to its first error: nginx would not load the rest either."""
    top: list[Directive] = []
    stack: list[list[Directive]] = [top]
    open_blocks: list[Directive] = []
    current: Directive | None = None
    for token in TOKEN.finditer(text):
        if token["word"]:
            if current is None:
                current = Directive([], token.start())
            current.words.append(plain(token["word"]))
            current.places.append(token.span())
        elif token["sign"] == ";" and current:
            current.end = token.end()
            stack[-1].append(current)
            current = None
        elif token["sign"] == "{":
            block = current or Directive([], token.start())
            block.block, current = [], None
            stack[-1].append(block)
            open_blocks.append(block)
            stack.append(block.block)
            if len(stack) > DEEPEST:
                return top
        elif token["sign"] == "}":
            if not open_blocks:
                return top
            open_blocks.pop().end = token.end()
            stack.pop()
            current = None
    for block in open_blocks:
        block.end = len(text)
    return top


def plain(word: str) -> str:
    """A word without its quotes."""
    if len(word) > 1 and word[0] in "\"'" and word[-1] == word[0]:
        return ESCAPE.sub(r"\1", word[1:-1])
    return word


def ports_of(server: Directive) -> dict[int, bool]:
    """The ports of a server block, and whether one of its lines makes it the default server of the port."""
    found: dict[int, bool] = {}
    lines = list(server.named("listen"))
    for line in lines:
        port = port_of(line)
        if port:
            found[port] = found.get(port, False) or bool({"default_server", "default"} & {*line.arguments[1:]})
    return found if lines else {80: False}


def port_of(listen: Directive) -> int:
    """The port of a listen line; 0 for a unix socket, or for what is none."""
    address = listen.arguments[0] if listen.arguments else ""
    if address.startswith("unix:"):
        return 0
    match = re.fullmatch(r"(?:.*[:\]])?(?<![\d.])(\d{1,5})", address)
    if match and ("." not in address or ":" in address):
        return int(match[1])
    return 80


# Names that no visitor types: such a server is meant for all hosts.
FOR_ALL = frozenset({"", "_", "localhost", "0.0.0.0"})  # noqa: S104  # a name, not an address to listen on
ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\[?[0-9a-fA-F:]*:[0-9a-fA-F:.]*\]?")


def names_of(server: Directive) -> list[str]:
    """The names of a server block, in lower case."""
    return [word.lower() for line in server.named("server_name") for word in line.arguments]


def is_for_all(server: Directive) -> bool:
    """Whether a server has no name, or only names such as ``_`` and addresses."""
    return all(name in FOR_ALL or ADDRESS.fullmatch(name) for name in names_of(server))
