# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Each ansible-core, on each Python of Debian: the unit tests, and a site from its first run to its removal."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyweb_places import Place

HOSTS = yaml.safe_load((Path(__file__).resolve().parents[1] / "inventory" / "hosts.yml").read_text())
HOSTS = HOSTS["controllers"]["hosts"]
PAIRS = [(host, core) for host, variables in HOSTS.items() for core in variables["cores"]]
OLD = [(host, variables["old"]) for host, variables in HOSTS.items() if "old" in variables]

FOLDER = "/srv/controller"
# Needed by the unit tests, in the versions of the checkout.
PROGRAMS = ["gevent", "granian", "gunicorn", "ngxparse", "pytest", "pytest-xdist", "requests", "supervisor"]
APPLICATION = {
    "name": "hello",
    "wsgi": "hello:app",
    "proxy_fix": True,
    "health": {"path": "/healthz"},
    "site": {"static": [{"url": "/static/", "path": "static"}]},
}
# A play of one's own that is run by Mitogen.
MITOGEN = """
- name: Install Python and uv
  hosts: web
  become: true
  gather_facts: false
  strategy: mitogen_linear
  roles: [pyweb.stack.python]
"""


@dataclass(frozen=True)
class Controller:
    """A version of ansible-core on a host, with the built collection."""

    place: Place
    core: str

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.core}"

    def inventory(self) -> str:
        key = {"ansible_host": "127.0.0.1", "ansible_user": "deploy", "ansible_ssh_private_key_file": f"{FOLDER}/key"}
        application = {**APPLICATION, "source": {"path": f"{self.folder}/hello"}}
        return json.dumps({"web": {"hosts": {"web1": key}, "vars": {"webapps": [application]}}})

    def install(self) -> None:
        """Install ansible-core, what the unit tests need, and the collection. No index is named."""
        wanted = shlex.join([f"ansible-core=={self.core}.*", "mitogen", *PROGRAMS])
        self.place.run(
            f"""
            set -e
            export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 UV_NO_PROGRESS=1 LC_ALL=C.UTF-8
            mkdir -p {self.folder} && cd {self.folder}
            uv=/opt/pyweb/uv/bin/uv
            echo 'ansible-core=={self.core}.*' > core.txt
            # The other packages have the versions of the checkout. Each ansible-core limits resolvelib itself.
            lock={FOLDER}/checkout/requirements/test.txt
            awk '/^[^ ]/ {{ other = !/^(ansible-core|resolvelib)=/ }} other' "$lock" > locked.txt
            $uv venv --quiet --clear --python /usr/bin/python3 venv
            $uv pip install --quiet --python venv --override core.txt \\
                --constraint locked.txt {wanted}
            venv/bin/ansible-galaxy collection install {FOLDER}/collection.tar.gz -p collections --offline
            cp -r {FOLDER}/checkout/examples/hello hello
            cat > hosts.json
            """,
            given=self.inventory(),
            timeout=900,
        )

    def playbook(self, *words: str, **settings: str) -> tuple[int, str]:
        """Run ansible-playbook as an operator does. Returns its status and output."""
        variables = {
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": f"{self.folder}/collections",
            "ANSIBLE_HOME": f"{self.folder}/home",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_NOCOLOR": "1",
            **settings,
        }
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        command = shlex.join(["venv/bin/ansible-playbook", "--inventory", "hosts.json", *words])
        output = self.place.run(f'cd {self.folder}; {given} {command} 2>&1; echo "status $?"', timeout=900)
        print(output)
        text, _, status = output.rpartition("status ")
        return int(status), text

    def deployed(self, playbook: str, *words: str) -> int:
        """Run a playbook that must succeed. Returns the number of changed tasks of the host."""
        status, output = self.playbook(f"pyweb.stack.{playbook}", *words)
        assert status == 0, output
        recap = re.findall(r"^web1 +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)
        assert recap, output
        return sum(map(int, recap))

    def release(self) -> str:
        return str(self.place.ask("/facts").json()["release"])


@pytest.fixture(scope="module")
def controller(scenario_inventory: str) -> Callable[[str, str], Controller]:
    made: dict[tuple[str, str], Controller] = {}

    def find(host: str, core: str) -> Controller:
        if (host, core) not in made:
            one = Controller(Place(host, Path(scenario_inventory)), core)
            one.install()
            made[host, core] = one
        return made[host, core]

    return find


def test_each_host_has_another_python(host: Any) -> None:
    """Debian's own: 3.11, 3.13, and that of testing."""
    variables = host.ansible.get_variables()
    found = host.check_output("/usr/bin/python3 -c 'import sys; print(*sys.version_info[:2])'").split()
    wanted = {"bookworm": (3, 11), "trixie": (3, 13)}.get(variables["test_host"]["suite"])
    version = tuple(map(int, found))
    assert version == wanted if wanted else version >= (3, 14)


@pytest.mark.parametrize(("name", "core"), PAIRS)
def test_unit_tests_pass(name: str, core: str, controller: Callable[[str, str], Controller]) -> None:
    one = controller(name, core)
    command = f"{one.folder}/venv/bin/python -m pytest -q -n 2 -p no:cacheprovider tests/unit"
    output = one.place.run(
        f"cd {FOLDER}/checkout; LC_ALL=C.UTF-8 {command} 2>&1; echo; {one.folder}/venv/bin/ansible --version",
        timeout=3600,
    )
    assert f"core {core}." in output
    passed = re.search(r"^(\d+) passed(?!.*(failed|error))", output, re.MULTILINE)
    assert passed, output[-5000:]
    assert int(passed[1]) > 2000


@pytest.mark.parametrize(("name", "core"), PAIRS)
def test_a_site_from_its_first_run_to_its_removal(
    name: str, core: str, controller: Callable[[str, str], Controller]
) -> None:
    one = controller(name, core)
    assert one.deployed("site") > 0
    first = one.release()
    assert "It works" in one.place.ask("/").text
    assert one.deployed("site") == 0
    assert one.release() == first
    one.place.run(f"echo 'CHANGED = True' >> {one.folder}/hello/hello.py")
    assert one.deployed("site") > 0
    second = one.release()
    assert second != first
    one.deployed("rollback", "--extra-vars", "app=hello")
    assert one.release() == first
    one.deployed("status")
    one.deployed("verify")
    one.deployed("remove", "--extra-vars", "app=hello confirm=hello")
    assert one.place.run("ls /srv/webapps/hello/current", check=False) == ""
    one.place.run("rm -rf /srv/webapps/hello")


@pytest.mark.parametrize(("name", "core"), PAIRS)
def test_mitogen_is_refused_before_anything_changes(
    name: str, core: str, controller: Callable[[str, str], Controller]
) -> None:
    one = controller(name, core)
    one.place.run(f"cat > {one.folder}/mitogen.yml", given=MITOGEN)
    plugins = one.place.run(
        f"echo {one.folder}/venv/lib/python3*/site-packages/ansible_mitogen/plugins/strategy"
    ).strip()
    status, output = one.playbook("mitogen.yml", ANSIBLE_STRATEGY_PLUGINS=plugins)
    assert status != 0
    assert "does not support the strategies of Mitogen" in output
    assert "changed=0" in output


@pytest.mark.parametrize(("name", "core"), OLD)
def test_an_older_ansible_core_ends_with_one_line(
    name: str, core: str, controller: Callable[[str, str], Controller]
) -> None:
    one = controller(name, core)
    status, output = one.playbook("pyweb.stack.site")
    assert status != 0
    errors = [line for line in output.splitlines() if "ERROR" in line]
    assert len(errors) == 1, output
    assert re.search(rf"ansible-core {re.escape(core)}\.\d+, but this collection needs 2\.19 or newer", errors[0])
    assert "TASK" not in output
