# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check the inputs of a role that is used alone. Runs on the controller, and asks the host only for its account."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import CertificateError
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import HostAction, listed
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.variable import unresolved
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.checks import checked
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.given import folders, part_of, pem, with_texts
from ansible_collections.pyweb.stack.plugins.plugin_utils.nginx.tls import certificates
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.role_inputs import ITEMS, role_problems
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import misspelt_inputs, role_names
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options


class ActionModule(HostAction):
    """The first task of a role. Ansible would add its own text to problems in filters and lookups of later tasks."""

    returns: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={"role": {"type": "str", "required": True, "choices": role_names()}}
        )
        role, variables = arguments["role"], task_vars or {}
        if role not in ITEMS:
            return {"changed": False}
        given, problems = self.given(role, variables)
        problems += misspelt_inputs(variables, [role])
        problems += [] if problems else role_problems(role, given)
        if role == "nginx" and not problems:
            problems = self.pem_problems(given, variables)
        if not problems:
            return {"changed": False}
        message = f"{listed(problems, f'in the inputs of the role {role}')}\nThis role has changed nothing."
        return {"failed": True, "changed": False, "msg": message}

    def given(self, role: str, variables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The inputs that are set, with their templates resolved, and the problems of templates."""
        given: dict[str, Any] = {}
        problems: list[str] = []
        for name in role_options(role):
            if name in variables:
                try:
                    given[name] = self._templar.template(variables[name])
                except AnsibleError as error:
                    problems += list(unresolved(variables[name], name, self._templar.template)) or [f"{name}: {error}"]
        return given, problems

    def pem_problems(self, given: dict[str, Any], variables: dict[str, Any]) -> list[str]:
        """The problems of the certificates and keys of the controller that nginx gets."""
        places = folders(variables, self._loader)
        sites, _settings, _problems = checked(given.get("nginx_sites") or [], {})
        _found, problems = with_texts(certificates(sites), lambda value: pem(value, places, self._loader))
        for name, kind in (("nginx_ca_certificate", "certificate"), ("nginx_ca_key", "key")):
            try:
                part_of(pem(given.get(name) or "", places, self._loader), kind)
            except CertificateError as error:
                problems.append(f"{name}: {error}.")
        return problems
