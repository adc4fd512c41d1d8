# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Quote words for unit files."""

from __future__ import annotations

DOCUMENTATION = """
name: systemd_quote
short_description: Quote a word or a command for a unit file
version_added: 0.1.0
description:
  - Writes a value so that systemd reads exactly that value back, whatever quotes, spaces, C(%), C($), backslashes or
    newlines it has.
  - A list is a command, as C(ExecStart=) takes it. There C($) is doubled too, because systemd would put variables in
    its place.
author: The pyweb.stack contributors
options:
  _input:
    description: The word, or the command as a list of words.
    type: raw
    required: true
  instance:
    description: Whether C(%i) in the value stands for the instance of a template unit. Every other C(%) is itself.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Show the ExecStart of a command with a nasty argument
  ansible.builtin.debug:
    msg: "ExecStart={{ ['/usr/bin/printf', '100%', 'a b'] | pyweb.stack.systemd_quote }}"  # /usr/bin/printf 100%% "a b"
"""

RETURN = """
_value:
  description: The quoted word, or the quoted words with spaces between them.
  type: str
"""

import re  # the documentation stands first in a plugin
from typing import Any

from ansible.errors import AnsibleFilterError

_PLAIN = re.compile(r"[A-Za-z0-9_./:=@%+,$-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def double_percent(value: str, instance: bool = False) -> str:
    """Double every % but that of an instance's %i; for settings that know specifiers, but no quotes."""
    return re.sub(r"%(?!i)" if instance else "%", "%%", value)


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\x{ord(character):02x}" if ord(character) < 32 or ord(character) == 127 else character


def _word(value: str, instance: bool, command: bool) -> str:
    if "\0" in value:
        raise AnsibleFilterError(
            f"systemd_quote: {value!r} has a NUL character, which no unit file can hold. Remove it."
        )
    text = double_percent(value, instance)
    if command:
        text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(_character(character) for character in text) + '"'


def systemd_quote(value: Any, instance: bool = False) -> str:
    if isinstance(value, (list, tuple)):
        # The program's path is no place for variables: systemd takes a $ there as it is.
        return " ".join(_word(str(word), instance, command=index > 0) for index, word in enumerate(value))
    return _word(str(value), instance, command=False)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"systemd_quote": systemd_quote}
