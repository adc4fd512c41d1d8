# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Certificates and keys that a user gives: find them on the controller, decrypt and check them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.pyweb.stack.plugins.module_utils.tls.certificate import (
    CertificateError,
    certificates_of,
    expiry,
    inspect,
    keys_of,
    problems,
)

# Characters of a path. A longer value is another text.
LONGEST_PATH = 255
PEM = "-----BEGIN "


def folders(variables: Mapping[str, Any], loader: Any) -> list[str]:
    """The folders for relative paths: of the inventory, of the playbook, and where Ansible was started."""
    bases = [str(base) for base in (variables.get("inventory_dir"), loader.get_basedir(), os.getcwd()) if base]
    return list(dict.fromkeys([*bases, *(f"{base}/files" for base in bases)]))


def pem(value: str, places: list[str], loader: Any) -> str:
    """The text of a value, which is the text itself or the path of a file. Files of ansible-vault are decrypted."""
    if PEM in value or not value:
        return value
    path = os.path.expanduser(value)
    tried = [os.path.join(place, path) for place in places]
    found = next((name for name in tried if os.path.isfile(name)), None)
    if found is None:
        where = "it is not there" if os.path.isabs(path) else f"it is not in {', '.join(places)}"
        # It may be a key without its first line.
        shown = "its value" if len(value) > LONGEST_PATH or "\n" in value else f"'{value}'"
        raise CertificateError(f"{shown} is not a file on the controller: {where}")
    try:
        return str(loader.get_text_file_contents(found))
    except AnsibleError as error:
        raise CertificateError(f"'{value}' can't be read: {error}") from error


def part_of(text: str, kind: str) -> str:
    """The certificates (``certificate``) or the private keys (``key``) of a text; all of it for another kind."""
    parts = {"certificate": certificates_of, "key": keys_of}
    if kind not in parts or not text:
        return text
    found = parts[kind](text)
    if not found:
        raise CertificateError(f"a text or file that was given as a {kind} holds none in PEM form")
    return found


def with_texts(
    items: list[dict[str, Any]],
    read: Callable[[str], str],
    applications: Collection[str] = (),
    expired: dict[str, tuple[str, str]] | None = None,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The certificates of sites with the texts of given ones, and the problems with them.

    ``applications`` are the names of those sites that come from ``webapps``, for the messages. An expired certificate
    is a problem, too. With ``expired``, its fingerprint and its problem are added there instead, by its site: such a
    certificate may be deployed already.
    """
    found, wrong = [], []
    for item in items:
        name = item["name"]
        where = f"webapps '{name}'.site.tls" if name in applications else f"nginx_sites '{name}'.tls"
        if item["certificate"]:
            try:
                # A file may hold both. Ansible shows the certificate of a task, and hides its key.
                certificate, key = certificates_of(read(item["certificate"])), keys_of(read(item["key"]))
                item = {**item, "certificate": certificate, "key": key}
                content, now = inspect(certificate, key), time.time()
                reasons = problems(content, item["names"], now)
                if expired is not None and (problem := expiry(content, now)):
                    reasons.remove(problem)
                    expired[name] = (content.fingerprint, f"{where}: its certificate is not usable: {problem}.")
            except CertificateError as error:
                reasons = [str(error)]
            wrong += [f"{where}: its certificate is not usable: {why}." for why in reasons]
        found.append(item)
    return found, wrong
