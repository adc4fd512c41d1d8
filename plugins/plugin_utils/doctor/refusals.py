# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Why the kernel or the sandbox refuses something to an application, from lines of its log. Pure.

Each rule names the directive of systemd that refuses it, and the value of the key ``systemd`` that allows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

EPERM = r"\[Errno 1\]|Operation not permitted"
EACCES = r"\[Errno 13\]|Permission denied"
EROFS = r"\[Errno 30\]|Read-only file system|readonly database|unable to open database file"
MISSING = r"No such file or directory"
EAFNOSUPPORT = r"\[Errno 97\]|Address family not supported"


@dataclass(frozen=True)
class Rule:
    """A refusal: the error, words beside it, the directive, and the value of the key ``systemd``."""

    error: str
    words: str
    directive: str
    allow: str


# The first rule that matches a line counts. {folder} is that of the path in the line.
RULES = (
    Rule(EAFNOSUPPORT, r"\bAF_[A-Z0-9]+", "RestrictAddressFamilies", "RestrictAddressFamilies: {family}"),
    Rule(
        EAFNOSUPPORT, "", "RestrictAddressFamilies", "RestrictAddressFamilies: AF_PACKET (or the family that it uses)"
    ),
    Rule(EROFS, r"/sys/fs/cgroup", "ProtectControlGroups", "ProtectControlGroups: false"),
    Rule(f"{EROFS}|{EACCES}", r"'/(proc/sys|sys)/", "ProtectKernelTunables", "ProtectKernelTunables: false"),
    Rule(
        f"{EROFS}|{EACCES}|{MISSING}|{EPERM}",
        r"'/(home|root|run/user)(/|')",
        "ProtectHome",
        "ProtectHome: read-only (or false, to write there)",
    ),
    Rule(f"{EACCES}|{MISSING}|{EPERM}", r"'/dev/", "PrivateDevices", "PrivateDevices: false"),
    Rule(MISSING, r"'/tmp/", "PrivateTmp", "PrivateTmp: false"),  # a path in a log
    Rule(
        EPERM,
        r"unshare|clone|namespace|setns|chrom|playwright|bwrap|sandbox",
        "RestrictNamespaces",
        "RestrictNamespaces: false",
    ),
    Rule(EPERM, r"sched_setscheduler|SCHED_|[Rr]eal-?time", "RestrictRealtime", "RestrictRealtime: false"),
    Rule(
        EPERM,
        r"setpriority|\bnice\b|ioprio|affinity|setrlimit|rlimit",
        "SystemCallFilter",
        'SystemCallFilter: "@resources"',
    ),
    Rule(EPERM, r"chmod|suid|sgid|setgid bit", "RestrictSUIDSGID", "RestrictSUIDSGID: false"),
    Rule(EPERM, r"sethostname|hostname", "ProtectHostname", "ProtectHostname: false"),
    Rule(EPERM, r"clock_settime|settimeofday|adjtime", "ProtectClock", "ProtectClock: false"),
    Rule(EPERM, r"syslog|dmesg|kmsg", "ProtectKernelLogs", "ProtectKernelLogs: false"),
    Rule(EPERM, r"personality", "LockPersonality", "LockPersonality: false"),
    Rule(
        EPERM, r"\bmount", "SystemCallFilter", 'SystemCallFilter: "@mount", with CapabilityBoundingSet: CAP_SYS_ADMIN'
    ),
    Rule(
        "no new privileges",
        "",
        "NoNewPrivileges",
        'NoNewPrivileges: false, CapabilityBoundingSet: "~", RestrictSUIDSGID: false',
    ),
    Rule(
        f"{EPERM}|{EACCES}",
        r"raw|ICMP|icmp|\bping\b|AF_PACKET|SOCK_RAW",
        "CapabilityBoundingSet",
        "AmbientCapabilities: CAP_NET_RAW, CapabilityBoundingSet: CAP_NET_RAW",
    ),
    Rule(
        EACCES,
        r"\bbind|listen|port ([1-9]\d{0,2})\b",
        "CapabilityBoundingSet",
        "AmbientCapabilities: CAP_NET_BIND_SERVICE, CapabilityBoundingSet: CAP_NET_BIND_SERVICE",
    ),
    Rule(
        EPERM,
        r"chown|setuid|setgid|setgroups",
        "CapabilityBoundingSet",
        "AmbientCapabilities: CAP_CHOWN, CapabilityBoundingSet: CAP_CHOWN (or the capability that it needs)",
    ),
)


def refusal(view: View) -> tuple[str, str, str] | None:
    """The last line that says what was refused, the cause and the remedy; None if no line is explained."""
    for one in reversed(view.found.get("refusals") or []):
        found = explained(view, one)
        if found:
            return (one["line"], *found)
    return None


def explained(view: View, one: dict[str, Any]) -> tuple[str, str] | None:
    """The cause and the remedy of one refusal."""
    for explain in EXPLANATIONS:
        if found := explain(view, one):
            return found
    return None


def server_limit(view: View, one: dict[str, Any]) -> tuple[str, str] | None:
    """A header that the app server refuses."""
    if "invalid request block size" in one["line"]:
        return (
            "a request has more headers than uWSGI accepts",
            "raise uwsgi: {buffer-size: 65535}, or send smaller cookies",
        )
    if re.search("limit request headers", one["line"], re.IGNORECASE):
        return (
            "a request has a header, such as a cookie, that is larger than gunicorn accepts",
            "raise gunicorn: {limit_request_field_size: 65536}, or send smaller cookies",
        )
    return None


def own_release(view: View, one: dict[str, Any]) -> tuple[str, str] | None:
    """A file of the application's own code, which root alone may change."""
    if not re.search(f"{EROFS}|{EACCES}|{EPERM}", one["line"]) or f"/{view.name}/releases/" not in one["path"]:
        return None
    return (
        "it writes into its own code, and a release cannot be changed",
        "name the folder in shared, such as shared: [instance], or set a path below shared; then: ansible-playbook "
        "site.yml",
    )


def missing_group(view: View, one: dict[str, Any]) -> tuple[str, str] | None:
    """A file that a group may use to which the account does not belong."""
    file = one["file"]
    if not re.search(EACCES, one["line"]) or not file:
        return None
    known = view.found.get("groups") or {"account": [], "process": []}
    # The group has a right, the account is not the owner, and others have none.
    mode = int(file["mode"], 8)
    if file["owner"] == view.name or not mode & 0o070 or mode & 0o007 or file["group"] in ("root", view.name):
        return None
    if file["group"] in known["process"]:
        return None
    return (
        f"{file['path']} is {file['owner']}:{file['group']} {file['mode']}, and its process is not in the group "
        f"{file['group']}",
        join_group(view, file["group"], file["group"] in known["account"]),
    )


def join_group(view: View, group: str, is_member: bool = False) -> str:
    again = f"ansible-playbook restart.yml -e app={view.name}"
    if is_member:
        return f"its account is in the group, but its process is older than that. Start new processes: {again}"
    if view.found["process_manager"] == "systemd":
        return f"add to the application: systemd: {{SupplementaryGroups: [{group}]}}; then: ansible-playbook site.yml"
    return f"add its account to the group: usermod -aG {group} {view.name} on the host; then: {again}"


def sandbox(view: View, one: dict[str, Any]) -> tuple[str, str] | None:
    """A directive of the unit's sandbox."""
    if view.found["process_manager"] != "systemd":
        return None
    line = one["line"]
    for rule in RULES:
        if not re.search(rule.error, line) or not re.search(rule.words, line) or is_lifted(view, rule.directive):
            continue
        # A file that is missing for root, too, is no matter of the sandbox.
        if re.search(MISSING, line) and one["file"].get("path") != one["path"]:
            continue
        family = re.search(r"\bAF_[A-Z0-9]+", line)
        return allowed(rule.directive, rule.allow.format(family=family[0] if family else ""))
    if re.search(EROFS, line) and one["path"]:
        return allowed("ProtectSystem=strict", f"ReadWritePaths: {one['folder']}")
    # The link about write access names a file.
    if re.search(EROFS, line) and not view.found.get("unwritable"):
        return (
            "its sandbox (ProtectSystem=strict) lets it write only to shared and HOME, or its account may not write "
            "the file",
            "keep the file in a folder of shared, or add to the application: systemd: {ReadWritePaths: FOLDER}; then: "
            "ansible-playbook site.yml",
        )
    if re.search(EPERM, line) and not is_lifted(view, "SystemCallFilter"):
        return allowed(
            "SystemCallFilter",
            'SystemCallFilter: "@GROUP" (strace shows the call, systemd-analyze syscall-filter its group)',
        )
    return None


def is_lifted(view: View, directive: str) -> bool:
    """Whether the inventory sets a directive itself."""
    return directive in view.app["systemd"]


def allowed(directive: str, value: str) -> tuple[str, str]:
    value, _parenthesis, note = value.partition(" (")
    note = f" ({note}" if note else ""
    return (
        f"its sandbox refuses it ({directive})",
        f"add to the application: systemd: {{{value}}}{note}; then: ansible-playbook site.yml",
    )


def without_sandbox(view: View, one: dict[str, Any]) -> tuple[str, str] | None:
    """The rights of an account under supervisor, which has no sandbox."""
    line, file = one["line"], one["file"]
    if view.found["process_manager"] == "systemd":
        return None
    if re.search(EPERM, line):
        return (
            "its account has no capabilities and cannot gain any",
            "let another service do what needs them, or let systemd run the application, where AmbientCapabilities "
            "grants one",
        )
    if re.search(EACCES, line) and file:
        return (
            f"{file['path']} is {file['owner']}:{file['group']} {file['mode']}",
            f"give its account {view.name} the right, or name another path",
        )
    return None


EXPLANATIONS: tuple[Callable[[View, dict[str, Any]], tuple[str, str] | None], ...] = (
    server_limit,
    own_release,
    missing_group,
    sandbox,
    without_sandbox,
)
