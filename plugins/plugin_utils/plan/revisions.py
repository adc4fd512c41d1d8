# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The base of an application's revision: a digest of its description, the same for all hosts of an inventory. Pure.

It covers the source, the requirements and the settings of a release. It leaves out facts of a host, its name and its
address, and the values of secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.release.identity import (
    SETTINGS,
    dependencies_of,
    digest,
    image_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.status.words import is_revision
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import Applications
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Model, webapp_part

# No host has these facts. So nothing that is computed from facts, such as `workers: auto`, makes hosts differ.
FACTS: dict[str, Any] = {"init": "none", "cpus": 1, "memory_bytes": 2**32, "sources": {}}
ROOT = "/srv/webapps"
# Hosts share the names of this machine, so an address of it says nothing about one of them.
LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1|0\.0\.0\.0")
VERSION = re.compile(r"(3\.\d+)(\.\d+)?")
HIDDEN = "@host@"


def bases(
    roles: Collection[str], model: Model, descriptions: Mapping[str, dict[str, Any]], hosts: Iterable[str] = ()
) -> dict[str, str]:
    """The base of each application whose source is described. ``hosts`` are names and addresses of all hosts."""
    part = webapp_part(roles, of_no_host(model))
    names = names_in(hosts)
    apps = part.inputs["apps"] if part else []
    workers = {app["name"]: app.get("workers") for app in model.apps}
    return {
        app["name"]: base_of(app, descriptions[app["name"]], workers[app["name"]], names)
        for app in apps
        if app["state"] == "present" and app["name"] in descriptions
    }


def of_no_host(model: Model) -> Model:
    """The model without the facts of its host, and without the process manager, which may differ between hosts."""
    apps = Applications({**app, "process_manager": "auto"} for app in model.apps)
    webapp = {**model.webapp, "webapp_process_manager": "auto", "webapp_root": ROOT}
    return replace(model, apps=apps, facts=FACTS, inputs={**model.inputs, "webapp": webapp})


def base_of(app: dict[str, Any], description: dict[str, Any], workers: Any, names: Collection[str] = ()) -> str:
    """The first digits of a revision. ``app`` is an application of the part webapp, ``workers`` its input."""
    spec = {**app, "source": description}
    wanted = {
        "code": [description["kind"], description["digest"], description.get("subdir")],
        "dependencies": dependencies_of(spec, asked_python(spec)),
        "settings": {key: app[key] for key in SETTINGS},
        # The settings have the number that `auto` stands for.
        "workers": str(workers),
        # Only the names: a short digest of a password could be guessed.
        "env": sorted(map(str, app["env"] or {})),
        "files": sorted(str(file["path"]) for file in app["files"] or []),
    }
    text = json.dumps(wanted, sort_keys=True, default=str, ensure_ascii=False)
    return digest(without_hosts(text, names))[:8]


def asked_python(spec: Mapping[str, Any]) -> Any:
    """The Python that an inventory asks for: the image of a container, else a version."""
    container = spec.get("container")
    if container:
        return image_of(container, spec["source"])
    return asked_version(spec["python"].get("interpreter"))


def asked_version(interpreter: Any) -> str:
    """The minor version that an inventory asks for. Names and paths of interpreters belong to a host."""
    found = VERSION.fullmatch(str(interpreter or ""))
    return found[1] if found else ""


def names_in(hosts: Iterable[str]) -> list[str]:
    """The names and addresses of hosts, the longest first."""
    names = {name for one in hosts for name in (one, one.partition(".")[0] if not is_address(one) else one)}
    names = {name for name in names if name and "{" not in name and not LOOPBACK.fullmatch(name)}
    return sorted(names, key=lambda name: (-len(name), name))


def without_hosts(text: str, names: Iterable[str]) -> str:
    """A text without the names of hosts, where they are whole names. Most texts have none of hundreds of names."""
    found = [re.escape(name) for name in names if name in text]
    return re.sub(rf"(?<![\w.-])(?:{'|'.join(found)})(?![\w-])", HIDDEN, text) if found else text


def is_address(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


# The packages


def packages_of(builds: Iterable[Mapping[str, Any]], live: Iterable[str], base: str) -> str:
    """The last digits of a revision: those that a host has recorded before, else those of all new packages together.

    ``builds`` are the results of hosts that have a new release, and ``live`` the revisions of the others.
    """
    known: list[str] = []
    new: set[str] = set()
    for build in builds:
        revision = build.get("revision")
        if is_revision(revision) and str(revision).startswith(base):
            if build.get("new_packages"):
                new.add(str(revision)[8:])
            else:
                known.append(str(revision)[8:])
    known += [revision[8:] for revision in live if revision.startswith(base)]
    if known or not new:
        return known[0] if known else ""
    return next(iter(new)) if len(new) == 1 else digest(sorted(new))[:4]
