# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Rules for every role, plugin and file of the collection."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (CHECKOUT / "roles").iterdir() if path.is_dir() and any(path.iterdir()))
SCENARIOS = sorted(path.parent for path in (CHECKOUT / "molecule").glob("*/molecule.yml"))
FRAGMENTS = sorted((CHECKOUT / "changelogs" / "fragments").glob("*"))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


# Roles


def test_there_are_roles() -> None:
    assert ROLES


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_role_has_a_readme_that_names_it(role: Path) -> None:
    readme = role / "README.md"
    assert readme.is_file(), f"{role.name} has no README.md, which Galaxy wants"
    text = readme.read_text()
    assert role.name in text.splitlines()[0], f"the title of {readme} does not name the role"
    assert "```yaml" in text, f"{readme} shows no example"


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_role_describes_itself(role: Path) -> None:
    meta = load(role / "meta" / "main.yml")
    assert meta.get("dependencies", []) == [], "roles have no dependencies: a playbook composes them"
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    assert "main" in specs
    for entry_point, spec in specs.items():
        assert spec.get("short_description"), f"{role.name}, {entry_point}: no short_description"
        entry_file = role / "tasks" / f"{entry_point}.yml"
        assert entry_file.is_file(), (
            f"{role.name} describes the entry point {entry_point}, which has no {entry_file.name}"
        )


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """The inputs of all entry points together."""
    specs = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    merged: dict[str, dict[str, Any]] = {}
    for spec in specs.values():
        merged.update(spec.get("options") or {})
    return merged


def defaults_of(role: Path) -> dict[str, Any]:
    path = role / "defaults" / "main.yml"
    return (load(path) or {}) if path.exists() else {}


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_defaults_and_specs_agree(role: Path) -> None:
    options, defaults = options_of(role), defaults_of(role)
    undescribed = sorted(defaults.keys() - options.keys())
    assert not undescribed, f"{role.name}: defaults that argument_specs.yml does not describe: {undescribed}"
    for name, option in options.items():
        if "default" in option:
            assert name in defaults, f"{role.name}: {name} has a default in argument_specs.yml only"
            assert defaults[name] == option["default"], f"{role.name}: the two defaults of {name} differ"
        elif not option.get("required"):
            assert name not in defaults or is_computed(defaults[name]), (
                f"{role.name}: {name} has a default that argument_specs.yml does not document"
            )


def is_computed(value: Any) -> bool:
    """The description documents a computed default, because it has no fixed value."""
    return "{{" in json.dumps(value)


def every_option(options: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, option in options.items():
        yield f"{path}{name}", option
        yield from every_option(option.get("options") or {}, f"{path}{name}.")


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_every_input_is_typed_and_told(role: Path) -> None:
    for name, option in every_option(options_of(role)):
        assert option.get("type"), f"{role.name}: {name} has no type"
        assert option.get("description"), f"{role.name}: {name} has no description"
        if option["type"] == "list":
            assert option.get("elements"), f"{role.name}: {name} is a list without a type of its elements"


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_inputs_carry_the_name_of_their_role(role: Path) -> None:
    # `webapps` and `uwsgi_…` alike: the list that a role is named for is its plural.
    wrong = [name for name in options_of(role) if not name.startswith((f"{role.name}_", f"{role.name}s"))]
    assert not wrong, f"{role.name}: inputs of another name: {wrong}"


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_task_files_stay_short(role: Path) -> None:
    for path in (role / "tasks").glob("*.yml"):
        limit = 30 if path.name == "main.yml" else 60
        length = len(path.read_text().splitlines())
        assert length <= limit, (
            f"{path.relative_to(CHECKOUT)} has {length} lines; {limit} is what a reader keeps in mind"
        )


# Plugins


def test_every_action_plugin_has_its_module() -> None:
    """Ansible reads the documentation and the arguments of an action plugin from the module of the same name."""
    actions = {path.stem for path in (CHECKOUT / "plugins" / "action").glob("[a-z]*.py")}
    assert actions <= {path.stem for path in (CHECKOUT / "plugins" / "modules").glob("[a-z]*.py")}


@pytest.mark.parametrize(
    "path",
    sorted((CHECKOUT / "plugins").rglob("[a-z]*.py")) + sorted((CHECKOUT / "scripts").glob("*.py")),
    ids=lambda path: str(path.relative_to(CHECKOUT)),
)
def test_python_files_name_their_license(path: Path) -> None:
    head = path.read_text()[:400]
    assert "MIT License" in head
    assert "from __future__ import annotations" in path.read_text()


def test_locks_hold_hashes_and_nothing_but_pins() -> None:
    locks = sorted((CHECKOUT / "requirements").glob("*.txt"))
    assert names(locks) == ["bootstrap.txt", "docs.txt", "importer.txt", "site.txt", "sslyze.txt", "test.txt"]
    for lock in locks:
        entries = re.split(r"\n(?=[a-z0-9])", "\n" + "\n".join(lock.read_text().splitlines()[2:]))
        for entry in filter(str.strip, entries):
            assert re.match(r"\s*[a-z0-9._-]+==\S+", entry), f"{lock.name}: {entry.splitlines()[0]} is no pin"
            assert "--hash=sha256:" in entry, f"{lock.name}: {entry.splitlines()[0]} has no hash"


def test_both_locks_pin_the_same_ansible() -> None:
    pins = [
        sorted(re.findall(r"^ansible-core==.*?(?= \\)", (CHECKOUT / "requirements" / name).read_text(), re.MULTILINE))
        for name in ("site.txt", "test.txt")
    ]
    assert pins[0] == pins[1] != []


# Releases


def test_version_is_the_newest_of_the_changelog() -> None:
    version = load(CHECKOUT / "galaxy.yml")["version"]
    changelog = CHECKOUT / "CHANGELOG.md"
    assert changelog.is_file(), "there is no CHANGELOG.md, which Galaxy wants"
    released = re.findall(r"^## \[?v?(\d+\.\d+\.\d+)", changelog.read_text(), re.MULTILINE)
    assert released, "CHANGELOG.md has no heading such as `## 0.1.0`"
    assert released[0] == version


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=names(FRAGMENTS))
def test_changelog_fragment_parses(fragment: Path) -> None:
    assert fragment.suffix in (".yml", ".yaml"), "a fragment is a YAML file"
    sections = load(fragment)
    known = {
        "breaking_changes", "bugfixes", "deprecated_features", "known_issues", "major_changes", "minor_changes",
        "release_summary", "removed_features", "security_fixes", "trivial",
    }  # fmt: skip
    assert isinstance(sections, dict)
    assert sections.keys() <= known, f"sections of no changelog: {sorted(sections.keys() - known)}"
    for section, entries in sections.items():
        if section == "release_summary":
            assert isinstance(entries, str)
        else:
            assert isinstance(entries, list)
            assert all(isinstance(entry, str) and entry.strip() for entry in entries)


def test_runtime_asks_for_the_ansible_that_is_tested() -> None:
    wanted = load(CHECKOUT / "meta" / "runtime.yml")["requires_ansible"]
    assert wanted.startswith(">=2.19"), f"meta/runtime.yml asks for {wanted}"


# Scenarios


def test_there_are_scenarios() -> None:
    assert SCENARIOS


def test_scenarios_that_take_long_belong_to_the_full_matrix() -> None:
    spec = importlib.util.spec_from_file_location("scenarios", CHECKOUT / "scripts" / "scenarios.py")
    assert spec
    assert spec.loader
    program = importlib.util.module_from_spec(spec)
    sys.modules["scenarios"] = program
    spec.loader.exec_module(program)
    known = program.scenarios()
    assert set(known) - set(program.usual(known, "test", "3/8")) == set(program.MATRIX)
    assert {*program.MATRIX} == {"adopt", "applications", "controllers", "howto", "platforms", "pythons"}
    assert program.usual(known, "test", "all") == program.usual(known, "destroy", "") == known


@pytest.mark.parametrize("scenario", SCENARIOS, ids=names(SCENARIOS))
def test_scenario_has_hosts_of_its_own(scenario: Path) -> None:
    hosts = load(scenario / "inventory" / "hosts.yml")[scenario.name]["hosts"]
    assert hosts
    for name, variables in hosts.items():
        assert name.startswith(f"{scenario.name.replace('_', '-')}-"), (
            f"{name}: hosts of several scenarios may live at once"
        )
        assert "suite" in variables["test_host"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=names(SCENARIOS))
def test_scenario_converges_and_verifies(scenario: Path) -> None:
    assert (scenario / "converge.yml").is_file()
    tests = "\n".join(path.read_text() for path in (scenario / "tests").glob("test_*.py"))
    assert re.search(r"^def test_", tests, re.MULTILINE), (
        f"{scenario.name}: Molecule takes a verify without tests for green"
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=names(SCENARIOS))
def test_a_scenario_with_tests_of_the_matrix_chooses_among_them(scenario: Path) -> None:
    """Without the plugin, the mark has no effect, and every run would run them all."""
    if any("pytest.mark.matrix" in path.read_text() for path in (scenario / "tests").glob("*.py")):
        assert "pyweb_selection" in load(scenario / "molecule.yml")["verifier"]["env"]["PYTEST_PLUGINS"]


def test_scenarios_share_settings_that_exist() -> None:
    """Molecule silently skips a missing playbook."""
    folder = CHECKOUT / ".config" / "molecule"
    settings = load(folder / "config.yml")
    for name in settings["ansible"]["playbooks"].values():
        assert (CHECKOUT / "molecule" / "any" / name).resolve().is_file(), name
    sequence = settings["scenario"]["test_sequence"]
    assert (
        sequence.index("check") < sequence.index("converge") < sequence.index("idempotence") < sequence.index("verify")
    )
    assert sequence[-1] == "destroy"
