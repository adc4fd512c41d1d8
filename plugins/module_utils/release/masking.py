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


# Words of a variable's name that mark its value as secret, and words after which it is a fact about a secret.
SECRET_WORD = re.compile(
    r"(.*(password|passwd|passphrase|pass|pwd|secret|token|(?<!mon)key|credential)s?"
    r"|pw|pin|o?auth2?|private|salt|pepper|dsn)\Z",
    re.IGNORECASE,
)
FACT_WORDS = frozenset(
    {
        *("ALGORITHM", "BACKEND", "CLASS", "DIR", "DOMAIN", "ENABLED", "EXPIRES", "FILE", "FOLDER", "HOST"),
        *("ISSUER", "LENGTH", "MODE", "MODULE", "NAME", "PATH", "PORT", "PREFIX", "PROVIDER", "SIZE", "TIMEOUT", "TTL"),
        *("TYPE", "URI", "URL", "VERSION"),
    }
)
# Long values that are no secrets, whatever prints them: an absolute path, a relative one with an extension, a dotted
# name, a host name, a number. Random text has other forms.
NAME = r"(?:[a-z]{1,15}|[A-Z]{1,15}|(?:[A-Z][a-z]{2,15}){1,4})"
PLAIN_VALUE = re.compile(
    r"/(bin|data|dev|etc|home|media|mnt|opt|proc|root|run|srv|sys|tmp|usr|var)(/[\w.@+-]+)*/?"
    r"|(\.{0,2}/)?([a-z][a-z_-]{0,15}/)*[a-z][a-z_-]{0,15}\.[a-z]{1,5}"
    rf"|{NAME}([._-]{NAME})+(:{NAME}(_{NAME})*(\(\))?)?"
    r"|([a-z][a-z0-9-]{0,15}\.)+[a-z]{2,10}(:[0-9]{1,5})?"
    r"|[0-9.]{1,15}(:[0-9]{1,5})?"
)


def is_marked(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret, rather than a fact about one."""
    words = [word for word in re.split(r"[_\W]+|(?<=[a-z])(?=[A-Z])", name) if word]
    return bool(words) and words[-1].upper() not in FACT_WORDS and any(SECRET_WORD.match(word) for word in words)


def masked(text: str, variables: dict[str, Any]) -> str:
    """The text without the values of variables that may be secret, because an application may print them.

    Values of marked variables are hidden, and all passwords in addresses. Other values are hidden if they are long,
    unless they are plain, such as a path, a dotted name or a host. Those occur in messages, which would be useless.
    """
    hidden: set[str] = set()
    for name, value in variables.items():
        passwords = PASSWORD_IN_URL.findall(str(value))
        hidden |= {word for word in passwords if len(word) >= SHORTEST_SECRET}
        least = SHORTEST_SECRET if is_marked(name) else SHORTEST_VALUE
        if least == SHORTEST_VALUE and PLAIN_VALUE.fullmatch(str(value)):
            continue
        words = {str(value), *re.split(r"[\r\n]+", str(value)), repr(str(value))[1:-1]}
        hidden |= {word for word in words if len(word) >= least}
    for word in sorted(hidden, key=len, reverse=True):
        text = text.replace(word, "***")
    return text
