# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Every command of the documents has a playbook, a target, options and variables that exist."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.cli.doc import DocCLI
from ansible.cli.galaxy import GalaxyCLI
from ansible.cli.playbook import PlaybookCLI
from ansible.cli.vault import VaultCLI
from ansible.parsing.splitter import parse_kv
from ansible_collections.pyweb.stack.plugins.plugin_utils.actions.flags import FLAGS
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.inputs import role_names
from ansible_collections.pyweb.stack.plugins.plugin_utils.specs.spec import role_options
from pyweb_documents import CHECKOUT, PAGES, Command, commands, inventories

PLAYBOOKS = {path.stem for path in (CHECKOUT / "playbooks").glob("*.yml")}
CLIS: dict[str, Any] = {
    "ansible-playbook": PlaybookCLI,
    "ansible-galaxy": GalaxyCLI,
    "ansible-vault": VaultCLI,
    "ansible-doc": DocCLI,
}
REFERENCE = (CHECKOUT / "docs" / "reference" / "playbooks.md").read_text()
MAKEFILE = (CHECKOUT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
# The variables of make that a user sets: those with a default, those of conditions, and those of a recipe's shell.
MAKE_VARIABLES = {*re.findall(r"^([A-Z_]+) \?=|\$\(if \$\(([A-Z_]+)\)", MAKEFILE, re.MULTILINE)}
MAKE_VARIABLES = {name for pair in MAKE_VARIABLES for name in pair if name}
SCENARIOS = {path.parent.name for path in CHECKOUT.glob("molecule/*/molecule.yml")}
ACTIONS = {"create", "converge", "verify", "destroy", "check", "idempotence", "prepare", "test"}
INPUTS = {name for role in role_names() for name in role_options(role)}


def rows(section: str) -> dict[str, bool]:
    """The variables of a section of the reference, and whether each is required."""
    return {
        name: default == "**required**"
        for name, default in re.findall(r"^\| `(\w+)` \| *([^|]*?) *\|", section, re.MULTILINE)
    }


@functools.cache
def variables(playbook: str) -> dict[str, bool]:
    """The variables of a playbook, and whether each is required."""
    section = re.search(rf"^## {playbook}$(.*?)(?=^## |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/reference/playbooks.md has no section {playbook}"
    return rows(REFERENCE.partition("\n## ")[0]) | rows(section[1])


def known(playbook: str) -> set[str]:
    return {*variables(playbook), *INPUTS, *FLAGS}


def option_problem(program: str, words: list[str]) -> tuple[Any, str]:
    """The options as the program reads them, or its message."""
    cli = CLIS[program]([program, *words])
    cli.init_parser()
    messages: list[str] = []

    def refuse(message: str) -> None:
        messages.append(message)
        raise SystemExit(2)

    cli.parser.error = refuse
    try:
        return cli.parser.parse_args(words), ""
    except SystemExit:
        return None, f"{program}: {'; '.join(messages) or 'its options are wrong'}"


def playbook_problems(words: list[str], own: set[str], complete: bool) -> list[str]:
    options, message = option_problem("ansible-playbook", words)
    if options is None:
        return [message]
    given = {name for text in options.extra_vars for name in parse_kv(text) if name != "_raw_params"}
    problems = []
    for name in options.args:
        stem = name.removeprefix("pyweb.stack.") if name.startswith("pyweb.stack.") else name.removesuffix(".yml")
        if name in own:
            stem = "site"
        elif stem not in PLAYBOOKS or stem == name:
            problems.append(f"there is no playbook {name}")
            continue
        problems += [f"{name} has no variable {one}" for one in sorted(given - known(stem))]
        required = {one for one, is_required in variables(stem).items() if is_required}
        if complete:
            problems += [f"{name} needs the variable {one}" for one in sorted(required - given)]
    return problems


def make_problems(words: list[str]) -> list[str]:
    problems = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            problems += [] if word in TARGETS else [f"make has no target {word}"]
        elif name not in {*MAKE_VARIABLES, "CLEAN_IMAGES", "KEEP_GOING"}:
            problems.append(f"the Makefile has no variable {name}")
        elif name == "SCENARIO" and not {*value.split()} <= SCENARIOS:
            problems.append(f"there is no scenario {value}")
        elif name == "ACTION" and value not in ACTIONS:
            problems.append(f"molecule has no action {value}")
        elif name == "ANSIBLE_FLAGS" and (message := option_problem("ansible-playbook", [*value.split(), "x"])[1]):
            problems.append(message)
        elif name == "BENCH_FLAGS":
            problems += script_problems(CHECKOUT / "tests/bench/run.py", value.split())
    return problems


def script_problems(script: Path, words: list[str]) -> list[str]:
    if not script.is_file():
        return [f"there is no {script.relative_to(CHECKOUT)}"]
    text = script.read_text()
    return [
        f"{script.name} has no option {word}" for word in words if word.startswith("--") and f'"{word}"' not in text
    ]


def doc_problems(words: list[str]) -> list[str]:
    kinds = {"role": CHECKOUT / "roles", "module": CHECKOUT / "plugins/modules", "filter": CHECKOUT / "plugins/filter"}
    folder = kinds[words[words.index("-t") + 1] if "-t" in words else "module"]
    names = [word.removeprefix("pyweb.stack.") for word in words if word.startswith("pyweb.stack.")]
    wrong = [f"there is no {folder.name} {name}" for name in names if not any(folder.glob(f"{name}*"))]
    return wrong + list(filter(None, [option_problem("ansible-doc", words)[1]]))


def problems_of(command: Command, own: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    words = list(command.words)
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    program, arguments = words[0], words[1:]
    if program == "-e":
        program, arguments = "ansible-playbook", words
        given = {name for name in parse_kv(" ".join(words[1:2])) if name != "_raw_params"}
        everything = {name for playbook in PLAYBOOKS for name in known(playbook)} | {"NAME"}
        return [f"no playbook has the variable {name}" for name in sorted(given - everything)]
    if program.endswith(".yml"):
        program, arguments = "ansible-playbook", words
    if program == "ansible-playbook":
        return playbook_problems(arguments, own, command.complete)
    if program == "make":
        return make_problems(arguments)
    if program == "ansible-doc":
        return doc_problems(arguments)
    if program in CLIS:
        # A command of a sentence, such as `ansible-vault encrypt`, lacks its arguments.
        message = option_problem(program, arguments if command.complete else [*arguments, "x"])[1]
        return [message] if message else []
    if program.startswith("python"):
        return script_problems(CHECKOUT / arguments[0], arguments[1:])
    if program == "pytest":
        paths = [word for word in arguments if word.startswith(("tests/", "molecule/", "verify/"))]
        return [f"there is no {path}" for path in paths if not (CHECKOUT / path).exists() and "test_x" not in path]
    return [] if program in ("ansible-test",) else [f"unknown program {program}"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_command_can_be_run(path: Path) -> None:
    text = path.read_text()
    own = {name for files in inventories(text) for name, content in files.items() if is_play(content)}
    wrong = [f"{path.name}:{one.line}: {problem}" for one in commands(text) for problem in problems_of(one, own)]
    assert wrong == []


def is_play(content: str) -> bool:
    found = yaml.safe_load(content)
    return isinstance(found, list)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ansible-playbook sites.yml -i inventory", "there is no playbook sites.yml"),
        ("ansible-playbook site -i inventory", "there is no playbook site"),
        ("ansible-playbook pyweb.stack.sites", "there is no playbook pyweb.stack.sites"),
        ("ansible-playbook status.yml --verbos-e", "ansible-playbook: unrecognized arguments: --verbos-e"),
        ("ansible-playbook rollback.yml -e ap=shop -e app=shop", "rollback.yml has no variable ap"),
        ("ansible-playbook rollback.yml -i inventory", "rollback.yml needs the variable app"),
        ("ansible-playbook site.yml -e webapp_keep_release=3", "site.yml has no variable webapp_keep_release"),
        ("make tests", "make has no target tests"),
        ("make molecule SCENARIO=nothing", "there is no scenario nothing"),
        ("make molecule SCENARIOS=site", "the Makefile has no variable SCENARIOS"),
        ("make molecule ACTION=convert", "molecule has no action convert"),
        ('make bench BENCH_FLAGS="--onlyy first"', "run.py has no option --onlyy"),
        ("python scripts/language.py --updates", "language.py has no option --updates"),
        ("python scripts/languages.py", "there is no scripts/languages.py"),
        ("ansible-galaxy collections install pyweb.stack", "ansible-galaxy: argument TYPE: invalid choice"),
        ("ansible-doc -t role pyweb.stack.webapps", "there is no roles webapps"),
        ("cd x && make tset  # a comment", "make has no target tset"),
        ("ANSIBLE_NOCOLOR=1 ansible-playbook statos.yml | less", "there is no playbook statos.yml"),
    ],
)
def test_a_wrong_command_is_found(line: str, problem: str) -> None:
    for text in (f"```sh\n{line}\n```\n", f"Text:\n\n    {line}\n"):
        (command,) = commands(text)
        (found,) = problems_of(command)
        assert found.startswith(problem)


def test_a_wrong_command_of_a_sentence_is_found() -> None:
    found = list(commands("Run `make lints`, `rollback.yml -e ap=x` and `-e lift_hod=shop`.\n"))
    assert [problems_of(one) for one in found] == [
        ["make has no target lints"],
        ["rollback.yml has no variable ap"],
        ["no playbook has the variable lift_hod"],
    ]


def test_the_variables_of_the_reference_exist() -> None:
    """A row without a variable would let documents use it."""
    code = "\n".join(
        path.read_text()
        for folder in ("plugins", "playbooks", "roles")
        for path in (CHECKOUT / folder).rglob("*.[py]*")
        if path.suffix in (".py", ".yml")
    )
    names = {name for playbook in PLAYBOOKS for name in variables(playbook)}
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)] == []


def test_commands_are_found_at_all() -> None:
    count = {path.name: len(list(commands(path.read_text()))) for path in PAGES}
    assert count["playbooks.md"] > 12
    assert sum(count.values()) > 150
