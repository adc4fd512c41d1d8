# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The environment variables of an application: their names, their values, and those that have no effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.model.paths import is_inside
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker, kind, nearest

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Maximum bytes of "NAME=value" that the kernel passes to a program (MAX_ARG_STRLEN).
VARIABLE_BYTES = 128 * 1024 - 1

# Lists of folders, to which the folders of the release always belong.
PATHS = ("PATH", "PYTHONPATH")
# The keys of a value that names a path of the release.
RELEASE_KEYS = ("release", "before", "after")

# Options of uv and pip that installing would not follow, and the keys that say the same.
KEYS_OF_OPTIONS = (
    (re.compile(r"(UV|PIP)_(DEFAULT_)?INDEX(_URL)?\Z"), "python.index_url"),
    (re.compile(r"(UV|PIP)_EXTRA_INDEX_URL\Z"), "python.extra_index_urls"),
    (re.compile(r"PIP_CERT\Z"), "python.ca_bundle"),
    (re.compile(r"UV_PYTHON\Z"), "python.interpreter"),
    # They change no place that packages come from, and uv gets them.
    (
        re.compile(
            r"UV_(INDEX_\w+_(USERNAME|PASSWORD)|BUILD_CONSTRAINT|HTTP_(TIMEOUT|RETRIES)|CONCURRENT_\w+|DYNAMIC_VERSIONING_\w+)\Z"
        ),
        "",
    ),
    (re.compile(r"UV_\w+\Z|PIP_(FIND_LINKS|NO_INDEX|CONSTRAINT|PRE|NO_BINARY|ONLY_BINARY|TRUSTED_HOST)\Z"), "others"),
)


def check_env(checker: Checker, env: dict[Any, Any], where: str) -> None:
    for key, value in env.items():
        if isinstance(key, str) and VARIABLE.match(key):
            if problem := variable_problem(key, value):
                checker.problem(f"{where}.{key}", problem)
        else:
            # The key may be a whole "NAME=secret".
            shown = str(key).split("=", maxsplit=1)[0]
            checker.problem(
                where,
                f"'{shown}{'=…' if shown != str(key) else ''}' can't be the name of an environment variable. Use "
                "letters, digits and '_', and write each as NAME: value.",
            )


def variable_problem(key: str, value: Any) -> str | None:
    """The problem of an environment variable's value, if any. The value is never shown, because it may be a secret."""
    if isinstance(value, bool):
        return (
            "this is a boolean, but environment variables are strings. Quote the value that the application expects, "
            f'such as "{str(value).lower()}" or "{int(value)}".'
        )
    if value is None:
        return 'it has no value. Write "" for an empty string, or remove the variable.'
    if isinstance(value, dict) and nearest_release_key(value):
        return release_problem(value)
    if isinstance(value, (dict, list)):
        return f"this is {kind(value)}, but environment variables are strings. Quote the value."
    if "\0" in str(value):
        return "a zero byte can't be in an environment variable. Remove it."
    if key == "PYTHONHOME":
        return "this variable hides the environment of the release. Remove it. python.interpreter chooses a Python."
    if key in PATHS and "$" in str(value):
        return (
            f"variables such as ${key} are not replaced in a value. The folders of the release and of the system are "
            "always in it. List only your own folders."
        )
    size = len(f"{key}={value}".encode(errors="surrogatepass"))
    if size > VARIABLE_BYTES:
        return (
            f"the variable has {size} bytes, but the kernel allows {VARIABLE_BYTES}. Store the value in a file, and "
            "set the variable to its path."
        )
    return None


def nearest_release_key(value: dict[Any, Any]) -> bool:
    """Whether a mapping is meant to name a path of the release, even if its keys are misspelt."""
    return any(key in RELEASE_KEYS or nearest(str(key), [*RELEASE_KEYS], 0.75) for key in value)


def release_problem(value: dict[Any, Any]) -> str | None:
    """The problem of a value that names a path of the release. The text around it may be a secret."""
    for key, part in value.items():
        if key not in RELEASE_KEYS:
            return (
                f"the key '{key}' is unknown.{nearest(str(key), [*RELEASE_KEYS])} A path of the release is written as "
                "{release: config/prod.toml}, perhaps with the texts 'before' and 'after'."
            )
        if not isinstance(part, str) or "\0" in part:
            return f"'{key}' is {kind(part)}, but it has to be a string. Quote it."
    path = value.get("release")
    if path is None:
        return "the key 'release' is missing. Set a path inside the application root, or '.' for the root itself."
    if path != "." and not is_inside(path):
        return f"'{path}' is not a path inside the application root. Set a relative path, or '.' for the root itself."
    return None


def unused_variables(env: dict[str, Any], where: str) -> Iterator[str]:
    """The variables that would be options of uv or pip, and that installing does not follow."""
    for name in env:
        key = next((key for pattern, key in KEYS_OF_OPTIONS if pattern.match(name)), "")
        if key:
            remedy = "Use the keys of python, or a requirements file" if key == "others" else f"Set {key}"
            yield (
                f"{where}.env.{name}: no effect on the installation of dependencies. {remedy} instead. The programs of "
                "the application have the variable."
            )
