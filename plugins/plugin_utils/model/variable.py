# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The variable webapps of a host: whether it is given at all, and what of its templates can't be resolved."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import label

NAME = "webapps"


def resolved_webapps(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> tuple[Any, list[str]]:
    """The value with its templates resolved, and what is wrong; Ansible itself would name neither place nor remedy."""
    if problem := not_given(variables):
        return [], [problem]
    given = variables[NAME]
    try:
        return template(given), []
    except AnsibleError as error:
        return [], list(unresolved(given, NAME, template)) or [f"{NAME}: {told(error)}"]


def not_given(variables: Mapping[str, Any]) -> str:
    """That nobody has said what to serve: an empty list in the inventory is an answer, a default is none."""
    host = variables.get("inventory_hostname", "this host")
    own = variables.get("hostvars", {}).get(host, {}) if variables.get("hostvars") else {}
    if variables.get(NAME) or NAME in own:
        return ""
    meant = difflib.get_close_matches(NAME, [name for name in own if name != NAME], n=1, cutoff=0.75)
    hint = f" Did you mean it by '{meant[0]}'?" if meant else ""
    return (
        f"the variable '{NAME}', the list of applications, is not set for {host}.{hint} Set it in group_vars/web.yml."
    )


def unresolved(value: Any, where: str, template: Callable[[Any], Any]) -> Iterator[str]:
    """Every text that is a template, and a bad one, with its place."""
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
            yield f"{where}: {told(error)}"


def told(error: AnsibleError) -> str:
    """What Ansible says of a template, with what to do about it."""
    text = str(error).strip().rstrip(".")
    if missing := re.search(r"'(?P<name>[^']+)' is undefined", text):
        return (
            f"the variable '{missing['name']}' is not defined. Define it for this host (in group_vars, in a file of "
            "ansible-vault, or by -e), or mend its name."
        )
    if "template" in text.lower() and "syntax" in text.lower():
        return "a text with {{ in it is a template, and this one can't be read. Is every {{ closed by }}?"
    return f"its value can't be resolved: {text}."
