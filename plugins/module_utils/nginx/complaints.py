# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""nginx's error messages in the user's terms: which site, and which line of which input. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.listeners import Listener

BEGIN = re.compile(r"\s*# begin (?P<name>.+), as the inventory has it\s*")
FAULT = re.compile(r"\[emerg\] (?:\d+#\d+: )?(?P<words>.*?)(?: in (?P<file>/\S+?):(?P<line>\d+))?$", re.MULTILINE)
TAKEN = re.compile(r"bind\(\) to (?P<address>\S+) failed \(98")


def explain(output: str, folder: str, files: dict[str, str]) -> str:
    """nginx's first error in the user's terms: the site, the line of the input, and nginx's own words.

    ``folder`` is the folder of the tree, and ``files`` its files.
    """
    match = FAULT.search(output)
    if match is None:
        return f"nginx says: {output.strip() or 'nothing'}"
    words = match["words"].strip()
    if match["file"] is None:
        return f"nginx says: {words}"
    path, line = match["file"], int(match["line"])
    relative = os.path.relpath(path, folder) if path.startswith(f"{folder}/") else None
    if relative is None or relative not in files:
        return f"nginx says: {words}, in {path} line {line}, which is not a file of this role"
    site = re.fullmatch(r"sites/(.+)\.conf", relative)
    where = f"site '{site[1]}'" if site else relative
    user = user_line(files[relative], line)
    if user:
        name, number, text = user
        return f"{where}, line {number} of {name}, {text!r}: nginx says: {words}"
    shown = lines_of(files[relative])[line - 1].strip() if line <= files[relative].count("\n") else ""
    return f"{where}, line {line} of its file, {shown!r}: nginx says: {words}"


def user_line(content: str, line: int) -> tuple[str, int, str] | None:
    """The input that a line of a rendered file is from: its name, the line in it, and the text of the line."""
    lines = lines_of(content)
    if not 0 < line <= len(lines):
        return None
    inputs: list[tuple[str, int]] = []
    for number, text in enumerate(lines[:line], start=1):
        if inputs and text.strip() == f"# end {inputs[-1][0]}":
            inputs.pop()
        elif match := BEGIN.fullmatch(text):
            inputs.append((match["name"], number))
    if not inputs or inputs[-1][1] == line:
        return None
    name, start = inputs[-1]
    return name, line - start, lines[line - 1].strip()


def taken_ports(output: str) -> list[int]:
    """The ports that nginx could not open because another program uses them."""
    return sorted(
        {int(match["address"].rpartition(":")[2]) for match in TAKEN.finditer(output) if ":" in match["address"]}
    )


def holders(output: str, found: Iterable[Listener]) -> str:
    """The programs on the ports that nginx could not open; empty if there are none."""
    ports = taken_ports(output)
    who = [str(listener) for listener in found if listener.port in ports]
    if not who:
        return ""
    numbers = " and ".join(str(port) for port in ports)
    return f" Port {numbers} is taken: {', '.join(who)}. Stop that program, or give the site another port."
