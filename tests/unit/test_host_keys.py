# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Pinned keys of ssh servers: their form, and the file of known hosts that is made of them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.source import check_source
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.git import Repository, git_hint
from ansible_collections.pyweb.stack.plugins.plugin_utils.sources.host_keys import (
    known_hosts,
    problem_of_key,
    server_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import Checker


def key(kind: str = "ssh-ed25519") -> str:
    name = kind.encode()
    data = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + b"k" * 32
    return f"{kind} {base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("git@forge.example:team/shop.git", ("forge.example", "22")),
        ("forge.example:shop.git", ("forge.example", "22")),
        ("ssh://git@Forge.example/shop.git", ("forge.example", "22")),
        ("ssh://git@forge.example:2222/shop.git", ("forge.example", "2222")),
        ("git+ssh://forge.example/shop.git", ("forge.example", "22")),
        ("ssh://git@[2001:db8::1]:2222/shop.git", ("2001:db8::1", "2222")),
        ("https://forge.example/shop.git", ("", "")),
        ("file:///srv/shop.git", ("", "")),
        ("/srv/shop:1.git", ("", "")),
        ("./shop:1", ("", "")),
        ("ext::sh -c id", ("", "")),
    ],
)
def test_the_server_of_an_address(address: str, wanted: tuple[str, str]) -> None:
    assert server_of(address) == wanted


@pytest.mark.parametrize(
    "text", [key(), key("ecdsa-sha2-nistp256"), key("ssh-rsa"), f"{key()} root@forge", f"forge.example {key()}"]
)
def test_a_public_key_is_accepted(text: str) -> None:
    assert problem_of_key(text) == ""


@pytest.mark.attack("low", "A text of the inventory adds a line with a key for all servers")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 !!!!",
        key().replace("ssh-ed25519", "ssh-rsa"),
        f"* {key()}",
        f"@cert-authority {key()}",
        f"a,b {key()}",
        f"{key()}\n* {key()}",
        f"{key()} x\u2028\r\n* {key()}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert "is not a public host key" in problem_of_key(text)


def test_a_key_belongs_to_the_server_of_the_address() -> None:
    keys = [f"{key()} a comment", f"other.example {key('ssh-rsa')}"]
    text = known_hosts("ssh://git@forge.example:2222/shop.git", keys)
    assert text == f"forge.example,[forge.example]:2222 {key()}\nother.example {key('ssh-rsa')}\n"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"git": "https://forge.example/x.git", "host_key": [key()]}, "is no address for ssh"),
        ({"git": "git@forge.example:x.git", "host_key": ["x"]}, "'x' is not a public host key"),
        ({"git": "git@forge.example:x.git", "host_key": []}, "the list is empty"),
        ({"path": "x", "host_key": [key()]}, "does not apply to path"),
        ({"git": "git@forge.example:x.git", "host_key": [key()]}, ""),
        ({"git": "git@forge.example:x.git"}, ""),
    ],
)
def test_keys_are_checked(source: dict[str, object], words: str) -> None:
    checker = Checker()
    check_source(checker, source, "source")
    assert words in "\n".join(checker.problems)
    assert bool(checker.problems) == bool(words)


def test_without_a_pin_an_unknown_key_is_accepted_and_a_changed_one_is_not() -> None:
    assert "StrictHostKeyChecking=accept-new" in Repository("git@forge.example:x.git").ssh_command()


@pytest.mark.attack("low", "A server takes the place of a git server that was never contacted before")
@pytest.mark.parametrize("submodules", [False, True])
def test_with_a_pin_nothing_else_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, submodules: bool) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    repository = Repository("git@forge.example:x.git", None, [key()])
    command = repository.ssh_command(submodules=submodules)
    assert "StrictHostKeyChecking=yes" in command
    assert "StrictHostKeyChecking=accept-new" not in command
    assert "GlobalKnownHostsFile=/dev/null" in command
    (path,) = tmp_path.rglob("*.known_hosts")
    assert path.read_text() == f"forge.example {key()}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert f'UserKnownHostsFile="{path}"' in command
    assert ("HostKeyAlias=forge.example" in command) is not submodules


def test_the_hint_names_the_input() -> None:
    text = "No ED25519 host key is known.\nHost key verification failed."
    assert "source.host_key does not list" in git_hint(text, False, True)
    assert "ssh-keygen -R" in git_hint(text, False)
