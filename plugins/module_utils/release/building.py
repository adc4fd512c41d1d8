# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Build one release aside: source, environment, variables, launcher; nothing here touches what is live."""

from __future__ import annotations

import base64
import contextlib
import glob
import grp
import io
import json
import os
import platform
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import acl
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, write
from ansible_collections.pyweb.stack.plugins.module_utils.release import requirements
from ansible_collections.pyweb.stack.plugins.module_utils.release.entry import entry_module
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    BAD,
    BUILDING,
    BUILT,
    COMPLETE,
    DEPLOYMENT_VARIABLE,
    RELEASE,
    Layout,
    Manifest,
    ReleaseError,
    account,
    digest,
    manifests,
    remove_tree,
    write_manifest,
)

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The group that nginx works as, unless webapp_nginx_group names another.
NGINX_GROUP = "www-data"

SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|credential|private|salt|dsn", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^:/@\s]*:([^/@\s]+)@")

MARKER = "PYWEB-CHECK "

# Variables that this collection sets; their values are no secrets, and messages need them.
OWN_VARIABLES = frozenset(
    [
        "PATH",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "LANG",
        "FLASK_APP",
        "WEBAPP_NAME",
        "WEBAPP_RELEASE",
        "WEBAPP_SOCKET",
        "WEBAPP_SERVER",
        "WEBAPP_PROCESS_MANAGER",
        "SCRIPT_NAME",
    ]
)

# Of every program that runs as an application's account: what it writes is not for other accounts.
UMASK = 0o027

# Seconds. Long enough to compile a large package; something that takes longer is stuck.
UV_TIMEOUT = 1800
COMMAND_TIMEOUT = 3600
# Bytes of a program's output that are looked at; messages show its last lines.
OUTPUT = 1024**2

# Write down one's session, into the file that is there as standard input, before becoming the command.
TELL_SESSION = ("/bin/sh", "-c", 'echo $$ >&0 && exec "$@" </dev/null', "sh")

# Fill a shared folder for the first time, all or nothing.
SEED = """set -e
rm -rf -- "$2.seed"
mkdir -p -- "$2.seed"
test -z "$1" || cp -RP --preserve=mode,timestamps -- "$1/." "$2.seed"
chmod -R o-rwx -- "$2.seed"
mv -T -- "$2.seed" "$2"
"""

# Runs as an application's account: lets one more group read a folder and what is in it, now and later.
# It gives no right that the account itself has taken from its own group, and closes what it opens to all others.
SERVE = r"""
import os, stat, struct, sys
shared, folder, group = sys.argv[1], sys.argv[2], int(sys.argv[3])
def acl(owner, own, named):
    entries = [(1, owner, -1), (4, own, -1), (8, named, group), (16, own | named, -1), (32, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, r, n & 0xFFFFFFFF) for t, r, n in entries)
def grant(path, named, kind="access"):
    mode = os.lstat(path).st_mode
    os.setxattr(path, "system.posix_acl_" + kind, acl(mode >> 6 & 7, mode >> 3 & 7, named), follow_symlinks=False)
os.makedirs(folder, exist_ok=True)
way = os.path.dirname(folder)
while way != shared:
    grant(way, 1)
    way = os.path.dirname(way)
waiting, folders = [folder], []
while waiting:
    path = waiting.pop()
    folders.append(path)
    with os.scandir(path) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if found.st_uid != os.getuid():
                continue
            if stat.S_ISDIR(found.st_mode):
                waiting.append(entry.path)
            elif stat.S_ISREG(found.st_mode) and found.st_mode & 0o040:
                grant(entry.path, 4)
for path in reversed(folders):
    # The folder itself comes last: where it is open, all of it is.
    os.setxattr(path, "system.posix_acl_access", acl(7, 5, 5))
    os.setxattr(path, "system.posix_acl_default", acl(7, 5, 5))
"""

# Runs in the application's environment: imports the callable and says in one line what it found.
IMPORT_CHECK = r"""
import ast, contextlib, importlib, inspect, io, json, os, re, sys, traceback
spec, protocol, settings, proxy_fix = sys.argv[1:5]
module_name, _, rest = spec.partition(":")
attribute, _, call = rest.partition("(")
def say(**found):
    print("\nPYWEB-CHECK " + json.dumps(found), flush=True)
    os._exit(0)
def last(error):
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    text = "".join(lines[-7:]).rstrip()
    noise = ("<frozen importlib", "importlib/__init__", 'File "<string>"')
    return [line for line in text.splitlines() if not any(mark in line for mark in noise)][-16:]
try:
    module = importlib.import_module(module_name)
except ModuleNotFoundError as error:
    if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
        modules = (n for n in os.listdir(".") if n.endswith(".py") or os.path.exists(n + "/__init__.py"))
        here = sorted(n.removesuffix(".py") for n in modules)
        say(problem="no_module", missing=error.name, here=here[:20])
    say(problem="import", trace=last(error), missing=error.name)
except BaseException as error:
    say(problem="import", trace=last(error), missing=None)
target = module
try:
    for part in attribute.split("."):
        target = getattr(target, part)
except AttributeError:
    # By the type: a proxy such as flask.request would look for its request, and there is none.
    found = sorted(n for n, v in vars(module).items() if not n.startswith("_") and hasattr(type(v), "wsgi_app"))
    factories = sorted(n + "()" for n in ("create_app", "make_app") if callable(getattr(module, n, None)))
    say(problem="no_callable", found=found + factories)
if call:
    try:
        tree = ast.parse(rest, mode="eval").body
        if not isinstance(tree, ast.Call) or isinstance(tree.func, ast.Call):
            raise ValueError(rest)
        args = [ast.literal_eval(a) for a in tree.args]
        kwargs = {k.arg: ast.literal_eval(k.value) for k in tree.keywords}
    except (SyntaxError, ValueError):
        say(problem="factory_arguments")
    try:
        target = target(*args, **kwargs)
    except BaseException as error:
        say(problem="factory", trace=last(error))
if not callable(target):
    say(problem="not_callable", type=type(target).__name__)
if not call and inspect.isfunction(target):
    required = [p for p in inspect.signature(target).parameters.values()
                if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if attribute.startswith(("create", "make")) and len(required) < 2:
        say(problem="is_factory", wants=[p.name for p in required])
def takes(count):
    try:
        inspect.signature(target).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return None
    return True
if protocol == "wsgi" and takes(3) and takes(2) is False:
    say(problem="asgi")
if protocol == "asgi" and takes(2) and takes(3) is False:
    say(problem="wsgi")
def routes():
    rules = getattr(getattr(target, "url_map", None), "iter_rules", None)
    if rules:
        return [rule for rule in rules() if rule.endpoint != "static"]
    found = getattr(target, "routes", None)
    return [r for r in found if getattr(r, "include_in_schema", True)] if isinstance(found, list) else None
def under_main(path):
    with open(path, encoding="utf-8") as stream:
        tree = ast.parse(stream.read())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    serves = re.compile(r"[\w.]*\b(run|serve|serve_forever|run_simple)\(")
    def lines(body, deep):
        for statement in body:
            text = ast.unparse(statement).splitlines()
            name = getattr(getattr(getattr(statement, "value", None), "func", None), "id", None)
            if name in functions and deep:
                yield from lines(functions[name].body, False)
            elif not serves.match(text[0]):
                first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
                yield "line %d: %s" % (first, text[0])
    for node in tree.body:
        if isinstance(node, ast.If) and "'__main__'" in ast.unparse(node.test) and "__name__" in ast.unparse(node.test):
            return list(lines(node.body, True))
    return []
if routes() == []:
    for path in [module.__file__, *sorted(n for n in os.listdir(".") if n.endswith(".py"))]:
        moved = []
        with contextlib.suppress(OSError, TypeError, ValueError, SyntaxError):
            moved = under_main(path)
        if moved:
            say(problem="under_main", file=os.path.relpath(path), lines=moved[:12])
if proxy_fix:
    try:
        import werkzeug.middleware.proxy_fix
    except ImportError:
        say(problem="proxy_fix")
if settings:
    words = io.StringIO()
    try:
        sys.argv = ["gunicorn", "--check-config", "--config", settings]
        with contextlib.redirect_stderr(words):
            from gunicorn.app.wsgiapp import WSGIApplication
            WSGIApplication(prog="gunicorn").cfg.worker_class
    except SystemExit:
        say(problem="settings", trace=words.getvalue().strip().splitlines()[-12:])
    except BaseException as error:
        told = [line for line in str(error).splitlines() if line.strip(" []")] or [type(error).__name__]
        say(problem="settings", trace=[told[0], *told[1:][-1:]])
say(problem=None)
"""


@dataclass
class Requirements:
    """What an application asks for: files by their names in its root, and packages beside them."""

    files: list[str]
    packages: list[str]
    # The lines of requirements files, and of what uv wrote for the locks, whose paths are here.
    lines: dict[str, list[requirements.Line]] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)


class Builder:
    """Builds one release of one application. Every step raises ReleaseError with what to try."""

    def __init__(self, spec: dict[str, Any], layout: Layout, uv: str, code: str) -> None:
        self.spec = spec
        self.layout = layout
        self.uv = uv
        self.code = code
        self.name = spec["name"]

    def build(self, manifest: Manifest) -> Manifest:
        """Make the release's folder and all that a process needs in it; the manifest says BUILT when all is there."""
        release = self.layout.release(manifest.id)
        os.makedirs(os.path.join(release, "bin"), mode=0o755)
        manifest.state = BUILDING
        write_manifest(self.layout, manifest)
        try:
            self.unpack(os.path.join(release, "src"))
            manifest.venv, editable = self.environment(manifest.id)
            manifest.leans_on = manifest.id if editable else ""
            os.symlink(os.path.join("..", "..", "venvs", manifest.venv), os.path.join(release, "venv"))
            self.link_shared()
            self.write_launcher(manifest.id)
            self.run_commands(manifest.id)
            self.check_import(manifest.id)
            manifest.state = BUILT
            write_manifest(self.layout, manifest)
        except ReleaseError as error:
            if not self.keep_as_bad(manifest, error):
                raise
            raise self.error(f"{error.text}\nWhat was built is kept in {release} for inspection.") from error
        except BaseException:
            # Not for inspection: a full disk, say, would stay full.
            remove_tree(release)
            raise
        return manifest

    def keep_as_bad(self, manifest: Manifest, error: ReleaseError) -> bool:
        """Leave a release that could not be finished for inspection, and no earlier one; tell whether that worked."""
        manifest.state, manifest.reason = BAD, error.text.splitlines()[0]
        try:
            own_by_root(os.path.join(self.layout.release(manifest.id), "src"))
            write_manifest(self.layout, manifest)
        except OSError:
            remove_tree(self.layout.release(manifest.id))
            return False
        for known in manifests(self.layout):
            if known.state == BAD and known.id != manifest.id:
                remove_tree(self.layout.release(known.id))
        return True

    # Source

    def unpack(self, target: str) -> None:
        os.makedirs(target, mode=0o755)
        self.top = target
        self.root = os.path.join(target, self.spec["source"].get("subdir") or "").rstrip("/")
        data = self.spec["source"].get("data")
        upload = self.spec["source"].get("upload")
        if data or upload:
            stream = io.BytesIO(base64.b64decode(data)) if data else open(upload, "rb")  # noqa: SIM115  # closed below
            with stream, tarfile.open(fileobj=stream, mode="r|gz") as archive:
                if hasattr(tarfile, "tar_filter"):  # not in Debian 12's Python 3.11.2
                    archive.extraction_filter = staticmethod(tarfile.tar_filter)
                archive.extractall(target)  # noqa: S202  # made by the controller from files that it has checked
        if not within(self.root, target):
            raise self.error(
                f"source.subdir '{self.spec['source']['subdir']}' leads out of the source, by a link. Name a folder."
            )
        if not os.path.isdir(self.root):
            raise self.error(
                f"source.subdir '{self.spec['source']['subdir']}' is not a folder in the source. {self.folders(target)}"
            )

    def folders(self, path: str) -> str:
        found = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
        return f"It has: {', '.join(found[:20])}." if found else "It has no folders."

    # Environment

    def requirement_files(self) -> list[str]:
        named = self.spec["python"].get("requirements")
        problem = requirements.ignored(self.root, self.top, named)
        if problem:
            raise self.error(problem)
        if named is None:
            return [requirements.automatic(self.root, self.top)]
        for name in named:
            if not os.path.isfile(os.path.join(self.root, name)):
                found = sorted(entry for entry in os.listdir(self.root) if entry.endswith((".txt", ".toml", ".lock")))
                has = f"It has: {', '.join(found)}." if found else "It has no file that looks like one."
                raise self.error(f"python.requirements names '{name}', but the source has no such file. {has}")
        return list(named)

    def environment(self, identity: str) -> tuple[str, bool]:
        """The virtual environment for these dependencies: one that is there, else a new one.

        Return its name, and whether it points into the release.
        """
        python = self.spec["python"]
        interpreter = shutil.which(python["interpreter"], path=SYSTEM_PATH)
        if interpreter is None:
            raise self.error(
                f"python.interpreter '{python['interpreter']}' is not on the host. Install it (apt install "
                f"{os.path.basename(python['interpreter'])}), or name one that is."
            )
        version = interpreter_version(interpreter)
        if not version:
            raise self.error(
                f"python.interpreter '{python['interpreter']}' ({interpreter}) is no Python. Name one, such as python3."
            )
        wanted = Requirements([name for name in self.requirement_files() if name], list(python.get("packages") or []))
        if self.spec["source"]["kind"] == "package":
            wanted.packages.insert(0, self.spec["source"]["package"])
        try:
            self.export_locks(wanted, identity)
            self.check_requirements(wanted)
            return self.environment_for(wanted, identity, interpreter, version)
        finally:
            for path in wanted.exported.values():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def environment_for(self, wanted: Requirements, identity: str, interpreter: str, version: str) -> tuple[str, bool]:
        key = self.environment_key(wanted, identity, version)
        while True:
            name = digest(key)[:16]
            path = os.path.join(self.layout.venvs, name)
            if os.path.exists(os.path.join(path, COMPLETE)):
                return name, "release" in key
            remove_tree(path)
            try:
                self.install(path, interpreter, wanted)
                linked = links_into(path, self.layout.release(identity))
                if not linked or "release" in key:
                    own_by_root(path)
                    write(File(os.path.join(path, COMPLETE), f"{interpreter}\n"))
                    return name, "release" in key
            except BaseException:
                remove_tree(path)
                raise
            # No file told, but a library of the source asked for another one as a link. No other release may have it.
            remove_tree(path)
            key["release"] = identity

    def environment_key(self, wanted: Requirements, identity: str, version: str) -> dict[str, Any]:
        """What an environment depends on. The whole source is part of that unless it provably is not."""
        python = self.spec["python"]
        lines = [line for found in wanted.lines.values() for line in found]
        tables = [name for name in wanted.files if requirements.kind(name) in ("project", "pylock", "program")]
        texts = {
            name: "\n".join(line.text for line in wanted.lines[name])
            if name in wanted.exported
            else requirements.text_of(self.root, name)
            for name in wanted.files
        }
        key: dict[str, Any] = {
            "interpreter": version,
            "machine": platform.machine(),
            "files": texts,
            "packages": [*wanted.packages, *self.spec["server_packages"]],
        }
        indexes = [python.get("index_url"), *(python.get("extra_index_urls") or [])]
        if any(indexes):
            key["indexes"] = [requirements.without_login(index or "") for index in indexes]
        plain = requirements.plain_lines([*lines, *(requirements.Line(one) for one in wanted.packages)]) and all(
            requirements.plain_table(self.root, self.top, name) for name in tables
        )
        if not plain:
            key["code"] = self.code
        if requirements.points_into_source(lines, [texts[name] for name in tables]):
            key["release"] = identity
        return key

    def export_locks(self, wanted: Requirements, identity: str) -> None:
        """Have uv write the locks as requirements files, which say what counts of them on this host."""
        python = self.spec["python"]
        indexes = [index for index in (python.get("index_url"), *(python.get("extra_index_urls") or [])) if index]
        for name in wanted.files:
            if requirements.kind(name) == "text":
                wanted.lines[name] = requirements.lines_of(self.root, name)
            if requirements.kind(name) != "lock":
                continue
            lock = os.path.normpath(os.path.join(self.root, name))
            package, index = requirements.unverified(lock, indexes)
            if package:
                raise self.error(
                    f"'{name}' takes {package} from the index '{index}' without a hash, so another {package} could be "
                    "installed in its place. Name the index in python.extra_index_urls, or the file itself: "
                    f'[tool.uv.sources] {package} = {{path = "…"}}.'
                )
            # Of a workspace, what the member in the application root needs; its paths begin at the lock.
            above = os.path.realpath(self.root).startswith(os.path.realpath(os.path.dirname(lock)) + "/")
            project = self.root if above and requirements.member(lock, self.root) else os.path.dirname(lock)
            path = os.path.join(self.layout.cache, f"{identity}-{len(wanted.exported)}.txt")
            wanted.exported[name] = path
            options = ["--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--no-annotate"]
            self.run_uv(["export", *options, "--project", project, "--output-file", path], f"read {name}")
            # The application's account wrote it: root must not be led elsewhere.
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8", errors="replace") as stream:
                wanted.lines[name] = [requirements.Line(text) for text in requirements.logical_lines(stream.read())]

    def check_requirements(self, wanted: Requirements) -> None:
        """Refuse what would install other packages than the application asks for."""
        python = self.spec["python"]
        indexes = [index for index in (python.get("index_url"), *(python.get("extra_index_urls") or [])) if index]
        for name in (name for name in wanted.files if requirements.kind(name) == "project"):
            index = requirements.lost_index(requirements.content(os.path.join(self.root, name)), indexes)
            if index:
                raise self.error(
                    f"'{name}' names the index '{index}', which would not be asked. Name it in the inventory, as "
                    "python.index_url or in python.extra_index_urls."
                )
        for server in self.spec["server_packages"][:1]:
            problem = requirements.pinned_too_old(self.root, wanted.files, wanted.packages, server)
            if problem:
                raise self.error(problem)
            for name in wanted.exported:
                for package, found in requirements.pins(server, [line.text for line in wanted.lines[name]]):
                    if requirements.too_old(found, server):
                        raise self.error(requirements.old_server(server, f"'{name}'", package, found))

    def install(self, path: str, interpreter: str, wanted: Requirements) -> None:
        owner = account(self.name)
        # Packages may run code of their own when they are built; that code runs as the application's account.
        # Afterwards everything
        # belongs to root, so that the application can't edit its own environment.
        os.makedirs(path, mode=0o755)
        os.chown(path, owner.pw_uid, owner.pw_gid)
        self.run_uv(
            ["venv", "--quiet", "--allow-existing", "--no-project", "--python", interpreter, path],
            "make the virtual environment",
        )
        python = os.path.join(path, "bin", "python")
        common = ["pip", "install", "--quiet", "--python", python, "--link-mode", "copy", "--compile-bytecode"]
        for name, exported in wanted.exported.items():
            # As it is locked: nothing is resolved a second time.
            folder = os.path.dirname(os.path.normpath(os.path.join(self.root, name)))
            self.run_uv([*common, "--no-deps", "-r", exported], f"install what {name} lists", folder)
        plain = [name for name in wanted.files if name not in wanted.exported]
        for name in [name for name in plain if requirements.kind(name) == "pylock"]:
            self.run_uv([*common, "-r", name], f"install what {name} lists")
            plain.remove(name)
        with tempfile.TemporaryDirectory() as scratch:
            os.chmod(scratch, 0o755)  # noqa: S103  # the application's account reads it
            held = os.path.join(scratch, "installed.txt")
            arguments = [part for name in plain for part in ("-r", name)] + wanted.packages
            if arguments:
                # What a lock has brought stays as it is, except where the inventory names it.
                named = {requirements.package_name(package) for package in wanted.packages}
                write(File(held, pinned({name: one for name, one in installed(path).items() if name not in named})))
                listed = " and ".join([*plain, *(f"'{package}'" for package in wanted.packages)])
                self.run_uv([*common, "-c", held, *arguments], f"install {listed}")
            self.install_server(path, common, plain, held)

    def install_server(self, path: str, common: list[str], plain: list[str], held: str) -> None:
        """Add the app server to what the application has installed, unless that brought one."""
        there = installed(path)
        missing = [one for one in self.spec["server_packages"] if not there.keys() & {*requirements.same_program(one)}]
        if missing:
            write(File(held, pinned(there)))
            limits = [limit for name in plain for limit in requirements.constraint_files(self.root, name)]
            bounds = [part for limit in [held, *dict.fromkeys(limits)] for part in ("-c", limit)]
            self.run_uv([*common, *bounds, *missing], f"install {' and '.join(missing)} beside what is required")
            there = installed(path)
        for server in self.spec["server_packages"][:1]:
            for name in there.keys() & {*requirements.same_program(server)}:
                if requirements.too_old(there[name], server):
                    raise self.error(requirements.old_server(server, "a requirement", name, there[name]))

    def run_uv(self, arguments: list[str], doing: str, cwd: str = "") -> None:
        python = self.spec["python"]
        environment = {
            "UV_CACHE_DIR": os.path.join(self.layout.cache, "uv"),
            "UV_SYSTEM_CERTS": "1",
            "UV_NATIVE_TLS": "1",  # the same, for uv before 0.10
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
        }
        if python.get("index_url"):
            environment["UV_DEFAULT_INDEX"] = python["index_url"]
        if python.get("extra_index_urls"):
            environment["UV_INDEX"] = " ".join(python["extra_index_urls"])
        if python.get("ca_bundle"):
            environment["SSL_CERT_FILE"] = python["ca_bundle"]
            if not os.path.isfile(python["ca_bundle"]):
                raise self.error(
                    f"python.ca_bundle '{python['ca_bundle']}' is not a file on the host. Put it there, or leave it "
                    "out to use the host's certificate store."
                )
        for name in (
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ):
            if name in os.environ:
                environment[name] = os.environ[name]
        try:
            answer = self.run_as_account(
                [self.uv, *arguments], cwd=cwd or self.root, environment=environment, timeout=UV_TIMEOUT
            )
        except subprocess.TimeoutExpired:
            raise self.error(
                f"could not {doing} within {UV_TIMEOUT} seconds. Is the package index reachable?"
            ) from None
        if answer.returncode != 0:
            raise self.error(
                f"could not {doing}. {hint_of_uv(answer.stderr)}uv ended with status {answer.returncode} and "
                f"says:\n{tail(self.without_secrets(answer.stderr), 18)}"
            )

    def without_secrets(self, text: str) -> str:
        python = self.spec["python"]
        for url in [python.get("index_url"), *(python.get("extra_index_urls") or [])]:
            credentials = re.match(r"[a-z+]+://([^/@]+)@", url or "")
            if credentials:
                text = text.replace(credentials.group(1), "***")
        return text

    # What a process finds

    def link_shared(self) -> None:
        for folder in self.spec["shared"]:
            target = os.path.join(self.layout.shared, folder)
            link = os.path.join(self.root, folder)
            if not within(os.path.dirname(link), self.root):
                raise self.error(f"shared names '{folder}', which leads out of the source, by a link. Name a folder.")
            if os.path.isfile(link):
                raise self.error(
                    f"shared names '{folder}', which is a file in the source. Name the folder that it is in."
                )
            if not os.path.isdir(target):
                seed = link if os.path.isdir(link) and not os.path.islink(link) else ""
                # As the application's account: shared/ is its own, so a link in it could lead root anywhere.
                answer = self.run_as_account(
                    ["/bin/sh", "-c", SEED, "sh", seed, target], self.layout.home, {}, COMMAND_TIMEOUT
                )
                if answer.returncode != 0:
                    raise self.error(
                        f"the shared folder '{folder}' could not be made as {target}: {tail(answer.stderr, 3)}. "
                        "Is something else of that name there?"
                    )
            remove_tree(link)
            os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
            os.symlink(target, link)
        serve_shared(self.layout, self.spec.get("served") or [], self.spec.get("nginx_group") or NGINX_GROUP)

    def variables(self, identity: str) -> dict[str, str]:
        """The environment of every process of the release; the user's own variables win."""
        release = self.layout.release(identity)
        venv = os.path.join(release, "venv")
        folders = [os.path.join(release, "entry"), self.root]
        if os.path.isdir(os.path.join(self.root, "src")):
            folders.append(os.path.join(self.root, "src"))
        return {
            "PATH": f"{os.path.join(venv, 'bin')}:{SYSTEM_PATH}",
            "VIRTUAL_ENV": venv,
            "PYTHONPATH": ":".join(folders),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
            "FLASK_APP": self.spec["wsgi"],
            "WEBAPP_NAME": self.name,
            "WEBAPP_RELEASE": identity,
            "WEBAPP_SOCKET": self.layout.socket(identity),
            **self.spec["environment"],
            **{key: str(value) for key, value in self.spec["env"].items()},
        }

    def write_launcher(self, identity: str) -> None:
        release = self.layout.release(identity)
        owner = account(self.name)
        group = str(owner.pw_name)
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in self.variables(identity).items()]
        write(File(os.path.join(release, "env"), "".join(lines), mode=0o640, group=group))
        run = (
            "#!/bin/sh\n"
            "# Runs a command in the environment of this release.\n"
            "set -a\n"
            f". {shlex.quote(os.path.join(release, 'env'))}\n"
            "set +a\n"
            f"cd {shlex.quote(self.root)} || exit 1\n"
            'exec "$@"\n'
        )
        write(File(os.path.join(release, "bin", "run"), run, mode=0o755))
        if self.spec["entry"]:
            os.makedirs(os.path.join(release, "entry"), mode=0o755)
            text = entry_module(self.spec["wsgi"], **self.spec["entry"])
            write(File(os.path.join(release, "entry", "pyweb_entry.py"), text))
        for given in self.spec["server_files"]:
            path = os.path.join(release, given["path"])
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            write(File(path, given["content"].replace(RELEASE, identity), mode=int(given.get("mode", "0644"), 8)))
        own_by_root(os.path.join(release, "src"))

    # The new code, before it can serve

    def run_commands(self, identity: str) -> None:
        if self.spec["build_commands"]:
            # Before the first command only: after it the account may have put anything there.
            owner = account(self.name)
            own(self.root, owner.pw_uid, owner.pw_gid)
        for command in self.spec["build_commands"]:
            try:
                answer = self.run_in_release(identity, ["/bin/sh", "-c", command], timeout=COMMAND_TIMEOUT)
            except subprocess.TimeoutExpired:
                raise self.error(
                    f"the build command '{command}' did not end within {COMMAND_TIMEOUT} seconds."
                ) from None
            if answer.returncode != 0:
                output = tail(answer.stdout + answer.stderr, 15)
                raise self.error(
                    f"the build command '{command}' failed with status {answer.returncode}. It said:\n{output}"
                )
        if self.spec["build_commands"]:
            own_by_root(self.root)

    def check_import(self, identity: str) -> None:
        timeout = self.spec["import_timeout"]
        try:
            fixes = (self.spec["entry"] or {}).get("proxy_fix") and self.spec["protocol"] == "wsgi"
            settings = self.gunicorn_settings(identity)
            arguments = [self.spec["wsgi"], self.spec["protocol"], settings, "yes" if fixes else ""]
            answer = self.run_in_release(identity, ["python", "-c", IMPORT_CHECK, *arguments], timeout=timeout)
        except subprocess.TimeoutExpired:
            raise self.error(
                f"importing '{self.spec['wsgi']}' did not end within {timeout} seconds. Does the module start a "
                "server or a loop when it is imported? "
                'Put that under: if __name__ == "__main__"'
            ) from None
        found = next(
            (line[len(MARKER) :] for line in reversed(answer.stdout.splitlines()) if line.startswith(MARKER)), None
        )
        if found is None:
            raise self.error(
                f"importing '{self.spec['wsgi']}' ended the interpreter with status {answer.returncode}. Its last "
                f"words:\n{tail(answer.stdout + answer.stderr, 12)}"
            )
        text = import_problem(self.spec["wsgi"], json.loads(found))
        if text:
            raise self.error(text)

    def gunicorn_settings(self, identity: str) -> str:
        """The path of gunicorn's settings file, which gunicorn itself has to understand; empty where there is none."""
        path = os.path.join(self.layout.release(identity), "gunicorn.conf.py")
        return path if os.path.exists(path) else ""

    # Running as the application's account

    def run_in_release(self, identity: str, command: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        launcher = os.path.join(self.layout.release(identity), "bin", "run")
        return self.run_as_account([launcher, *command], cwd=self.layout.home, environment={}, timeout=timeout)

    def run_as_account(
        self, command: list[str], cwd: str, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        return run_as_account(self.layout, command, cwd, environment, timeout)

    def error(self, text: str) -> ReleaseError:
        return ReleaseError(self.name, masked(text, self.spec["env"]))


def run_as_account(
    layout: Layout, command: list[str], cwd: str, environment: dict[str, str], timeout: float | None
) -> subprocess.CompletedProcess[str]:
    """Run a program of a deployment as the application's account, and end whatever it leaves running.

    That would hold on to files and ports. What it leaves when this process is killed, the next holder of the lock ends.
    """
    owner = account(layout.name)
    base = {"PATH": SYSTEM_PATH, "HOME": layout.cache, "LANG": "C.UTF-8", DEPLOYMENT_VARIABLE: layout.name}
    # Files, not pipes: a daemon that inherits a pipe keeps it open for ever.
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        open(layout.command, "w+b", opener=for_root) as session,
    ):
        process = subprocess.Popen(
            [*TELL_SESSION, *command],
            cwd=cwd,
            env={**base, **environment},
            user=owner.pw_uid,
            group=owner.pw_gid,
            extra_groups=[],
            umask=UMASK,
            stdin=session,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            session.truncate(0)
        return subprocess.CompletedProcess(command, status, last_bytes(output), last_bytes(errors))


def serve_shared(layout: Layout, served: list[str], nginx_group: str, check_mode: bool = False) -> bool:
    """Let nginx read those folders below shared/ that it serves, and what comes into them later.

    The account that owns them does it: root would follow whatever that account has put there. Return whether anything
    differed. A folder that is a link to somewhere else, or on a file system without access control lists, is its
    operator's to open.
    """
    changed = False
    for relative in served:
        folder = os.path.join(layout.shared, relative)
        first = os.path.join(layout.shared, relative.split("/")[0])
        real = os.path.join(os.path.realpath(layout.shared), relative)
        if not os.path.isdir(first) or os.path.realpath(folder) != real or is_served(layout, folder, nginx_group):
            continue
        if not acl.is_supported(folder):
            continue
        changed = True
        if check_mode:
            continue
        group = str(grp.getgrnam(nginx_group).gr_gid)
        python = shutil.which("python3", path=SYSTEM_PATH) or sys.executable
        command = [python, "-I", "-c", SERVE, layout.shared, folder, group]
        answer = run_as_account(layout, command, layout.home, {}, COMMAND_TIMEOUT)
        if answer.returncode != 0:
            raise ReleaseError(
                layout.name,
                f"granting nginx read access to {folder}, which it serves, failed: {tail(answer.stderr, 1)}. "
                f"Make the account {layout.name} the owner of that path.",
            )
    return changed


def is_served(layout: Layout, folder: str, nginx_group: str) -> bool:
    """Whether nginx may pass on the way to a folder below shared/, and read what is there and what will be."""
    try:
        group = grp.getgrnam(nginx_group).gr_gid
        parts = os.path.relpath(folder, layout.shared).split("/")
        way = [os.path.join(layout.shared, *parts[:end]) for end in range(1, len(parts))]
        later = [rights for tag, rights, number in acl.entries_of(folder, acl.DEFAULT) if (tag, number) == (8, group)]
        return later == [5] and all(
            acl.permits(path, acl.NOBODY, [group], right)
            for path, right in [*((path, 1) for path in way), (folder, 1), (folder, 4)]
        )
    except (OSError, KeyError):
        return False


def for_root(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def last_bytes(stream: Any) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - OUTPUT))
    return stream.read().decode(errors="replace")


def masked(text: str, variables: dict[str, Any]) -> str:
    """The text without the values of variables that may be secrets, for an application may print its own."""
    hidden: set[str] = set()
    for name, value in variables.items():
        words = {str(value), *str(value).splitlines(), repr(str(value))[1:-1], *PASSWORD_IN_URL.findall(str(value))}
        least = 4 if SECRET_NAME.search(name) else 12
        hidden |= {word for word in words if len(word) >= least}
        hidden |= {word for word in PASSWORD_IN_URL.findall(str(value)) if len(word) >= 4}
    for word in sorted(hidden, key=len, reverse=True):
        text = text.replace(word, "***")
    return text


def within(path: str, folder: str) -> bool:
    """Whether a path stays in a folder when every link in it is followed."""
    real, base = os.path.realpath(path), os.path.realpath(folder)
    return real == base or real.startswith(base + "/")


def installed(path: str) -> dict[str, str]:
    """The packages of an environment and their versions, by the folders that hold their metadata."""
    found = {}
    for folder in glob.glob(os.path.join(glob.escape(path), "lib", "python*", "site-packages", "*.dist-info")):
        parts = re.fullmatch(r"([A-Za-z0-9._]+)-([A-Za-z0-9.+!_]+)\.dist-info", os.path.basename(folder))
        if parts:
            found[requirements.normal(parts.group(1))] = parts.group(2)
    return found


def pinned(packages: dict[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


def links_into(path: str, folder: str) -> bool:
    """Whether an environment finds code in a folder: by the files in which installers note such links."""
    for pattern in ("*.pth", "*.egg-link", "__editable__*", "*.dist-info/direct_url.json"):
        for note in glob.glob(os.path.join(glob.escape(path), "lib", "python*", "site-packages", pattern)):
            text = requirements.content(note) if os.path.isfile(note) and not os.path.islink(note) else ""
            there = folder in text or os.path.realpath(folder) in text
            if there and (not note.endswith(".json") or '"editable":true' in re.sub(r"\s", "", text)):
                return True
    return False


def interpreter_version(interpreter: str) -> str:
    """Implementation and version of an interpreter, as far as an environment depends on it: ``cpython-3.11``."""
    if os.path.realpath(interpreter) == os.path.realpath(sys.executable):
        # It is the one that runs this module, as on most hosts; to start it once more would only take time.
        return f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}"
    code = "import sys; print('%s-%d.%d' % (sys.implementation.name, *sys.version_info[:2]))"
    try:
        answer = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        return ""
    return answer.stdout.strip()


def own(path: str, uid: int, gid: int) -> None:
    """Give a folder and all in it to an account. By descriptors: a folder swapped for a link leads nobody astray."""
    for _base, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        os.fchown(descriptor, uid, gid)
        for name in folders + files:
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)


def own_by_root(path: str) -> None:
    """Take a folder and all in it from its account, which can't change any of it afterwards."""
    for _base, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        seal(descriptor)
        for name in [*files, *(folder for folder in folders if is_link(folder, descriptor))]:
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
            except OSError:
                # A link, or a socket, which has no mode that matters.
                os.chown(name, 0, 0, dir_fd=descriptor, follow_symlinks=False)
                continue
            try:
                seal(file)
            finally:
                os.close(file)


def is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def seal(descriptor: int) -> None:
    """Give a file or folder to root, with a mode by which root alone can write, and the account can still read."""
    before = os.fstat(descriptor)
    os.fchown(descriptor, 0, 0)
    mode = sealed_mode(before.st_mode, made=before.st_uid != 0)
    if mode != stat.S_IMODE(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, mode)


def sealed_mode(mode: int, made: bool = True) -> int:
    """The mode of what becomes root's. What the account has ``made`` for its group, it can go on reading as another."""
    return mode & 0o755 | (mode >> 3 & 0o005 if made else 0)


def tail(text: str, lines: int) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


# What Debian calls the libraries that well-known requirements without wheels are built with.
LIBRARIES = {
    "gssapi": ["libkrb5-dev"],
    "mysqlclient": ["default-libmysqlclient-dev", "pkg-config"],
    "psycopg2": ["libpq-dev"],
    "pycairo": ["libcairo2-dev", "pkg-config"],
    "pycurl": ["libcurl4-openssl-dev", "libssl-dev"],
    "pygraphviz": ["libgraphviz-dev"],
    "python-ldap": ["libldap2-dev", "libsasl2-dev"],
    "xmlsec": ["libxmlsec1-dev", "pkg-config"],
}


def build_needs(said: str) -> list[str]:
    """The packages of Debian that a build which failed was probably missing, by what uv says in lower case."""
    failed = re.findall(r"failed to build `?([a-z0-9_.-]+?)(?:[=@ `]|$)", said)
    libraries = [package for name in failed for package in LIBRARIES.get(name.replace("_", "-"), [])]
    return ["build-essential", "python3-dev", *dict.fromkeys(libraries)]


def hint_of_uv(text: str) -> str:
    """What to try, for the failures of uv that people meet."""
    lowered = text.lower()
    if (
        "was not found in the package registry" in lowered
        or "there are no versions of" in lowered
        or "there is no version of" in lowered
    ):
        return "A requirement has no such name or version; check its spelling in the requirements. "
    if "certificate" in lowered and ("unknownissuer" in lowered or "invalid peer" in lowered or "verify" in lowered):
        return (
            "The index's certificate is not trusted: add your company's authority to the host's certificate store, "
            "or name it as python.ca_bundle. "
        )
    if (
        "dns error" in lowered
        or "failed to lookup" in lowered
        or "connection refused" in lowered
        or "tcp connect error" in lowered
    ):
        return (
            "The package index can't be reached from the host: check its network, "
            "or name a mirror as python.index_url. "
        )
    if (
        "requires-python" in lowered
        or "does not satisfy python" in lowered
        or ("requires" in lowered and "python>=" in lowered)
    ):
        return "A requirement needs another Python; change its version, or name another python.interpreter. "
    if "failed to build" in lowered or "build backend" in lowered:
        return (
            "A requirement has no wheel for this Python and could not be built; let python_packages install what its "
            f"build needs ({' '.join(build_needs(lowered))}), or choose a version with a wheel. "
        )
    if "no space left" in lowered:
        return "The disk is full. "
    return ""


def import_problem(wsgi: str, found: dict[str, Any]) -> str | None:
    """The message for what the import check found, None if the callable is fine."""
    module, _, rest = wsgi.partition(":")
    problem = found["problem"]
    if problem is None:
        return None
    if problem == "no_module":
        here = (
            f"The application root has: {', '.join(found['here'])}."
            if found["here"]
            else "The application root has no Python module at all; is source.subdir missing?"
        )
        return f"wsgi is '{wsgi}', but there is no module '{found['missing']}'. {here}"
    if problem == "import":
        trace = "\n".join(found["trace"])
        remedy = ""
        if found.get("missing"):
            remedy = (
                f" '{found['missing']}' is not among the dependencies: add the package that has it to the requirements."
            )
        return f"importing '{module}' failed.{remedy} The end of the traceback:\n{trace}"
    if problem == "no_callable":
        names = ", ".join(f"'{module}:{name}'" for name in found["found"])
        return f"wsgi is '{wsgi}', but the module '{module}' has no '{rest.partition('(')[0]}'. " + (
            f"Did you mean {names}?"
            if names
            else "Name the application object or a factory call, such as 'create_app()'."
        )
    if problem == "not_callable":
        return (
            f"wsgi is '{wsgi}', but that is a {found['type']}, which a server can't call. "
            f"Name the application object, such as '{module}:app'."
        )
    if problem == "is_factory" and found.get("wants"):
        return (
            f"wsgi is '{wsgi}', which is a function that wants '{found['wants'][0]}': a factory, not an application. "
            f"Write the call, such as '{wsgi}(\"production\")'."
        )
    if problem == "is_factory":
        return (
            f"wsgi is '{wsgi}', which is a function without arguments: a factory, not an application. Write '{wsgi}()'."
        )
    if problem == "asgi":
        return (
            f"wsgi is '{wsgi}', which is an ASGI application, but the server calls it by WSGI. Give it a server that "
            "speaks ASGI: server: gunicorn, with gunicorn: {worker_class: asgi}."
        )
    if problem == "wsgi":
        return (
            f"wsgi is '{wsgi}', which is a WSGI application, but the worker class calls it by ASGI. Leave worker_class "
            "out, or name the application's ASGI callable."
        )
    if problem == "under_main":
        listed = "\n".join(f"    {line}" for line in found["lines"])
        return (
            f"'{wsgi}' has no routes when it is imported: it would answer 404 to everything. {found['file']} registers "
            'them under: if __name__ == "__main__", which only happens when that file is started by hand, as by '
            f"'python {found['file']}'. Move these lines out of that block, to the left margin above it, and leave "
            f"only what starts a server in it:\n{listed}"
        )
    if problem == "proxy_fix":
        return (
            "proxy_fix is true, but werkzeug is not among the dependencies. Add werkzeug to python.packages, or turn "
            "proxy_fix off."
        )
    if problem == "settings":
        return "gunicorn does not accept its settings. It says:\n" + "\n".join(found["trace"])
    if problem == "factory_arguments":
        return (
            f"wsgi is '{wsgi}', but the arguments of a factory must be plain values, "
            "such as 'create_app(\"production\")'."
        )
    trace = "\n".join(found.get("trace", []))
    factory = rest.partition("(")[0]
    wants = f"{factory}() missing" in trace and "required positional argument" in trace
    hint = f"It wants arguments: write them as plain values, such as '{module}:{factory}(\"production\")'. "
    return f"calling the factory of '{wsgi}' failed. {hint if wants else ''}The end of the traceback:\n{trace}"
