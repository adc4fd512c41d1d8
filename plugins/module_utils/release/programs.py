# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Run the programs of a deployment, in one of two worlds, and end every process that they leave running.

Programs of the *build* world run as the build account: they install dependencies and run build commands. The
application can neither read nor write their caches and settings. Programs of the *run* world run as the
application's account, in the sandbox of its services.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.pyweb.stack.plugins.module_utils.host.account_processes import end_processes, processes_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import read
from ansible_collections.pyweb.stack.plugins.module_utils.host.lines import lines_of
from ansible_collections.pyweb.stack.plugins.module_utils.host.source_text import source_text
from ansible_collections.pyweb.stack.plugins.module_utils.images.mounts import build_lines, run_lines
from ansible_collections.pyweb.stack.plugins.module_utils.images.places import file_system_of, has_image
from ansible_collections.pyweb.stack.plugins.module_utils.release import keeper, sandbox
from ansible_collections.pyweb.stack.plugins.module_utils.release.capture import MOST_OUTPUT, captured
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    ReleaseError,
    account,
    build_account,
    builder_of,
    existing_account,
)

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Set for every program that a deployment starts, so that the next run finds the programs of a killed deployment.
DEPLOYMENT_VARIABLE = "WEBAPP_DEPLOYMENT"

# Seconds for a command of a build. A command that takes longer is stuck.
COMMAND_TIMEOUT = 3600


@dataclass(frozen=True)
class Program:
    """A program of a deployment. ``timeout`` is in seconds; None means no limit."""

    command: list[str]
    cwd: str
    environment: dict[str, str]
    timeout: float | None
    # The release that it belongs to, if any.
    identity: str = ""
    # Files of the host that it needs, if it runs in an image.
    shown: tuple[str, ...] = ()


def run_as_account(
    layout: Layout,
    command: list[str],
    cwd: str,
    environment: dict[str, str],
    timeout: float | None,
    identity: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program in the run world, then kill every process that it has left running.

    Otherwise they would keep files and ports open. If this process is killed first, the next holder of the lock kills
    them.
    """
    owner = existing_account(layout.name)
    base = {"PATH": SYSTEM_PATH, "HOME": layout.cache, "LANG": "C.UTF-8", DEPLOYMENT_VARIABLE: layout.name}
    program = Program(command, cwd, {**base, **environment}, timeout, identity)
    return run(layout, "run", owner, program, sandbox.unit_of(layout), layout.command)


def run_by_hand(layout: Layout, command: list[str], unit: str, most: int) -> subprocess.CompletedProcess[str]:
    """Run a command of an operator in the run world. It may run beside a deployment, which does not end it."""
    base = {"PATH": SYSTEM_PATH, "HOME": layout.cache, "LANG": "C.UTF-8"}
    program = Program(command, layout.home, base, None)
    return run(layout, "run", existing_account(layout.name), program, unit, "", most)


def run_as_builder(layout: Layout, program: Program) -> subprocess.CompletedProcess[str]:
    """Run a program in the build world, then end every process of the build account."""
    owner = existing_account(layout.name, build_account(layout.name))
    if builder_of(layout.name) is None:
        raise ReleaseError(layout.name, f"the account {owner.pw_name} is not this collection's. Remove it.")
    base = {"PATH": SYSTEM_PATH, "HOME": layout.build, "LANG": "C.UTF-8", DEPLOYMENT_VARIABLE: layout.name}
    given = Program(**{**program.__dict__, "environment": {**base, **program.environment}})
    try:
        return run(layout, "build", owner, given, sandbox.unit_of(layout), layout.command)
    finally:
        end_builders(layout, owner)


def end_builders(layout: Layout, builder: pwd.struct_passwd) -> None:
    """End all processes of a build account. Raises ReleaseError with those that are left."""
    try:
        end_processes([builder.pw_uid], f"ending the processes of the account {builder.pw_name}", patience=0)
    except HostError as error:
        raise ReleaseError(layout.name, str(error)) from error


def run(
    layout: Layout,
    world: str,
    owner: pwd.struct_passwd,
    program: Program,
    unit: str,
    record: str,
    most: int = MOST_OUTPUT,
) -> subprocess.CompletedProcess[str]:
    """Run a program in the sandbox of its world; without systemd, under a keeper that ends what it leaves."""
    lines = sandbox.properties(layout, world)
    if lines is None and record and os.path.isdir(sandbox.SYSTEMD):
        raise ReleaseError(
            layout.name, f"{layout.sandbox} does not describe the sandbox of this command. Remove it, and run again."
        )
    if lines is None:
        argv = kept(record, owner, program.command)
        try:
            answer = captured(argv, program.environment, program.cwd, program.timeout, end_keeper, most)
        finally:
            with suppress(FileNotFoundError):
                os.truncate(record, 0)
        return subprocess.CompletedProcess(program.command, answer.returncode, answer.stdout, answer.stderr)
    values = sandbox.specifiers(layout, program.identity)
    lines = [sandbox.expanded(line, values) for line in lines] + lines_of_image(layout, world, program)
    if program.timeout is not None:
        # systemd ends the program even if this process is killed before.
        lines.append(f"RuntimeMaxSec={program.timeout + 60:.0f}")

    def end(process: subprocess.Popen[bytes]) -> None:
        sandbox.stop_unit(unit)
        end_process(process)

    with sandbox.environment_file(program.environment) as path:
        while True:
            argv = sandbox.command_line(unit, lines, program.cwd, path, program.command)
            answer = captured(argv, dict(os.environ), "/", program.timeout, end, most)
            if answer.returncode == 1 and sandbox.UNKNOWN.search(answer.stderr):
                known = sandbox.known_properties(layout, unit, lines)
                if known != lines:  # so systemd has refused them, and the command has not run
                    lines = known
                    continue
            return subprocess.CompletedProcess(program.command, answer.returncode, answer.stdout, answer.stderr)


def lines_of_image(layout: Layout, world: str, program: Program) -> list[str]:
    """The properties by which a program of a release runs in its image; none for a release of the host.

    A command that names no release belongs to the live one. A build that names none works on the host.
    """
    identity = program.identity or (layout.current_release() if world == "run" else "")
    if not identity or not has_image(layout.release(identity)):
        return []
    image = file_system_of(layout.release(identity))
    if world == "build":
        return build_lines(layout.home, image, program.shown)
    return run_lines(layout.home, layout.runtime, image)


def kept(record: str, owner: pwd.struct_passwd, command: list[str]) -> list[str]:
    """The command line that runs a command as an account, without privileges, under a keeper."""
    drop = [
        *("/usr/bin/setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--init-groups"),
        *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"),
    ]
    return [sys.executable, "-I", "-S", "-c", source_text(keeper), record, *drop, *command]


def end_keeper(process: subprocess.Popen[bytes]) -> None:
    """Let a keeper end what it has started."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(keeper.PATIENCE + 2)
    end_process(process)


def end_process(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(text: str, lines: int) -> str:
    """The last lines of a string."""
    return "\n".join(lines_of(text.strip())[-lines:])


def kill_abandoned(layout: Layout) -> None:
    """Kill the programs of this application that a killed deployment has left running."""
    if os.path.isdir(sandbox.SYSTEMD):
        sandbox.stop_unit(sandbox.unit_of(layout))
    builder = builder_of(layout.name)
    if builder is not None and processes_of([builder.pw_uid]):
        end_builders(layout, builder)
    until = time.monotonic() + 5
    # Repeat this, because a program may just have started another, and a killed program does not end at once.
    while (found := programs_of_deployments(layout)) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def programs_of_deployments(layout: Layout) -> list[int]:
    """The processes of an application that a deployment has started, rather than the process manager.

    They are found by their session. A process that has left it is found by its environment, which root can't read in
    some containers.
    """
    owner = account(layout.name)
    session = (read(layout.command) or b"").strip()
    mark = f"{DEPLOYMENT_VARIABLE}={layout.name}".encode()
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError):
            if owner is None or os.stat(f"/proc/{pid}").st_uid != owner.pw_uid or not read(f"/proc/{pid}/cmdline"):
                continue
            if str(os.getsid(pid)).encode() == session or mark in (read(f"/proc/{pid}/environ") or b"").split(b"\0"):
                found.append(pid)
    return found
