# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Render many templates on the controller, each from its own variables only."""

from __future__ import annotations

DOCUMENTATION = """
name: templates
short_description: Render a list of templates, each with its own variables
version_added: 0.1.0
description:
  - Renders every template of a list on the controller, so that one module call can carry all the files of a role.
  - A template sees nothing but its item's C(vars), so what it renders depends on nothing else.
author: The pyweb.stack contributors
options:
  _terms:
    description:
      - Dictionaries with C(template), the file's name, searched as M(ansible.builtin.template) searches its
        O(ansible.builtin.template#module:src),
        and C(vars), what the template may use. All other keys are passed through.
      - A dictionary without C(template) is passed through as it is.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = """
- name: Install two files with one call
  pyweb.stack.nginx_config:
    files: "{{ query('pyweb.stack.templates', *__nginx_files) }}"
  vars:
    __nginx_files:
      - {path: sites/shop.conf, template: site.conf.j2, vars: {site: "{{ nginx_sites[0] }}"}}
"""

RETURN = """
_raw:
  description: The same dictionaries, with C(content) in the place of C(template) and C(vars).
  type: list
  elements: dict
"""

from typing import Any  # the documentation stands first in a plugin

from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """The stock template lookup, for many templates, without the play's variables."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        if kwargs:
            raise AnsibleError(f"pyweb.stack.templates takes no options, but was given: {', '.join(sorted(kwargs))}.")
        variables = variables or {}
        scope = {"ansible_search_path": list(variables.get("ansible_search_path", []))}
        stock = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
        rendered = []
        for term in terms:
            if not isinstance(term, dict):
                raise AnsibleError(
                    f"pyweb.stack.templates takes dictionaries with 'template' and 'vars', not {type(term).__name__}."
                )
            item = dict(term)
            if "template" in item:
                template = item.pop("template")
                own = dict(item.pop("vars", {}))
                item["content"] = stock.run([template], variables=dict(scope), template_vars=own)[0]
            rendered.append(item)
        return rendered
