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
author: The pyweb.stack contributors (@pyweb)
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
  description: The same dictionaries, with C(content) instead of C(template) and C(vars).
  type: list
  elements: dict
"""

import os  # the documentation stands first in a plugin
import secrets
from collections import defaultdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.template import trust_as_template
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import shadow_problem

# The first line of a template with settings of its own.
HEADER = "#jinja2:"
NEWLINE = "\n"


class LookupModule(LookupBase):
    """Renders as the stock template lookup does, but many templates, and without the play's variables."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        if problem := shadow_problem(variables or {}):
            raise AnsibleError(problem)
        if kwargs:
            raise AnsibleError(f"pyweb.stack.templates takes no options, but was given: {', '.join(sorted(kwargs))}.")
        self.scope = {"ansible_search_path": list((variables or {}).get("ansible_search_path", []))}
        rendered: list[dict[str, Any]] = []
        alike: dict[tuple[str, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
        for term in terms:
            if not isinstance(term, dict):
                raise AnsibleError(
                    f"pyweb.stack.templates takes dictionaries with 'template' and 'vars', not {type(term).__name__}."
                )
            item = dict(term)
            if "template" in item:
                template, own = item.pop("template"), dict(item.pop("vars", {}))
                alike[template, *sorted(own)].append((item, own))
            rendered.append(item)
        for (template, *names), members in alike.items():
            contents = self.render(template, names, [own for _item, own in members])
            for (item, _own), content in zip(members, contents, strict=True):
                item["content"] = content
        return rendered

    def render(self, template: str, names: list[str], each: list[dict[str, Any]]) -> list[str]:
        """Render one template once for each set of variables.

        Most of the time goes into compiling a template, so it is compiled once, inside a loop.
        """
        if self._loader is None or self._templar is None:
            raise AnsibleError("pyweb.stack.templates renders templates only while Ansible runs.")
        path = self.find_file_in_search_path(self.scope, "templates", template)
        if not path:
            raise AnsibleError(f"The template {template} is not in {self.scope['ansible_search_path']}.")
        header, text = "", self._loader.get_text_file_contents(path)
        if text.startswith(HEADER):
            header, _newline, text = text.partition("\n")
            header += "\n"
        end = f"<end {secrets.token_hex(16)}>"
        given = "".join(f"{{% set {name} = __pyweb_own['{name}'] %}}" for name in names)
        # A block swallows a newline at the beginning of the text after it. An empty expression does not.
        body = f"{given}{{{{ '' }}}}{text.removesuffix(NEWLINE)}{end}"
        looped = f"{header}{{% for __pyweb_own in __pyweb_each %}}{body}{{% endfor %}}"
        # The folders that the template may include others from, as in the stock lookup.
        folders = [
            folder for own in self.scope["ansible_search_path"] for folder in (os.path.join(own, "templates"), own)
        ]
        templar = self._templar.copy_with_new_env(
            searchpath=[os.path.dirname(path), *folders], available_variables={"__pyweb_each": each}
        )
        try:
            whole = templar.template(trust_as_template(looped), escape_backslashes=False)
        except AnsibleError as error:
            raise AnsibleError(f"Rendering the template {path} failed.") from error
        wanted = newlines(text)
        return [part and part + NEWLINE * (wanted - newlines(part)) for part in whole.split(end)[:-1]]


def newlines(text: str) -> int:
    """The number of newlines at the end. Jinja drops the last one, and blocks swallow some; they are put back."""
    return len(text) - len(text.rstrip(NEWLINE))
