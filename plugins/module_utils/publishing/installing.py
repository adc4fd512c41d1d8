# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install the program and the timer that publish the status page of a host, or remove them."""

from __future__ import annotations

import base64
import grp
import io
import json
import os
import shutil
import stat
import zipfile
import zlib
from typing import Any

from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import HostError, Run, must
from ansible_collections.pyweb.stack.plugins.module_utils.host.files import File, apply_files
from ansible_collections.pyweb.stack.plugins.module_utils.status.paths import (
    FOLDER,
    PAGE,
    PLAN,
    PROGRAM,
    SERVICE,
    TIMER,
    UNIT,
    WANTS,
)

FILES = (PROGRAM, PLAN, SERVICE, TIMER)
# Root writes. A new file gets the group of the folder, so the program needs no right to change groups.
FOLDER_MODE = 0o2750


class PublishingError(HostError):
    """The status page can't be published."""


def apply(inputs: dict[str, Any], run: Run, check_mode: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Publish the page as ``inputs`` say, or remove it if they have none; the result, and the witnesses for a stamp."""
    wanted = inputs["wanted"]
    seen = stamps.witnesses([*FILES, WANTS], owned=[FOLDER], patterns=[PAGE])
    return publish(wanted, run, check_mode, seen) if wanted else remove(run, check_mode)


def publish(
    wanted: dict[str, Any], run: Run, check_mode: bool, seen: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    files = files_of(wanted)
    paths, diffs = apply_files(files, check_mode=True)
    is_enabled, has_page = os.path.lexists(WANTS), os.path.exists(PAGE)
    changed = bool(paths) or not is_enabled or not has_page or not folder_is_right(wanted["group"])
    result: dict[str, Any] = {"changed": changed, "diff": diffs, "warnings": []}
    if check_mode or not changed:
        return result, seen
    make_folder(wanted["group"])
    os.makedirs(os.path.dirname(PROGRAM), mode=0o755, exist_ok=True)
    apply_files(files)
    remedy = f"See 'systemctl status {UNIT}.timer' on the host, and run again."
    must(run, "Reading the units of the status page", ["systemctl", "daemon-reload"], remedy, PublishingError)
    if TIMER in paths and is_enabled:
        must(run, "Restarting the timer", ["systemctl", "restart", f"{UNIT}.timer"], remedy, PublishingError)
    must(
        run,
        "Starting the timer that renews the status page",
        ["systemctl", "enable", "--now", f"{UNIT}.timer"],
        remedy,
        PublishingError,
    )
    status, _out, _err = run(["systemctl", "start", f"{UNIT}.service"])
    if status:
        # A page must not stop a deployment. Without a stamp, the next run tries again.
        result["warnings"].append(
            f"The status page was not made: {UNIT}.service failed. See 'journalctl -u {UNIT}' on the host, then run "
            "again."
        )
        return result, None
    return result, stamps.witnesses([*FILES, WANTS], owned=[FOLDER], patterns=[PAGE])


def remove(run: Run, check_mode: bool) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Remove the timer, the program, the page and its folder."""
    files = [File(path, None) for path in FILES]
    paths, diffs = apply_files(files, check_mode=True)
    is_there = bool(paths) or os.path.lexists(FOLDER)
    result: dict[str, Any] = {"changed": is_there, "diff": diffs, "warnings": []}
    if not is_there:
        return result, None
    result["warnings"].append(
        "webapp_status_site is not set, so this host no longer publishes its status page. Its timer, its "
        "program and the page are removed."
    )
    if check_mode:
        return result, None
    if os.path.exists(TIMER):
        run(["systemctl", "disable", "--now", f"{UNIT}.timer"])
        run(["systemctl", "stop", f"{UNIT}.service"])
    apply_files(files)
    if os.path.islink(FOLDER):
        os.unlink(FOLDER)
    shutil.rmtree(FOLDER, ignore_errors=True)
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "reset-failed", f"{UNIT}.service", f"{UNIT}.timer"])
    return result, None


def files_of(wanted: dict[str, Any]) -> list[File]:
    plan = json.dumps(wanted["plan"], indent=2, sort_keys=True) + "\n"
    return [
        File(PROGRAM, program(wanted["sources"])),
        File(PLAN, plan, 0o600),
        File(SERVICE, wanted["service"]),
        File(TIMER, wanted["timer"]),
    ]


def program(packed: str) -> bytes:
    """The program as one file that Python runs: a zip archive with the same bytes on every host."""
    sources: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(packed)))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as written:
        for path, text in sorted(sources.items()):
            written.writestr(zipfile.ZipInfo(path), text)
    return archive.getvalue()


def folder_is_right(group: str) -> bool:
    try:
        found = os.lstat(FOLDER)
        wanted = (0, grp.getgrnam(group).gr_gid)
    except (OSError, KeyError):
        return False
    is_folder = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == FOLDER_MODE
    return is_folder and (found.st_uid, found.st_gid) == wanted


def make_folder(group: str) -> None:
    """The folder of the page, for root and the group of nginx."""
    if os.path.islink(FOLDER):
        os.unlink(FOLDER)
    os.makedirs(FOLDER, mode=0o750, exist_ok=True)
    try:
        os.chown(FOLDER, 0, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise PublishingError(
            f"Making {FOLDER}: the host has no group '{group}'. Set webapp_nginx_group to the group of nginx."
        ) from None
    os.chmod(FOLDER, FOLDER_MODE)
