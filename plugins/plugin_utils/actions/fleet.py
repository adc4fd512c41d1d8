# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The hosts of one run that deploy the same application: which versions they install, and which of them resolves. Pure.

Hosts are compared if they have the application and the same Python. ``looks`` and ``offers`` hold what is known of each
host, in the order of the play.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line, redacted
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.exact import problem_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.host_answers import REMEDY
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.containers import base_of, is_container
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.addresses import source_of

DIGEST = re.compile(r"[0-9a-f]{64}")
# The resolutions of one application that a host may report.
MOST_KNOWN = 100

Looks = Mapping[str, Mapping[str, Any]]
Offers = Mapping[str, Mapping[str, list[dict[str, Any]]]]


# The reports of a host


def seen(apps: list[dict[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the look at a host, for later stages. It keeps only digests of the resolutions in the ``facts``."""
    names = [app["name"] for app in apps]
    pythons = {app["name"]: facts["interpreters"].get(app["python"]["interpreter"] or "python3") for app in apps}
    bases = {app["name"]: base_of(app, facts) for app in apps if is_container(app)}
    found: dict[str, Any] = {"names": names, "pythons": {}, "known": {}}
    found["sources"] = {app["name"]: digest_of(source_of(app)) for app in apps}
    # These are the controller's own.
    found["commits"] = {name: pinned for name, pinned in (facts.get("sources") or {}).items() if name in names}
    for name in names:
        python = pythons[name]
        found["pythons"][name] = str(python.get("version")) if isinstance(python, Mapping) else ""
        if name in bases:
            # Their packages are for the Python of the image.
            found["pythons"][name] = f"base {bases[name]}"
        reported = facts["resolutions"].get(name)
        known = reported.get("known") if isinstance(reported, Mapping) else None
        if not isinstance(reported, Mapping) or not isinstance(known, Mapping):
            continue
        pairs = list(known.items())[:MOST_KNOWN]
        found["known"][name] = {
            inputs: digest if is_digest(digest) else "" for inputs, digest in pairs if is_digest(inputs)
        }
    return found


def digest_of(source: Mapping[str, Any]) -> str:
    """The same for equal sources. A result of a task is printed with -v, so it covers no login."""
    covered = {key: value for key, value in source.items() if key != "registry"}
    return hashlib.sha256(redacted(json.dumps(covered, sort_keys=True)).encode()).hexdigest()


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and DIGEST.fullmatch(value) is not None


def checked_offers(found: Any, names: Iterable[str], host: str) -> dict[str, list[dict[str, Any]]]:
    """The versions that a host offers for applications. The other hosts would install them, so nothing else may pass.

    Raises AnsibleActionFail, which names the host.
    """
    if not isinstance(found, Mapping):
        raise AnsibleActionFail(f"{host} answered with versions of the wrong kind. {REMEDY}")
    offers: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        given = found.get(name, [])
        for offer in given if isinstance(given, list) else [given]:
            problem = "they are no mapping" if not isinstance(offer, Mapping) else problem_of(offer.get("versions"))
            if not problem and not is_digest(offer.get("inputs")):
                problem = "their inputs are no digest"
            if problem:
                raise AnsibleActionFail(
                    f"{host} answered with versions for '{name}' that can't be used: {one_line(problem)}. {REMEDY}"
                )
            known = {key: offer[key] for key in ("inputs", "versions")}
            offers.setdefault(name, []).append({**known, "recorded": offer.get("recorded") is True})
    return offers


# The commits of branches


def commits(looks: Looks, host: str) -> dict[str, dict[str, str]]:
    """The commit to deploy of each application: the one that the first host with the same source has been given.

    A branch may get a new commit between the looks at two hosts.
    """
    found = dict(looks[host]["commits"])
    for name in found:
        same = (one for one in looks.values() if one["sources"].get(name) == looks[host]["sources"][name])
        found[name] = next(same)["commits"].get(name, found[name])
    return found


def are_idle(looks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the looks at all hosts have found nothing to do and nothing to say, and the same commits."""
    known: dict[tuple[str, str], str] = {}
    for look in looks:
        if "lines" not in look:
            return False
        seen = look["fleet"]
        for name, commit in seen["commits"].items():
            if known.setdefault((name, str(seen["sources"].get(name))), commit) != commit:
                return False
    return True


# The host that resolves


def peers(looks: Looks, name: str, host: str) -> list[str]:
    """The hosts with an application that have the same Python for it as one of them."""
    python = looks[host]["pythons"].get(name)
    return [one for one, look in looks.items() if name in look["names"] and look["pythons"].get(name) == python]


def shared_inputs(looks: Looks, host: str) -> dict[str, list[str]]:
    """The inputs for which all peers of a host have recorded the same versions, by application.

    For other inputs, the host does not build before the hosts agree. An application without peers is not in the answer.
    """
    found = {}
    for name in looks[host]["names"]:
        others = peers(looks, name, host)
        if len(others) > 1:
            first, *rest = [looks[one]["known"].get(name, {}).items() for one in others]
            found[name] = [
                inputs for inputs, digest in first if digest and all((inputs, digest) in one for one in rest)
            ]
    return found


def gifts(looks: Looks, host: str, is_followed: bool) -> dict[str, list[str]]:
    """The inputs whose versions a host gives to others, by application.

    A peer lacks them, or has other versions. The first host that has them gives them. It may switch to any release that
    it has without building, such as one that an earlier run has built but not switched to. If the play has further
    batches (``is_followed``), their hosts may lack them, too.
    """
    found: dict[str, list[str]] = {}
    for name in looks[host]["known"]:
        others = peers(looks, name, host)
        for inputs in looks[host]["known"][name]:
            digests = [looks[one]["known"].get(name, {}).get(inputs) for one in others]
            first = next(one for one in others if inputs in looks[one]["known"].get(name, {}))
            if first == host and (is_followed or not digests[0] or len(set(digests)) > 1):
                found.setdefault(name, []).append(inputs)
    return found


def agreed(offers: Offers, name: str, inputs: str) -> dict[str, Any]:
    """The versions that all hosts install for these inputs, and the host that they come from.

    Versions that a release has recorded come before new ones. Among them, the first host decides.
    """
    matching = [
        (host, offer) for host, given in offers.items() for offer in given.get(name, []) if offer["inputs"] == inputs
    ]
    host, offer = next((one for one in matching if one[1]["recorded"]), matching[0])
    return {"inputs": inputs, "versions": offer["versions"], "host": host}


def together(found: Iterable[Mapping[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    """The offers of one host from several stages."""
    offers: dict[str, list[dict[str, Any]]] = {}
    for given in found:
        for name, listed in given.items():
            offers[name] = [*offers.get(name, []), *listed]
    return offers


def announcements(offers: Offers, waited: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Which hosts install versions of another one, a line for each application and each host that has resolved.

    ``waited`` holds the inputs that hosts have waited for, by host and application.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for host, waiting in waited.items():
        for name, inputs in waiting.items():
            groups.setdefault((name, agreed(offers, name, inputs)["host"]), []).append(host)
    return [
        f"webapps '{name}': {', '.join(others)} install{'' if len(others) > 1 else 's'} the versions that {giver} has."
        for (name, giver), hosts in groups.items()
        if (others := [host for host in hosts if host != giver])
    ]
