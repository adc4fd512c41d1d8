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
  - A list is a command, as C(ExecStart=) takes it. There C($) is doubled too, because systemd would replace variables.
author: The pyweb.stack contributors (@pyweb)
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

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.processes import quoting


def systemd_quote(value: Any, instance: bool = False) -> str:
    try:
        return quoting.systemd_quote(value, instance)
    except quoting.QuotingError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"systemd_quote": systemd_quote}
