# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Downloads of archives, kept on the controller by their checksums."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from typing import IO

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.bounds import MOST_BYTES, REMEDY
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import FetchError, SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import cache_folder

# The number of hexadecimal digits of each kind of checksum.
DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
CHECKSUM = re.compile(r"(sha256|sha384|sha512):([0-9a-fA-F]+)\Z")

# Seconds that a download may stay silent, and that it may take.
SILENCE = 30
LONGEST = 3600


def downloaded(url: str, checksum: str) -> Path:
    """The file of a download. It is kept by its checksum, so that it is fetched once."""
    if not checksum:
        raise SourceError(
            f"source.archive is the address {redacted(url)}, so source.checksum must say what is expected. "
            "Write it as 'sha256:' and the digest."
        )
    parsed_checksum(checksum)
    target = cache_folder() / "archives" / checksum.replace(":", "-").lower()
    if target.exists():
        try:
            verify(target, checksum, target.name)
            return target
        except SourceError:
            target.unlink()  # it is damaged: fetch it again
    target.parent.mkdir(mode=0o700, exist_ok=True)
    for left in target.parent.glob(f"{target.name}.*"):
        if not is_running(left.suffix[1:]):
            left.unlink(missing_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    # Only here: it takes a tenth of a second, and few runs download anything.
    from ansible.module_utils.urls import open_url

    try:
        with open_url(url, timeout=SILENCE) as answer, open(partial, "wb") as stream:
            copy(answer, stream, redacted(url))
        verify(partial, checksum, redacted(url))
        partial.rename(target)
    except SourceError:
        raise
    except Exception as error:  # open_url passes on the errors of all its layers
        raise FetchError(f"downloading {redacted(url)} failed: {redacted(str(error))}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def copy(answer: IO[bytes], stream: IO[bytes], name: str) -> None:
    """Write what a server sends into a file, within the limits of a source."""
    room, end = MOST_BYTES, time.monotonic() + LONGEST
    while chunk := answer.read(1 << 20):
        room -= len(chunk)
        if time.monotonic() > end:
            raise FetchError(f"downloading {name} did not end within {LONGEST} seconds. Use a faster server.")
        if room < 0:
            raise SourceError(f"{name} has more than {MOST_BYTES // 1024**3} GiB. {REMEDY}")
        stream.write(chunk)


def is_running(number: str) -> bool:
    """Whether the process still runs whose number a partial download has in its name."""
    try:
        os.kill(int(number), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def parsed_checksum(checksum: str) -> tuple[str, str]:
    """The kind of a checksum and its digest."""
    match = CHECKSUM.match(checksum)
    if not match:
        raise SourceError(
            f"source.checksum '{checksum}' is not a checksum. Write it as 'sha256:' (or sha384, sha512) and the digest."
        )
    kind, digest = match.groups()
    if len(digest) != DIGITS[kind]:
        raise SourceError(
            f"source.checksum '{checksum}' has {len(digest)} digits, but {kind} has {DIGITS[kind]}. "
            "Copy the whole digest."
        )
    return kind, digest.lower()


def verify(path: Path, checksum: str, name: str) -> None:
    """Refuse a file that has another checksum."""
    kind, wanted = parsed_checksum(checksum)
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, kind).hexdigest()
    if found != wanted:
        raise SourceError(
            f"{name} has the checksum {kind}:{found}, but source.checksum is {checksum}. "
            "It is not the expected file: get that one, or correct the checksum."
        )
