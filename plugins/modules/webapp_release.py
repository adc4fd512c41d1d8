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

import json  # the documentation stands first in a module
import os
import threading

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.release.deploy import (
    Deployment,
    activate_at_once,
    activation,
    diff_of,
    error_text,
    failure,
    release,
)
from ansible_collections.pyweb.stack.plugins.module_utils.release.interpreters import InterpreterVersions
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import ReleaseError
from ansible_collections.pyweb.stack.plugins.module_utils.release.settled import settle


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
    versions = InterpreterVersions()
    deployment = Deployment(
        root=module.params["root"],
        uv=module.params["uv"],
        nginx_group=module.params["nginx_group"],
        owner=module.params["owner"],
        run=module.run_command,
        check_mode=module.check_mode,
    )
    results, problems, missing = [], [], []
    for given in module.params["apps"]:
        # A copy: Ansible shows the parameters themselves in the invocation, and secrets must not come back into them.
        secret = secret_parts.get(given["name"], {})
        spec = {**given, "env": secret.get("env", {}), "nginx_group": module.params["nginx_group"]}
        if spec["state"] == "present":
            spec["python"] = {**given["python"], **secret.get("python", {})}
            spec["source"] = {**given["source"], "data": sources.get(given["name"])}
        try:
            result = release(deployment, spec, versions)
        except ReleaseError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(
                f"webapps '{spec['name']}': preparing its folders below {deployment.root} failed: {error_text(error)}."
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
        del answer["missing_sources"]
        problems.append("The releases that were live before are still live.")
        module.fail_json(**failure(answer, problems))
    if not (missing or module.check_mode):
        added, problems = activate_at_once(deployment, module.params["activations"], answer["apps"])
        answer |= added
        if problems:
            module.fail_json(**failure(answer, problems))
    if module.params["stamp"] and not module.check_mode:
        live = {result["name"]: result["candidate"] or result["current"] for result in results}
        stamp = {"key": module.params["stamp"], "seen": versions.seen, "releases": live}
        if not any(result["activate"] for result in results):
            settle(stamp, module.params["root"], module.run_command)
        answer["stamp"] = stamp
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
