# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The end of a lease that its run has not ended in time."""

from __future__ import annotations

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import Run
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import COMMITTING, PROVISIONAL, Lease
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.switching.provisional.switch import ProvisionalSwitch


def check_term(switch: ProvisionalSwitch) -> Lease:
    """The lease of a switch, if its run may still decide. Else the switch is reverted, as the guard would."""
    lease = switch.lease_of_switch
    if not lease.is_valid or lease.state != PROVISIONAL:
        reverted = switch.revert(overdue(lease))
        raise ReleaseError(switch.name, f"{lease.reason}. {reverted['release'] or 'No release'} serves again.")
    return lease


def overdue(lease: Lease) -> str:
    """Why a switch was reverted without its run."""
    if lease.reason:
        return lease.reason
    if lease.state == PROVISIONAL:
        return f"its run did not commit the switch until {lease.until} UTC"
    return "its switch was interrupted"


def settle(layout: Layout, lease: Lease, run: Run) -> str:
    """End a lease that no run can commit; return what was done. The caller holds the lock.

    Revert the switch. Only a commit that was begun is completed, because the old release may have ended.
    """
    switch = ProvisionalSwitch.resumed({**lease.settings, "name": layout.name}, layout, run, lease)
    if lease.state == COMMITTING:
        switch.commit()
        return f"the interrupted commit of {lease.release} was completed."
    switch.revert(overdue(lease))
    return f"it went back from {lease.release} to {lease.before or 'no release'}: {lease.reason}."
