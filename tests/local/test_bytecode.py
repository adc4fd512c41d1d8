# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The compiled code that a host keeps: modules run as without it, and only root can put code there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible.executor import module_common
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions import bytecode
from hostile_account import needs_root

pytestmark = needs_root

# A program as ansible-core builds it: it imports from an archive, which is the first entry of sys.path.
PROGRAM = """
import sys
sys.path.insert(0, {archive!r})
from ansible_collections.shop import words, deep
from ansible_collections.shop.deep import thing
import inspect
print(words.WORD, thing.answer(), inspect.getsource(words).strip(), type(words.__loader__).__name__)
"""


def archive(path: Path, word: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, text in {
            "ansible_collections/__init__.py": "",
            "ansible_collections/shop/__init__.py": "",
            "ansible_collections/shop/words.py": f"WORD = {word!r}\n",
            "ansible_collections/shop/deep/__init__.py": "from . import thing\n",
            "ansible_collections/shop/deep/thing.py": "from .. import words\ndef answer(): return len(words.WORD)\n",
        }.items():
            stream.writestr(name, text)
    return path


def run(path: Path, folder: Path, before: str = "") -> str:
    """The output of a program that imports from the archive."""
    prelude = bytecode.prelude().decode().replace("\ninstall()\n", f"\ninstall({str(folder)!r})\n")
    text = f"from __future__ import annotations\n{before}\n{prelude}\n{PROGRAM.format(archive=str(path))}"
    done = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_second_call_takes_the_code_from_the_folder_and_a_changed_source_is_compiled(tmp_path: Path) -> None:
    folder = tmp_path / "bytecode"
    assert run(archive(tmp_path / "a.zip", "shop"), folder) == "shop 4 WORD = 'shop' Loader"
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(files) == 5
    assert folder.stat().st_mode & 0o777 == 0o700
    # Another archive with the same modules, in another place.
    assert run(archive(tmp_path / "b.zip", "shop"), folder) == "shop 4 WORD = 'shop' Loader"
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files
    assert run(archive(tmp_path / "a.zip", "shops"), folder) == "shops 5 WORD = 'shops' Loader"
    assert len(list(folder.iterdir())) == 6


def test_damaged_code_is_compiled_again(tmp_path: Path) -> None:
    folder = tmp_path / "bytecode"
    run(archive(tmp_path / "a.zip", "shop"), folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    assert run(tmp_path / "a.zip", folder) == "shop 4 WORD = 'shop' Loader"


@pytest.mark.parametrize("kind", ["writable", "owned", "link", "file", "missing parent"])
def test_a_folder_that_others_can_change_is_not_used(tmp_path: Path, kind: str) -> None:
    tmp_path.chmod(0o755)
    folder = tmp_path / "bytecode"
    run(archive(tmp_path / "a.zip", "shop"), folder)
    before = sorted(folder.iterdir())
    if kind == "writable":
        folder.chmod(0o770)
    elif kind == "owned":
        os.chown(folder, 65534, 65534)
    elif kind == "link":
        folder.rename(tmp_path / "theirs")
        folder.symlink_to(tmp_path / "theirs")
    elif kind == "file":
        folder = tmp_path / "a.zip"
    else:
        folder = tmp_path / "missing" / "missing" / "bytecode"
    assert run(archive(tmp_path / "b.zip", "shops"), folder) == "shops 5 WORD = 'shops' zipimporter"
    if kind in ("writable", "owned"):
        assert sorted(folder.iterdir()) == before


def test_a_module_without_root_runs_without_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    archive(tmp_path / "a.zip", "shop")
    without_root = "import os; os.geteuid = lambda: 65534"
    assert run(tmp_path / "a.zip", tmp_path / "bytecode", without_root) == "shop 4 WORD = 'shop' zipimporter"
    assert not (tmp_path / "bytecode").exists()


def test_too_many_files_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "bytecode"
    folder.mkdir(0o700)
    for number in range(1501):
        (folder / str(number)).touch()
    run(archive(tmp_path / "a.zip", "shop"), folder)
    assert len(list(folder.iterdir())) == 5


def test_the_program_of_ansible_core_has_one_place_for_ours() -> None:
    # Otherwise, with_bytecode leaves it as it is, and each call compiles all its code.
    assert module_common._ANSIBALLZ_CODE.count(bytecode.FIRST.decode()) == 1
