# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The link of the chain about the certificates of a site. Pure."""

from __future__ import annotations

from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import WARN_DAYS
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.starts import by_hand
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# The remedies for a missing certificate, by mode.
RENEWALS = {
    "provided": "give a valid one as site.tls.certificate, with its key; then: ansible-playbook site.yml",
    "selfsigned": "make a new one: ansible-playbook site.yml; {reason}",
    "acme": "order it again, and read the authority's answer: ansible-playbook site.yml; port 80 of every name must "
    "lead to this host",
}


TIMER_LOG = "the reason why the timer did not is in: journalctl -u pyweb-certificates"
CRON_RUN = (
    "cron did not; its command shows the reason: python3 /usr/local/lib/pyweb/certificates.pyz "
    "/etc/nginx/pyweb/certificates/plan.json"
)


def remedy_of(one: dict[str, Any], view: View) -> str:
    """The remedy for a missing certificate."""
    return RENEWALS[one["mode"]].format(reason=by_hand(view, TIMER_LOG, CRON_RUN))


def certificate(view: View) -> Finding | None:
    """The certificates that visitors get: first those that browsers refuse, then those that they will refuse."""
    if not view.found["configured"] or not view.host["nginx"]["running"]:
        return None
    found = [(refused_now(one, view), refused_later(one, view)) for one in view.found["certificates"]]
    return next((now for now, _later in found if now), None) or next((later for _now, later in found if later), None)


def refused_now(one: dict[str, Any], view: View) -> Finding | None:
    """Why browsers refuse a certificate today."""
    shown, remedy = one["shown"], remedy_of(one, view)
    if view.plain_until_certified and not shown:
        return Finding(
            "certificate",
            f"site '{one['site']}' has no certificate, so it is served over http alone",
            "the authority has not given one: its order failed, or was never made",
            remedy,
        )
    if not shown:
        return None
    if shown["ends"] and shown["ends"] <= view.host["time"]:
        renewed = one["disk"] and one["disk"]["ends"] > view.host["time"]
        return Finding(
            "certificate",
            f"the certificate of site '{one['site']}' has expired on {shown['end_date']}: browsers refuse it",
            "nginx was not reloaded after its renewal" if renewed else why_not_renewed(one),
            "ansible-playbook site.yml" if renewed else remedy,
        )
    if shown["missing"]:
        theirs = one["disk"] and shown["fingerprint"] != one["disk"]["fingerprint"]
        return Finding(
            "certificate",
            f"visitors of {', '.join(shown['missing'])} get a certificate for "
            f"{', '.join(shown['names']) or 'no name'}: browsers refuse it",
            f"nginx serves another one than {one['path']}: a file in conf.d or sites-enabled has the name, or it was "
            "not reloaded"
            if theirs
            else f"{one['path']} does not have every name of the site",
            "search for the name in the output of nginx -T on the host; then: ansible-playbook site.yml"
            if theirs
            else remedy,
        )
    return None


def why_not_renewed(one: dict[str, Any]) -> str:
    return "the inventory has no new one" if one["mode"] == "provided" else "its renewal does not work"


def refused_later(one: dict[str, Any], view: View) -> Finding | None:
    """Why browsers will refuse a certificate later, or nginx will not find it."""
    disk, shown, remedy = one["disk"], one["shown"], remedy_of(one, view)
    if not disk:
        why = f"can not be served: {one['problem']}" if one["problem"] else "is not there"
        return Finding(
            "certificate",
            f"{one['path']} {why}; nginx still serves what it loaded before, but will not come back from a restart or "
            "a boot",
            "it was removed or changed by hand",
            remedy,
            works=True,
        )
    if not shown:
        return Finding(
            "certificate",
            f"nginx serves no certificate on port {one['port']} for site '{one['site']}'",
            "it does not run the configuration that is on the disk",
            "ansible-playbook site.yml",
        )
    if shown["fingerprint"] != disk["fingerprint"]:
        return Finding(
            "certificate",
            f"nginx serves another certificate than {one['path']}; it ends on {shown['end_date']}",
            "it was not reloaded after a renewal, or a file in conf.d or sites-enabled has the name",
            "ansible-playbook site.yml; if it stays: search for the name in the output of nginx -T on the host",
            works=True,
        )
    days = int((shown["ends"] - view.host["time"]) // 86400)
    if days < WARN_DAYS and (one["mode"] == "provided" or view.host["time"] > shown["due_at"]):
        return Finding(
            "certificate",
            f"the certificate of site '{one['site']}' ends in {days} days, on {shown['end_date']}",
            why_not_renewed(one),
            remedy,
            works=True,
        )
    return None
