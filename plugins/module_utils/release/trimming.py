# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Remove from uv's cache what no kept environment uses. Runs as the build account, as a program of its own.

Arguments: the folder of the cache, the time of the oldest kept environment, the most bytes that the cache may have, and
a file with the used packages, one ``name==version`` on a line.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys

INFO = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9.+!_]+)\.dist-info")

# Builds of folders, which no other release uses: each release is built from a new copy of its source.
FOLDERS = ("sdists-v*/path/*", "sdists-v*/editable/*")


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def package_in(folder: str) -> tuple[str, str]:
    """The package that an unpacked wheel contains, and its version."""
    try:
        names = os.listdir(folder)
    except OSError:
        return "", ""
    found = next((parts for parts in map(INFO.fullmatch, names) if parts), None)
    return (normalized(found[1]), found[2]) if found else ("", "")


def age_of(path: str) -> float:
    return os.lstat(path).st_mtime


def outdated(entries: list[tuple[str, str, str]], used: set[str]) -> list[str]:
    """The paths of entries (path, name, version) that are not used. The newest of each name stays.

    A build needs packages that no environment contains, such as setuptools.
    """
    newest: dict[str, str] = {}
    for path, name, _version in entries:
        if name and (name not in newest or age_of(path) > age_of(newest[name])):
            newest[name] = path
    return [path for path, name, version in entries if f"{name}=={version}" not in used and newest.get(name) != path]


def trim(cache: str, oldest: float, used: set[str]) -> None:
    paths = glob.glob(f"{glob.escape(cache)}/archive-v*/*")
    gone = outdated([(path, *package_in(path)) for path in paths], used)
    built = glob.glob(f"{glob.escape(cache)}/sdists-v*/index/*/*/*") + glob.glob(
        f"{glob.escape(cache)}/sdists-v*/pypi/*/*"
    )
    gone += outdated(
        [(path, normalized(os.path.basename(os.path.dirname(path))), os.path.basename(path)) for path in built], used
    )
    # The metadata of packages that resolutions have read: NAME/VERSION-TAGS.msgpack.
    read = [glob.glob(f"{glob.escape(cache)}/wheels-v*/{below}/*.msgpack") for below in ("pypi/*", "index/*/*")]
    for path in (*read[0], *read[1]):
        name, version = os.path.basename(os.path.dirname(path)), os.path.basename(path).partition("-")[0]
        gone += [] if f"{normalized(name)}=={version}" in used else [path]
    for pattern in FOLDERS:
        gone += glob.glob(f"{glob.escape(cache)}/{pattern}")
    # Sources of addresses and of commits: each build of another source adds one.
    for pattern in ("sdists-v*/url/*", "sdists-v*/git/*/*", "git-v*/checkouts/*/*"):
        gone += [path for path in glob.glob(f"{glob.escape(cache)}/{pattern}") if age_of(path) < oldest]
    # Environments for builds, which have ended.
    for pattern in ("builds-v*/*", "environments-v*/*", "archive-v*/.tmp*", "*/.tmp*"):
        gone += glob.glob(f"{glob.escape(cache)}/{pattern}")
    for path in gone:
        remove(path)
    for folder, folders, names in os.walk(cache):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            if os.path.islink(path) and not os.path.exists(path):
                for one in glob.glob(f"{glob.escape(path)}*"):
                    remove(one)


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def size_of(cache: str) -> int:
    """The bytes that the files take."""
    return sum(
        os.lstat(os.path.join(folder, name)).st_blocks * 512
        for folder, _folders, names in os.walk(cache)
        for name in names
    )


def main() -> None:
    cache, oldest, most, listed = sys.argv[1:]
    with open(listed, encoding="utf-8") as stream:
        used = set(stream.read().split("\n"))
    trim(cache, float(oldest), used)
    if size_of(cache) > int(most):
        remove(cache)


if __name__ == "__main__":
    main()
