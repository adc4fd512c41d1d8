#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at web applications from outside in."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webapp_inspect
short_description: Look at web applications from outside in, and say what is wrong
version_added: 0.2.0
description:
  - From the controller, resolves the names of the applications and asks each site as a visitor does.
  - Looks at all applications of a host in one trip. It reads the configuration and the errors of nginx, sockets with
    their permissions, and processes with their logs. It requests each application on its socket and through nginx.
  - Reports the state of each application, and the first part between visitor and application that fails. It also
    reports which promises of a deployed site hold. Changes nothing.
author: The pyweb.stack contributors (@pyweb)
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Returns no difference.
    support: none
options:
  webapps:
    description:
      - The applications, as the role P(pyweb.stack.webapp#role) takes them; by default the variable C(webapps) of the
        host. Read by the action plugin alone.
    type: list
    elements: raw
  app:
    description:
      - Look at this application alone. Empty for all.
    type: str
    default: ""
  apps:
    description:
      - The applications to look at. Made from O(webapps) by the action plugin.
    type: list
    elements: dict
    default: []
  known:
    description:
      - All applications of the inventory. RV(host) describes others that are on the host. Filled by the action plugin.
    type: list
    elements: str
    default: []
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
  nginx_group:
    description:
      - Group, and account, that the web server works as.
    type: str
    default: www-data
"""

EXAMPLES = r"""
- name: Look at the shop
  pyweb.stack.webapp_inspect:
    app: shop
  register: __look

- name: Fail where something is broken
  ansible.builtin.assert:
    that: __look.apps | map(attribute='diagnosis.broken') | flatten | length == 0
"""

RETURN = r"""
apps:
  description:
    - One dictionary for each application. After those of the inventory follow those that only the host knows.
  type: list
  elements: dict
  returned: always
  contains:
    name:
      description: The application.
      type: str
    status:
      description:
        - How it is. C(in_inventory), C(host), C(application), C(release), C(since), C(server), C(process_manager),
          C(workers), C(memory) (bytes), C(restarts), C(health), C(certificate_days), C(revision), and C(hold), the
          release that a rollback holds. C(lease) is a provisional switch that its run has not committed yet.
      type: dict
    diagnosis:
      description:
        - C(links), the names of the links that were looked at, from outside in; C(broken), what is broken among them,
          the outermost first, each with C(link), C(seen), C(cause) and C(fix); and C(warnings), what will break next.
      type: dict
    checks:
      description:
        - The promises of a deployed site, each with C(check) (its name), C(state) (V(ok), V(failed) or V(n/a)),
          C(problem) (why it failed) and C(note) (why it does not apply, or what was not looked at).
      type: list
      elements: dict
    findings:
      description: What all of this was concluded from. Empty for an application that only the host knows.
      type: dict
host:
  description: What all applications of the host share. nginx, listeners, disks, memory and clock.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule  # the documentation stands first in a module
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.host import look_at_host
from ansible_collections.pyweb.stack.plugins.module_utils.doctor.inspection import look_at_apps
from ansible_collections.pyweb.stack.plugins.module_utils.host.commands import run_on_host
from ansible_collections.pyweb.stack.plugins.module_utils.preflight.orphans import Places, lone_services, orphans


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "webapps": {"type": "list", "elements": "raw"},
            "app": {"type": "str", "default": ""},
            "apps": {"type": "list", "elements": "dict", "default": []},
            "known": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "default": "/srv/webapps"},
            "nginx_group": {"type": "str", "default": "www-data"},
        },
        supports_check_mode=True,
    )
    root = module.params["root"]
    apps = look_at_apps(module.params["apps"], root, module.params["nginx_group"], run_on_host)
    found = {**orphans(module.params["known"], Places(root)), "services": lone_services(Places(root))}
    module.exit_json(changed=False, apps=apps, host={**look_at_host(run_on_host, root), "orphans": found})


if __name__ == "__main__":
    main()
