# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Each host as its own controller. Newer Debian has a newer Python, and thus another release of ansible-core.

All other tests run with the ansible-core of the machine that runs them.
"""

from __future__ import annotations

import shlex
import subprocess

import pytest
from pyweb_places import Place
from pyweb_playbooks import CHECKOUT

# In check mode: the site that the scenario has deployed stays as it is.
SITE = "./.venv/bin/ansible-playbook site.yml -i inventory --check"


def copy_checkout(place: Place, folder: str) -> None:
    """The files of this checkout, without what git ignores."""
    listing = ["git", "-C", str(CHECKOUT), "-c", "safe.directory=*", "ls-files", "-z", "--cached"]
    names = subprocess.run(listing, check=True, capture_output=True, timeout=60).stdout
    pack = ["tar", "--create", "--directory", str(CHECKOUT), "--null", "--files-from", "-"]
    packed = subprocess.run(pack, input=names, check=True, capture_output=True, timeout=60).stdout
    unpack = f"mkdir {folder} && tar --extract --no-same-owner --directory {folder}"
    subprocess.run(place.command(unpack), input=packed, check=True, capture_output=True, timeout=120)


@pytest.mark.matrix  # tests/unit/test_isolation.py has the difference between the releases that broke it once
def test_the_site_playbook_runs_with_the_ansible_of_each_debian(places):
    said = {}
    for place in places:
        folder = place.run("mktemp --dry-run --directory").strip()
        try:
            copy_checkout(place, folder)
            words = f"cd {folder} && export LC_ALL=C.UTF-8 && ./scripts/environment.sh site && {SITE}"
            assert "failed=0" in place.run(words, timeout=900), place.name
            said[place.name] = place.run(f"{folder}/.venv/bin/ansible --version").splitlines()[0]
        finally:
            place.run(f"rm -rf {shlex.quote(folder)}")
    assert len({*said.values()}) > 1, f"the hosts have no other ansible-core: {said}"
