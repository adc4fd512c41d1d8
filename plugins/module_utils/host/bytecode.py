# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Keep the compiled code of modules on the host, in the part of a module's program that runs before its first import.

Ansible sends a module with all its imports as source in an archive. For each call, Python compiles them, once to find
them and once to run them. That is half of the processor time of a call that changes nothing (0.39 s without this file,
0.18 s with it, on the machine of docs/benchmarks.md). plugin_utils.actions.bytecode inserts this text into the program
of a module, so it uses nothing but the standard library. The code is kept in memory (/run) and belongs to root. Its
name is the digest of its source. Without root, or without the folder, a module runs as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
from zipimport import zipimporter

FOLDER = "/run/pyweb/bytecode"
# The number of files from which all are removed. A version of the collection has about 300.
MOST = 1500
DIGEST = 20


class Bytecode:
    """The compiled code in one folder."""

    def __init__(self, path: str) -> None:
        for folder, mode in ((os.path.dirname(path), 0o755), (path, 0o700)):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, mode)
        self.folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        status = os.fstat(self.folder)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(path)

    def load(self, key: str):  # type: ignore[no-untyped-def]  # None or code
        with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
            with open(os.open(key, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.folder), "rb") as stream:
                data = stream.read()
            code = data[DIGEST:]
            if data[:DIGEST] == digest(code):
                return marshal.loads(code)  # noqa: S302  # only root can write to the folder
        return None

    def save(self, key: str, code) -> None:  # type: ignore[no-untyped-def]  # code
        data = marshal.dumps(code)
        temporary = f"{key}.{os.getpid()}"
        with contextlib.suppress(OSError):
            if len(names := os.listdir(self.folder)) > MOST:
                for name in names:
                    os.unlink(name, dir_fd=self.folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(temporary, flags, 0o600, dir_fd=self.folder), "wb") as stream:
                stream.write(digest(data) + data)
            os.replace(temporary, key, src_dir_fd=self.folder, dst_dir_fd=self.folder)


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()


class Loader:
    """The loader of one module in an archive. It takes the module's code from the folder."""

    def __init__(self, archive: zipimporter, path: str, source: bytes, bytecode: Bytecode) -> None:
        self.archive, self.path, self.source, self.bytecode = archive, path, source, bytecode

    def __getattr__(self, name: str) -> object:
        return getattr(self.archive, name)

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module) -> None:  # type: ignore[no-untyped-def]  # any module
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102  # as every loader does

    def get_code(self, name: str):  # type: ignore[no-untyped-def]  # code
        key = digest(MAGIC_NUMBER + name.encode() + b"\0" + self.source).hex()
        code = self.bytecode.load(key)
        if code is None:
            code = compile(self.source, self.path, "exec", dont_inherit=True)
            self.bytecode.save(key, code)
        return code

    def get_filename(self, name: str) -> str:
        return self.path

    def get_source(self, name: str) -> str:
        return self.source.decode()


class Finder:
    """Finds modules in the archive of a module. The finder of Python compiles a module to find it, and then again."""

    def __init__(self, bytecode: Bytecode) -> None:
        self.bytecode = bytecode

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in ("ansible", "ansible_collections") or not sys.path[0].endswith(".zip"):
            return None
        archive = zipimporter(sys.path[0])
        place = os.path.join(sys.path[0], *name.split("."))
        for file, is_package in ((f"{place}/__init__.py", True), (f"{place}.py", False)):
            try:
                loader = Loader(archive, file, archive.get_data(file), self.bytecode)
            except OSError:
                continue
            spec = ModuleSpec(name, loader, origin=file, is_package=is_package)  # type: ignore[arg-type]
            spec.has_location = True
            if is_package:
                spec.submodule_search_locations = [place]
            return spec
        return None


def install(path: str = FOLDER) -> None:
    """Use the folder for all imports of this process that come from an archive. Only root has one."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            sys.meta_path.insert(0, Finder(Bytecode(path)))
