# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Mistakes in an inventory, and what every message about one has to be like.

The scenario `bad_input` has those that a host finds, tests/local/test_bad_input.py those that the controller finds.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import yaml
from pyweb_data import merged
from pyweb_playbooks import CHECKOUT, Run

EXAMPLE = CHECKOUT / "examples" / "hello"
SCENARIO = CHECKOUT / "molecule" / "bad_input"
NGINX_PLAYBOOK = str(SCENARIO / "nginx.yml")
INVENTORY = yaml.safe_load((SCENARIO / "inventory" / "group_vars" / "web.yml").read_text())
ON_CONTROLLER = yaml.safe_load((CHECKOUT / "tests" / "local" / "bad_input.yml").read_text())
SECRET = "no-message-shows-this"

NEWCOMER = {
    "name": "newcomer",
    "source": {"path": str(EXAMPLE)},
    "wsgi": "hello:app",
    "proxy_fix": True,
    "workers": 1,
    "health": {"path": "/healthz", "timeout": 20},
    "site": {"domains": ["newcomer.example.com"]},
}

# The insides of Ansible and of Jinja, and tracebacks of this collection; one of the application's own is welcome.
INTERNALS = re.compile(
    r"jinja|AnsibleError|AnsibleFilterError|UndefinedError|' is undefined|MODULE FAILURE|Unexpected|<<< caused by >>>"
    r"|Finalization of task args|filter plugin|ansible_collections/pyweb/stack/plugins|module_stderr|AnsiballZ",
    re.IGNORECASE,
)


def case_name(case: dict[str, Any]) -> str:
    """The name of a case, as a part of a test's name."""
    return case["case"].replace(",", "").replace(" ", "-")


def variables(case: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The variables that a case gives to ansible-playbook; its files are written to the folder."""
    if "nginx" in case:
        return {"nginx_sites": case["nginx"]}
    if isinstance(case.get("webapps"), str):
        return {"webapps": case["webapps"]}
    apps = copy.deepcopy(INVENTORY["webapps"])
    made = {}
    if "files" in case:
        shutil.copy(EXAMPLE / "requirements.txt", folder)
        for name, text in case["files"].items():
            (folder / name).write_text(text)
        made = {"source": {"path": str(folder)}}
    if "hello" in case:
        apps[0] = merged(merged(apps[0], made), case["hello"])
        made = {}
    if "newcomer" in case:
        apps.append(merged(merged(NEWCOMER, made), placed(case["newcomer"], folder)))
    return {"webapps": [*apps, *case.get("webapps", [])], **case.get("variables", {})}


def placed(change: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A change, with the archive or the repository that it names made up in the folder."""
    text = json.dumps(change)
    if "ARCHIVE" in text:
        with zipfile.ZipFile(folder / "shop.zip", "w") as packed:
            packed.writestr("../evil.py", "app = print")
    if "REPOSITORY" in text:
        subprocess.run(["git", "init", "--quiet", str(folder / "shop")], check=True)
    text = text.replace("ARCHIVE", str(folder / "shop.zip")).replace("REPOSITORY", str(folder / "shop"))
    return json.loads(text)


def assert_told(case: dict[str, Any], run: Run, host: str) -> None:
    """The run has failed on the host, once, with a message for a person."""
    assert run.counts(host)["failed"] == 1
    message = run.failure(host)
    named = str(case.get("names", "newcomer" if "newcomer" in case else "hello"))
    for words in [named, *case["says"]]:
        assert words in message
    assert SECRET not in run.output
    assert not INTERNALS.search(run.output)
