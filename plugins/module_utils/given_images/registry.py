# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Ask a registry for an image, by the protocol of its distribution. The password goes to no other server.

The controller asks which image a tag names, and each host fetches that image.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import IO, Any

from ansible_collections.pyweb.stack.plugins.module_utils.given_images.documents import (
    INDEXES,
    MANIFESTS,
    MOST_BYTES,
    broken,
    digest_of,
    document,
    shown,
)
from ansible_collections.pyweb.stack.plugins.module_utils.given_images.references import Reference
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import ImageError

# Seconds that a registry may stay silent.
SILENCE = 30
BLOCK = 1024**2
CHALLENGE = re.compile(r'([a-z_]+)="([^"]*)"')


class UnreachableError(ImageError):
    """A registry does not answer now. The inventory may be right."""


@dataclass(frozen=True)
class Login:
    """How a registry is asked. The password is in no message."""

    username: str = ""
    password: str = field(default="", repr=False)
    plain_http: bool = False

    @property
    def basic(self) -> str:
        text = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(text).decode()}" if self.username or self.password else ""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Registries keep large files on other servers, which must not get the login."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is None:
            return None
        before, after = (urllib.parse.urlsplit(one.full_url) for one in (req, new))
        if before.scheme == "https" and after.scheme != "https":
            raise urllib.error.URLError("it redirects to an address without encryption")
        if (before.scheme, before.netloc) != (after.scheme, after.netloc):
            new.remove_header("Authorization")
        return new


class Registry:
    """A registry, as far as one image is concerned."""

    def __init__(self, reference: Reference, login: Login) -> None:
        self.reference, self.login = reference, login
        self.opener = urllib.request.build_opener(Redirects)
        self.authorization = ""

    @property
    def what(self) -> str:
        """The image in messages."""
        reference = self.reference
        return f"the image '{reference.name}{'@' if reference.digest else ':'}{reference.version}'"

    def document(self, version: str) -> tuple[dict[str, Any], str]:
        """An index or a manifest, by its tag or its digest; and its digest."""
        accepted = {"Accept": ", ".join([*INDEXES, *MANIFESTS])}
        with self.asked(f"manifests/{version}", accepted) as answer:
            content = self.read(answer, MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise broken(self.what, "its manifest is too large")
        digest = digest_of(content)
        if version.startswith("sha256:") and version != digest:
            raise broken(self.what, f"the registry has sent another manifest than {version}")
        return document(content, self.what), digest

    def small(self, digest: str) -> bytes:
        """A small file, such as the configuration."""
        with self.asked(f"blobs/{digest}") as answer:
            content = self.read(answer, MOST_BYTES + 1)
        if digest_of(content) != digest:
            raise broken(self.what, f"the registry has sent another file than {digest}")
        return content

    def fetch(self, digest: str, target: IO[bytes]) -> None:
        """Write a layer into a file."""
        total = hashlib.sha256()
        with self.asked(f"blobs/{digest}") as answer:
            while block := self.read(answer, BLOCK):
                total.update(block)
                target.write(block)
        if f"sha256:{total.hexdigest()}" != digest:
            raise broken(self.what, f"the registry has sent another layer than {digest}, or only a part of it")

    def read(self, answer: Any, size: int) -> bytes:
        try:
            found: bytes = answer.read(size)
        except (OSError, HTTPException) as error:
            raise self.unreachable(error) from error
        return found

    def asked(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """The answer to a question, with a login if the registry wants one."""
        scheme = "http" if self.login.plain_http else "https"
        url = f"{scheme}://{self.reference.registry}/v2/{self.reference.repository}/{path}"
        for attempt in range(2):
            request = urllib.request.Request(url, headers=headers or {})  # noqa: S310  # the scheme is one of these two
            if self.authorization:
                request.add_header("Authorization", self.authorization)
            try:
                return self.opener.open(request, timeout=SILENCE)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 401 and attempt == 0:
                        self.authorization = self.authorized(error.headers.get_all("WWW-Authenticate") or [])
                        continue
                    raise self.refused(error.code) from error
            except (OSError, HTTPException, ValueError) as error:
                raise self.unreachable(error) from error
        raise AssertionError

    def authorized(self, challenges: list[str]) -> str:
        """The authorization that a registry asks for: the login itself, or a token of its server for tokens."""
        for challenge in challenges:
            kind, _space, rest = challenge.partition(" ")
            if kind.lower() == "basic" and self.login.basic:
                return self.login.basic
            if kind.lower() == "bearer":
                return f"Bearer {self.token(dict(CHALLENGE.findall(rest)))}"
        raise self.refused(401)

    def token(self, challenge: dict[str, str]) -> str:
        realm = challenge.get("realm", "")
        if not realm.startswith("https://") and not (self.login.plain_http and realm.startswith("http://")):
            raise broken(self.what, f"the registry's server for tokens is '{shown(realm)}', which is no https address")
        asked = {"scope": f"repository:{self.reference.repository}:pull"}
        if "service" in challenge:
            asked["service"] = challenge["service"]
        url = f"{realm}{'&' if '?' in realm else '?'}{urllib.parse.urlencode(asked)}"
        request = urllib.request.Request(url)  # noqa: S310  # see above
        if self.login.basic:
            request.add_header("Authorization", self.login.basic)
        try:
            with self.opener.open(request, timeout=SILENCE) as answer:
                found = json.loads(answer.read(MOST_BYTES))
            token = found.get("token") or found.get("access_token")
        except urllib.error.HTTPError as error:
            with error:
                raise self.refused(401 if error.code < 500 else error.code) from error
        except (OSError, HTTPException) as error:
            raise self.unreachable(error) from error
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            raise broken(self.what, "the registry's server for tokens has sent no token")
        return token

    def refused(self, status: int) -> ImageError:
        """Why a registry did not send what it was asked for."""
        registry = self.reference.registry
        if status in (401, 403):
            remedy = (
                "Correct source.registry.username and source.registry.password, or the name of the image."
                if self.login.basic
                else "Set source.registry.username and source.registry.password, or correct the name of the image."
            )
            return ImageError(f"the registry {registry} refuses {self.what} (status {status}). {remedy}")
        if status == 404:
            return ImageError(f"the registry {registry} has not got {self.what}. Correct source.image, or push it.")
        return UnreachableError(
            f"the registry {registry} answered {self.what} with the status {status}. Run again later."
        )

    def unreachable(self, error: Exception) -> ImageError:
        reason = shown(getattr(error, "reason", None) or str(error) or type(error).__name__)
        return UnreachableError(
            f"the registry {self.reference.registry} does not answer for {self.what}: {reason}. Check its name and the "
            "network. For a registry without HTTPS, set source.registry.plain_http."
        )
