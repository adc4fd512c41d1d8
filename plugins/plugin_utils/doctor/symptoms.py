# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Links of the chain that visitors notice although the health URL is well: data, groups, refusals, requests. Pure."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host.texts import one_line
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor import refusals
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.findings import Finding, last_words
from ansible_collections.pyweb.stack.plugins.plugin_utils.doctor.views import View

# A kind of request that failed this often, and each time, is broken.
ALWAYS = 3
READ_LOG = "its whole log: ansible-playbook logs.yml -e app={name}"


def write_access(view: View) -> Finding | None:
    """The databases and folders that the application has to write."""
    found = view.found.get("unwritable") or []
    if not found or not view.running:
        return None
    one = found[0]
    kind = "database" if one["database"] else "folder"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    told = "" if one["path"] == one["named"] else f", because of {one['path']}"
    works = not (one["database"] or fails(view))
    if one["why"] == "mount":
        return Finding(
            "write access",
            f"its {kind} {one['named']}{more} is read-only for its processes: every write fails",
            "the sandbox of its unit lets it write only to shared and HOME (ProtectSystem=strict), or the disk is "
            "mounted "
            "read-only"
            if view.found["process_manager"] == "systemd"
            else "the file system is mounted read-only",
            f"move it to a folder of shared, or add to the application: systemd: {{ReadWritePaths: {one['path']}}}; "
            "then: "
            "ansible-playbook site.yml"
            if view.found["process_manager"] == "systemd"
            else f"mount the file system of {one['path']} writable, and read why the kernel made it read-only (dmesg)",
            works=works,
        )
    return Finding(
        "write access",
        f"the account {view.name} may not write its {kind} {one['named']}{more}{told} ({one['owner']}:{one['group']} "
        f"{one['mode']}): every write fails",
        "another account made it, for example root by a command that was run by hand",
        ownership(view, one),
        works=works,
    )


def ownership(view: View, one: dict[str, Any]) -> str:
    """How the application gets what it has to write. It chooses the names, and could put links there."""
    if one["path"] != one["named"] and f"/{view.name}/" not in f"{one['path']}/":
        return (
            f"keep the {'database' if one['database'] else 'folder'} in a folder of shared, or in a folder that "
            f"belongs to the account {view.name}. Leave {one['path']} as it is"
        )
    return (
        f"give it to the application: chown -h {view.name}:{view.name} {shlex.quote(one['path'])}, and chmod u+rw "
        "(u+rwx for a folder), on the host. Run such commands with run.yml, which uses the account of the application"
    )


def fails(view: View) -> bool:
    return bool((view.found.get("requests") or {}).get("count"))


def refused(view: View) -> Finding | None:
    """A refusal of the kernel, the sandbox or the app server to a process that runs."""
    found = refusals.refusal(view) if view.running else None
    if found is None:
        return None
    line, cause, fix = found
    return Finding("permissions", f"its log says: {one_line(line)}", cause, fix, works=not fails(view))


def groups(view: View) -> Finding | None:
    """The groups of the account that its process does not have."""
    found = view.found.get("groups") or {"account": [], "process": []}
    missing = sorted({*found["account"]} - {*found["process"]})
    if not view.running or not found["process"] or not missing:
        return None
    return Finding(
        "groups",
        f"its account is in the group {', '.join(missing)}, but its process is not",
        "the account joined the group after the process had started",
        f"start new processes: ansible-playbook restart.yml -e app={view.name}",
        works=True,
    )


def headers(view: View) -> Finding | None:
    """Headers that are larger than nginx accepts, in answers and in requests."""
    if view.found.get("header_too_big"):
        return Finding(
            "headers",
            "nginx refuses an answer of the application, and visitors get 502: "
            f"{one_line(view.found['header_too_big'][-1])}",
            "the application sends a header that is larger than nginx's buffer, usually a cookie with a whole session",
            "store the session on the server, or raise the buffers: site.extra: proxy_buffer_size 80k; proxy_buffers "
            "24 8k; "
            "proxy_busy_buffers_size 160k; (with uWSGI: uwsgi_buffer_size and so on); then: ansible-playbook site.yml",
        )
    large = (view.found.get("requests") or {}).get("large") or 0
    if large < ALWAYS:
        return None
    return Finding(
        "headers",
        f"nginx itself refused {large} requests with 400 or 414",
        "a request line or a header is larger than 16k, usually because of a large cookie",
        "send smaller cookies, or set nginx_extra: large_client_header_buffers 4 32k; then: ansible-playbook site.yml",
        works=True,
    )


def requests(view: View) -> Finding | None:
    """The requests that the application has answered with an error."""
    found = view.found.get("requests") or {}
    if not found.get("count") or not view.running or not view.direct_works:
        return None
    kinds = ", ".join(
        f"{one_line(one['request'])}: {one['failed']} of {one['of']} with {one['status']}" for one in found["failed"]
    )
    always = any(one["failed"] == one["of"] >= ALWAYS for one in found["failed"])
    return Finding(
        "requests",
        f"the application answered {found['count']} of {found['total']} requests with an error since "
        f"{moment(found['since'])} "
        f"({kinds})",
        last_words(view.found) or "its log shows no traceback",
        f"fix that and deploy: ansible-playbook site.yml; {READ_LOG.format(name=view.name)}",
        works=not always,
    )


def moment(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%H:%M UTC")
    except (OverflowError, ValueError, OSError):  # the host reports it
        return "an unknown time"
