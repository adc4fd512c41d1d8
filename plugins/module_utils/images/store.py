# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The lock of the images of a host, and the removal of those that no release uses, or that were never finished."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from ansible_collections.pyweb.stack.plugins.module_utils.host import trees
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import MARK, folder_of, path_of

# The ending of an image that is being made.
UNFINISHED = ".new"


@contextmanager
def locked(root: str, patience: bool = True) -> Iterator[bool]:
    """Hold the lock of the images: from the choice of an image until a release names it. Yield whether it is held."""
    folder = folder_of(root)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    descriptor = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if patience else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def unit_of(unfinished: str) -> str:
    return f"pyweb-image-{os.path.basename(unfinished)}.service"


def stop(unfinished: str) -> None:
    """End the program that makes an image. Its mounts end with it, because they are its own."""
    argv = ["systemctl", "stop", unit_of(unfinished)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def remove_unfinished(root: str) -> None:
    """Remove what an interrupted run has left. The caller holds the lock."""
    for name in os.listdir(folder_of(root)):
        if name.endswith(UNFINISHED) and os.path.isdir(path_of(root, name)):
            stop(path_of(root, name))
            trees.remove(path_of(root, name))


def prune(root: str, used: Collection[str]) -> list[str]:
    """Remove the images that no release uses; return their names. While another run chooses one, none is removed."""
    if not os.path.isdir(folder_of(root)):
        return []
    with locked(root, patience=False) as is_held:
        if not is_held:
            return []
        remove_unfinished(root)
        unused = [name for name in os.listdir(folder_of(root)) if name != ".lock" and name not in used]
        for name in unused:
            trees.remove(path_of(root, name), first=(MARK,))
        return unused
