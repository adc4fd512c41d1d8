# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The part of a host's plan that publishes its status page: what its program asks, its program, and its units."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import OLD, PAGE
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.operations import inspections
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.applications import present
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Model, Part
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.switches import protected
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing.packing import packed
from ansible_collections.pyweb.stack.plugins.plugin_utils.publishing.site import VARIABLE
from ansible_collections.pyweb.stack.plugins.plugin_utils.rollout.traffic import questions

ROLE = "status_site"
# Hours that the charts show.
HOURS = 6
# The keys that a look at a served certificate needs. The private key stays where it is.
OF_CERTIFICATE = ("name", "mode", "names", "port")


def parts(roles: Collection[str], model: Model, host: str) -> list[Part]:
    """The part, if the page is published, or still has to be removed. Without nginx and releases, nothing changes."""
    if not {"nginx", "webapp"} <= {*roles}:
        return []
    if not model.webapp.get(VARIABLE):
        return [Part(ROLE, {"wanted": None})] if model.facts["status_site"] else []
    wanted = {
        "plan": plan_of(model, host),
        "group": model.webapp["webapp_nginx_group"],
        "service": model.texts["status-page.service"],
        "timer": model.texts["status-page.timer"],
    }
    return [Part(ROLE, {"wanted": wanted})]


def with_program(part: Part) -> Part:
    """The part as a host gets it. No key covers the program, because all keys cover the code of the collection."""
    if part.role != ROLE or not part.inputs["wanted"]:
        return part
    return Part(ROLE, {"wanted": {**part.inputs["wanted"], "sources": packed()}})


def plan_of(model: Model, host: str) -> dict[str, Any]:
    """The questions of the program about each application. Nothing in it is secret."""
    root, apps = model.webapp["webapp_root"], present(model.apps)
    traffic = {one["name"]: one for one in questions([app["name"] for app in apps], model.apps, root)}
    return {
        "host": host,
        "root": root,
        "page": PAGE,
        "hours": HOURS,
        "old": OLD,
        "apps": [
            {
                **{key: spec[key] for key in ("name", "question", "port", "front_scheme")},
                "jobs": [{"name": job["name"]} for job in spec["jobs"]],
                "certificates": [{key: one[key] for key in OF_CERTIFICATE} for one in spec["certificates"]],
                "healthy": app["health"]["status"],
                "protected": protected(app["site"], app["health"]["path"]),
                "server": app["server"],
                "traffic": traffic[app["name"]],
            }
            for app, spec in zip(apps, inspections(apps, model.apps, root), strict=True)
        ],
    }
