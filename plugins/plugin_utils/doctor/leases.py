# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A provisional switch that no run has decided in time. Pure."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.status.leases import lease_of, lease_text
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View


def overdue_switch(view: View) -> Finding | None:
    lease = lease_of(view.found.get("lease"))
    if not lease.get("overdue"):
        return None
    return Finding(
        "provisional switch",
        lease_text(lease),
        "the file is damaged" if "problem" in lease else "the run has ended without a commit, or lost this host",
        "correct what the line says, then run ansible-playbook site.yml",
        works=True,
    )
