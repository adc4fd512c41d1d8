# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The credentials of a git repository: they are in no command line, and git gives them to one server alone."""

from __future__ import annotations

import re
from urllib.parse import unquote

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError

# Credential helpers as git runs them: by a shell, with the secrets in its environment, because everyone can read a
# command line. Git asks with "get", and also offers what it was given.
LOGIN = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$PYWEB_GIT_USERNAME" "$PYWEB_GIT_PASSWORD"; }; f'
)
ASKED = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    """"$("$PYWEB_GIT_ASKPASS" "Username for '$PYWEB_GIT_SERVER': ")" """
    """"$("$PYWEB_GIT_ASKPASS" "Password for '$PYWEB_GIT_SERVER': ")"; }; f"""
)


def credentials(
    address: str, username: str, password: str, askpass: str = ""
) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The settings by which git finds the credentials for this server alone, and the variables with the secrets.

    ``askpass`` is the program that a CI system passes.
    """
    server = server_of(address)
    if not server:
        return [], {}
    place = f"credential.{server}"
    settings = [(f"{place}.username", username)] if username else []
    if password:
        # An empty name forgets the helpers of the user's own settings, which could keep the password.
        settings += [(f"{place}.helper", ""), (f"{place}.helper", LOGIN)]
        return settings, {"PYWEB_GIT_USERNAME": username, "PYWEB_GIT_PASSWORD": password}
    if askpass:
        settings.append((f"{place}.helper", ASKED))
        return settings, {"PYWEB_GIT_ASKPASS": askpass, "PYWEB_GIT_SERVER": server}
    return settings, {}


def without_login(address: str) -> tuple[str, str, str]:
    """An address of http or https without its credentials, and their account and password; any other as it is."""
    found = re.match(r"(https?://)([^/?#]*)@(.*)", address, re.IGNORECASE | re.DOTALL)
    if not found:
        return address, "", ""
    username, _colon, password = found[2].partition(":")
    username, password = unquote(username), unquote(password)
    if re.search(r"[\x00-\x1f\x7f]", username + password):
        raise SourceError(
            f"source.git '{redacted(address)}' has a control character in its account or password. Remove it."
        )
    return found[1] + found[3], username, password


def server_of(address: str) -> str:
    """The scheme and the server of an address of http or https; empty for any other."""
    found = re.match(r"https?://[^/?#@]+", address, re.IGNORECASE)
    return found[0] if found else ""
