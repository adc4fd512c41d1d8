# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Folders as sources: the archive of the same files, and where a folder is looked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.files import archive
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.paths import find_folder


def test_the_archive_of_the_same_files_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text("app")
    first = archive(tmp_path, ["app.py"])
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)
    assert archive(tmp_path, ["app.py"]) == first


# Where it is


def test_a_relative_path_is_looked_for_below_every_base(tmp_path: Path) -> None:
    (tmp_path / "two/shop").mkdir(parents=True)
    (tmp_path / "file").touch()
    bases = [str(tmp_path / "one"), str(tmp_path / "two")]
    assert find_folder("shop", bases) == tmp_path / "two/shop"
    assert find_folder("../two/shop", bases) == tmp_path / "two/shop"
    with pytest.raises(SourceError, match=r"'nope' does not exist. Looked for: .*/one/nope, .*/two/nope"):
        find_folder("nope", bases)
    with pytest.raises(SourceError, match="is a file"):
        find_folder("file", [str(tmp_path)])
