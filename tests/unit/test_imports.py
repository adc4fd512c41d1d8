# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Which package of the plugins may import which, and from where: imports lead in one direction only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
COLLECTION = "ansible_collections.pyweb.stack.plugins."

# Package -> packages that it may import. Each imports only what stands above it, so there can be no cycle.
HOST: dict[str, list[str]] = {
    "module_utils.host": [],
    "module_utils.requirements": [],
    "module_utils.processes": ["module_utils.host"],
    # The root file systems of applications that run in containers.
    "module_utils.images": ["module_utils.host"],
    # Images that users give, unpacked for that store.
    "module_utils.given_images": ["module_utils.host", "module_utils.images"],
    "module_utils.release": ["module_utils.host", "module_utils.images", "module_utils.requirements"],
    "module_utils.tls": ["module_utils.host"],
    "module_utils.building": [
        "module_utils.given_images",
        "module_utils.host",
        "module_utils.images",
        "module_utils.release",
        "module_utils.requirements",
    ],
    "module_utils.nginx": ["module_utils.host", "module_utils.tls"],
    # HAProxy has the same lock as nginx.
    "module_utils.balancing": ["module_utils.host", "module_utils.nginx"],
    "module_utils.draining": ["module_utils.balancing", "module_utils.host"],
    # Deployments by hand: found, and retired.
    "module_utils.adoption": ["module_utils.host", "module_utils.nginx", "module_utils.processes"],
    "module_utils.logs": ["module_utils.host", "module_utils.processes"],
    # The rows of the status and the page, the same on the controller and on hosts.
    "module_utils.status": ["module_utils.host", "module_utils.logs"],
    # The sites that nginx serves show applications as well.
    "module_utils.preflight": [
        "module_utils.adoption",
        # Since when the host is drained.
        "module_utils.draining",
        "module_utils.host",
        "module_utils.nginx",
        # Whether the host publishes its status page.
        "module_utils.status",
        "module_utils.tls",
    ],
    "module_utils.switching": [
        "module_utils.host",
        "module_utils.images",
        "module_utils.processes",
        "module_utils.release",
        "module_utils.tls",
    ],
    "module_utils.doctor": [
        "module_utils.draining",
        "module_utils.host",
        "module_utils.nginx",
        "module_utils.processes",
        "module_utils.release",
        # The page that the host publishes.
        "module_utils.status",
        "module_utils.tls",
    ],
    # The status page that a host publishes of itself.
    "module_utils.publishing": [
        "module_utils.doctor",
        "module_utils.draining",
        "module_utils.host",
        "module_utils.logs",
        "module_utils.nginx",
        "module_utils.release",
        "module_utils.status",
        "module_utils.tls",
    ],
    "module_utils.plan": [
        "module_utils.adoption",
        "module_utils.building",
        "module_utils.host",
        "module_utils.images",
        "module_utils.nginx",
        "module_utils.processes",
        "module_utils.publishing",
        "module_utils.release",
        "module_utils.switching",
    ],
}
CONTROLLER: dict[str, list[str]] = {
    "plugin_utils.specs": [],
    "plugin_utils.sources": [],
    "plugin_utils.servers": ["plugin_utils.specs"],
    "plugin_utils.processes": ["plugin_utils.specs"],
    "plugin_utils.nginx": ["plugin_utils.specs"],
    "plugin_utils.model": [
        "plugin_utils.nginx",
        "plugin_utils.processes",
        "plugin_utils.servers",
        # The form of an address and of a host key.
        "plugin_utils.sources",
        "plugin_utils.specs",
    ],
    "plugin_utils.plan": [
        "plugin_utils.model",
        "plugin_utils.nginx",
        "plugin_utils.processes",
        "plugin_utils.servers",
        "plugin_utils.sources",
        "plugin_utils.specs",
    ],
    # The sites of a balancer are made from those of the web hosts.
    "plugin_utils.balancing": ["plugin_utils.model", "plugin_utils.nginx", "plugin_utils.plan", "plugin_utils.specs"],
    "plugin_utils.draining": [],
    # The inventory of applications that were deployed by hand.
    "plugin_utils.adoption": ["plugin_utils.model", "plugin_utils.servers"],
    # The folder that runs an application in containers.
    "plugin_utils.compose": [
        "plugin_utils.nginx",
        "plugin_utils.plan",
        "plugin_utils.servers",
        "plugin_utils.sources",
    ],
    "plugin_utils.doctor": ["plugin_utils.nginx", "plugin_utils.plan"],
    # The logs of the sites of an application.
    "plugin_utils.rollout": ["plugin_utils.doctor", "plugin_utils.plan"],
    # The file of the page on the controller.
    "plugin_utils.status_page": [],
    # The status page that a host publishes of itself.
    "plugin_utils.publishing": [
        "plugin_utils.doctor",
        "plugin_utils.plan",
        "plugin_utils.rollout",
        "plugin_utils.specs",
    ],
    "plugin_utils.actions": [
        "plugin_utils.balancing",
        "plugin_utils.draining",
        "plugin_utils.model",
        "plugin_utils.nginx",
        "plugin_utils.plan",
        "plugin_utils.publishing",
        "plugin_utils.rollout",
        "plugin_utils.sources",
        "plugin_utils.specs",
    ],
}
# Ansible loads these by name, and nothing imports them.
LEAVES: dict[str, list[str]] = {
    "modules": [
        "module_utils.adoption",
        "module_utils.balancing",
        "module_utils.doctor",
        "module_utils.draining",
        "module_utils.host",
        "module_utils.logs",
        "module_utils.nginx",
        "module_utils.plan",
        "module_utils.preflight",
        "module_utils.processes",
        "module_utils.publishing",
        "module_utils.release",
        "module_utils.switching",
    ],
    "action": [
        "plugin_utils.actions",
        "plugin_utils.adoption",
        "plugin_utils.balancing",
        "plugin_utils.compose",
        "plugin_utils.doctor",
        "plugin_utils.draining",
        "plugin_utils.model",
        "plugin_utils.nginx",
        "plugin_utils.plan",
        "plugin_utils.publishing",
        "plugin_utils.rollout",
        "plugin_utils.specs",
        "plugin_utils.status_page",
    ],
    "filter": [
        "plugin_utils.doctor",
        "plugin_utils.nginx",
        "plugin_utils.plan",
        "plugin_utils.processes",
        "plugin_utils.servers",
    ],
    "lookup": ["plugin_utils.actions", "plugin_utils.nginx"],
    "callback": [],
}
# The only modules of host code that controller code imports: rules and figures that both sides must agree on.
SHARED = {
    "action": [
        "module_utils.balancing.paths",
        "module_utils.host.texts",
        # The values that an operator gives are checked on both sides.
        "module_utils.logs.asked",
        "module_utils.status.hosts",
        "module_utils.status.page",
        "module_utils.tls.certificate",
    ],
    "callback": ["module_utils.host.texts"],
    "lookup": ["module_utils.tls.certificate"],
    # One parser of nginx's language for both sides.
    "plugin_utils.adoption": ["module_utils.host.texts", "module_utils.nginx.blocks"],
    # The files that a host puts into a release, and reads from a source.
    "plugin_utils.compose": [
        "module_utils.building.entry",
        "module_utils.building.variables",
        "module_utils.host.texts",
        "module_utils.nginx.conditions",
        "module_utils.release.releases",
        "module_utils.requirements.lines",
        "module_utils.requirements.pythons",
        "module_utils.requirements.reading",
        "module_utils.requirements.self_contained",
    ],
    "filter": ["module_utils.status.drift"],
    "plugin_utils.draining": ["module_utils.host.texts", "module_utils.status.words"],
    "plugin_utils.actions": [
        # The text that is sent to hosts.
        "module_utils.host.bytecode",
        "module_utils.host.texts",
        # The versions that one host gives to others.
        "module_utils.requirements.exact",
        # The Python version that a source requests.
        "module_utils.requirements.pythons",
        # The words of both sides about the state of a host.
        "module_utils.status.traffic",
        "module_utils.status.words",
    ],
    # The sockets and URLs of both sides.
    "plugin_utils.balancing": ["module_utils.balancing.paths"],
    "plugin_utils.doctor": [
        "module_utils.host.lines",
        "module_utils.host.probe",
        "module_utils.host.texts",
        "module_utils.status.drift",
        "module_utils.status.leases",
        "module_utils.status.paths",
        "module_utils.status.row",
        "module_utils.status.words",
        "module_utils.tls.certificate",
    ],
    "plugin_utils.nginx": [
        # The health URL that a web host answers and a balancer asks for.
        "module_utils.balancing.paths",
        "module_utils.host.lines",
        "module_utils.nginx.owners",
        "module_utils.tls.acme",
        "module_utils.tls.certificate",
    ],
    # The form of the name of an image.
    "plugin_utils.model": ["module_utils.given_images.references"],
    "plugin_utils.plan": [
        # The names of processors in images.
        "module_utils.given_images.documents",
        "module_utils.host.ignore_files",
        # The statuses that are healthy.
        "module_utils.host.probe",
        "module_utils.host.texts",
        "module_utils.nginx.owners",
        # The parts of a release that a revision covers.
        "module_utils.release.identity",
        "module_utils.release.releases",
        "module_utils.requirements.lines",
        "module_utils.requirements.pythons",
        "module_utils.requirements.reading",
        "module_utils.status.leases",
        "module_utils.status.words",
    ],
    # The path of a program that definitions name and hosts get.
    "plugin_utils.processes": ["module_utils.processes.with_sockets"],
    "plugin_utils.publishing": ["module_utils.nginx.owners", "module_utils.status.paths"],
    "plugin_utils.rollout": ["module_utils.logs.buckets", "module_utils.status.traffic"],
    "plugin_utils.sources": [
        # The image that a name stands for, before hosts fetch it.
        "module_utils.given_images.archives",
        "module_utils.given_images.documents",
        "module_utils.given_images.references",
        "module_utils.given_images.registry",
        "module_utils.host.lines",
        "module_utils.host.links",
        "module_utils.host.tar_headers",
        "module_utils.host.texts",
        "module_utils.host.trees",
        "module_utils.images.places",
        # A list of dependencies is sent, whatever .gitignore says.
        "module_utils.requirements.lines",
        "module_utils.requirements.reading",
    ],
    "plugin_utils.specs": ["module_utils.host.texts"],
}
ALLOWED = {**HOST, **CONTROLLER, **LEAVES}
# Runs in the environment of a release, and imports its app server.
PROBE = Path("module_utils/building/import_probe.py")
# Packages that ansible-core installs on the controller.
CORE = {"ansible", "jinja2", "packaging", "yaml"}


def package_of(module: str) -> str:
    """The package of a module, such as plugin_utils.nginx; of a plugin that Ansible loads, its kind."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in ("module_utils", "plugin_utils") else parts[0]


def modules_in(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module
            folder = PLUGINS / node.module.removeprefix(COLLECTION).replace(".", "/")
            if node.module.startswith(COLLECTION) and not folder.with_suffix(".py").is_file():
                # The name is a module of a package.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


@cache
def imports() -> dict[Path, list[str]]:
    return {path.relative_to(PLUGINS): sorted(set(modules_in(path))) for path in sorted(PLUGINS.rglob("*.py"))}


def inner_imports() -> Iterator[tuple[Path, str, str]]:
    """Each import of the collection's own: the file, its package, and the module."""
    for path, names in imports().items():
        package = package_of(".".join(path.with_suffix("").parts))
        for name in names:
            if name.startswith(COLLECTION):
                yield path, package, name.removeprefix(COLLECTION)


def test_every_package_stands_in_the_table() -> None:
    found = {package_of(".".join(path.with_suffix("").parts)) for path in imports()}
    assert found == ALLOWED.keys()


def test_imports_lead_upwards_in_the_table() -> None:
    above: list[str] = []
    for package, allowed in ALLOWED.items():
        assert set(allowed) <= set(above), f"{package} may import only packages that stand above it"
        above.append(package)


def test_packages_import_what_they_may() -> None:
    wrong = []
    for path, package, name in inner_imports():
        if package_of(name) in (package, *ALLOWED[package]) or name in SHARED.get(package, []):
            continue
        wrong.append(f"plugins/{path}: {package} may not import {name}")
    assert not wrong, "\n".join(wrong)


def test_the_table_names_no_import_that_is_gone() -> None:
    seen = {(package, package_of(name)) for _path, package, name in inner_imports()}
    seen_modules = {(package, name) for _path, package, name in inner_imports()}
    stale = [
        f"{package} -> {other}" for package in ALLOWED for other in ALLOWED[package] if (package, other) not in seen
    ]
    stale += [
        f"{package} -> {name}" for package in SHARED for name in SHARED[package] if (package, name) not in seen_modules
    ]
    assert not stale, "Remove from the table: " + ", ".join(stale)


@pytest.mark.parametrize("side", ["module_utils", "modules"])
def test_host_code_never_imports_controller_code(side: str) -> None:
    for path, package, name in inner_imports():
        if path.parts[0] == side:
            assert package_of(name).startswith("module_utils."), f"plugins/{path} ({package}) imports {name}"


def test_nothing_imports_a_plugin_that_ansible_loads() -> None:
    for path, _package, name in inner_imports():
        assert package_of(name) not in LEAVES, f"plugins/{path} imports {name}"


def test_host_code_needs_the_standard_library_alone() -> None:
    for path, names in imports().items():
        if path.parts[0] not in ("module_utils", "modules") or path == PROBE:
            continue
        for name in names:
            known = (
                name.startswith((COLLECTION, "ansible.module_utils.")) or name.split(".")[0] in sys.stdlib_module_names
            )
            assert known, f"plugins/{path} imports {name}"


def test_controller_code_needs_ansible_core_alone() -> None:
    for path, names in imports().items():
        if path == PROBE:
            continue
        for name in names:
            first = name.split(".")[0]
            known = name.startswith(COLLECTION) or first in CORE or first in sys.stdlib_module_names
            assert known, f"plugins/{path} imports {name}"


@pytest.mark.parametrize("path", [path for path in imports() if path.parts[0] in ("module_utils", "modules")], ids=str)
def test_host_code_is_python_3_9(path: Path) -> None:
    ast.parse((PLUGINS / path).read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 9))
