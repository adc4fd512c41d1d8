# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Words that nginx gives a meaning of its own, and quotes do not take it away. Pure.

Each directive of the table gets a text of the user. The forms in ``values`` exclude all other such words: paths begin
with a slash, domains have neither ``~`` nor ``*`` alone, and no text has a ``$``.
"""

from __future__ import annotations

WORDS: dict[str, dict[str, str]] = {
    "auth_basic": {
        "off": "nginx would ask for no password. Use another text. In a location, users: {} disables passwords."
    },
    "error_log": {"off": "nginx reads 'off' as a file's name here. Use /dev/null, or leave it out."},
    "server_name": {
        "_": "it is no host name, and nginx serves no other hosts with it. For the default site of the port, leave "
        "domains empty."
    },
    # The key is the name of a header in lower case.
    "add_header": dict.fromkeys(
        ("connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
        "nginx and the client read it as the form of the response, which nginx alone knows. Remove it.",
    ),
}


def problem(directive: str, text: str) -> str | None:
    """The reason why a text can't be the argument of a directive; None if it can."""
    return WORDS[directive].get(text.lower() if directive == "add_header" else text)
