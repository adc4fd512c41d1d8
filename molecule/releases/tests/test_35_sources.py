# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""A release from a private git repository: one of the hosts is the server that has it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENT, Place, begin_playbook, load_on, lost_nothing, webapps
from pyweb_places import everywhere
from pyweb_playbooks import CHECKOUT

# Who may only fetch, by a key that nobody has but the test.
SERVE = """set -eu
command -v git >/dev/null || {{ apt-get -qq update; apt-get -qq install --yes --no-install-recommends git; }} >/dev/null
id forge >/dev/null 2>&1 || useradd --create-home --shell /usr/bin/git-shell forge
usermod --password '*' forge
install -d -m 700 -o forge -g forge ~forge/.ssh
echo '{public}' >~forge/.ssh/authorized_keys
chown forge: ~forge/.ssh/authorized_keys
rm -rf ~forge/shop.git
tar -C ~forge -xf -
chown -R forge: ~forge/shop.git
"""


class Forge:
    """A repository of the patient here, and its copy on the server."""

    def __init__(self, place: Place, folder: Path, inventory: str) -> None:
        self.place = place
        self.folder = folder
        self.inventory = inventory
        self.work = folder / "work"
        self.key = folder / "deploy_key"
        self.known = folder / "known_hosts"
        shutil.copytree(PATIENT, self.work / "backend", ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.git("init", "--quiet", "--initial-branch", "main")

    @property
    def url(self) -> str:
        return f"ssh://forge@{self.place.address}/home/forge/shop.git"

    def git(self, *words: str) -> str:
        whom = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        answer = subprocess.run(
            ["git", "-C", str(self.work), *whom, *words], check=True, capture_output=True, text=True
        )
        return answer.stdout.strip()

    def publish(self, text: str) -> str:
        """A new commit with this in it, on the server; returns it."""
        (self.work / "backend" / "new.py").write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "A change")
        bare = self.folder / "shop.git"
        shutil.rmtree(bare, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", "--bare", str(self.work), str(bare)], check=True)
        packed = subprocess.run(
            ["tar", "-C", str(self.folder), "-cf", "-", "shop.git"], check=True, capture_output=True
        )
        command = self.place.command(SERVE.format(public=self.key.with_suffix(".pub").read_text().strip()))
        subprocess.run(command, input=packed.stdout, check=True, capture_output=True, timeout=120)
        return self.git("rev-parse", "HEAD")

    def deploy(self, **source: Any) -> tuple[int, str]:
        """The status of a deployment from the repository, and what it said."""
        variables = webapps({"env": {"BOOT_SECONDS": "0"}})
        variables["webapps"][0]["source"] = {"git": self.url, "subdir": "backend", **source}
        status = begin_playbook(self.inventory, self.folder, variables, "--limit", self.place.name).wait(120)
        newest = max(self.folder.glob("variables-*.log"), key=lambda path: path.stat().st_mtime_ns)
        return status, newest.read_text()

    def live(self) -> tuple[str, str]:
        """The revision that is recorded, and the code that serves."""
        current = self.place.settled()["current"]
        line = json.loads(self.place.run("tail -n 1 /srv/webapps/patient/deployments.log"))
        assert line["release"] == current
        code = self.place.run(f"cat /srv/webapps/patient/releases/{current}/src/backend/new.py")
        return line["revision"], code.strip()


@pytest.fixture
def forge(places: list[Place], scenario_inventory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    place = next(place for place in places if place.name == "releases-systemd13")
    forge = Forge(place, tmp_path, scenario_inventory)
    # The addresses of test hosts come again with other keys: they have no place among the known hosts of whoever tests.
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -o UserKnownHostsFile={forge.known} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return forge


@pytest.mark.matrix  # tests/local/test_fetching.py always runs
def test_a_private_repository_by_branch(forge: Forge, tmp_path: Path):
    place, key = forge.place, str(forge.key)
    first = forge.publish("# one")
    status, said = forge.deploy(version="main")
    assert status != 0, "whoever has no key must not get in"
    assert "webapps 'patient'" in said

    with load_on([place], tmp_path) as loads:
        assert forge.deploy(version="main", key=key)[0] == 0
        assert forge.live() == (first, "# one")
        second = forge.publish("# two")
        assert forge.deploy(version="main", key=key)[0] == 0
        assert forge.live() == (second, "# two")
        status, said = forge.deploy(version="main", key=key)
        assert (status, "changed=0" in said) == (0, True)
    lost_nothing(loads)

    # The server's own key was accepted at its first sight and kept; the deploy key never left this machine.
    subprocess.run(["ssh-keygen", "-F", place.address, "-f", str(forge.known)], check=True, capture_output=True)
    secret = forge.key.read_text().splitlines()[3]  # the first lines of all such keys are alike
    found = place.run(f"grep -rlF {secret} /srv /tmp /root /home /etc /run 2>/dev/null || true")
    assert found == ""


@pytest.mark.matrix
def test_a_private_repository_by_tag_and_commit(forge: Forge, tmp_path: Path):
    first = forge.publish("# one")
    forge.git("tag", "v1")
    second = forge.publish("# two")
    with load_on([forge.place], tmp_path) as loads:
        assert forge.deploy(version="v1", key=str(forge.key))[0] == 0
        assert forge.live() == (first, "# one")
        assert forge.deploy(version=second, key=str(forge.key))[0] == 0
        assert forge.live() == (second, "# two")
    lost_nothing(loads)


# A header of two megabytes. The text of the module stands before it.
LONG_HEADER = """
import io
long, packed = tarfile.TarInfo("x"), io.BytesIO()
long.pax_headers = {"comment": "x" * 2 * LONGEST_HEADER}
with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
    archive.addfile(long)
packed.seek(0)
try:
    tarfile.open(fileobj=packed, tarinfo=BoundedInfo).getmembers()
except LongHeader as refused:
    print(refused)
"""


def test_the_python_of_each_host_bounds_the_headers_of_archives(places: list[Place]):
    module = (CHECKOUT / "plugins" / "module_utils" / "host" / "tar_headers.py").read_text()
    for told in everywhere(lambda place: place.run("python3 -", given=module + LONG_HEADER), places):
        assert re.fullmatch(r"a header has 2\d{6} bytes, and 1048576 are allowed\n?", told), told
