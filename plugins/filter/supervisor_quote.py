# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Quote words for supervisor's program files."""

from __future__ import annotations

DOCUMENTATION = """
name: supervisor_quote
short_description: Quote a word or a command for supervisor's C(command)
version_added: 0.1.0
description:
  - Writes a value so that supervisor starts the program with exactly that value, whatever quotes, spaces, C(%), C(;)
    or C(#) it has.
  - Three readers come one after the other, and each is satisfied - the ini file's comments, supervisor's C(%)
    expansions, and the splitting into words.
author: The pyweb.stack contributors
options:
  _input:
    description: The word, or the command as a list of words.
    type: raw
    required: true
  instance:
    description: Whether C(%i) in the value stands for the instance of a template. Every other C(%) is itself.
    type: bool
    default: false
"""

EXAMPLES = """
- name: Show the command with a nasty argument
  ansible.builtin.debug:
    # command=/usr/bin/printf 100%% 'a '';b'
    msg: "command={{ ['/usr/bin/printf', '100%', 'a ;b'] | pyweb.stack.supervisor_quote }}"
"""

RETURN = """
_value:
  description: The quoted word, or the quoted words with spaces between them.
  type: str
"""

import re  # the documentation stands first in a plugin
import shlex
from typing import Any

from ansible.errors import AnsibleFilterError


def double_percent(value: str, instance: bool = False) -> str:
    """Double every % but that of an instance's %i."""
    return re.sub(r"%(?!i)" if instance else "%", "%%", value)


def one_line(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise AnsibleFilterError(
            f"supervisor_quote: {value!r} has a newline or another control character, which no program file can hold. "
            "Hand it to the program in a file."
        )
    return value


def _word(value: str, instance: bool) -> str:
    # An ini file's comment begins at a ; or # after a space, inside quotes too: the quotes are closed between the two.
    quoted = re.sub(r"(?<=\s)(?=[;#])", "''", shlex.quote(one_line(value)))
    # %(here)s is replaced by plain search, doubled or not: it must not stand there in one piece.
    quoted = quoted.replace("%(here)s", "%(''here)s")
    return double_percent(quoted, instance)


def supervisor_quote(value: Any, instance: bool = False) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(_word(str(word), instance) for word in value)
    return _word(str(value), instance)


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"supervisor_quote": supervisor_quote}
