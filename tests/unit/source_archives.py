# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Archives as sources, good ones and others."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

Entry = tuple[str, Any]


def tar_of(path: Path, entries: list[Entry], mode: str = "w:gz") -> Path:
    """Entries: (name, text), (name, None) for a folder, or (name, {attributes of TarInfo})."""
    with tarfile.open(path, mode) as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.mtime = 1_600_000_000
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, dict):
                for key, value in content.items():
                    setattr(member, key, value)
            data = content.encode() if isinstance(content, str) else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def zip_of(path: Path, entries: list[Entry]) -> Path:
    """Entries: (name, text), or (name, (text, mode))."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            text, mode = content if isinstance(content, tuple) else (content, stat.S_IFREG | 0o644)
            member = zipfile.ZipInfo(name, (2020, 9, 13, 12, 26, 40))
            member.filename = name
            member.external_attr = mode << 16
            packed.writestr(member, text)
    return path


def symlink(to: str) -> dict[str, Any]:
    return {"type": tarfile.SYMTYPE, "linkname": to}


def hardlink(to: str) -> dict[str, Any]:
    return {"type": tarfile.LNKTYPE, "linkname": to}


def good(folder: Path, kind: str) -> Path:
    path = folder / f"shop.{kind}"
    link = stat.S_IFLNK | 0o777
    if kind == "zip":
        return zip_of(
            path,
            [
                ("shop/app.py", "code"),
                ("shop/bin/run", ("run", stat.S_IFREG | 0o755)),
                ("shop/bin/app", ("../app.py", link)),
                ("__MACOSX/shop/._app.py", "finder"),
            ],
        )
    return tar_of(
        path,
        [
            ("./", None),
            ("./shop/", None),
            ("./shop/app.py", "code"),
            ("./shop/bin/run", "run"),
            ("./shop/bin/app", symlink("../app.py")),
        ],
        {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}[kind],
    )


def checksum_of(path: Path, kind: str = "sha256") -> str:
    return f"{kind}:{hashlib.new(kind, path.read_bytes()).hexdigest()}"
