# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Prepare the parts of a plan for the host: render them, compute their keys and separate their secrets."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import recorded, redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.host import Part
from ansible_collections.pyweb.stack.plugins.plugin_utils.plan.stamp_keys import stamp_key
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.images import login_of
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin

# Maximum compressed size in bytes of a source that is sent inside the module arguments. This saves an upload. Most
# applications are smaller.
INLINE = 256 * 1024


def key_of(part: Part) -> str:
    """The key of a part in the stamp.

    It covers the template variables. The template text is already part of the code digest.
    """
    return stamp_key({"role": part.role, **part.inputs}, secret_json(part.secrets))


def secret_json(found: dict[str, Any]) -> str:
    """Return JSON, or an empty string for no secrets. Ansible would otherwise mask '{}' in all output."""
    return json.dumps(found) if found else ""


def with_sources(part: Part, origins: dict[str, Origin], unfetched: Mapping[str, str] = MappingProxyType({})) -> Part:
    """The part webapp with the description of each source. Values that logs must not show become secrets.

    An application whose source could not be fetched has only the ``problem``.
    """
    apps, secrets = [], {}
    for given in part.inputs["apps"]:
        if given["name"] in unfetched:
            apps.append({"name": given["name"], "state": given["state"], "problem": unfetched[given["name"]]})
            continue
        app = {key: value for key, value in given.items() if key not in ("env", "files")}
        if app["state"] == "present":
            secrets[app["name"]] = app_secrets(given)
            app["python"] = {key: value for key, value in app["python"].items() if key not in LOGINS}
            if app["python"].get("packages"):
                app["python"]["packages"] = list(map(recorded, app["python"]["packages"]))
            if app.get("server_packages"):
                app["server_packages"] = list(map(recorded, app["server_packages"]))
            app["source"] = dict(origins[app["name"]].description)
        apps.append(app)
    return Part(part.role, {**part.inputs, "apps": apps}, {"apps": secrets} if secrets else {})


# Settings of an application that may contain credentials.
LOGINS = ("index_url", "extra_index_urls")


def app_secrets(app: dict[str, Any]) -> dict[str, Any]:
    """The environment and files of an application, its package indexes, and the requirements that hold credentials."""
    hidden = {key: app["python"][key] for key in LOGINS if app["python"].get(key)}
    secrets: dict[str, Any] = {
        "env": {
            key: dict(value) if isinstance(value, dict) else str(value) for key, value in (app.get("env") or {}).items()
        },
        "python": hidden,
    }
    if app.get("files"):
        secrets["files"] = app["files"]
    packages, servers = app["python"].get("packages") or [], app.get("server_packages") or []
    if has_login(packages):
        hidden["packages"] = packages
    if has_login(servers):
        secrets["server_packages"] = servers
    if login := login_of(app["source"]):
        secrets["registry"] = login
    package = app["source"].get("package")
    if package and has_login([package]):
        secrets["package"] = package
    return secrets


def has_login(requirements: list[str]) -> bool:
    return any(redacted(one) != one for one in requirements)


class Shipment:
    """The sources of one call. Small ones are sent with the arguments, others when the host asks for them."""

    def __init__(self, origins: dict[str, Origin]) -> None:
        self.origins = origins
        self.packed: dict[str, bytes] = {
            name: origin.pack() for name, origin in origins.items() if origin.local and origin.pack
        }

    def is_wanted(self, name: str) -> bool:
        """Whether the host has to ask for the source."""
        small = name in self.packed and len(self.packed[name]) <= INLINE
        origin = self.origins.get(name)
        return origin is not None and (origin.pack is not None or origin.file is not None) and not small

    def environment_of(self, name: str) -> dict[str, Any]:
        """The image in which the code runs. The host has to ask for it, because archives are large."""
        origin = self.origins[name]
        return {"environment": {**origin.description["environment"], "wanted": True}} if origin.image else {}

    def load(self, part: Part) -> Part:
        """The part webapp with the small sources among its secrets."""
        apps = [
            {
                **app,
                "source": {
                    **app["source"],
                    "wanted": self.is_wanted(app["name"]),
                    **self.environment_of(app["name"]),
                    # For messages alone, so no key covers it.
                    "left_out": self.origins[app["name"]].left_out,
                },
            }
            if "source" in app
            else app
            for app in part.inputs["apps"]
        ]
        secrets = {
            name: {**secret, "data": base64.b64encode(self.packed[name]).decode()}
            if name in self.packed and not self.is_wanted(name)
            else secret
            for name, secret in part.secrets.get("apps", {}).items()
        }
        return Part(part.role, {**part.inputs, "apps": apps}, {"apps": secrets} if secrets else {})

    def bytes_of(self, name: str) -> bytes:
        """The packed source; raises SourceError."""
        if name not in self.packed:
            pack = self.origins[name].pack
            if pack is None:
                raise SourceError(f"the host fetches the source of '{name}' itself, so there is nothing to send.")
            self.packed[name] = pack()
        return self.packed[name]


def with_problems(part: Part, problems: Mapping[str, str]) -> Part:
    """The part webapp without the applications that are known to fail: the host reports these problems."""
    apps = [
        {"name": app["name"], "state": app["state"], "problem": problems[app["name"]]}
        if app["name"] in problems
        else app
        for app in part.inputs["apps"]
    ]
    return Part(part.role, {**part.inputs, "apps": apps}, part.secrets)


def uploaded(part: Part, paths: dict[str, str], images: dict[str, str]) -> Part:
    """The part webapp with the paths of the uploaded sources and images on the host."""
    apps = []
    for app in part.inputs["apps"]:
        if app["name"] in paths:
            app = {**app, "source": {**app["source"], "wanted": False, "upload": paths[app["name"]]}}
        if app["name"] in images:
            image = {**app["source"]["environment"], "wanted": False, "upload": images[app["name"]]}
            app = {**app, "source": {**app["source"], "environment": image}}
        apps.append(app)
    return Part(part.role, {**part.inputs, "apps": apps}, part.secrets)


def templates_in(value: Any) -> Iterator[dict[str, Any]]:
    """All templates in the inputs of a part."""
    if isinstance(value, dict):
        if "template" in value and "role" in value:
            yield value
        else:
            for item in value.values():
                yield from templates_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from templates_in(item)


def rendered(part: Part, render: Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]]) -> Part:
    """The part with its templates rendered. ``render`` gets a role and its templates, and compiles each once."""
    by_role: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in templates_in(part.inputs):
        by_role[item["role"]].append(item)
    texts: dict[int, dict[str, Any]] = {}
    for role, items in by_role.items():
        plain = [{key: value for key, value in item.items() if key != "role"} for item in items]
        for item, text in zip(items, render(role, plain), strict=True):
            texts[id(item)] = text
    return Part(part.role, replaced(part.inputs, texts), part.secrets)


def replaced(value: Any, texts: dict[int, dict[str, Any]]) -> Any:
    if isinstance(value, dict):
        return texts.get(id(value)) or {key: replaced(item, texts) for key, item in value.items()}
    return [replaced(item, texts) for item in value] if isinstance(value, list) else value
