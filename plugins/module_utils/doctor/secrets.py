# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Find secrets of an application in places that every account can read. Changes nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import read_untrusted
from ansible_collections.pyweb.stack.plugins.module_utils.release.masking import secret_values

# The folders with definitions and sites.
PUBLIC = ("/etc/systemd/system", "/etc/supervisor", "/etc/cron.d", "/etc/nginx")
# Maximum size of a file, and number of files per folder.
MOST_BYTES = 1024 * 1024
MOST_FILES = 20_000
# A private key, or a line of a file with users and hashed passwords.
ALWAYS_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|(?m:^[^\s:#]+:(\$[0-9a-z]+\$|\{[A-Z0-9]+\})\S+$)")
# Bytes of a command line that are read.
COMMAND_LINE_BYTES = 256 * 1024


def private_files(
    variables: dict[str, dict[str, str]], folders: Iterable[str] = PUBLIC
) -> tuple[dict[str, list[str]], list[str]]:
    """For each application, the files that contain one of its secrets; and the files with keys or hashed passwords.

    ``variables`` are the variables of each application that may be secret.
    """
    values = {name: [value.encode() for value in secret_values(found)] for name, found in variables.items()}
    own: dict[str, list[str]] = {name: [] for name in variables}
    always: list[str] = []
    for path in files_below(folders):
        with suppress(OSError):
            content = read_untrusted(path, MOST_BYTES)
            if ALWAYS_PRIVATE.search(content):
                always.append(path)
            for name, secrets in values.items():
                if any(secret in content for secret in secrets):
                    own[name].append(path)
    return own, always


def files_below(folders: Iterable[str]) -> Iterable[str]:
    for folder in folders:
        with suppress(OSError):
            for visit in trees.walk(os.path.realpath(folder), trees.Budget(entries=MOST_FILES)):
                if not visit.leaving:
                    yield from (os.path.join(os.path.realpath(folder), visit.below(name)) for name in visit.files)


def told_by_command_lines(pids: Iterable[int], variables: dict[str, str]) -> list[str]:
    """The processes whose command line has the value of a secret, which every account can read there."""
    found = []
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read(COMMAND_LINE_BYTES)
            names = [
                name
                for name, value in variables.items()
                if any(secret.encode() in words for secret in secret_values({name: value}))
            ]
            if names:
                found.append(f"process {pid} has {', '.join(sorted(names))}")
    return found
