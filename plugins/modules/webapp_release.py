#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Build releases of web applications."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_release
short_description: Build releases of Python web applications
version_added: 0.1.0
description:
  - Compares every application with its live release, by a fingerprint of code, dependencies, settings and secrets,
    and builds a new release
    aside where they differ. What is live stays untouched; M(pyweb.stack.webapp_activate) lets the new releases take
    over.
  - A folder on the controller travels with the call when it is small, else as a file, and only if the host lacks it.
  - Keeps every application's folder from the accounts of the others, also one that an earlier version left open.
  - Interrupted builds leave nothing that a later run would take for finished.
author: The pyweb.stack contributors
attributes:
  check_mode:
    description: Tells which applications would get a new release and why, and changes nothing.
    support: full
  diff_mode:
    description: Names the parts that differ. Never shows a secret.
    support: full
options:
  apps:
    description:
      - What to release, as the filter P(pyweb.stack.webapp_releases#filter) makes it of C(webapps).
    type: list
    elements: dict
    required: true
  secrets:
    description:
      - JSON with the secret parts of every application, by its name. The action plugin takes them out of O(apps).
    type: str
    default: ""
  sources:
    description:
      - JSON with the sources that are small enough to travel with the call, by the application's name. Made by the
        action plugin.
    type: str
    default: ""
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
  uv:
    description:
      - The uv program on the host.
    type: path
    default: /opt/pyweb/uv/bin/uv
  nginx_group:
    description:
      - Group that nginx runs as. Apart from the application's own account, only this group may pass through the
        application's folder. It may read only the shared folders that nginx serves.
    type: str
    default: www-data
  owner:
    description:
      - Who deploys, for the log of deployments and for whoever meets the lock.
    type: str
    default: unknown
  activations:
    description:
      - What M(pyweb.stack.webapp_activate) would need to know of every application, so that those with a new release
        can take over here, which saves a trip. Only where nothing has to be done in between. Where a source has to be
        sent first, nothing takes over here.
    type: list
    elements: dict
    default: []
  stamp:
    description:
      - Stands for what is wanted and for the code that looks. With it the module leaves word where nobody has to look
        again, see RV(stamp). The action plugin fills it.
    type: str
"""

EXAMPLES = r"""
- name: Build what has changed
  pyweb.stack.webapp_release:
    apps: "{{ webapps | pyweb.stack.webapp_releases(ansible_facts['pyweb']) }}"
  register: __webapp_build
"""

RETURN = r"""
apps:
  description: One dictionary for each application, in their order.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The application.
      type: str
    state:
      description: V(present) or V(absent).
      type: str
    current:
      description: The live release, empty before the first.
      type: str
    candidate:
      description: The release that is to take over, empty if the live one is as wanted.
      type: str
    action:
      description: V(none), V(reuse) a finished release, or V(build) a new one.
      type: str
    reasons:
      description: Which of code, dependencies, settings and secrets differ from the live release.
      type: list
      elements: str
    activate:
      description: Whether the application needs M(pyweb.stack.webapp_activate), for a new release or because the live
        one does not run. Not if that has been done by O(activations).
      type: bool
activated:
  description: What M(pyweb.stack.webapp_activate) would have returned as C(apps).
  type: list
  elements: dict
  returned: with O(activations), where something was to be activated
missing_sources:
  description: Applications whose source has to be sent before they can be built.
  type: list
  elements: str
  returned: always
stamp:
  description:
    - What M(pyweb.stack.webapp_activate) needs to leave word that all is as wanted. Where nothing is to be activated
      that has been done.
  type: dict
  returned: with O(stamp), but in no check run
"""

import functools  # the documentation stands first in a module
import grp
import json
import os
import shutil
import threading
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import acl, stamps
from ansible_collections.pyweb.stack.plugins.module_utils.release.building import (
    NGINX_GROUP,
    SYSTEM_PATH,
    Builder,
    interpreter_version,
    serve_shared,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import (
    Layout,
    Manifest,
    ReleaseError,
    abandoned,
    account,
    choose,
    digest,
    lock,
    manifests,
    new_identity,
    now,
    read_manifest,
    record,
    remove_tree,
    secret_digest,
    unfinished,
    whole,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.requirements import without_login
from ansible_collections.pyweb.stack.plugins.module_utils.release.settled import ails, settle, sleeps


class Versions:
    """Versions of interpreters; each is asked once."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.seen: dict[str, Any] = {}

    def __getitem__(self, interpreter: str) -> str:
        if interpreter not in self.known:
            path = shutil.which(interpreter, path=SYSTEM_PATH)
            found = [path, os.path.realpath(path)] if path else []
            for kind, witness in stamps.witnesses(found).items():
                self.seen.setdefault(kind, {}).update(witness)
            self.known[interpreter] = (interpreter_version(path) if path else "") or "missing"
        return self.known[interpreter]


def fingerprint(spec: dict[str, Any], layout: Layout, versions: Versions, check_mode: bool) -> dict[str, str]:
    """The identity of the release that is wanted, part by part."""
    python = spec["python"]
    # Only where there are some, and never with credentials.
    indexes = [without_login(one) for one in [python.get("index_url") or "", *(python.get("extra_index_urls") or [])]]
    indexes = indexes if any(indexes) else []
    return {
        "code": digest([spec["source"]["kind"], spec["source"]["digest"], spec["source"].get("subdir")]),
        "dependencies": digest(
            [
                versions[python["interpreter"]],
                python.get("requirements"),
                python.get("packages"),
                spec["server_packages"],
                spec["source"].get("package"),
                spec["source"].get("requirements_digest"),
                *indexes,
            ]
        ),
        "settings": digest(
            [
                spec[key]
                for key in (
                    "wsgi",
                    "protocol",
                    "entry",
                    "environment",
                    "shared",
                    "build_commands",
                    "processes",
                    "server_files",
                    "limits",
                    "process_manager",
                )
            ]
        ),
        "secrets": secret_digest(layout, spec["env"], create_key=not check_mode and os.path.isdir(layout.home)),
    }


def group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def nginx_number(name: str, nginx_group: str, check_mode: bool) -> int | None:
    """The group that nginx works as, by its number; None where a real run would make it first."""
    try:
        return grp.getgrnam(nginx_group).gr_gid
    except KeyError:
        if check_mode:
            return None
        raise ReleaseError(
            name,
            f"the host has no group '{nginx_group}', which nginx needs to read static files. Set webapp_nginx_group "
            "to the group that nginx runs as.",
        ) from None


def check_file_system(layout: Layout) -> None:
    """Refuse a file system on which an application's folders can't be kept from other accounts."""
    for path in (layout.home, layout.shared):
        if not acl.is_supported(path):
            raise ReleaseError(
                layout.name,
                f"the file system of {path} has no POSIX ACLs. They let nginx into that folder and keep the other "
                "accounts out. Turn them on (ZFS: zfs set acltype=posixacl DATASET; ext4: mount without noacl), or put "
                "the folder on ext4, XFS or Btrfs.",
            )


def prepare(layout: Layout, run: Any, jobs: bool, nginx_group: str = NGINX_GROUP, check_mode: bool = False) -> bool:
    """The account and the folders of an application, closed to other accounts; return whether something differed."""
    check_file_system(layout)
    nginx = nginx_number(layout.name, nginx_group, check_mode)
    if check_mode and (account(layout.name) is None or not os.path.isdir(layout.root)):
        return True
    changed = False
    os.makedirs(layout.root, mode=0o755, exist_ok=True)
    if account(layout.name) is None:
        command = [
            "useradd",
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            layout.home,
            "--shell",
            "/usr/sbin/nologin",
            layout.name,
        ]
        status, _output, error = run(command)
        if status != 0:
            raise ReleaseError(layout.name, f"the account could not be made: {error.strip()}")
        changed = True
    owner = account(layout.name)
    root = os.stat(layout.root)
    if (root.st_uid, root.st_gid) != (0, 0):
        changed = True
        if not check_mode:
            os.chown(layout.root, 0, 0)
    uid, gid = owner.pw_uid, owner.pw_gid
    for path, owning, group, mode, passing in (
        (layout.home, 0, gid, 0o750, nginx),
        (layout.releases, 0, gid, 0o750, nginx),
        (layout.venvs, 0, gid, 0o750, None),
        (layout.shared, uid, gid, 0o750, nginx),
        (layout.cache, uid, gid, 0o700, None),
        *([(layout.jobs, uid, gid, 0o750, None)] if jobs else []),
    ):
        changed = acl.guard(path, owning, group, mode, passing, check_mode) or changed
    return changed


def serve(layout: Layout, served: list[str], nginx_group: str, owner: str, check_mode: bool) -> bool:
    """Let nginx read the shared folders that it serves; return whether it could not."""
    if not serve_shared(layout, served, nginx_group, check_mode=True):
        return False
    if not check_mode:
        with lock(layout, owner):
            serve_shared(layout, served, nginx_group)
    return True


def sweep(layout: Layout, owner: str) -> bool:
    """Remove what an interrupted run has left; return whether there was anything."""
    left = unfinished(layout)
    if not left and not abandoned(layout):
        return False
    # Unless the lock is held: then it is not left, but being made.
    with lock(layout, owner):
        for path in unfinished(layout):
            remove_tree(path)
    return bool(left)


def release(module: AnsibleModule, spec: dict[str, Any], versions: Versions) -> dict[str, Any]:
    """Decide and do what one application needs."""
    layout = Layout(spec["name"], module.params["root"])
    if spec["state"] == "absent":
        there = os.path.isdir(layout.home) and (spec["purge"] or os.listdir(layout.home) not in ([], ["shared"]))
        return {
            "name": spec["name"],
            "state": "absent",
            "current": "",
            "candidate": "",
            "action": "none",
            "reasons": [],
            "activate": there,
            "changed": False,
        }
    clashing = account(spec["name"])
    if clashing is not None and clashing.pw_dir != layout.home:
        raise ReleaseError(
            spec["name"],
            f"the host already has an account '{spec['name']}' with the home {clashing.pw_dir}, which is not this "
            "collection's. Choose another name.",
        )
    if clashing is None and group_exists(spec["name"]):
        raise ReleaseError(spec["name"], f"the host already has a group '{spec['name']}'. Choose another name.")
    nginx_group = module.params["nginx_group"]
    changed = prepare(layout, module.run_command, spec["jobs"], nginx_group, module.check_mode)
    if not module.check_mode:
        changed = sweep(layout, module.params["owner"]) or changed
    changed = serve(layout, spec.get("served") or [], nginx_group, module.params["owner"], module.check_mode) or changed
    wanted = fingerprint(spec, layout, versions, module.check_mode)
    current = layout.current_release()
    known = [manifest for manifest in manifests(layout) if manifest.id == current or whole(layout, manifest)]
    action, reused, reasons = choose(wanted, current, known)
    result = {
        "name": spec["name"],
        "state": "present",
        "current": current or "",
        "candidate": reused or "",
        "action": action,
        "reasons": reasons,
    }
    if action == "none":
        ailing = ails(layout) or sleeps(read_manifest(layout, current), module.run_command)
        return {**result, "activate": ailing, "changed": changed}
    if module.check_mode or (action == "build" and spec["source"].get("wanted")):
        return {**result, "activate": True, "changed": True}
    if action == "build":
        with lock(layout, module.params["owner"]):
            # Under the lock, for another run may just have finished a release.
            result["candidate"] = build(module, spec, layout, wanted, [manifest.id for manifest in manifests(layout)])
    return {**result, "activate": True, "changed": True}


def build(module: AnsibleModule, spec: dict[str, Any], layout: Layout, wanted: dict[str, str], taken: list[str]) -> str:
    began = time.monotonic()
    manifest = Manifest(
        id=new_identity(wanted, now(), taken),
        fingerprint=wanted,
        revision=spec["source"].get("revision") or wanted["code"][:12],
        process_manager=spec["process_manager"],
        processes=spec["processes"],
        created=f"{now():%Y-%m-%dT%H:%M:%SZ}",
    )
    try:
        Builder(spec, layout, module.params["uv"], wanted["code"]).build(manifest)
    except OSError as error:
        raise ReleaseError(spec["name"], f"building the release {manifest.id} failed: {told(error)}.") from error
    finally:
        if manifest.state != "built":
            record(
                layout,
                action="build",
                release=manifest.id,
                revision=manifest.revision,
                by=module.params["owner"],
                result="failed",
                seconds=round(time.monotonic() - began, 2),
            )
    return manifest.id


def told(error: OSError) -> str:
    """An error of the system in its own words, and the file where it names one."""
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror or error)


def diff_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Which releases change, and why; names only."""
    changing = [result for result in results if result["action"] != "none"]
    return {
        "before": "".join(f"{result['name']}: {result['current'] or 'no release'}\n" for result in changing),
        "after": "".join(
            f"{result['name']}: {result['candidate'] or 'a new release'} "
            f"({', '.join(result['reasons']) if result['current'] else 'the first'})\n"
            for result in changing
        ),
        "before_header": "releases",
        "after_header": "releases",
    }


@functools.cache
def activation() -> Any:
    """What lets releases take over. Most runs don't need it, and the host compiles what it imports."""
    from ansible_collections.pyweb.stack.plugins.module_utils.release import activation as found

    return found


def without_the_empty(answer: dict[str, Any]) -> dict[str, Any]:
    """What is empty would only stand between a reader and the message of a failure."""
    return {key: value for key, value in answer.items() if value}


def activate_at_once(module: AnsibleModule, answer: dict[str, Any]) -> dict[str, Any]:
    """Let the new releases of those applications take over of which it is known how; what that adds to the answer."""
    due = {result["name"]: result for result in answer["apps"] if result["activate"]}
    specs = [
        {**spec, "candidate": due[spec["name"]]["candidate"]}
        for spec in module.params["activations"]
        if spec["name"] in due
    ]
    if not specs:
        return {}
    activated, problems = activation().activate(
        specs, module.params["root"], module.run_command, module.params["owner"]
    )
    if problems:
        told = {**without_the_empty(answer), "activated": activated, "changed": True}
        module.fail_json(msg="\n\n".join(problems), **without_the_empty(told))
    for spec in specs:
        due[spec["name"]]["activate"] = False
    return {"activated": activated, "changed": True}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "apps": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "str", "default": "", "no_log": True},
            "sources": {"type": "str", "default": "", "no_log": True},
            "root": {"type": "path", "default": "/srv/webapps"},
            "uv": {"type": "path", "default": "/opt/pyweb/uv/bin/uv"},
            "nginx_group": {"type": "str", "default": "www-data"},
            "owner": {"type": "str", "default": "unknown"},
            "activations": {"type": "list", "elements": "dict", "default": []},
            "stamp": {"type": "str"},
        },
        supports_check_mode=True,
    )
    os.umask(0o022)
    if module.params["activations"] and not module.check_mode:
        # Compiled beside the look and the build, which mostly wait for programs that they run.
        threading.Thread(target=activation, daemon=True).start()
    secret_parts = json.loads(module.params["secrets"] or "{}")
    sources = json.loads(module.params["sources"] or "{}")
    versions = Versions()
    results, problems, missing = [], [], []
    for given in module.params["apps"]:
        # A copy: Ansible shows the parameters themselves in the invocation, and secrets must not come back into them.
        secret = secret_parts.get(given["name"], {})
        spec = {**given, "env": secret.get("env", {}), "nginx_group": module.params["nginx_group"]}
        if spec["state"] == "present":
            spec["python"] = {**given["python"], **secret.get("python", {})}
            spec["source"] = {**given["source"], "data": sources.get(given["name"])}
        try:
            result = release(module, spec, versions)
        except ReleaseError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(
                f"webapps '{spec['name']}': preparing its folders below {module.params['root']} failed: {told(error)}."
            )
            continue
        if result["action"] == "build" and spec["source"].get("wanted"):
            missing.append(spec["name"])
        results.append(result)
    answer = {
        "changed": bool(sum(result.pop("changed") for result in results)),
        "apps": results,
        "missing_sources": missing,
        "diff": diff_of(results),
    }
    if problems:
        module.fail_json(
            msg="\n\n".join([*problems, "What was live before is still live; nothing that serves has changed."]),
            **{key: value for key, value in without_the_empty(answer).items() if key != "missing_sources"},
        )
    if not (missing or module.check_mode):
        answer |= activate_at_once(module, answer)
    if module.params["stamp"] and not module.check_mode:
        live = {result["name"]: result["candidate"] or result["current"] for result in results}
        stamp = {"key": module.params["stamp"], "seen": versions.seen, "releases": live}
        if not any(result["activate"] for result in results):
            settle(stamp, module.params["root"], module.run_command)
        answer["stamp"] = stamp
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
