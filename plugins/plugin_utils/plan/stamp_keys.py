# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Keys of the stamp: each stands for a desired state and for the code that would check it."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

COLLECTION = Path(__file__).resolve().parents[3]

# The cost of guessing a secret by its key: rounds of SHA-256, some 20 ms for each guess. Keys are facts, which a
# verbose run shows. Every build of Python has PBKDF2; scrypt is missing from some.
ROUNDS = 50_000


@functools.cache
def code_digest() -> str:
    """A fingerprint of the code that plans, renders and runs: what an older version verified does not count."""
    total = hashlib.sha256()
    plugins = (COLLECTION / "plugins").rglob("*.py")
    files = (path for kind in ("templates", "files") for path in COLLECTION.glob(f"roles/*/{kind}/**/*"))
    for path in sorted([*plugins, *(path for path in files if path.is_file())]):
        total.update(str(path.relative_to(COLLECTION)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def stamp_key(wanted: Any, secrets: str = "") -> str:
    """The key of a desired state. It depends on ``secrets`` too, and guessing them by the key is expensive."""
    text = json.dumps(wanted, sort_keys=True, default=str)
    key = hashlib.sha256(f"{code_digest()}\0{text}".encode())
    return hashlib.pbkdf2_hmac("sha256", secrets.encode(), key.digest(), ROUNDS).hex() if secrets else key.hexdigest()
