# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Each application answers its page, has its version and its programs, and a changed byte deploys it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pyweb_places import Place, everywhere

# A page of each application, and words that only the working application sends.
PAGES = {
    "ara": ("/", "ara"),
    "datasette": ("/_memory?sql=select+6*7", "42"),
    "flaskr": ("/", "Flaskr"),
    "httpbin": ("/get?six=seven", '"six": "seven"'),
    "isso": ("/info", "0.14.0"),
    "kinto": ("/v1/", '"project_name"'),
    "klaus": ("/", "Proof"),
    "mailman-web": ("/accounts/login/", "csrfmiddlewaretoken"),
    "pypi-browser": ("/", "pypi"),
    "radicale": ("/.web/", "Radicale"),
    "trac": ("/wiki", "Welcome to Trac"),
    "xandikos": ("/", "Xandikos WebDAV server"),
}

# The package of each application, its version, and a command that a package has installed.
PACKAGES = {
    "ara": ("ara", "1.8.0", "ara-manage check"),
    "datasette": ("datasette", "0.65.5", "datasette --version"),
    "flaskr": ("flaskr", "1.0.0", "flask routes"),
    "httpbin": ("httpbin", "0.10.4", "gunicorn --version"),
    "isso": ("isso", "0.14.0", "isso --version"),
    "kinto": ("kinto", "26.5.0", "kinto version"),
    "klaus": ("klaus", "3.0.1", "klaus --help"),
    "mailman-web": ("mailman-web", "0.0.9", "mailman-web check"),
    "pypi-browser": ("pypi-browser-webapp", "0.0.12", "identify-cli README.md"),
    "radicale": ("Radicale", "3.9.0", "radicale --version"),
    "trac": ("Trac", "1.6", "trac-admin --version"),
    "xandikos": ("xandikos", "0.4.10", "xandikos --version"),
}

# A file of each source whose last byte a new release may lack.
CHANGED = {
    "flaskr": "flask/examples/tutorial/flaskr/blog.py",
    "pypi-browser": "pypi-browser-webapp/pypi_browser/app.py",
    "mailman-web": "mailman-web/mailman_web/urls.py",
}
VERSION = "python -c \"from importlib.metadata import version; print('is', version('{}'))\""


@pytest.fixture
def names(facts) -> list[str]:
    return facts.variables["chosen"]


def test_each_application_answers_its_page(names, http):
    for name in names:
        path, words = PAGES[name]
        answer = http(path, headers={"Host": f"{name}.example.com"}, allow_redirects=True)
        assert (answer.status_code, words in answer.text) == (200, True), f"{name}: {answer.text[:500]}"


def test_each_application_has_its_version_and_its_programs(names, facts, run_playbook):
    for name in names:
        package, version, command = PACKAGES[name]
        given = {"app": name, "command": f"{VERSION.format(package)} && {command}"}
        run = run_playbook("pyweb.stack.run", given, "--limit", facts.name)
        assert run.status == 0, f"{name}: {run.output}"
        assert f"is {version}" in run.output, f"{name}: {run.output}"


def test_a_changed_byte_deploys_an_application_again(places: list[Place], run_playbook: Callable[..., object]) -> None:
    sources = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "sources"
    before = everywhere(lambda place: place.run("readlink /srv/webapps/*/current").split(), places)
    files = [sources / CHANGED.get(name, f"{name}/README.md") for name in PAGES]
    files = [file if file.exists() else next(file.parent.glob("README*")) for file in files]
    try:
        for file in files:
            with file.open("ab") as stream:
                stream.write(b"\n")
        run = run_playbook("pyweb.stack.site", {}, timeout=1200)
        assert run.status == 0, run.output
        after = everywhere(lambda place: place.run("readlink /srv/webapps/*/current").split(), places)
        assert [len(one) for one in before] == [len(one) for one in after]
        assert not {release for one in before for release in one} & {release for one in after for release in one}
    finally:
        for file in files:
            file.write_bytes(file.read_bytes()[:-1])
    for place in places:
        for name in place.run("ls /srv/webapps").split():
            path, words = PAGES[name]
            assert words in place.ask(path, headers={"Host": f"{name}.example.com"}).text
