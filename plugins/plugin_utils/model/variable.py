# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The variable webapps of a host: whether it is set, and which of its templates can't be resolved."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import label

NAME = "webapps"


def resolved_webapps(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> tuple[Any, list[str]]:
    """The value with its templates resolved, and the problems. Ansible's own messages have no place and no remedy."""
    if problem := unset_problem(variables):
        return [], [problem]
    given = variables[NAME]
    try:
        return template(given), []
    except AnsibleError as error:
        return [], list(unresolved(given, NAME, template)) or [f"{NAME}: {template_problem(error)}"]


def unset_problem(variables: Mapping[str, Any]) -> str:
    """The problem if the inventory does not set the variable. An empty list is valid. A default does not count."""
    host = variables.get("inventory_hostname", "this host")
    own = variables.get("hostvars", {}).get(host, {}) if variables.get("hostvars") else {}
    if variables.get(NAME) or NAME in own:
        return ""
    meant = difflib.get_close_matches(NAME, [name for name in own if name != NAME], n=1, cutoff=0.75)
    hint = f" Did you mean '{meant[0]}'?" if meant else ""
    return (
        f"the variable '{NAME}', the list of applications, is not set for {host}.{hint} Set it in group_vars/web.yml."
    )


def unresolved(value: Any, where: str, template: Callable[[Any], Any]) -> Iterator[str]:
    """The problem of every template that can't be resolved, with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from unresolved(item, f"{where}.{key}", template)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from unresolved(item, f"{where} {label(item, number)}", template)
    else:
        try:
            template(value)
        except AnsibleError as error:
            yield f"{where}: {template_problem(error)}"


def template_problem(error: AnsibleError) -> str:
    """Ansible's message about a template, with the remedy."""
    text = str(error).strip().rstrip(".")
    if missing := re.search(r"'(?P<name>[^']+)' is undefined", text):
        return (
            f"the variable '{missing['name']}' is not defined. Define it for this host (in group_vars, in an "
            "ansible-vault file, or with -e), or correct its name."
        )
    if "vault secret" in text.lower() or "decrypt" in text.lower():
        return (
            "it is encrypted, and no password of ansible-vault opens it. Add --ask-vault-pass or --vault-password-file."
        )
    if "template" in text.lower() and "syntax" in text.lower():
        return "this template has a syntax error. Close every {{ with }}."
    return f"its value can't be resolved: {text}. Correct the expression."
