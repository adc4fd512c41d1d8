# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remember the user IDs of removed accounts. A file that was missed, as in a backup, must not get a new owner."""

from __future__ import annotations

import json
import os
from contextlib import suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, read, write

PATH = "/var/lib/pyweb/retired-ids.json"


def retired_ids(path: str = PATH) -> list[int]:
    """The user and group IDs of removed accounts, the one that was removed first at the beginning."""
    with suppress(ValueError, TypeError):
        return [int(number) for number in json.loads(read(path) or b"[]")]
    return []


def retire(numbers: list[int], path: str = PATH) -> None:
    """Add IDs to the record, before their account is removed."""
    before = retired_ids(path)
    after = [number for number in before if number not in numbers] + list(dict.fromkeys(numbers))
    if after != before:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        write(File(path, json.dumps(after) + "\n"))
