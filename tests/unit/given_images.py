# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Small images for tests: their layers, their archives, and a registry that serves one of them."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
# An application whose code runs in an image that is built for it.
BOXED: dict[str, Any] = {
    "name": "shop",
    "source": {"path": "x"},
    "wsgi": "shop:app",
    "runtime": "container",
    "container": {"containerfile": "Containerfile"},
}
# An image in which an application can run.
PYTHON: list[Any] = ["bin/", ("bin/sh", b"sh", 0o755), ("usr/local/bin/python3.12", b"python", 0o755)]
PYTHON += [("usr/local/bin/python3", "->", "python3.12"), ("usr/local/bin/gunicorn", b"gunicorn", 0o755)]


def entry(given: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a layer: a folder, a file with its content and mode, or one of another type with its target."""
    if isinstance(given, tarfile.TarInfo):
        return given, b""
    if isinstance(given, str):
        member = tarfile.TarInfo(given)
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        return member, b""
    name, content, more = given
    member = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        member.size, member.mode, member.mtime = len(content), more, 1_700_000_000
        return member, content
    member.type = {"->": tarfile.SYMTYPE, "=": tarfile.LNKTYPE, "dev": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE}[
        content
    ]
    member.linkname = more or ""
    return member, b""


def layer(entries: list[Any]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for given in entries:
            member, content = entry(given)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def config_of(layers: list[bytes], **more: Any) -> bytes:
    config = {"Env": ["PATH=/usr/local/bin:/bin"], "WorkingDir": "/app", "Cmd": ["gunicorn", "shop:app"]}
    found = {
        "architecture": more.pop("architecture", ARCHITECTURE),
        "os": more.pop("os", "linux"),
        "config": {**config, **more},
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
    }
    return json.dumps(found).encode()


def blobs_of(layers: list[bytes], **more: Any) -> tuple[dict[str, bytes], str]:
    """The files of an image by their digests, and the digest of its manifest."""
    packed = [gzip.compress(one, mtime=0) for one in layers]
    config = config_of(layers, **more)
    named = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(one), "size": len(one)}
        for one in packed
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": digest(config)}, "layers": named}
    files = [*packed, config, json.dumps(manifest).encode()]
    return {digest(one): one for one in files}, digest(files[-1])


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def docker_archive(path: Path, layers: list[list[Any]], **more: Any) -> Path:
    """The archive that ``docker save`` writes."""
    packed = [layer(one) for one in layers]
    config = config_of(packed, **more)
    names = [f"{number}/layer.tar" for number in range(len(packed))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["shop:1"], "Layers": names}]).encode()
    return write_tar(path, {"config.json": config, "manifest.json": manifest, **dict(zip(names, packed, strict=True))})


def layout_archive(path: Path, layers: list[list[Any]], **more: Any) -> Path:
    """An OCI archive."""
    files, manifest = blobs_of([layer(one) for one in layers], **more)
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": manifest, "size": 1}]}
    blobs = {f"blobs/{name.replace(':', '/')}": content for name, content in files.items()}
    return write_tar(path, {"oci-layout": b"{}", "index.json": json.dumps(index).encode(), **blobs})


class Served:
    """A registry with one image, and what it was asked."""

    def __init__(self, layers: list[list[Any]], wants: str = "", **more: Any) -> None:
        self.files, self.manifest = blobs_of([layer(one) for one in layers], **more)
        self.tags = {"1": self.manifest}
        # The login that it wants: basic, token, or none.
        self.wants = wants
        self.asked: list[tuple[str, str]] = []
        self.status = 0
        self.redirects = ""
        self.address = ""

    @property
    def name(self) -> str:
        return f"{self.address}/team/shop"

    def add_index(self, architectures: list[str]) -> str:
        listed = [{"digest": self.manifest, "platform": {"os": "linux", "architecture": one}} for one in architectures]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}).encode()
        self.files[digest(index)] = index
        self.tags["1"] = digest(index)
        return digest(index)


LOGIN = f"Basic {base64.b64encode(b'ann:s3cret').decode()}"


@contextlib.contextmanager
def serving(served: Served) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("Authorization") or ""))
            self.answer(*answered(served, self.path, self.headers.get("Authorization") or ""))

        def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_words: Any) -> None:
            """The test reads what was asked."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


def answered(served: Served, path: str, authorization: str) -> tuple[int, bytes, dict[str, str]]:
    if path.startswith("/token?"):
        return (200, b'{"token": "t0ken"}', {}) if authorization == LOGIN else (401, b"", {})
    if served.status:
        return served.status, b"", {}
    if served.wants == "basic" and authorization != LOGIN:
        return 401, b"", {"WWW-Authenticate": 'Basic realm="registry"'}
    if served.wants == "token" and authorization != "Bearer t0ken":
        realm = f'Bearer realm="http://{served.address}/token",service="registry",scope="repository:team/shop:pull"'
        return 401, b"", {"WWW-Authenticate": realm}
    kind, version = path.removeprefix("/v2/team/shop/").split("/")
    if served.redirects and kind == "blobs":
        return 307, b"", {"Location": f"{served.redirects}{path}"}
    content = served.files.get(served.tags.get(version, version) if kind == "manifests" else version)
    return (404, b"{}", {}) if content is None else (200, content, {})
