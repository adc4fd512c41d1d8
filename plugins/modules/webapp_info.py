#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""List the releases of web applications."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_info
short_description: List the releases of Python web applications
version_added: 0.1.0
description:
  - Reads the releases of applications and their log of deployments. Changes nothing.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  names:
    description:
      - Names of the applications.
    type: list
    elements: str
    required: true
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
"""

EXAMPLES = r"""
- name: Look at the releases of the shop
  pyweb.stack.webapp_info:
    names: [shop]
  register: __info
"""

RETURN = r"""
apps:
  description: One dictionary for each application.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The application.
      type: str
    current:
      description: The live release, empty if there is none.
      type: str
    releases:
      description:
        - What is on the host, newest first. Each has C(id), C(state), C(revision), C(created), C(by) and C(reason).
      type: list
      elements: dict
    hold:
      description:
        - The release that was rolled back and is held, with C(release), C(revision), C(by), C(time) and C(to), the
          release that was live after the rollback. Null if none is held.
      type: dict
    lease:
      description:
        - The provisional switch under way, with C(run), C(by), C(release), C(before), C(until) (UTC), C(state),
          C(overdue) (the run did not decide in time) and C(guarded) (the process that then goes back still runs). Null
          if there is none.
      type: dict
    jobs:
      description:
        - The result of the last run of each job. Each has C(job), C(release), C(started), C(state) (V(running),
          V(succeeded), V(failed), V(timed out) or V(interrupted)), C(status) and C(seconds).
      type: list
      elements: dict
    history:
      description: The last hundred lines of the log of deployments, oldest first.
      type: list
      elements: dict
"""

import contextlib  # the documentation stands first in a module
import itertools
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.job_runs import last_run
from ansible_collections.pyweb.stack.plugins.module_utils.host.untrusted import tail
from ansible_collections.pyweb.stack.plugins.module_utils.release.choice import rollback_targets, skipped
from ansible_collections.pyweb.stack.plugins.module_utils.release.holds import hold_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.leases import lease_in_effect
from ansible_collections.pyweb.stack.plugins.module_utils.release.releases import Layout, manifests

# Bytes of the log of deployments that a hundred lines fit in.
HISTORY_BYTES = 256 * 1024
# Entries of the folder of job results that are read.
MOST_JOBS = 10_000


def history(layout: Layout) -> list[dict[str, Any]]:
    """The log of deployments; a line that an interruption has cut is passed over."""
    entries = []
    for line in tail(layout.history, HISTORY_BYTES).split("\n")[-101:]:
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def jobs(layout: Layout) -> list[dict[str, Any]]:
    """The last run of each job that has ever run."""
    names = []
    # The application's account can write there, so there may be any number of files.
    with contextlib.suppress(OSError), os.scandir(layout.jobs) as entries:
        names = [entry.name for entry in itertools.islice(entries, MOST_JOBS) if entry.name.endswith(".json")]
    return [told for name in sorted(names) if (told := last_run(layout, name.removesuffix(".json")))]


def look(layout: Layout) -> dict[str, Any]:
    entries = history(layout)
    by = {entry.get("release"): entry.get("by", "") for entry in entries}
    known, current = manifests(layout), layout.current_release()
    targets = [manifest.id for manifest in rollback_targets(current, known)]
    return {
        "name": layout.name,
        "current": current or "",
        "releases": [
            {
                "id": manifest.id,
                "state": manifest.state,
                "revision": manifest.revision,
                "source": manifest.source,
                "run": manifest.run,
                "created": manifest.created,
                "by": by.get(manifest.id, "") or manifest.by,
                "reason": manifest.reason,
            }
            for manifest in known
        ],
        "targets": targets,
        "skipped": skipped(targets[0] if targets else "", current, known),
        "hold": hold_in_effect(layout),
        "lease": lease_in_effect(layout),
        "jobs": jobs(layout),
        "history": entries,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "root": {"type": "path", "default": "/srv/webapps"},
        },
        supports_check_mode=True,
    )
    apps = [look(Layout(name, module.params["root"])) for name in module.params["names"]]
    module.exit_json(changed=False, apps=apps)


if __name__ == "__main__":
    main()
