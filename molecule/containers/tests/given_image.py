# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Makes images for tests, on a host: from the image and the environment of a live release. Only the standard library.

given_image.py archive FILE VERSION COMMAND…    the archive of an image, as `docker save` writes it
given_image.py push ARCHIVE REGISTRY NAME TAG   into a registry, with the account ann
"""

import base64
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import urllib.request

LIVE = "/srv/webapps/boxed/current"
PROGRAM = "#!/usr/bin/python3\nfrom {} import {}\n{}()\n"
PROGRAMS = {"gunicorn": ("gunicorn.app.wsgiapp", "run"), "flask": ("flask.cli", "main")}


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def system_layer() -> bytes:
    """The root file system of the live release."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(os.path.realpath(f"{LIVE}/image/root"), ".", filter=lambda one: one if one.name != "./srv" else None)
    return stream.getvalue()


def code_layer(version: str) -> bytes:
    """The packages and the code of the live release, with another version."""
    stream = io.BytesIO()
    packages = next(os.scandir(os.path.realpath(f"{LIVE}/venv/lib"))).path
    python = os.path.basename(packages)
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(f"{packages}/site-packages", f"usr/local/lib/{python}/dist-packages")
        for name in ("requirements.txt", "static"):
            tar.add(f"{LIVE}/src/{name}", f"app/{name}")
        with open(f"{LIVE}/src/boxed.py", encoding="utf-8") as code:
            files = {"app/boxed.py": code.read().replace('"slow\\n"', f'"{version}\\n"')}
        for name, (module, function) in PROGRAMS.items():
            files[f"usr/local/bin/{name}"] = PROGRAM.format(module, function, function)
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(text), 0o700, 1000
            tar.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def archive(path: str, version: str, *command: str) -> None:
    layers = [system_layer(), code_layer(version)]
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"WorkingDir": "/app", "Cmd": list(command), "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        # An engine that builds on this image counts the layers here.
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "given_image.py"} for _layer in layers],
    }
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [], "Layers": names}]
    files = {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for name, content in {**files, **dict(zip(names, layers, strict=True))}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def push(path: str, registry: str, name: str, tag: str) -> None:
    base = f"http://{registry}/v2/{name}"
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    layers = [gzip.compress(files[one], 1, mtime=0) for one in json.loads(files["manifest.json"])[0]["Layers"]]
    for content in [files["config.json"], *layers]:
        place = ask("POST", f"{base}/blobs/uploads/").headers["Location"]
        ask(
            "PUT", f"{place}{'&' if '?' in place else '?'}digest={digest(content)}", content, "application/octet-stream"
        )
    kind = "application/vnd.oci.image."
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}manifest.v1+json",
        "config": described(files["config.json"], f"{kind}config.v1+json"),
        "layers": [described(one, f"{kind}layer.v1.tar+gzip") for one in layers],
    }
    ask("PUT", f"{base}/manifests/{tag}", json.dumps(manifest).encode(), manifest["mediaType"])


def described(content: bytes, kind: str) -> dict:
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


def ask(method: str, url: str, content: bytes = b"", kind: str = ""):
    request = urllib.request.Request(url, content, method=method)
    login = base64.b64encode(b"ann:s3cret").decode()
    request.add_header("Authorization", f"Basic {login}")
    request.add_header("Content-Type", kind or "application/json")
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)


if __name__ == "__main__":
    {"archive": archive, "push": push}[sys.argv[1]](*sys.argv[2:])
