# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A value as one argument of an nginx directive."""

from __future__ import annotations

DOCUMENTATION = r"""
name: nginx_quote
short_description: Quote a value for an nginx directive
version_added: 0.1.0
description:
  - Returns the value as one argument of an nginx directive, quoted only where nginx needs it.
  - nginx has no way to write a plain C($) where it expects variables, so a value with one is refused.
  - Line breaks and other control characters are refused.
author: The pyweb.stack contributors (@pyweb)
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

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleFilterError
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.directives import quote


def nginx_quote(value: Any) -> str:
    """The value as one argument. Raises AnsibleFilterError for a value that nginx can't hold."""
    try:
        return quote(value)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict[str, Any]:
        return {"nginx_quote": nginx_quote}
