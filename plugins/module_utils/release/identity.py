# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The identity of a release: the fingerprint of its code, dependencies, settings and secrets, and its ID."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import os
import secrets
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import recorded
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout
from ansible_collections.pyweb.stack.plugins.module_utils.requirements.locks import without_login

# The parts of a fingerprint, in the order in which a message names them.
PARTS = ("code", "dependencies", "settings", "secrets")

# The time in the ID of a release.
TIME_FORMAT = "%Y%m%dT%H%M%SZ"

DEFAULT_STRATEGY = "first-index"

# Rounds of SHA-256 that make it expensive to guess a secret from its fingerprint.
ROUNDS = 50_000

# The keys of an application's specification that the fingerprint of its settings covers.
SETTINGS = (
    "wsgi",
    "protocol",
    "entry",
    "environment",
    "shared",
    "build_commands",
    "processes",
    "server_files",
    "limits",
    "process_manager",
)


def fingerprint(
    spec: dict[str, Any], layout: Layout, versions: InterpreterVersions, check_mode: bool
) -> dict[str, str]:
    """The fingerprint of the wanted release, part by part."""
    source = spec["source"]
    return {
        "code": digest([source["kind"], source["digest"], source.get("subdir")]),
        "dependencies": digest(dependencies_of(spec, python_of(spec, versions))),
        "settings": digest([spec[key] for key in SETTINGS]),
        "secrets": secret_digest(layout, secrets_of(spec), create_key=not check_mode and os.path.isdir(layout.home)),
    }


def python_of(spec: dict[str, Any], versions: InterpreterVersions) -> Any:
    """The image of a release, which has its Python and its libraries; else the version of the host's Python."""
    container = spec.get("container")
    if container:
        return image_of(container, spec["source"])
    return versions[spec["python"].get("interpreter")]


def image_of(container: dict[str, Any], source: dict[str, Any]) -> list[Any]:
    """The input of the image of a release: a base and packages, or the digest of an image from a Containerfile."""
    built = source.get("environment")
    return ["image", container["base"], container["packages"], *([built["digest"]] if built else [])]


def dependencies_of(spec: dict[str, Any], interpreter: Any) -> list[Any]:
    """Everything that decides which packages a release gets. ``interpreter`` is the version of its Python."""
    python, source = spec["python"], spec["source"]
    # Indexes count only if any are set, and never with their credentials.
    indexes = [without_login(one) for one in [python.get("index_url") or "", *(python.get("extra_index_urls") or [])]]
    choice = {key: python.get(key) for key in ("extras", "groups")}
    if python.get("index_strategy", DEFAULT_STRATEGY) != DEFAULT_STRATEGY:
        choice["index_strategy"] = python["index_strategy"]
    return [
        interpreter,
        python.get("requirements"),
        recorded_all(python.get("packages")),
        recorded_all(spec["server_packages"]),
        source.get("package") and recorded(source["package"]),
        source.get("requirements_digest"),
        *(indexes if any(indexes) else []),
        # These keys are newer than the first releases, so they count only if they are set.
        *([choice] if any(choice.values()) else []),
    ]


def secrets_of(spec: dict[str, Any]) -> Any:
    """The variables, and the files of the inventory if there are any: without them, older releases stay the same."""
    files = [[file["path"], file["content"]] for file in spec.get("files") or []]
    return [spec["env"], files] if files else spec["env"]


def recorded_all(requirements: list[str] | None) -> list[str] | None:
    """Requirements without their credentials: another password makes no other release."""
    return requirements if requirements is None else list(map(recorded, requirements))


def digest(value: Any) -> str:
    """A fingerprint of any value that JSON can hold, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def secret_digest(layout: Layout, value: Any, create_key: bool = True) -> str:
    """A fingerprint that does not reveal the secrets. Its key is a random file that only root can read."""
    path = layout.path(".fingerprint_key")
    try:
        with open(path, encoding="ascii") as stream:
            key = stream.read().strip()
    except FileNotFoundError:
        key = secrets.token_hex(32)
        if create_key:
            write(File(path, key + "\n", mode=0o600))
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def slow_digest(salt: str, value: Any) -> str:
    """A fingerprint of secrets that is the same on all hosts. A guess takes about 20 ms."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.pbkdf2_hmac("sha256", text.encode(), salt.encode(), ROUNDS).hex()


def differing_parts(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """The parts in which two fingerprints differ."""
    return [part for part in PARTS if wanted.get(part) != found.get(part)]


def new_identity(fingerprint: dict[str, str], now: datetime.datetime, taken: list[str]) -> str:
    """UTC time and short fingerprint, such as ``20261121T010735Z-ab12cd34``.

    It is later than every existing one, even if the clock was set back, because releases are ordered by their IDs.
    """
    time = now.strftime(TIME_FORMAT)
    newest = max((identity.partition("-")[0] for identity in taken), default="")
    if time <= newest:
        later = datetime.datetime.strptime(newest, TIME_FORMAT) + datetime.timedelta(seconds=1)
        time = later.strftime(TIME_FORMAT)
    return f"{time}-{digest(fingerprint)[:8]}"
