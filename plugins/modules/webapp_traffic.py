#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Count the requests, errors and latencies of web applications."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_traffic
short_description: Count the requests, errors and latencies of Python web applications
version_added: 0.2.0
description:
  - Reads the access logs of nginx, and counts the requests that reached each application in the last seconds. Changes
    nothing.
  - A request counts if it began in the window and has ended. Answers of nginx alone do not count, such as static files,
    responses from a cache, redirects and refusals. Requests to the health URL do not count.
  - Waits 2 seconds first, because nginx writes its access log up to a second later.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  seconds:
    description:
      - Length of the window, 1 to 86400 seconds. It ends when the module starts, by the clock of the host.
    type: int
    required: true
  slices:
    description:
      - Number of equal parts of the window that are counted separately, up to 288, each of a second or more. With V(0),
        there are up to 12.
    type: int
    default: 0
  apps:
    description:
      - The applications to count. The action plugin makes them from the variable C(webapps), all of them by default.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the application.
        type: str
        required: true
      logs:
        description: Access logs of the sites that serve the application, each in one of the formats of the role nginx.
        type: list
        elements: path
        required: true
      mount:
        description: Path of the application on its site.
        type: str
        default: /
      mounts:
        description: Paths of all applications of these sites.
        type: list
        elements: str
        default: [/]
      health:
        description: Path of the health URL. Empty if the application has none.
        type: str
        default: ""
"""

EXAMPLES = r"""
- name: Count the requests of the last minute
  pyweb.stack.webapp_traffic:
    seconds: 60
  register: __traffic
"""

RETURN = r"""
seconds:
  description: Length of the window in seconds.
  type: float
  returned: success
apps:
  description: One dictionary for each application, in the order of O(apps).
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The application.
      type: str
    requests:
      description: Requests that reached the application.
      type: int
    errors:
      description: Those among them with status 5xx. A 502 or 504 of nginx is an error, because the application did not
        answer.
      type: int
    p50:
      description: Half of the requests took this number of seconds or less (C(upstream_response_time) of nginx). None
        without requests.
      type: float
    p95:
      description: The same for 95 % of the requests.
      type: float
    p99:
      description: The same for 99 % of the requests.
      type: float
    slices:
      description: The same counts for equal parts of the window, the oldest first. Each has C(requests),
        C(errors) and C(buckets), pairs of a bucket (V(-1) is below 1 ms, V(n) begins at 2^(n/8) ms) and its requests.
      type: list
      elements: dict
    unread:
      description: Lines in another format. They were not counted.
      type: int
    cut:
      description: Whether the beginning of the window was not counted, because the logs of the window are larger than
        256 MiB, or were rotated more than once.
      type: bool
    problems:
      description: Why a log could not be read.
      type: list
      elements: str
"""

import time  # the documentation stands first in a module

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.logs.traffic import Window, count

# nginx flushes its access logs every second.
FLUSH = 2.0
LONGEST = 86400
MOST_SLICES = 288


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "seconds": {"type": "int", "required": True},
            "slices": {"type": "int", "default": 0},
            "apps": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "logs": {"type": "list", "elements": "path", "required": True},
                    "mount": {"type": "str", "default": "/"},
                    "mounts": {"type": "list", "elements": "str", "default": ["/"]},
                    "health": {"type": "str", "default": ""},
                },
            },
        },
        supports_check_mode=True,
    )
    seconds, slices = module.params["seconds"], module.params["slices"]
    if not 1 <= seconds <= LONGEST:
        module.fail_json(msg=f"seconds is {seconds}. Give a number from 1 to {LONGEST}.")
    if not 0 <= slices <= min(seconds, MOST_SLICES):
        module.fail_json(msg=f"slices is {slices}. Give a number from 0 to {min(seconds, MOST_SLICES)}.")
    now = time.time()
    time.sleep(FLUSH)
    apps = count(module.params["apps"], Window(now - seconds, now, slices))
    module.exit_json(changed=False, seconds=float(seconds), apps=apps)


if __name__ == "__main__":
    main()
