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
  - The value passes three readers - the one for comments of the ini file, supervisor's C(%) expansions, and the one
    that splits it into words.
author: The pyweb.stack contributors (@pyweb)
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

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import quoting


def supervisor_quote(value: Any, instance: bool = False) -> str:
    try:
        return quoting.supervisor_quote(value, instance)
    except quoting.QuotingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"supervisor_quote": supervisor_quote}
