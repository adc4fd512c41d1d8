# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Browsers that trust what a test gives them, and know a host by the names of its sites."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyweb_places import Place

AUTHORITY = "tls-debian13"
PORTS = {"first": 15000, "second": 15001}  # where the two authorities tell their roots


@dataclass(frozen=True)
class Answer:
    """What a browser gets."""

    status: int
    headers: dict[str, str]
    body: bytes
    protocol: str | None
    fingerprint: str

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass(frozen=True)
class Browser:
    """Asks one host over https."""

    address: str

    def context(self, trusted: str, **options: Any) -> ssl.SSLContext:
        """Trusts one authority alone, given as text; an empty one is anybody."""
        context = ssl.create_default_context(cadata=trusted or None)
        if not trusted:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for key, value in options.items():
            setattr(context, key, value)
        return context

    def connect(self, name: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection((self.address, 443), timeout=10)
        return context.wrap_socket(plain, server_hostname=name, session=session)

    def ask(self, name: str, path: str = "/", trusted: str = "", **options: Any) -> Answer:
        with self.connect(name, self.context(trusted, **options)) as secure:
            shown = hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
            connection = http.client.HTTPConnection(name)
            connection.sock = secure
            connection.request("GET", path)
            response = connection.getresponse()
            headers = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, headers, response.read(), secure.version(), shown)

    def shown(self, name: str) -> str:
        """The fingerprint of what is served to who asks for a name."""
        with self.connect(name, self.context("")) as secure:
            return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.fixture
def browser(facts: Any) -> Browser:
    return Browser(facts.address)


@pytest.fixture(scope="session")
def root_of(places: list[Place]) -> Callable[[str], str]:
    """The root that an authority made when it was started: `root_of("first")`."""
    address = next(place for place in places if place.name == AUTHORITY).reached["ansible_host"]

    def ask(which: str) -> str:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.ProxyHandler({})
        )
        return opener.open(f"https://{address}:{PORTS[which]}/roots/0", timeout=10).read().decode()

    return ask


@pytest.fixture(scope="session")
def given(scenario_inventory: str) -> Path:
    """The certificate that is given, beside the inventory."""
    return Path(scenario_inventory).parent / "given.crt"
