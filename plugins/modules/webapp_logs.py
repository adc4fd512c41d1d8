#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Show the output of the processes of a web application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_logs
short_description: Show the output of the processes and jobs of a Python web application
version_added: 0.2.0
description:
  - Reads the last lines of the web process, of each background process and of each job. They come from the journal and
    from the log files of supervisor. Also reads the error log of nginx for the site. Changes nothing.
  - A line that begins with a space, and the lines of a traceback, belong to the line before them.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  app:
    description:
      - Name of the application.
    type: str
    default: ""
  names:
    description:
      - Names of the applications of the host.
    type: list
    elements: str
    required: true
  lines:
    description:
      - Lines of each, 1 to 10000.
    type: raw
    default: 50
  since:
    description:
      - Only lines from this time on, such as V(10 min ago), V(14:30), V(2026-01-31 14:30) or V(2026-01-31T14:30:00Z).
        A time without an offset is in the time zone of the host.
      - Lines of a text file count by the time that they name.
    type: raw
    default: ""
  level:
    description:
      - Only lines of this level, or of a more severe one; V(debug), V(info), V(notice), V(warning), V(error) or
        V(critical).
      - The level of a line is the one that it names, such as C([error]), C(ERROR) or C("level":"error"), or its
        priority in the journal if that is more severe. A traceback is an error. Other lines are V(info).
      - With a level, the access log of the site is read as well. A request with status 5xx is an error, and one with
        4xx a warning.
    type: raw
    default: ""
  request:
    description:
      - Only lines about the request with this ID, from the access log, the error log and the application's own logs.
      - nginx passes the ID to the application as C(X-Request-ID). If no line of the application has it, its lines from
        the time of the request are returned.
    type: raw
    default: ""
  access_logs:
    description:
      - Access logs of the application's site. The action plugin reads them from the inventory.
    type: list
    elements: str
    default: []
  error_logs:
    description:
      - Error logs of the application's site. The action plugin reads them from the inventory.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Read the logs of the shop
  pyweb.stack.webapp_logs:
    app: shop
    names: [shop]
    lines: 20
  register: __logs
"""

RETURN = r"""
logs:
  description: The lines of each log, the web process first, all of them with a heading.
  type: list
  elements: str
  returned: success
"""

import datetime  # the documentation stands first in a module
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.logs import asked
from ansible_collections.pyweb.stack.plugins.module_utils.logs.report import SEARCHED_BYTES, Wanted, asked_at, report
from ansible_collections.pyweb.stack.plugins.module_utils.logs.services import from_files, from_supervisor, from_systemd
from ansible_collections.pyweb.stack.plugins.module_utils.processes.systemctl import LINE_BYTES


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "app": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "required": True},
            "lines": {"type": "raw", "default": 50},
            "since": {"type": "raw", "default": ""},
            "level": {"type": "raw", "default": ""},
            "request": {"type": "raw", "default": ""},
            "access_logs": {"type": "list", "elements": "str", "default": []},
            "error_logs": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    # The local time of the host, as in its logs.
    now = datetime.datetime.now()
    problem = asked.problem(module.params, now)
    if problem:
        module.fail_json(msg=problem)
    wanted = asked.wanted(module.params, now)
    told = collected(module.params["app"], wanted, module.params["access_logs"], module.params["error_logs"])
    module.exit_json(changed=False, logs=told or [f"{module.params['app']} has no process on this host."])


def collected(app: str, wanted: Wanted, access_logs: list[str], error_logs: list[str]) -> list[str]:
    """The wanted lines of all logs."""
    size = SEARCHED_BYTES if wanted.is_filtered else wanted.lines * LINE_BYTES
    with_access = wanted.level is not None or bool(wanted.request)
    access = [from_files(f"nginx access log, {path}", [f"{path}.1", path], size) for path in access_logs if with_access]
    errors = [from_files(f"nginx error log, {path}", [f"{path}.1", path], size) for path in error_logs]
    services = from_supervisor(app, size)
    if os.path.isdir("/run/systemd/system"):
        requests = asked_at(wanted, access)
        span = (min(one.begin for one in requests), max(one.end for one in requests)) if requests else None
        services += from_systemd(app, wanted.searched_lines, run_on_host, span or (wanted.start, None))
    return report(wanted, services, errors, access) if services else []


if __name__ == "__main__":
    main()
