# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The imports and data that every task needs, loaded once.

Ansible runs each task in a process of its own, forked from the one that reads the playbook. That one loads the action
plugin of a task before it forks. So everything that the first of our action plugins loads is available to all later
tasks. Otherwise each of them would compile the same filters and read the same specifications, which takes a twentieth
of a second.
"""

from __future__ import annotations

from ansible.plugins.loader import filter_loader, lookup_loader, test_loader
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.stamp_keys import code_digest
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES, role_options


def preload() -> None:
    """Load filters, tests, lookups and the specifications of all roles, and read the code for the keys of stamps."""
    code_digest()
    for role in ROLES.iterdir():
        if role.is_dir():
            role_options(role.name)
    # Whichever is asked for, its loader brings all of ansible-core's, and all files of the collection that it is in.
    filter_loader.get("pyweb.stack.nginx_quote")
    test_loader.get("ansible.builtin.defined")
    for name in ("pyweb.stack.templates", "ansible.builtin.file"):
        lookup_loader.get(name, class_only=True)
