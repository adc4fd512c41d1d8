# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Hide secrets in messages and logs."""

from __future__ import annotations

import re
from typing import Any

SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|credential|private|salt|dsn", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^:/@\s]*:([^/@\s]+)@")

# Variables that this collection sets. Their values are not secret, and messages need them.
OWN_VARIABLES = frozenset(
    [
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "LANG",
        "FLASK_APP",
        "WEBAPP_NAME",
        "WEBAPP_RELEASE",
        "WEBAPP_ROOT",
        "WEBAPP_SOCKET",
        "WEBAPP_SERVER",
        "WEBAPP_PROCESS_MANAGER",
        "SCRIPT_NAME",
    ]
)


# Minimum lengths, in characters, of the values to hide. Shorter values occur by chance. The first limit is for
# passwords and for variables whose names mark them as secret.
SHORTEST_SECRET = 4
SHORTEST_VALUE = 12
# Minimum length of a secret that is searched for in files and command lines.
SHORTEST_TOLD = 8


def secret_values(variables: dict[str, Any]) -> set[str]:
    """The passwords in URLs, and the values of variables whose names mark them as secret.

    A value such as ``django.contrib.auth`` occurs elsewhere, too. So a value must have a letter and a digit.
    """
    found: set[str] = set()
    for name, value in variables.items():
        text = str(value)
        found |= {word for word in PASSWORD_IN_URL.findall(text) if len(word) >= SHORTEST_TOLD}
        if SECRET_NAME.search(name) and len(text) >= SHORTEST_TOLD and re.search(r"[a-zA-Z]", text):
            found |= {text} if re.search(r"[0-9]", text) and "://" not in text else set()
    return found


def masked(text: str, variables: dict[str, Any]) -> str:
    """The text without the values of variables that may be secret, because an application may print them."""
    hidden: set[str] = set()
    for name, value in variables.items():
        passwords = PASSWORD_IN_URL.findall(str(value))
        words = {str(value), *re.split(r"[\r\n]+", str(value)), repr(str(value))[1:-1]}
        least = SHORTEST_SECRET if SECRET_NAME.search(name) else SHORTEST_VALUE
        hidden |= {word for word in words if len(word) >= least}
        hidden |= {word for word in passwords if len(word) >= SHORTEST_SECRET}
    for word in sorted(hidden, key=len, reverse=True):
        text = text.replace(word, "***")
    return text
