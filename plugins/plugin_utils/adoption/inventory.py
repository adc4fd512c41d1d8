# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""The inventory of applications that were deployed by hand, as YAML with comments. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line, redacted
from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.deployments import Deployment, deployments
from ansible_collections.pyweb.stack.plugins.plugin_utils.adoption.sites import (
    Block,
    Site,
    addresses_of,
    blocks_of,
    site_of,
)
from ansible_collections.pyweb.stack.plugins.plugin_utils.model.webapps import normalised

# Names of variables whose values must not be in a file that others read.
SECRET = re.compile(
    r"SECRET|PASS(?:WORD|WD|PHRASE)?(?:_|\b|$)|PWD|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|(?:^|_)KEY(?:_|$)|DSN|SALT|AUTH",
    re.IGNORECASE,
)
# An address of a repository on another host: not a path of the controller, and no program.
REMOTE = re.compile(r"(?:https?|ssh|git)://[^\s-]\S*|(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9_][\w.-]*:(?!:|//)\S+")
LOGIN = re.compile(r"://[^/\s@]*:[^/\s@]*@")
WIDTH = 110
HEADER = """\
# The applications that were deployed by hand on {host}. Written by adopt.yml, which has changed nothing on that host.
# Correct it, move it to the inventory of {host}, and run: ansible-playbook site.yml -i inventory --check --diff
"""


@dataclass
class Written:
    """The files for a host. ``secrets`` is empty if no value looks secret."""

    inventory: str
    secrets: str
    report: list[str]


def inventory_of(host: str, found: Mapping[str, Any], secrets_file: str) -> Written:
    """The inventory for a host that has sent these texts."""
    every = deployments(found)
    blocks = blocks_of(found.get("nginx"))
    names: list[str] = []
    secrets: dict[str, str] = {}
    parts = []
    for one in every:
        site = site_of(blocks, one.addresses, one.folder)
        name = name_of(one, site, names)
        names.append(name)
        app, comments = application(one, site, name, secrets)
        parts.append(item(app, comments))
    served = {id(block) for one in every for block in site_of(blocks, one.addresses, one.folder).blocks}
    left = [block for block in blocks if id(block) not in served and not is_stock(block)]
    header = HEADER.format(host=host)
    if secrets:
        header += (
            f"# Values that look secret are in {secrets_file}. Load it as well. Encrypt it: ansible-vault encrypt\n"
        )
    notes = [
        f"The server {' '.join(block.server.first('server_name').split()) or 'without a name'} in {block.path} leads "
        "to no application here. It stays."
        for block in left
    ]
    text = f"---\n{header}{commented(notes)}webapps:{'' if parts else ' []'}\n" + "\n".join(parts)
    hidden = "---\n" + "".join(f"{key}: {scalar(value)}\n" for key, value in secrets.items()) if secrets else ""
    return Written(text, hidden, reports(every, names))


def is_stock(block: Block) -> bool:
    """Whether a block seems to be the default site of Debian, which the role nginx disables."""
    return block.path.endswith("/sites-enabled/default") and not addresses_of(block)


def reports(every: list[Deployment], names: list[str]) -> list[str]:
    if not every:
        return ["Found no gunicorn, uWSGI or other app server that was set up by hand."]
    kinds = {"unit": "the unit", "program": "the supervisor program", "command": "the command"}
    return [
        one_line(f"{name}: {one.reading.server} of {kinds[one.kind]} {next(iter(one.adopts.values()), '')[:200]}")
        for one, name in zip(every, names, strict=True)
    ]


def name_of(one: Deployment, site: Site, taken: Iterable[str]) -> str:
    """A name for the application that is free and valid."""
    domains = site.settings.get("domains") or [""]
    given = [one.name, domains[0].removeprefix("www.").partition(".")[0], one.folder.rstrip("/").rpartition("/")[2]]
    common = ("app", "gunicorn", "uwsgi", "web", "flask", "django", "src", "current")
    raw = next((name for name in given if name and name.lower() not in common), "app")
    name = re.sub(r"[^a-z0-9]+", "-", raw.lower()).strip("-")
    name = name if name[:1].isalpha() else f"app-{name}".strip("-")
    # An account of this name may own the old deployment.
    name = name[:27].rstrip("-")
    if one.user == name:
        name = f"{name}-app"[:31]
    base, number = name, 2
    while name in taken:
        name, number = f"{base[:27]}-{number}", number + 1
    return name


def application(one: Deployment, site: Site, name: str, secrets: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The application, and the comments above it."""
    reading = one.reading
    comments = [*one.notes, *reading.notes, *site.notes]
    app: dict[str, Any] = {"name": name, "source": source_of(one, name, comments)}
    if python := str(one.project.get("python") or ""):
        app["python"] = {"interpreter": python}
    if reading.callable:
        app["wsgi"] = reading.callable if ":" in reading.callable else f"{reading.callable}:application"
    else:
        app["wsgi"] = "app:app"
        comments.append("wsgi is a guess: its command line names no callable.")
    server = reading.server if reading.server in ("gunicorn", "uwsgi", "granian") else "gunicorn"
    if server != "gunicorn":
        app["server"] = server
    app |= reading.values
    if reading.settings:
        app[server] = reading.settings
    if reading.env:
        app["env"] = variables(reading.env, name, secrets)
    if one.adopts and any(one.adopts.values()):
        app["adopts"] = {kind: without_secrets(text, name, secrets) for kind, text in one.adopts.items()}
    if site.settings:
        app["site"] = site.settings
    comments += [f"Beside it runs {other}: {line}. See processes." for other, line in one.beside]
    lists = one.project.get("lists")
    if isinstance(lists, list) and not lists:
        comments.append("Its folder has no file with dependencies. Write requirements.txt, such as by: pip freeze")
    return app, [*comments, *without_problems(app, server)]


def without_problems(app: dict[str, Any], server: str) -> list[str]:
    """Remove settings that the collection refuses; the comments say why."""
    comments: list[str] = []
    for _attempt in range(60):
        trial = {**app, "env": dict.fromkeys(app.get("env", {}), "x")}
        problems = normalised([trial])[1]
        if not problems:
            return comments
        text = problems[0]
        key = re.search(rf"\.{server}(?:\.(?P<inner>[\w-]+)|: (?:unknown key )?'?(?P<named>[\w-]+))", text)
        inner = (key["inner"] or key["named"]) if key else None
        if inner and inner in app.get(server, {}):
            value = app[server].pop(inner)
            comments.append(f"Not taken over: {server} {inner} = {value!r}. {text.partition(': ')[2]}")
            if not app[server]:
                del app[server]
        else:
            return [*comments, *(f"To correct: {problem}" for problem in problems)]
    return comments


def source_of(one: Deployment, name: str, comments: list[str]) -> dict[str, str]:
    repository = str(one.project.get("repository") or "")
    if repository and not REMOTE.fullmatch(repository):
        comments.append(f"Its repository is {repository}, which is no address that the controller can use.")
    elif repository:
        if redacted(repository) != repository:
            comments.append("Its repository has a password in its address, which is left out.")
        source = {"git": redacted(repository).replace("***@", "")}
        top = str(one.project.get("top") or "")
        if top and one.folder.startswith(f"{top}/"):
            source["subdir"] = one.folder[len(top) + 1 :]
        return source
    comments.append(f"Copy its code to the controller first: rsync -a --exclude venv HOST:{one.folder}/ {name}/")
    return {"path": name}


def variables(env: Mapping[str, str], name: str, secrets: dict[str, str]) -> dict[str, str]:
    """The variables of an application. Values that look secret become references to the second file."""
    found: dict[str, str] = {}
    for key, value in env.items():
        if SECRET.search(key) or LOGIN.search(value):
            found[key] = hidden(value, f"{name}_{key}", secrets)
        else:
            found[key] = value
    return found


def without_secrets(text: str, name: str, secrets: dict[str, str]) -> str:
    """A command line; a reference to it if it has a secret value of this application, or a login."""
    own = [value for key, value in secrets.items() if value and key.startswith(variable_of(f"{name}_"))]
    has_secret = LOGIN.search(text) or any(value in text for value in own)
    return hidden(text, f"{name}_command", secrets) if has_secret else text


def variable_of(name: str) -> str:
    return "adopted_" + re.sub(r"[^a-z0-9]", "_", name.lower())


def hidden(value: str, name: str, secrets: dict[str, str]) -> Reference:
    """A reference to a value in the second file.

    A host chooses the names. With this prefix, none is a variable that has a meaning to Ansible or to the collection.
    """
    base = variable = variable_of(name)
    number = 2
    while secrets.get(variable, value) != value:
        variable, number = f"{base}_{number}", number + 1
    secrets[variable] = value
    return Reference(f"{{{{ {variable} }}}}")


# YAML


def item(app: Mapping[str, Any], comments: list[str]) -> str:
    text = yaml.dump(plain(app), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    lines = text.rstrip("\n").split("\n")
    body = "\n".join([f"  - {lines[0]}", *(f"    {line}" if line else "" for line in lines[1:])])
    return f"{commented(comments, '  ')}{body}\n"


def commented(notes: list[str], indent: str = "") -> str:
    return "".join(f"{indent}# {one_line(redacted(note))[:1000]}\n" for note in dict.fromkeys(notes))


class Unsafe(str):
    """A text of a host. Ansible must not resolve templates in it."""


class Reference(str):
    """Our own reference to a variable in the second file."""


class Dumper(yaml.SafeDumper):
    """YAML as people write it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


Dumper.add_representer(Reference, lambda dumper, value: dumper.represent_str(str(value)))
Dumper.add_representer(Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style="'"))


def plain(value: Any) -> Any:
    """Data for YAML. Texts that Ansible would take for templates are marked, except our own references."""
    if isinstance(value, Mapping):
        return {str(plain_text(str(key))): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # A literal can also be bytes or a complex number.
    return plain_text(value if isinstance(value, str) else repr(value))


def plain_text(text: str) -> str:
    is_ours = isinstance(text, Reference) or not re.search(r"\{[{%#]", text)
    return text if is_ours else Unsafe(text)


def scalar(value: str) -> str:
    text = plain_text(value)
    return yaml.dump(text, Dumper=Dumper, allow_unicode=True, width=10_000).removesuffix("...\n").rstrip("\n")
