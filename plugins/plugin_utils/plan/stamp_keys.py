# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Keys of the stamp: hashes of a desired state and of the collection's code."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

COLLECTION = Path(__file__).resolve().parents[3]

# Rounds of SHA-256 that make it expensive to guess a secret from its key: about 20 ms for each guess. Keys are facts,
# which a verbose run prints. Every build of Python has PBKDF2; some lack scrypt.
ROUNDS = 50_000


@functools.cache
def code_digest() -> str:
    """A fingerprint of the collection's code and templates. A new version makes all stamps invalid."""
    total = hashlib.sha256()
    # The style and the script of the status page belong to its program.
    plugins = (path for kind in ("py", "css", "js") for path in (COLLECTION / "plugins").rglob(f"*.{kind}"))
    files = (path for kind in ("templates", "files") for path in COLLECTION.glob(f"roles/*/{kind}/**/*"))
    for path in sorted([*plugins, *(path for path in files if path.is_file())]):
        total.update(str(path.relative_to(COLLECTION)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def stamp_key(wanted: Any, secrets: str = "") -> str:
    """The key of a desired state. It depends on ``secrets`` too, and guessing them from the key is expensive."""
    text = json.dumps(wanted, sort_keys=True, default=str)
    key = hashlib.sha256(f"{code_digest()}\0{text}".encode())
    return hashlib.pbkdf2_hmac("sha256", secrets.encode(), key.digest(), ROUNDS).hex() if secrets else key.hexdigest()
