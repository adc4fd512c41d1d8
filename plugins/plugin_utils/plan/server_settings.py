# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Restart a process for changed settings of its app server: its definition contains their hash. Pure.

A service and its settings file belong to two roles. The unit file or program file on the host holds the hash. So the
next run makes up for a run that failed between the two.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers import services
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.table import SERVERS
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import ROLES
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.words import split_command

# The variable of the process that holds the hash.
VARIABLE = "SETTINGS_HASH"


def with_settings(definitions: Any, given: Mapping[str, Any]) -> Any:
    """The services or programs, each with the hash of the settings that its start command uses.

    ``given`` are the services of each app server.
    """
    hashes = dict(start_commands(given))
    return [with_hash(one, hashes) for one in definitions] if isinstance(definitions, list) else definitions


def start_commands(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The start command of each service of an app server, and the hash of its files."""
    for server, items in given.items():
        found, problems = services.checked(server, items)
        # The role of the app server reports them.
        for item in [] if problems else found:
            files = SERVERS[server].rules.files_of([item], shlex.quote)
            sources = [(ROLES / server / "templates" / file["template"]).read_text(encoding="utf-8") for file in files]
            text = json.dumps([files, sources], sort_keys=True, default=str)
            yield f"{item['directory'].rstrip('/')}/bin/web", hashlib.sha256(text.encode()).hexdigest()


def with_hash(definition: Any, hashes: Mapping[str, str]) -> Any:
    if not isinstance(definition, dict):
        return definition
    command, environment = definition.get("command"), definition.get("environment") or {}
    words = split_command(command)[0] if isinstance(command, str) else command
    name = str(words[0]) if isinstance(words, list) and words else ""
    if name not in hashes or not isinstance(environment, dict):
        return definition
    return {**definition, "environment": {**environment, VARIABLE: hashes[name]}}
