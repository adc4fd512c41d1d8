# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Check program files by supervisor's own parser before they are installed."""

from __future__ import annotations

import os
import subprocess
import tempfile

from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_instances import instantiate
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_paths import Paths
from ansible_collections.pyweb.stack.plugins.module_utils.processes.supervisor_plan import Plan, ProgramError

# The daemon's own Python runs this: only its parser knows what the daemon will accept.
CHECK = """
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.configfile = sys.argv[1]
try:
    options.process_config(do_usage=False)
except Exception as error:
    sys.exit("%s: %s" % (type(error).__name__, error))
"""
# An instance for templates, which can't be parsed without one.
SAMPLE_INSTANCE = "20000101T000000Z-check"


def check_files(supervisord: str, todo: Plan, paths: Paths) -> None:
    """Let supervisor's parser read copies of the changed files. Raises ProgramError for what it refuses."""
    files = changed_files(todo, paths)
    python = interpreter(supervisord)
    if not files or python is None:
        return
    with tempfile.TemporaryDirectory(prefix="pyweb-programs-") as folder:
        for file in files:
            content = (file.data or b"").decode()
            if os.path.dirname(file.path) == paths.templates:
                content = instantiate(content, SAMPLE_INSTANCE)
            with open(os.path.join(folder, os.path.basename(file.path)), "w", encoding="utf-8") as stream:
                stream.write(content)
        main = os.path.join(folder, "supervisord")
        with open(main, "w", encoding="utf-8") as stream:
            stream.write(
                f"[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\n[include]\nfiles={folder}/*.conf\n"
            )
        done = subprocess.run([*python, "-c", CHECK, main], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            said = lines_of((done.stderr or done.stdout).strip()) or ["(nothing)"]
            raise ProgramError(
                f"Checking the program files by supervisor's own parser, before any was installed: {said[-1]} "
                "Correct what the message names.".replace(f"{folder}/", "")
            )


def changed_files(todo: Plan, paths: Paths) -> list[File]:
    """The changed files of supervisor, and the programs of changed groups, which can't be parsed without them."""
    files = [file for file in todo.files if file.content is not None and file.path.endswith(".conf")]
    changed = {file.path for file in files}
    for unit in todo.units:
        if unit.is_group and unit.path in changed:
            members = [File(paths.program(program["name"]), program["content"]) for program in unit.programs]
            files += [file for file in members if file.path not in changed]
    return files


def interpreter(supervisord: str) -> list[str] | None:
    """The Python that runs the daemon, from the first line of its program."""
    try:
        with open(supervisord, "rb") as stream:
            first = stream.readline(512)
    except OSError:
        return None
    return first[2:].decode(errors="replace").split() or None if first.startswith(b"#!") else None
