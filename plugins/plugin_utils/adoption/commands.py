# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Command lines and settings files of app servers, as settings of an application. Pure: nothing is executed."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.gunicorn import OWN as GUNICORN_OWN
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.gunicorn_settings import SETTINGS
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.translations import GUNICORN_NAMES, UWSGI_NAMES
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.uwsgi import OWN as UWSGI_OWN
from ansible_collections.pyweb.stack.plugins.plugin_utils.servers.uwsgi_options import OPTIONS

CALLABLE = re.compile(r"[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*(?:\(.*\))?)?\Z")
# Options of uWSGI's command line without a value.
FLAGS = frozenset(
    [
        "master",
        "enable-threads",
        "vacuum",
        "die-on-term",
        "single-interpreter",
        "need-app",
        "lazy",
        "lazy-apps",
        "thunder-lock",
        "strict",
        "disable-logging",
        "catch-exceptions",
        "no-site",
        "show-config",
        "gevent-monkey-patch",
        "py-autoreload-off",
        "M",
        "L",
        "i",
    ]
)
# Options of one letter, beside those that have the same meaning for gunicorn.
LETTERS = {"M": "master", "L": "disable-logging", "i": "single-interpreter", "T": "enable-threads", "H": "home"}
# Names of settings that say where the old server listens or writes. The collection decides that itself.
PLACES = frozenset(["pidfile", "logfile", "accesslog", "errorlog", "logto", "daemonize", "access_logfile", "log_file"])


@dataclass
class Reading:
    """The settings in a command line and its settings file. ``notes`` are the rest, in sentences."""

    server: str
    callable: str = ""
    binds: list[str] = field(default_factory=list)
    chdir: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def reading_of(server: str, words: list[str], files: dict[str, str]) -> Reading:
    """The reading of a command line; ``files`` are the texts of files that it names."""
    reader = {"gunicorn": gunicorn, "uwsgi": uwsgi}.get(server)
    if reader is None:
        found = Reading(server)
        found.callable = next((word for word in reversed(words[1:]) if ":" in word and CALLABLE.match(word)), "")
        found.notes.append(f"{server} served it. The options of its command line are not translated.")
        return found
    return reader(after_program(words), files)


def after_program(words: list[str]) -> list[str]:
    """The words after the program, which an interpreter may start."""
    for place, word in enumerate(words[:4]):
        name = os.path.basename(word)
        if name.startswith(("gunicorn", "uwsgi")):
            return words[place + 1 :]
    return words[1:]


# gunicorn


def gunicorn(words: list[str], files: dict[str, str]) -> Reading:
    """gunicorn reads its settings file first, and then its command line."""
    found = Reading("gunicorn")
    options, rest = gunicorn_options(words)
    config = str(options.pop("config", "") or "")
    config = re.sub(r"\A(?:python|file):", "", config)
    if config and config not in files:
        found.notes.append(f"The settings file {config} could not be read. Add its settings.")
    text = files.get(config or "gunicorn.conf.py", "")
    if text:
        literals, notes = python_literals(text)
        for name, value in literals.items():
            gunicorn_setting(found, name, value)
        found.notes += [f"{config or 'gunicorn.conf.py'}: {note}" for note in notes]
    for name, value in options.items():
        gunicorn_setting(found, name, value)
    if rest:
        found.callable = rest[0]
    return found


def gunicorn_options(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options of a command line by the names of their settings, and the other words."""
    options: dict[str, Any] = {}
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        if word.startswith("--"):
            raw, equals, value = word[2:].partition("=")
            has_value = bool(equals)
        else:
            raw, value = word[1:2], word[2:].lstrip("=")
            has_value = bool(value)
        name = raw.replace("-", "_")
        name = GUNICORN_NAMES.get(name, name)
        kind = SETTINGS.get(name, ("str", ()))[0]
        if kind == "bool":
            options[name] = raw not in ("no-sendfile",)
            continue
        if not has_value:
            value = left.pop(0) if left else ""
        if kind == "list":
            options[name] = [*options.get(name, []), value]
        else:
            options[name] = int(value) if kind == "int" and re.fullmatch(r"-?\d+", value) else value
    return options, rest


def gunicorn_setting(found: Reading, name: str, value: Any) -> None:
    """Add one setting of gunicorn under the name that it has here."""
    known = name if name in SETTINGS else GUNICORN_NAMES.get(name, name)
    if known == "bind":
        found.binds = [str(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    elif known in ("workers", "threads", "timeout"):
        if isinstance(value, int) and not isinstance(value, bool):
            found.values[known] = value
        else:
            found.notes.append(f"{known} was {value!r}, which is no number.")
    elif known == "wsgi_app":
        found.callable = str(value)
    elif known == "chdir":
        found.chdir = str(value)
    elif known == "raw_env":
        pairs = value if isinstance(value, (list, tuple)) else [value]
        found.env |= dict(str(one).split("=", 1) for one in pairs if "=" in str(one))
    elif known in PLACES or known in ("user", "group", "daemon", "umask"):
        pass
    elif known in GUNICORN_OWN:
        found.notes.append(f"{name} is not taken over: {GUNICORN_OWN[known]}")
    elif known in SETTINGS and SETTINGS[known][0] != "hook":
        found.settings[known] = value
    elif not name.startswith("_"):
        found.notes.append(
            f"{name} = {value!r} is not taken over: it is not a setting of gunicorn that webapps accepts."
        )


def python_literals(text: str) -> tuple[dict[str, Any], list[str]]:
    """The simple assignments of a settings file, and a note for everything else in it. Nothing is executed."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {}, [f"it is not valid Python ({error}). Add its settings."]
    found: dict[str, Any] = {}
    notes: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)) or is_docstring(node):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else []
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(node, ast.Assign) and names and len(names) == len(targets):
            try:
                value = ast.literal_eval(node.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                notes.append(guess(names[0], source_of(text, node)))
                continue
            found.update(dict.fromkeys(names, value))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            notes.append(
                f"the function {node.name} is not taken over. Move it to a module of the application, and name it as "
                f"gunicorn: {{{node.name}: module.function}}, if it is a hook."
            )
        else:
            notes.append(f"not read, because it would have to be executed: {source_of(text, node)}")
    return found, notes


def guess(name: str, source: str) -> str:
    """A note for a setting that is computed."""
    if name == "workers" and "cpu_count" in source:
        return f"{source}: workers: auto fits the number of cores."
    return f"not read, because it would have to be executed: {source}"


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def source_of(text: str, node: ast.stmt) -> str:
    """The source of a statement on one line."""
    lines = " ".join((ast.get_source_segment(text, node) or "").split())
    return lines if len(lines) <= 200 else f"{lines[:200]}…"


# uWSGI


def uwsgi(words: list[str], files: dict[str, str]) -> Reading:
    """The options of an ini file and of the command line, in their order."""
    found = Reading("uwsgi")
    options: list[tuple[str, str]] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-"):
            if word in files and word.endswith((".ini", ".conf", ".cfg")):
                options += ini_options(files[word], found.notes)
            elif word in files:
                found.notes.append(f"The settings file {word} is not an ini file. Add its settings.")
            elif re.fullmatch(r"[\w.\-\[\]]*:\d+|/\S+\.sock", word):
                options.append(("socket", word))
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and name not in FLAGS and left and not left[0].startswith("--"):
            value = left.pop(0)
        if len(name) == 1:
            name = LETTERS.get(name) or UWSGI_NAMES.get(name, name)
        if name in ("ini", "config"):
            if value in files:
                options += ini_options(files[value], found.notes)
            else:
                found.notes.append(f"The settings file {value} could not be read. Add its settings.")
        else:
            options.append((name, value or "true"))
    take_uwsgi_options(found, options)
    return found


def ini_options(text: str, notes: list[str]) -> list[tuple[str, str]]:
    """The options of the section uwsgi, with the placeholders that the file itself defines."""
    found: list[tuple[str, str]] = []
    own: dict[str, str] = {}
    is_inside = False
    placeholders = {*re.findall(r"%\((\w[\w-]*)\)", text)} - OPTIONS
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("["):
            is_inside = line.strip("[] ").lower() == "uwsgi"
        elif is_inside and line and not line.startswith(("#", ";")):
            name, equals, value = line.partition("=")
            name, value = name.strip(), value.strip() if equals else "true"
            value = re.sub(r"%\((\w[\w-]*)\)", lambda match: own.get(match[1], match[0]), value)
            own[name] = value
            if name not in placeholders:
                found.append((name, value))
    for name, value in found:
        if re.search(r"%\(|\$\(|@\(", value):
            notes.append(f"{name} = {value} has a placeholder that uWSGI alone can resolve. Write its value.")
    return [(name, value) for name, value in found if not re.search(r"%\(|\$\(|@\(", value)]


def take_uwsgi_options(found: Reading, options: list[tuple[str, str]]) -> None:
    module = file = function = ""
    for raw, value in options:
        name = raw if raw in OPTIONS or raw in UWSGI_OWN else UWSGI_NAMES.get(raw, raw)
        name = name.replace("_", "-")
        if name in ("socket", "http", "http-socket", "uwsgi-socket", "http11-socket", "https", "shared-socket"):
            found.binds.append(value)
        elif name in ("module", "wsgi"):
            module = value
        elif name in ("wsgi-file", "file", "mount"):
            file = value.partition("=")[2] if name == "mount" else value
        elif name == "callable":
            function = value
        elif name in ("processes", "workers", "threads", "harakiri"):
            key = {"processes": "workers", "harakiri": "timeout"}.get(name, name)
            if value.isdecimal():
                found.values[key] = int(value)
            else:
                found.notes.append(f"{raw} = {value} is no number.")
        elif name == "chdir":
            found.chdir = value
        elif name == "env":
            key, equals, text = value.partition("=")
            if equals:
                found.env[key] = text
        elif name in PLACES or name in (
            "pidfile2",
            "safe-pidfile",
            "manage-script-name",
            "plugin",
            "plugins",
            "plugin-dir",
        ):
            continue
        elif name in UWSGI_OWN:
            if UWSGI_OWN[name].startswith(("give ", "name ", "a release runs")):
                found.notes.append(f"{raw} = {value} is not taken over: {UWSGI_OWN[name]}")
        elif name in OPTIONS:
            add_option(found.settings, name, value)
        else:
            found.notes.append(f"{raw} = {value} is not taken over: it is not an option of uWSGI.")
    if not module and file:
        module = re.sub(r"\.py\Z", "", os.path.basename(file))
    if module:
        found.callable = module if ":" in module else f"{module}:{function or 'application'}"


def add_option(settings: dict[str, Any], name: str, text: str) -> None:
    """Add an option of uWSGI, which may occur several times."""
    value: Any = int(text) if re.fullmatch(r"\d{1,9}", text) and name not in ("uid", "gid") else text
    if text.lower() in ("true", "false"):
        value = text.lower() == "true"
    if name in settings:
        before = settings[name] if isinstance(settings[name], list) else [settings[name]]
        settings[name] = [*before, value]
    else:
        settings[name] = value


def pairs_of(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of supervisor's ``environment``: KEY="value",KEY2=value."""
    for match in re.finditer(r"([A-Za-z_]\w*)\s*=\s*(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[^,]*)", text):
        value = match[2].strip()
        if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        yield match[1], value.replace("%%", "%")
