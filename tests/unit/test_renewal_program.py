# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The program that renews certificates on hosts, packed into one file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_command
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import own_file, shown
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.certificates import Certificates
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.renewal import OLD_PROGRAM, PROGRAM, Renewal, program
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.renewal_program import after_refusal
from ansible_collections.pyweb.stack.plugins.module_utils.tls.acme import Authority
from ansible_collections.pyweb.stack.plugins.module_utils.tls.store import Store, Wanted


def test_the_program_is_the_same_on_every_host() -> None:
    assert program() == program()
    times = {entry.date_time for entry in zipfile.ZipFile(io.BytesIO(program())).infolist()}
    assert times == {(1980, 1, 1, 0, 0, 0)}


def test_the_program_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    store = Store(str(tmp_path), str(tmp_path), Authority())
    found = Certificates(store, [Wanted("shop", "selfsigned", ("shop.example.com",), 443)])
    texts = {"service": "s", "timer": "t", "cron": "c"}
    content = {file.path: file.content for file in Renewal(texts, False, {}, found, run_command).files()}
    assert content[OLD_PROGRAM] is None
    assert content[PROGRAM] == program()


def test_a_diff_shows_no_bytes_of_a_program(tmp_path: Path) -> None:
    file = own_file(str(tmp_path / "x"), b"PK\0\xff")
    assert shown(file.data).startswith("(not a text, SHA-256 ")
    assert shown("naïve".encode()) == "naïve"


def test_only_what_was_put_back_is_said_to_be_back(tmp_path: Path) -> None:
    """Another tool has replaced half of a pair on the host, which this program never writes."""
    store = Store(str(tmp_path), str(tmp_path), Authority())
    half = Wanted("shop", "provided", ("shop.test",), 443, certificate_path="/le/full.pem", key_path="/le/key.pem")
    own = Wanted("blog", "selfsigned", ("blog.test",), 443)
    told = after_refusal(store, [half], {})
    assert "back:" not in told
    assert "/le/full.pem and /le/key.pem changed, and nothing was put back" in told
    assert "until it is started again" in told
    told = after_refusal(store, [half, own], {store.path(own): "the old one"})
    assert "The previous certificates are back: blog. shop: /le/full.pem" in told
