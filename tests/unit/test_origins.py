# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The description of archives, folders and packages for a host. It has no credentials."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources import scm
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.errors import SourceError
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins import Origin, origin_of, pin

SECRET = "hunter2-correct-horse"
pytestmark = pytest.mark.usefixtures("home")


def names(origin: Origin) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(origin.pack())) as tar:
        return sorted(tar.getnames())


def message(source: dict[str, Any], *bases: Path) -> str:
    with pytest.raises(SourceError) as caught:
        origin_of(source, [str(base) for base in bases]).pack()
    return str(caught.value)


def test_a_key_that_is_not_there_is_told_with_the_places_looked_in(tmp_path):
    told = message({"git": "git@forge.example:team/shop.git", "key": "keys/none"}, tmp_path)
    assert "source.key 'keys/none'" in told
    assert f"{tmp_path}/keys/none" in told


def test_nothing_that_the_host_is_told_holds_a_credential_or_a_key(tmp_path, monkeypatch):
    (tmp_path / "deploy-key").write_text("key")
    monkeypatch.setattr(Repository, "commit_of", lambda *_: "0" * 40)
    monkeypatch.setattr(scm, "described", lambda *_: "v1.0-0-g0000000")
    source = {"git": f"https://me:{SECRET}@forge.example/shop.git", "key": "deploy-key"}
    told = json.dumps(origin_of(source, [str(tmp_path)]).description)
    assert SECRET not in told
    assert "deploy-key" not in told


def test_an_archive_is_its_content_under_whatever_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as packed:
        packed.writestr("shop/app.py", "code")
    (tmp_path / "two.zip").write_bytes((tmp_path / "one.zip").read_bytes())
    one, two = (origin_of({"archive": f"{name}.zip"}, [str(tmp_path)]) for name in ("one", "two"))
    digest = hashlib.sha256((tmp_path / "one.zip").read_bytes()).hexdigest()
    assert one.description["digest"] == two.description["digest"] == digest
    assert one.description["revision"] == f"one.zip {digest[:12]}"
    assert names(one) == ["app.py"]


def test_an_archive_without_files_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "empty.zip has no files" in message({"archive": "empty.zip"}, tmp_path)


def test_the_revision_of_a_download_holds_nothing_of_its_address_but_the_name(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "kept", "w") as packed:
        packed.writestr("app.py", "code")
    monkeypatch.setattr(
        "ansible_collections.pyweb.stack.plugins.plugin_utils.sources.archives.downloaded", lambda *_: tmp_path / "kept"
    )
    for address in (f"https://store.example/shop.zip?X-Signature={SECRET}", f"https://me:{SECRET}@store.example"):
        told = origin_of({"archive": address, "checksum": "sha256:" + "0" * 64}, []).description
        assert SECRET not in json.dumps(told)
    assert told["revision"].startswith("archive ")


def test_a_package_is_fetched_by_the_host():
    origin = origin_of({"package": "shop==1.4.2"}, [])
    assert origin.description["revision"] == "shop==1.4.2"
    assert origin.pack is None


def test_an_archive_is_unpacked_once_before_a_host_is_asked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as packed:
        packed.writestr("app.py", "code")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("../evil", "code")
    assert pin({"archive": "good.zip"}, [str(tmp_path)]) == {}
    for _ in range(2):
        with pytest.raises(SourceError, match=r"evil\.zip"):
            pin({"archive": "evil.zip"}, [str(tmp_path)])
    monkeypatch.setattr("ansible_collections.pyweb.stack.plugins.plugin_utils.sources.origins.unpack", None)
    assert pin({"archive": "good.zip"}, [str(tmp_path)]) == {}


@pytest.mark.parametrize("source", [{"path": "shop"}, {"package": "shop==1"}])
def test_other_sources_have_nothing_to_pin(source):
    assert pin(source, []) == {}
