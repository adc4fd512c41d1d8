# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The texts that describe manual deployments on this host. The controller reads them. Changes nothing."""

from __future__ import annotations

import configparser
import glob
import json
import os
import pwd
import re
import shlex
from contextlib import suppress
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.adoption.handmade_processes import (
    handmade_processes,
    server_of,
)
from ansible_collections.pyweb.stack.plugins.module_utils.adoption.old_services import PROGRAM_FILES, STARTERS
from ansible_collections.pyweb.stack.plugins.module_utils.host.forks import in_child
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import foreign

UNIT_FOLDERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
OWN = "pyweb.stack"
# Bounds for what is read.
MOST_BYTES = 64 * 1024
MOST_FILES = 20
MOST_UNITS = 200
PATIENCE = 10.0
# The files that show where the dependencies of a project are listed.
LISTS = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml", "setup.py", "Pipfile", "poetry.lock")
SETTINGS = re.compile(r"[^=\s]+\.(?:py|ini|xml|ya?ml|json|toml|conf|cfg)\Z")


def survey(root: str, conf_dir: str = "/etc/nginx") -> dict[str, Any]:
    """All texts: of nginx, of units, of programs, and of processes in the background."""
    return {
        "nginx": nginx_texts(conf_dir),
        "units": units(),
        "programs": programs(),
        "processes": [process_of(one) for one in handmade_processes(root)],
        "starters": starters(),
    }


def nginx_texts(conf_dir: str) -> list[dict[str, Any]]:
    entry = text_at(f"{conf_dir}/nginx.conf")
    return [
        {"path": one.path, "text": one.text, "is_main": one.is_entry}
        for one in foreign.sources(conf_dir, entry)
        if len(one.text) <= MOST_BYTES
    ]


def units() -> list[dict[str, Any]]:
    """The units with an app server, and those in the same folders as one."""
    found: dict[str, dict[str, Any]] = {}
    for path in [path for folder in UNIT_FOLDERS for path in sorted(glob.glob(f"{folder}/*.service"))][:MOST_UNITS]:
        name = os.path.basename(path)
        text = text_at(path) or ""
        if name in found or OWN in text.partition("\n")[0] or os.path.islink(path):
            continue
        for more in sorted(glob.glob(f"/etc/systemd/system/{glob.escape(name)}.d/*.conf")):
            text += "\n" + (text_at(more) or "")
        words = split(value_of(text, "ExecStart").lstrip("@-:+!"))
        cwd, user = value_of(text, "WorkingDirectory").lstrip("-"), value_of(text, "User")
        found[name] = {
            "name": name,
            "text": text,
            "serves": bool(server_of(words)),
            "sockets": text_at(path[: -len("service")] + "socket") or "",
            **around(words, cwd, user, re.findall(r"(?m)^EnvironmentFile\s*=\s*-?(\S+)", text)),
        }
    folders = {one["cwd"] for one in found.values() if one["serves"] and one["cwd"]}
    return [one for one in found.values() if one["serves"] or one["cwd"] in folders]


def programs() -> list[dict[str, Any]]:
    """The programs of supervisor that are not this collection's."""
    found = []
    for path in sorted({path for pattern in PROGRAM_FILES for path in glob.glob(pattern)}):
        text = text_at(path) or ""
        if OWN in text.partition("\n")[0]:
            continue
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
        with suppress(configparser.Error):
            parser.read_string(text)
        for section in parser.sections():
            if not section.startswith("program:"):
                continue
            settings = dict(parser.items(section))
            words = split(settings.get("command", ""))
            found.append(
                {
                    "name": section.partition(":")[2].strip(),
                    "path": path,
                    "settings": settings,
                    "serves": bool(server_of(words)),
                    **around(words, settings.get("directory", ""), settings.get("user", ""), []),
                }
            )
    return found


def process_of(one: Any) -> dict[str, Any]:
    user = name_of(one.uid)
    return {**one.summary(), **around(one.words, one.cwd, user, [])}


def around(words: list[str], cwd: str, user: str, given: list[str]) -> dict[str, Any]:
    """A command with the files that it names, and the project in its folder; read with the rights of its account."""

    def read_all() -> bytes:
        if user:
            become(user)
        folder = chdir_of(words, cwd)
        data = {"files": files_of([*named(words), *given], folder or cwd), "project": project_of(folder or cwd, words)}
        return json.dumps(data).encode()

    answer: dict[str, Any] = json.loads(in_child(read_all, PATIENCE) or b'{"files": {}, "project": {}}')
    return {"words": words, "cwd": cwd, "user": user, **answer}


def become(user: str) -> None:
    """Become an account for good. For a child process."""
    entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    if os.geteuid() == 0 and entry.pw_uid != 0:
        os.setgroups(os.getgrouplist(entry.pw_name, entry.pw_gid))
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def named(words: list[str]) -> list[str]:
    """The settings files that a command names. Of Python files, only those after an option."""
    found = ["gunicorn.conf.py"] if server_of(words) == "gunicorn" else []
    for before, word in zip(["", *words], words):  # host code runs on Python 3.9
        path = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        path = re.sub(r"\A(?:python|file):", "", path)
        is_option = before in ("-c", "--config", "--paste") or word.startswith(("--config=", "-c"))
        if SETTINGS.match(path) and (is_option or not path.endswith(".py")):
            found.append(path)
        elif word.startswith("-c") and SETTINGS.match(word[2:]):
            found.append(word[2:])
    return found


def chdir_of(words: list[str], cwd: str) -> str:
    """The folder that a command changes to."""
    for before, word in zip(["", *words], words):  # see above
        if before == "--chdir":
            return os.path.join(cwd or "/", word)
        if word.startswith("--chdir="):
            return os.path.join(cwd or "/", word.partition("=")[2])
    return ""


def files_of(paths: list[str], cwd: str) -> dict[str, str]:
    """The texts of files, by the names that the command gives them."""
    found: dict[str, str] = {}
    for path in list(dict.fromkeys(paths))[:MOST_FILES]:
        text = text_at(os.path.join(cwd or "/", path))
        if text is not None:
            found[path] = text
    return found


def project_of(cwd: str, words: list[str]) -> dict[str, Any]:
    """The project in a folder: the files with its dependencies, its repository, and its environment."""
    found: dict[str, Any] = {"folder": cwd, "lists": [], "repository": "", "python": "", "modules": []}
    if not cwd.startswith("/"):
        return found
    found["lists"] = [name for name in LISTS if os.path.isfile(os.path.join(cwd, name))]
    with suppress(OSError):
        found["modules"] = sorted(name for name in os.listdir(cwd) if not name.startswith("."))[:100]
    folder = cwd
    for _level in range(4):
        text = text_at(os.path.join(folder, ".git/config"))
        match = re.search(r"(?m)^\s*url\s*=\s*(\S+)", text or "")
        if match:
            found["repository"], found["top"] = match[1], folder
            break
        folder = os.path.dirname(folder)
    program = next((word for word in words if "/bin/" in word), "")
    text = text_at(os.path.join(os.path.dirname(os.path.dirname(program)), "pyvenv.cfg")) if program else None
    version = re.search(r"(?m)^version(?:_info)?\s*=\s*(3\.\d+)", text or "")
    found["python"] = version[1] if version else ""
    return found


def starters() -> list[dict[str, str]]:
    """The lines that start an app server at boot."""
    found = []
    for path in sorted(path for pattern in STARTERS for path in glob.glob(pattern)):
        for line in lines_of(text_at(path) or ""):
            is_started = path == "/etc/rc.local" or "@reboot" in line
            if is_started and re.search(r"gunicorn|uwsgi|uvicorn|granian", line) and not line.lstrip().startswith("#"):
                found.append({"path": path, "line": line.strip()[:1000]})
    return found


def value_of(text: str, name: str) -> str:
    """The last value of a setting in a unit, with its continued lines."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(rf"(?m)^{name}\s*=[ \t]*(.*)$", joined)
    return str(found[-1]).strip() if found else ""


def split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def text_at(path: str) -> str | None:
    """The text of a regular file; None if there is none, or if it is too long."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not os.path.isfile(f"/proc/self/fd/{stream.fileno()}") or status.st_size > MOST_BYTES:
            return None
        return stream.read(MOST_BYTES).decode(errors="replace")


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
