# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The values that no message may show: variables of a release, and what its files of the inventory contain."""

from __future__ import annotations

import json
import os
import re
import shlex

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, read, write
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import OWN_VARIABLES
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout

# The file of a release that lists its files of the inventory. Root alone can read it.
LIST = "files.json"
# Values of one file that are hidden.
MOST_VALUES = 2000

# A name with its value, as in JSON, TOML, YAML and .env.
PAIR = re.compile(r"""["']?([\w.-]+)["']?\s*[:=]\s*(?:"((?:\\.|[^"\\\n])*)"|'([^'\n]*)'|([^\s"'{\[][^\n]*))""")
QUOTED = re.compile(r'"((?:\\.|[^"\\\n])*)"|' + r"'([^'\n]*)'")


def keep_paths(release: str, paths: list[str]) -> None:
    """Record which files of a release the inventory has given."""
    relative = [os.path.relpath(path, release) for path in paths]  # a copy of the release has another folder
    write(File(os.path.join(release, LIST), json.dumps(relative) + "\n", mode=0o600))


def values_in(text: str, prefix: str) -> dict[str, str]:
    """The values of a settings file, by their names. Values without a name, and lines of a key, have a number."""
    found: dict[str, str] = {}
    for match in PAIR.finditer(text):
        value = next(part for part in match.groups()[1:] if part is not None)
        found[f"{prefix}{len(found)} {match.group(1)}"] = value.strip().rstrip(",")
    others = [part for match in QUOTED.findall(text) for part in match if part]
    for value in [*others, *(line.strip() for line in text.split("\n"))]:
        if value and value not in found.values():
            found[f"{prefix}{len(found)}"] = value
        if len(found) >= MOST_VALUES:
            break
    return found | {f"{name} as text": plain for name, value in found.items() if (plain := unescaped(value)) != value}


def unescaped(value: str) -> str:
    """A value without the escapes of JSON."""
    try:
        return str(json.loads(f'"{value}"'))
    except ValueError:
        return value


def private_values(layout: Layout, identity: str) -> dict[str, str]:
    """The variables of the user and the values of the files of a release. A log may contain them."""
    found = {key: value for key, value in release_variables(layout, identity).items() if key not in OWN_VARIABLES}
    release = layout.release(identity)
    try:
        paths = json.loads(read(os.path.join(release, LIST)) or b"[]")
        texts = [(read(os.path.join(release, path)) or b"").decode(errors="replace") for path in paths]
    except (OSError, ValueError):
        return found
    for number, text in enumerate(texts):
        found |= values_in(text, f"file {number} ")
    return found


def release_variables(layout: Layout, identity: str) -> dict[str, str]:
    """The environment of a release, as its launcher reads it."""
    try:
        with open(os.path.join(layout.release(identity), "env"), encoding="utf-8") as stream:
            words = shlex.split(stream.read())
    except (OSError, ValueError):
        return {}
    return dict(word.partition("=")[::2] for word in words)
