#!/usr/bin/env python3
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Test hosts: Debian machines, as containers that are reached over SSH by an ordinary sudo user.

A fresh host has a bare Debian. A ready host also has the packages and the uv that the roles install, so that a scenario
about something else need not wait for them.

prepare   find or install a container engine, try what it can do, build the images (cached)
create    boot the hosts of one scenario and write the inventory that reaches them
destroy   remove the hosts of one scenario, and the SSH connections that were kept open to them
clean     remove every test host of this checkout, with --images also the images

Needs the standard library only. Environment:
PYWEB_TEST_ENGINE          podman or docker, where both are installed
PYWEB_TEST_IMAGE_BOOKWORM  an image of Debian 12 with systemd, instead of one made from Debian packages
PYWEB_TEST_IMAGE_TRIXIE    the same for Debian 13
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache" / "test-hosts"
KEY = CACHE / "id_ed25519"
IMAGES = "localhost/pyweb-stack-test"
LABEL = "pyweb-stack"
# Several checkouts may have hosts of the same name at once.
CHECKOUT_ID = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:6]
USER = "deploy"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CERTIFICATES = pathlib.Path("/usr/local/share/ca-certificates")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")

# The packages of a freshly installed Debian that Ansible needs; none that the collection installs.
PACKAGES = ("ca-certificates", "iproute2", "openssh-server", "procps", "python3", "python3-apt", "sudo")
PACKAGES_BY_INIT = {"systemd": ("dbus", "systemd", "systemd-sysv"), "none": ()}
SUITES = ("bookworm", "trixie")
# Only the full matrix needs these, so `prepare` does not make their images.
MORE_SUITES = ("bullseye", "testing")
PROBE = ("bookworm", "systemd", True)

# As root in the new system. The lists of packages are removed when a host is created, not here: see BOOTED.
PREPARE = f"""
set -eu
export DEBIAN_FRONTEND=noninteractive
missing=
for package in $PACKAGES; do
    [ "$(dpkg-query -W -f '${{db:Status-Abbrev}}' "$package" 2>/dev/null)" = 'ii ' ] || missing="$missing $package"
done
[ -z "$missing" ] || {{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends $missing; }}
update-ca-certificates >/dev/null
id {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {USER}
install -d -m 0700 -o {USER} -g {USER} /home/{USER}/.ssh
echo '{USER} ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}
chmod 0440 /etc/sudoers.d/{USER}
# Every host gets its own identity at its first boot, and no timer may take apt's lock at a moment of its own choice.
[ ! -e /etc/machine-id ] || : >/etc/machine-id
if [ -d /etc/systemd/system ]; then
    ln -sf /dev/null /etc/systemd/system/apt-daily.timer
    ln -sf /dev/null /etc/systemd/system/apt-daily-upgrade.timer
fi
"""

# As root in a container of a fresh image: what the first run of a playbook would install, but nothing of it runs.
READY = """
set -eu
export DEBIAN_FRONTEND=noninteractive
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
apt-get -qq update
apt-get -qq install --yes --no-install-recommends $PACKAGES >/dev/null
rm /usr/sbin/policy-rc.d
if [ -d /run/systemd/system ] || [ -e /sbin/init ]; then systemctl --quiet disable nginx supervisor; fi
python3 -m venv --without-pip /opt/pyweb/uv
pip=$(echo /usr/share/python-wheels/pip-*.whl)
/opt/pyweb/uv/bin/python "$pip/pip" install --quiet --no-cache-dir \\
    --disable-pip-version-check "uv==$UV"
apt-get clean
rm -rf /var/lib/apt/lists/*
"""

# As root in a host that has just been started. An empty folder of package lists with a fresh date would make apt's
# cache_valid_time skip the update that a fresh host needs; without the folder apt's Python module can't lock it.
BOOTED = f"""
set -eu
rm -rf /var/lib/apt/lists/* /var/lib/apt/periodic/update-success-stamp
touch --date=@0 /var/lib/apt/lists
cat >/home/{USER}/.ssh/authorized_keys
chown {USER}:{USER} /home/{USER}/.ssh/authorized_keys
chmod 0600 /home/{USER}/.ssh/authorized_keys
"""

# PID 1 of a host with systemd. Where control groups are of the first version, a container sees them read-only, and of
# systemd's own the whole machine's. As on a machine of its own, systemd may here write to those that limits are made
# of, and has its own. It mounts the second version beside them by itself, by which it learns, as on any Debian since
# 11, that all processes of a unit have gone.
INIT = """
groups=/sys/fs/cgroup
if mountpoint -q $groups/systemd/release_agent; then
    umount $groups/systemd/release_agent $groups/systemd
    for group in systemd memory pids cpu; do mount -o remount,bind,rw $groups/$group; done
fi
exec /sbin/init
"""

# PID 1 of a host without init: starts sshd, and the applications of an earlier start, as the documentation shows it.
# It reaps what it inherits. /run is empty at the start, as a file system in memory is.
NO_INIT = """
trap 'exit 0' TERM
rm -rf /run/* 2>/dev/null
mkdir -p /run/sshd /run/lock
/usr/sbin/sshd
[ ! -x /usr/local/sbin/pyweb-start ] || /usr/local/sbin/pyweb-start --background
while :; do sleep 5 & wait $!; done
"""


# The suite, the init, and whether it is fresh.
Variant = tuple[str, str, bool]


class Failure(Exception):
    """An error that the reader can fix; the message says what is wrong and how to fix it."""


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def run(argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command without a terminal and returns what it said, whatever its status."""
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    return subprocess.run(list(argv), text=True, capture_output=True, check=False, **options)


def check(argv: Sequence[str], doing: str, hint: str = "", **options: Any) -> str:
    """Runs a command that has to succeed and returns its output."""
    result = run(argv, **options)
    if result.returncode:
        said = "\n".join((result.stderr.strip() or result.stdout.strip()).splitlines()[-15:])
        raise Failure(f"{doing} failed (status {result.returncode}): {shlex.join(argv)[:300]}\n{said}\n{hint}".rstrip())
    return result.stdout


# The machine: root, packages


def as_root() -> list[str]:
    """The prefix that runs a command as root. It asks for a password only on a terminal."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        if run(["sudo", "-n", "true"]).returncode == 0:
            return ["sudo", "-n"]
        if sys.stdin.isatty() and subprocess.run(["sudo", "-v"], check=False).returncode == 0:
            return ["sudo"]
    remedy = "install sudo and allow your account to use it, or run this as root."
    if shutil.which("sudo"):
        remedy = 'run this as root, or: echo "$USER ALL=(ALL) NOPASSWD: ALL" | sudo tee /etc/sudoers.d/test-hosts'
    raise Failure(
        "Test hosts need an account that may use sudo without a password, or Docker: their addresses have to be"
        f" reachable from here, which those of an ordinary user's containers are not. Remedy: {remedy}"
    )


def install(packages: Sequence[str], why: str) -> None:
    if not shutil.which("apt-get"):
        raise Failure(f"{why}, and this machine has no apt-get: install {', '.join(packages)}, then run again.")
    say(f"Installing {' '.join(packages)}: {why}")
    apt = [*as_root(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    hint = "No network, or a mirror that does not answer? `apt-get update` shows more."
    check([*apt, "update"], "Updating the lists of packages", hint)
    check([*apt, "install", "--yes", "--no-install-recommends", *packages], "Installing packages", hint)


def require(wanted: dict[str, str], why: str) -> None:
    """Installs the packages of the files (given by path, or by name for a command) that this machine does not have."""
    missing = sorted({package for file, package in wanted.items() if not (shutil.which(file) or os.path.exists(file))})
    if missing:
        install(missing, why)


# The engine


@dataclass
class Engine:
    """A container engine whose containers have addresses that this machine can reach."""

    command: list[str]
    flags: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.command[-1]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run([*self.command, *arguments], **options)

    def check(self, doing: str, *arguments: str, **options: Any) -> str:
        return check([*self.command, *arguments], doing, **options)

    def start(self, name: str, image: str, init: str, labels: Sequence[str] = (), more: Sequence[str] = ()) -> None:
        """Starts a container that behaves like a machine."""
        self.run("rm", "--force", "--volumes", name)
        words = [*self.flags, *more, "--detach", "--name", name, "--hostname", name.rpartition("--")[2]]
        words += [word for label in labels for word in ("--label", label)]
        words += [word for proxy in PROXIES if (value := proxy_of(proxy)) for word in ("--env", f"{proxy}={value}")]
        if init != "systemd":
            # A container without init has no more rights than such containers have.
            words = [word for word in words if not word.startswith("--cap-add=")]
        command = ["sh", "-c", INIT if init == "systemd" else NO_INIT]
        runtime = [word for word in words if word.startswith("--runtime=")]
        words = [word for word in words if word not in runtime]
        # Podman's monitor leaves a file "oom" in the folder it was started in, when the kernel ends a process there.
        self.check(f"Starting {name}", *runtime, "run", *words, image, *command, cwd=CACHE)

    def address(self, name: str) -> str:
        found = json.loads(self.check(f"Looking at {name}", "inspect", name))[0]["NetworkSettings"]
        addresses = [found.get("IPAddress"), *(net.get("IPAddress") for net in (found.get("Networks") or {}).values())]
        for address in addresses:
            if address:
                return str(address)
        raise Failure(f"{name} got no address from {self.name}: see `{shlex.join(self.command)} network ls`.")

    def remove(self, *filters: str) -> list[str]:
        words = [word for value in filters for word in ("--filter", f"label={value}")]
        names = self.check("Listing test hosts", "ps", "--all", "--format", "{{.Names}}", *words).split()
        if names:
            now = ["--time", "0"] if self.name == "podman" else []
            self.check("Removing test hosts", "rm", "--force", "--volumes", *now, *names)
        return names


def proxy_of(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""


def engines() -> Iterator[list[str]]:
    """The engines this machine could have, the least demanding first."""
    names = [os.environ["PYWEB_TEST_ENGINE"]] if os.environ.get("PYWEB_TEST_ENGINE") else ["podman", "docker"]
    unknown = set(names) - {"podman", "docker"}
    if unknown:
        raise Failure(f"PYWEB_TEST_ENGINE is {unknown.pop()!r}: it can be podman or docker.")
    present = [name for name in names if shutil.which(name)]
    if os.geteuid() == 0:
        yield from ([name] for name in present)
        return
    # Docker's containers belong to its daemon; podman's of an ordinary user have no address we could reach.
    yield from ([name] for name in present if name == "docker")
    if present:
        root = as_root()
        yield from ([*root, name] for name in present)


def find_engine(*, may_install: bool) -> Engine | None:
    """A working engine, installed if there is none and ``may_install`` is true.

    A Docker without its daemon does not matter: podman needs none.
    """
    said = []
    for command in engines():
        result = run([*command, "info"])
        if result.returncode == 0:
            return Engine(command)
        said.append(f"{shlex.join(command)} info: {(result.stderr.strip().splitlines() or ['no answer'])[-1]}")
    if not may_install:
        return None
    docker_alone = os.environ.get("PYWEB_TEST_ENGINE") == "docker"
    if said and (docker_alone or shutil.which("podman")):
        raise Failure("The container engine here does not work:\n" + "\n".join(said))
    if docker_alone:
        raise Failure("PYWEB_TEST_ENGINE is docker, and this machine has no docker: install it, or leave that unset.")
    # runc boots systemd in more places than crun; netavark needs iptables or nft, by its age.
    packages = ["podman", "runc", "netavark", "aardvark-dns", "iptables", "nftables", "uidmap"]
    install(packages, "test hosts are containers")
    return find_engine(may_install=True)


def flag_candidates(engine: Engine) -> Iterator[list[str]]:
    """Ways to start systemd in a container, the most truthful first: kernel, cgroups and rights decide what works."""
    if engine.name == "docker":
        common = ["--privileged", "--env=container=docker", "--tmpfs=/run", "--tmpfs=/run/lock", "--tmpfs=/tmp:exec"]
        yield [*common, "--cgroupns=private"]
        yield [*common, "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]
        return
    # Podman raises limits to its own defaults, which needs a right that root of a small machine may lack.
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"]
    runtimes = [[], *([f"--runtime={name}"] for name in ("crun", "runc") if shutil.which(name))]
    # Without the right to mount, systemd leaves out of a unit's sandbox whatever needs a mount, and says nothing.
    rights = ["--cap-add=SYS_ADMIN,SYS_PTRACE", "--cgroupns=private", "--security-opt=apparmor=unconfined"]
    for right in (rights, []):
        for ulimits in ([], limits):
            for runtime in runtimes:
                yield ["--systemd=always", *runtime, *ulimits, *right]


def boots(engine: Engine, name: str, timeout: float) -> str:
    """Waits until systemd has come up; returns what is wrong, or nothing."""
    deadline = time.monotonic() + timeout
    state = ""
    while time.monotonic() < deadline:
        result = engine.run("exec", name, "systemctl", "is-system-running")
        state = result.stdout.strip() or (result.stderr.strip().splitlines() or [""])[-1]
        if state in ("running", "degraded"):
            return ""
        if "not running" in state or "no such container" in state.lower():
            break
        time.sleep(0.2)
    return f"systemd did not come up: {state or 'no answer'}"


def sandboxes(engine: Engine, name: str) -> bool:
    """Whether a sandbox that a unit asks for is in force: systemd leaves out what it may not do, silently."""
    unit = ["systemd-run", "--quiet", "--wait", "--property=ProtectSystem=strict", "--property=PrivateTmp=yes"]
    return engine.run("exec", name, *unit, "touch", "/tmp/it").returncode == 0 and bool(  # noqa: S108  # the host's
        engine.run("exec", name, *unit, "touch", "/usr/it").returncode
    )


def try_flags(engine: Engine, image: str) -> Engine:
    """Finds out, once per machine and engine, how systemd boots here."""
    record = CACHE / "engine.json"
    candidates = list(flag_candidates(engine))
    tried = hashlib.sha256(repr([INIT, candidates]).encode()).hexdigest()[:12]
    version = f"{shlex.join(engine.command)}: {engine.run('--version').stdout.strip()}, {os.uname().release}, {tried}"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(record.read_text())
        if known["version"] == version:
            return Engine(engine.command, list(known["flags"]))
    say(f"Trying how {engine.name} boots systemd here")
    name = f"{LABEL}-{CHECKOUT_ID}--probe"
    said = []
    boot_only: list[list[str]] = []
    for flags in candidates:
        candidate = Engine(engine.command, flags)
        try:
            candidate.start(name, image, "systemd", [f"{LABEL}.checkout={CHECKOUT_ID}"])
            wrong = boots(candidate, name, 30)
            if not wrong and not sandboxes(candidate, name):
                wrong = "units have no sandbox"
                boot_only.append(flags)
        except Failure as failure:
            wrong = str(failure).splitlines()[-1]
        finally:
            engine.run("rm", "--force", "--volumes", name)
        if not wrong:
            record.write_text(json.dumps({"version": version, "flags": flags}))
            return candidate
        said.append(f"  {shlex.join(flags)}: {wrong[:300]}")
    if boot_only:
        say(f"No way found to give units a sandbox with {engine.name}, so it is not in force:\n" + "\n".join(said))
        record.write_text(json.dumps({"version": version, "flags": boot_only[0]}))
        return Engine(engine.command, boot_only[0])
    raise Failure(
        f"No way found to boot systemd with {engine.name}:\n"
        + "\n".join(said)
        + "\nA container of a container may not be"
        " allowed to do that: run the tests on a machine of its own, or name another engine in PYWEB_TEST_ENGINE."
    )


# Images


def preparation(init: str) -> str:
    """The shell script that turns a bare Debian into an image of ours."""
    lines = [f"PACKAGES={shlex.quote(' '.join((*PACKAGES, *PACKAGES_BY_INIT[init])))}"]
    # Company proxies sign with certificates that are in the store of this machine: a user's hosts have them too.
    for certificate in sorted(CERTIFICATES.glob("**/*.crt")):
        lines.append(f"mkdir -p {CERTIFICATES}")
        lines.append(f"cat >{shlex.quote(str(CERTIFICATES / certificate.name))} <<'END'")
        lines.append(certificate.read_text().strip() + "\nEND")
    for proxy in PROXIES:
        if value := proxy_of(proxy):
            lines.append(f"echo {shlex.quote(f'{proxy}={value}')} >>/etc/environment")
    return "\n".join(lines) + PREPARE


def readying() -> str:
    """The shell script that turns a fresh image into a ready one, by the defaults of the roles."""
    defaults = [path.read_text() for path in sorted(CHECKOUT.glob("roles/*/defaults/main.yml"))]
    # The first list of a default; what a role adds by other inputs is not meant.
    lists = re.findall(r"^\w+_packages: [^\[\n]*\[([^\]]*)\]", "\n".join(defaults), re.MULTILINE)
    packages = sorted({name.strip(" '\"") for names in lists for name in names.split(",")})
    version = re.search(r'^python_uv_version: "(.+)"', "\n".join(defaults), re.MULTILINE)
    if not version or "nginx" not in packages:
        raise Failure(
            "roles/*/defaults/main.yml have no python_uv_version or no packages. Correct readying() in this file."
        )
    proxies = "".join(f"export {name}={shlex.quote(value)}\n" for name in PROXIES if (value := proxy_of(name)))
    return f"{proxies}PACKAGES={shlex.quote(' '.join(packages))}\nUV={version[1]}\n{READY}"


def mirror_lines(suite: str) -> list[str]:
    """The apt sources of a Debian controller, for another suite; elsewhere none, and mmdebstrap takes Debian's own."""
    form = "$(LABEL) $(CODENAME) $(COMPONENT) $(REPO_URI)"
    listed = run(["apt-get", "indextargets", "--format", form]).stdout if shutil.which("apt-get") else ""
    uris: dict[str, str] = {}
    for line in listed.splitlines():
        words = line.split(" ")
        if len(words) == 4 and words[2] == "main":
            uris.setdefault(words[0], words[3])
    if "Debian" not in uris:
        return []
    lines = [f"deb [signed-by={KEYRING}] {uris['Debian']} {name} main" for name in (suite, f"{suite}-updates")]
    if "Debian-Security" in uris:
        lines.append(f"deb [signed-by={KEYRING}] {uris['Debian-Security']} {suite}-security main")
    return lines


def apt_proxies() -> list[str]:
    """The proxies in the settings of apt on this machine."""
    options = []
    for line in run(["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"]).stdout.splitlines():
        name, _, value = line.partition(" ")
        if value.strip('";'):
            options.append(f"--aptopt={name} {value.rstrip(';')}")
    return options


def named_image(suite: str) -> str:
    return os.environ.get(f"PYWEB_TEST_IMAGE_{suite.upper()}", "")


def image_of(engine: Engine, suite: str, init: str, fresh: bool) -> str:
    """The name of an image of that suite, made if it is not there. The name holds a hash of all that made it."""
    named = named_image(suite) if init == "systemd" else ""
    recipe = preparation(init)
    sources = [*mirror_lines(suite), *apt_proxies()]
    if suite == "testing":
        # A mirror that is updated once a month is enough for tests.
        sources.append('--aptopt=Acquire::Check-Valid-Until "false"')
    base = engine.run("image", "inspect", "--format", "{{.Id}}", named).stdout.strip() or named if named else ""
    made_of = [recipe, sources, base]
    variant = suite if init == "systemd" else f"{suite}-noinit"

    def make(name: str) -> None:
        without = "" if init == "systemd" else ", without init"
        if not fresh:
            say(f"Installing what the roles need in a {suite} test host{without}")
            adopt_image(engine, image_of(engine, suite, init, True), name, readying())
        elif named:
            say(f"Preparing a {suite} test host from {named}")
            adopt_image(engine, named, name, recipe)
        else:
            say(f"Building a {suite} test host from Debian packages{without}")
            build_image(engine, suite, name, init, recipe, sources)

    return (
        cached_image(engine, variant, made_of, make)
        if fresh
        else cached_image(engine, f"{variant}-ready", [*made_of, readying()], make)
    )


def cached_image(engine: Engine, variant: str, made_of: list[Any], make: Callable[[str], None]) -> str:
    """An image that is made unless it is there."""
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    name = f"{IMAGES}:{variant}-{digest}"
    if engine.run("image", "inspect", name).returncode:
        started = time.monotonic()
        make(name)
        say(f"  {name} in {time.monotonic() - started:.0f} s")
        drop_older_images(engine, variant, keep=name)
    return name


def build_image(engine: Engine, suite: str, name: str, init: str, recipe: str, sources: list[str]) -> None:
    root = engine.command[:-1]
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        script = pathlib.Path(folder) / "prepare.sh"
        script.write_text(recipe)
        archive = f"{folder}/image.tar"
        options = [option for option in sources if option.startswith("--")]
        lines = [line for line in sources if not line.startswith("--")]
        check(
            [
                *root,
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                f"--include={','.join((*PACKAGES, *PACKAGES_BY_INIT[init]))}",
                f"--customize-hook=upload {script} /prepare.sh",
                '--customize-hook=chroot "$1" sh /prepare.sh && rm "$1/prepare.sh"',
                *options,
                suite,
                archive,
                *lines,
            ],
            f"Building {name}",
            "No network, or a mirror that does not answer? `apt-get update` shows more.",
        )
        engine.check("Importing the image", "import", archive, name)


def adopt_image(engine: Engine, named: str, name: str, recipe: str) -> None:
    """Turns an existing image into one of ours: the same account, the same packages."""
    container = f"{LABEL}-{CHECKOUT_ID}--{name.rpartition(':')[2]}"
    engine.run("rm", "--force", "--volumes", container)
    try:
        runtime = [flag for flag in engine.flags if flag.startswith("--runtime=")]
        flags = [flag for flag in engine.flags if flag.startswith("--ulimit=")]
        words = ["run", *flags, "--interactive", "--name", container, "--entrypoint", "/bin/sh", named, "-s"]
        hint = f"PYWEB_TEST_IMAGE_… has to name an image of Debian with systemd that {engine.name} has or can fetch."
        check([*engine.command, *runtime, *words], f"Preparing {named}", hint, input=recipe)
        engine.check(f"Saving {name}", "commit", "--change", "ENTRYPOINT []", container, name)
    finally:
        engine.run("rm", "--force", "--volumes", container)


def drop_older_images(engine: Engine, variant: str, keep: str) -> None:
    for name in engine.run("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split():
        if name.startswith(f"{IMAGES}:{variant}-") and name != keep and name.count("-") == keep.count("-"):
            engine.run("rmi", name)  # one that is in use stays


# Hosts


def container_name(host: str) -> str:
    return f"{LABEL}-{CHECKOUT_ID}--{host}"


def ssh_options() -> list[str]:
    """How hosts are reached: nothing asked, and one connection for Ansible and testinfra alike.

    The socket's folder is Ansible's own: short, because the path of a socket may have no more than 107 bytes.
    """
    sockets = pathlib.Path.home() / ".ansible" / "cp"
    sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [
        "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR",
        "-o", "IdentitiesOnly=yes",
        "-o", f"ControlPath={sockets}/%C",
    ]  # fmt: skip


def connection(address: str) -> dict[str, str]:
    return {
        "ansible_host": address,
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(KEY),
        "ansible_ssh_common_args": shlex.join(ssh_options()),
    }


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Scenarios that start together build an image once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(variants: Sequence[Variant]) -> tuple[Engine, dict[Variant, str]]:
    """An engine that boots systemd, an SSH key, and the requested images."""
    with one_at_a_time():
        require({"ssh": "openssh-client", "ssh-keygen": "openssh-client"}, "test hosts are reached over SSH")
        if not KEY.exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pyweb-stack-test", "-f", str(KEY)]
            check(words, "Making the key for test hosts")
        wanted = {"mmdebstrap": "mmdebstrap", KEYRING: "debian-archive-keyring"}
        require(wanted, "test hosts are made from Debian packages")
        engine = find_engine(may_install=True)
        assert engine
        # An image is booted to see how that works here. One from the environment also has to run while it is prepared.
        given = next(filter(None, map(named_image, SUITES)), None)
        if given:
            engine = try_flags(engine, given)
        fresh = images_of(engine, [PROBE, *((suite, init, True) for suite, init, _fresh in variants)])
        engine = engine if given else try_flags(engine, fresh[PROBE])
        return engine, images_of(engine, variants)


def images_of(engine: Engine, variants: Sequence[Variant]) -> dict[Variant, str]:
    with ThreadPoolExecutor() as pool:
        pending = {variant: pool.submit(image_of, engine, *variant) for variant in dict.fromkeys(variants)}
    return {variant: future.result() for variant, future in pending.items()}


def await_ssh(engine: Engine, host: str, address: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    wrong = ""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((address, 22), timeout=5) as greeting:
                if greeting.recv(4) == b"SSH-":
                    return
                wrong = "something that is not sshd answers"
        except OSError as error:
            wrong = str(error)
        time.sleep(0.05)
    name = container_name(host)
    log = engine.run("logs", name)
    raise Failure(
        f"{host} does not answer on {address}:22 after {timeout:.0f} s: {wrong}. Does this machine filter its"
        f" own bridge? The host is kept: {shlex.join([*engine.command, 'exec', '-it', name, 'bash'])}\n"
        + "\n".join((log.stdout + log.stderr).splitlines()[-10:])
    )


def boot(engine: Engine, scenario: str, host: str, image: str, kind: Kind) -> dict[str, str]:
    name, init = container_name(host), kind.init
    labels = [f"{LABEL}.checkout={CHECKOUT_ID}", f"{LABEL}.scenario={scenario}"]
    own = own_addresses(engine, name) if kind.keeps_address and engine.name == "podman" else []
    engine.start(name, image, init, labels, [*kind.flags, *own])
    engine.check(f"Preparing {host}", "exec", "--interactive", name, "sh", "-c", BOOTED, input=public_key())
    address = engine.address(name)
    await_ssh(engine, host, address)
    if init == "systemd" and (wrong := boots(engine, name, 60)):
        raise Failure(f"{host}: {wrong}")
    return connection(address)


def own_addresses(engine: Engine, name: str) -> list[str]:
    """The flags for an address that no other container has: those have the first of podman's network.

    The card's address stays, too: neighbours remember it for half a minute. Docker gives a container that starts again
    the addresses that it had, unless another one has taken them.
    """
    (network,) = json.loads(engine.check("Looking at the network", "network", "inspect", "podman"))
    addresses = ipaddress.ip_network(network["subnets"][0]["subnet"])
    half = addresses.num_addresses // 2
    number = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    card = ":".join(f"{byte:02x}" for byte in (2, 0, *number.to_bytes(4, "big")))
    return [f"--ip={addresses[half + number % (half - 1)]}", f"--mac-address={card}"]


def public_key() -> str:
    return KEY.with_suffix(".pub").read_text()


@dataclass(frozen=True)
class Kind:
    """The properties of a host."""

    suite: str
    init: str = "systemd"
    fresh: bool = False  # without what the roles install
    memory: str = ""  # all it has, such as 1g
    small_disk: str = ""  # a folder with a file system of 16 MB of its own
    keeps_address: bool = False  # when it is stopped and started again

    @property
    def variant(self) -> Variant:
        return self.suite, self.init, self.fresh

    @property
    def flags(self) -> list[str]:
        memory = [f"--memory={self.memory}"] if self.memory else []
        return memory + ([f"--tmpfs={self.small_disk}:size=16m"] if self.small_disk else [])


def parse_hosts(text: str) -> dict[str, Kind]:
    """The hosts of a scenario, from what its inventory says."""
    try:
        hosts = {name: Kind(**host) for name, host in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(
            "The scenario's hosts are not {name: {suite, init, fresh, memory, small_disk, keeps_address}}: "
            f"{text[:200]} ({error!r})"
        ) from error
    if not hosts:
        raise Failure("The scenario's group has no hosts: see molecule/SCENARIO/inventory/hosts.yml.")
    for name, kind in hosts.items():
        suite, init = kind.suite, kind.init
        if suite not in (*SUITES, *MORE_SUITES) or init not in PACKAGES_BY_INIT:
            raise Failure(
                f"{name}: suite {suite!r}, init {init!r}; known are the suites {', '.join((*SUITES, *MORE_SUITES))}"
                f" and the inits {', '.join(PACKAGES_BY_INIT)}."
            )
    return hosts


def create(scenario: str, inventory: pathlib.Path, hosts: dict[str, Kind]) -> None:
    engine, images = prepare([kind.variant for kind in hosts.values()])
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        booting = {
            name: pool.submit(boot, engine, scenario, name, images[kind.variant], kind) for name, kind in hosts.items()
        }
    # Only now: when one failed, the others have ended too and can be destroyed.
    reached = {name: future.result() for name, future in booting.items()}
    inventory.write_text(json.dumps({"all": {"hosts": reached}}, indent=2) + "\n")


def destroy(scenario: str, inventory: pathlib.Path) -> None:
    close_connections(inventory)
    # Nothing of ours can be on a machine without a working engine.
    if engine := find_engine(may_install=False):
        engine.remove(f"{LABEL}.checkout={CHECKOUT_ID}", f"{LABEL}.scenario={scenario}")
    inventory.unlink(missing_ok=True)


def close_connections(inventory: pathlib.Path) -> None:
    """Ends the SSH connections that are kept open: the next host may well get the same address."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        for host in json.loads(inventory.read_text())["all"]["hosts"].values():
            run(["ssh", *ssh_options(), "-O", "exit", f"{host['ansible_user']}@{host['ansible_host']}"])


def clean(*, images: bool) -> None:
    engine = find_engine(may_install=False)
    if engine is None:
        return
    for name in engine.remove(f"{LABEL}.checkout={CHECKOUT_ID}"):
        say(f"Removed {name}")
    if images:
        for name in engine.run("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split():
            if name.startswith(f"{IMAGES}:"):
                engine.check(f"Removing {name}", "rmi", name)
                say(f"Removed {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare")
    for name in ("create", "destroy"):
        command = commands.add_parser(name)
        command.add_argument("scenario")
        command.add_argument("inventory", type=pathlib.Path, help="the file that describes how to reach the hosts")
        if name == "create":
            command.add_argument("hosts", help='JSON: {"NAME": {"suite": "bookworm", "init": "systemd"}}')
    commands.add_parser("clean").add_argument("--images", action="store_true")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "prepare":
                prepare(
                    [(suite, init, fresh) for suite in SUITES for init in PACKAGES_BY_INIT for fresh in (True, False)]
                )
            case "create":
                create(arguments.scenario, arguments.inventory, parse_hosts(arguments.hosts))
            case "destroy":
                destroy(arguments.scenario, arguments.inventory)
            case "clean":
                clean(images=arguments.images)
    except Failure as failure:
        say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
