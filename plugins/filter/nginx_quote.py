# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""One value as one argument of an nginx directive."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_quote
short_description: Quote a value for an nginx directive
version_added: 0.1.0
description:
  - Gives the value as one argument of an nginx directive, quoted only where nginx needs it.
  - nginx has no way to write a plain C($) where it expects variables, so a value with one is refused.
  - Line breaks and other control characters are refused.
author: The pyweb.stack contributors
positional: _input
options:
  _input:
    description: A string or a number.
    type: raw
    required: true
"""

EXAMPLES = r"""
# alias "/srv/my files/";
- ansible.builtin.debug:
    msg: "alias {{ '/srv/my files/' | pyweb.stack.nginx_quote }};"
"""

RETURN = r"""
_value:
  description: The value, as nginx reads it back.
  type: str
"""

import re  # the documentation stands first in a plugin
from typing import Any

from ansible.errors import AnsibleFilterError

# A token of these characters is read as it stands. No backslash, and no '#', which would start a comment.
PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~*!?&^|\[\]()<>-]+")


def nginx_quote(value: Any) -> str:
    """The value as one argument; raises AnsibleFilterError for what nginx can't hold."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise AnsibleFilterError(f"nginx_quote takes a string or a number, not {type(value).__name__}.")
    text = str(value)
    if "$" in text:
        raise AnsibleFilterError(
            f"{text!r} can't be written for nginx: it takes '$' for a variable. Choose another value."
        )
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise AnsibleFilterError(f"{text!r} can't be written for nginx: it has a line break or a control character.")
    if PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"nginx_quote": nginx_quote}
