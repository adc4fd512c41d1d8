# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The deployments that a host reports: each is a unit, a program of supervisor, or a background process. Pure."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.commands import Reading, pairs_of, reading_of

SERVERS = ("gunicorn", "uwsgi", "uvicorn", "hypercorn", "granian", "waitress-serve", "daphne", "flask")


@dataclass
class Deployment:
    """One application that was deployed by hand."""

    kind: str
    name: str
    reading: Reading
    cwd: str = ""
    user: str = ""
    # The value of the key adopts.
    adopts: dict[str, str] = field(default_factory=dict)
    # The addresses where its server listens, in the words of its settings or of the kernel.
    addresses: list[str] = field(default_factory=list)
    project: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # Other programs in the same folder: their names and command lines.
    beside: list[tuple[str, str]] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """The folder of the application."""
        return self.reading.chdir or self.cwd or str(self.project.get("folder") or "")


def deployments(found: Mapping[str, Any]) -> list[Deployment]:
    """All deployments of a host's answer, units and programs first. A process of one of these is not another one."""
    units = [unit(one) for one in dicts(found.get("units")) if one.get("serves")]
    programs = [program(one) for one in dicts(found.get("programs")) if one.get("serves")]
    result = [*units, *programs]
    for one in dicts(found.get("processes")):
        owner = next((other for other in result if is_process_of(one, other)), None)
        if owner:
            owner.addresses += texts(one.get("addresses"))
        else:
            result.append(process(one, texts_of_starters(found)))
    add_neighbours(result, found)
    return result


def is_process_of(process_found: Mapping[str, Any], owner: Deployment) -> bool:
    name = {"unit": "unit", "program": "program"}.get(owner.kind, "")
    return bool(name) and text(process_found, name).removesuffix(".service") == owner.name


def unit(found: Mapping[str, Any]) -> Deployment:
    """A unit of systemd."""
    body = re.sub(r"\\\n\s*", " ", text(found, "text"))
    one = of_command("unit", text(found, "name").removesuffix(".service"), found)
    one.adopts = {"unit": text(found, "name")}
    for line in re.findall(r"(?m)^Environment\s*=[ \t]*(.*)$", body):
        for word in split(line):
            key, equals, value = word.partition("=")
            if equals and key not in ("PATH", "VIRTUAL_ENV"):
                one.reading.env[key] = value.replace("%%", "%")
    files = mapping(found.get("files"))
    for path in re.findall(r"(?m)^EnvironmentFile\s*=\s*-?(\S+)", body):
        if path in files:
            one.reading.env |= variables_of(str(files[path]))
        else:
            one.notes.append(f"EnvironmentFile={path} could not be read. Add its variables to env.")
    for name in ("ExecStartPre", "ExecStartPost", "ExecReload"):
        for line in re.findall(rf"(?m)^{name}\s*=[ \t]*(.*)$", body):
            if name != "ExecReload":
                one.notes.append(f"{name}={line} is not taken over. A command before each switch is commands.release.")
    for line in re.findall(r"(?m)^ListenStream\s*=\s*(\S+)", text(found, "sockets")):
        one.addresses.append(line)
    return one


def program(found: Mapping[str, Any]) -> Deployment:
    """A program of supervisor."""
    settings = mapping(found.get("settings"))
    one = of_command("program", text(found, "name"), found)
    one.adopts = {"program": one.name}
    one.reading.env |= {
        key: value
        for key, value in pairs_of(str(settings.get("environment", "")))
        if key not in ("PATH", "VIRTUAL_ENV", "HOME", "USER")
    }
    return one


def process(found: Mapping[str, Any], starters: list[str]) -> Deployment:
    """A process in the background."""
    words = texts(found.get("words"))
    one = of_command("command", "", found)
    # The package setproctitle replaces the command line by a title.
    has_title = words[:1] and words[0].startswith("gunicorn: master")
    one.adopts = {"command": f"gunicorn {one.reading.callable}" if has_title else shlex.join(words)}
    one.notes.append("It runs in the background, and no process manager keeps it alive.")
    one.notes += [
        f"{line} Remove that line after the first deployment." for line in starters if starts(line, words, one.folder)
    ]
    return one


def starts(line: str, words: list[str], folder: str) -> bool:
    """Whether a line seems to start a command: it has the words of it that are no options, and its folder if any."""
    named = [word for word in words if not word.startswith("-") and "/" not in word]
    names_folder = "cd " in line or "chdir" in line
    server = server_in(words)
    is_whole = bool(server) and server in line and all(word in line for word in named)
    return is_whole and (not names_folder or folder in line)


def of_command(kind: str, name: str, found: Mapping[str, Any]) -> Deployment:
    words = texts(found.get("words"))
    files = mapping(found.get("files"))
    known = {str(path): str(content) for path, content in files.items()}
    project = mapping(found.get("project"))
    server = server_in(words)
    reading = reading_of(server, words, known)
    one = Deployment(kind, name, reading, text(found, "cwd"), text(found, "user"), project=project)
    one.addresses = [*(absolute(bind, one.folder) for bind in reading.binds), *texts(found.get("addresses"))]
    if not reading.callable and text(found, "callable"):
        reading.callable = text(found, "callable")
    return one


def absolute(address: str, folder: str) -> str:
    """An address whose path, if it has one, begins with a slash."""
    path = address.removeprefix("unix:")
    is_path = address.startswith("unix:") or ":" not in path
    if not is_path or path.startswith(("/", "@")) or path.isdecimal():
        return address
    return posixpath.join(folder or "/", path)


def server_in(words: list[str]) -> str:
    names = [word.rpartition("/")[2] for word in words[:4]]
    for name in names:
        for server in SERVERS:
            if name == server or (server in ("gunicorn", "uwsgi") and name.startswith(server)):
                return server
    return ""


def add_neighbours(result: list[Deployment], found: Mapping[str, Any]) -> None:
    """Add the other programs that run in the folder of an application, such as its workers."""
    others = [one for name in ("units", "programs") for one in dicts(found.get(name)) if not one.get("serves")]
    for one in result:
        for other in others:
            if one.folder and text(other, "cwd") == one.folder and texts(other.get("words")):
                one.beside.append((text(other, "name").removesuffix(".service"), shlex.join(texts(other["words"]))))


def variables_of(content: str) -> dict[str, str]:
    """The variables of a file such as .env, without a shell."""
    found = {}
    for line in content.split("\n"):
        line = line.strip().removeprefix("export ")
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Za-z_]\w*", key.strip()):
            words = split(value) if value.strip()[:1] in ("'", '"') else [value.strip()]
            found[key.strip()] = words[0] if words else ""
    return found


def texts_of_starters(found: Mapping[str, Any]) -> list[str]:
    return [f"{text(one, 'path')} starts it at boot: {text(one, 'line')}." for one in dicts(found.get("starters"))]


# A host can report anything.


def dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def texts(value: Any) -> list[str]:
    return [str(one) for one in value if isinstance(one, str)] if isinstance(value, list) else []


def text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""


def split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()
