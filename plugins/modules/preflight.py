#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Look at a host before anything on it is changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check the whole model and look at the host before anything is changed
version_added: 0.1.0
description:
  - On the controller, checks the applications and sites of the inventory and reports every problem at once, each with
    the value found and the
    remedy.
  - On the host, gathers in one trip the few facts that the roles use, and finds conflicts with what is there. Changes
    nothing.
  - Sets C(ansible_facts['pyweb']), so that a role needs no trip to find its packages installed.
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
      - The applications, as the role P(pyweb.stack.webapp#role) takes them. By default the variable C(webapps) of the
        host; its templates that can't be resolved are then reported with their place. Read by the action plugin alone.
    type: list
    elements: raw
  app:
    description:
      - The application that a run is for; it must be one of O(webapps). Read by the action plugin alone.
    type: str
    default: ""
  app_required:
    description:
      - Whether a run must be for one application. Read by the action plugin alone.
    type: bool
    default: false
  app_on_host:
    description:
      - Whether the run can be for an application that only the host knows, or for all. Read by the action plugin alone.
    type: bool
    default: false
  process_manager:
    description:
      - The process manager of applications that name none.
    type: str
    default: auto
  keep_releases:
    description:
      - Number of releases to keep of each application.
    type: raw
    default: 5
  sources:
    description:
      - Whether releases are to be built, so that the sources must be there and the host must have room for them. Read
        by the action plugin alone.
    type: bool
    default: true
  packages:
    description:
      - The Debian packages that the roles need. The facts list those that are installed.
    type: list
    elements: str
    default: []
  ports:
    description:
      - The ports on which nginx will listen. Filled by the action plugin.
    type: list
    elements: int
    default: []
  certificates:
    description:
      - Certificates that the inventory expects on the host, as M(pyweb.stack.nginx_config) takes them. Filled by the
        action plugin.
    type: list
    elements: dict
    default: []
  expired:
    description:
      - The fingerprints of expired certificates of the inventory, by their sites. The fact C(deployed_certificates)
        lists those that are deployed already. Filled by the action plugin.
    type: dict
    default: {}
  uv_home:
    description:
      - Folder of uv's virtual environment.
    type: path
    default: /opt/pyweb/uv
  pythons:
    description:
      - Folder of the interpreters that uv provides.
    type: path
    default: /opt/pyweb/python
  root:
    description:
      - Folder of the applications on the host.
    type: path
    default: /srv/webapps
  names:
    description:
      - The names of the accounts, groups and units that will be made. Filled by the action plugin.
    type: list
    elements: str
    default: []
  known:
    description:
      - All applications of the inventory. The facts describe others that are on the host. Filled by the action plugin.
    type: list
    elements: str
    default: []
  interpreters:
    description:
      - The interpreters of the applications. Filled by the action plugin.
    type: list
    elements: str
    default: []
  fleet:
    description:
      - Whether the run has other hosts, so that the facts include C(resolutions). Filled by the action plugin.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Check everything before anything changes
  pyweb.stack.preflight:
    webapps: "{{ webapps }}"
    packages: "{{ nginx_required_packages + python_required_packages + python_packages }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    pyweb:
      description:
        - C(distribution) (id, name, version, codename), C(platform) (whether the host has C(apt), the version of
          C(python) that runs modules, the C(versions) of nginx and systemd that are installed, whether it is in its
          C(first_boot), and the C(apt_holder), a process that uses apt), C(init) (V(systemd) or V(none)), C(cpus),
          C(memory_bytes),
          C(packages) (the installed ones of O(packages)), C(uv) (its version, or empty), C(supervisor) (whether it is
          installed), C(timers) (whether an application may have some), C(listeners) on O(ports), C(stamps) (the parts
          that are unchanged since a run verified them), C(clashes) (accounts, groups and services of other software
          that have one of O(names)), C(interpreters) (path and version of O(interpreters)), C(pythons) (all that are
          installed), C(provided_pythons) (the interpreters that uv has provided), C(disks),
          C(resolutions) (digests of the versions that releases have recorded, if O(fleet)), C(releases) (the live
          release of each of O(names)), C(maintenance) (the switches of applications that are closed), C(ahead) (seconds
          by which the host's clock is ahead of the controller's), C(certificate_problems) (problems of certificates on
          the host), C(orphans) (applications on the host that are not O(known)), C(handmade) (servers of nginx and app
          servers that are not this collection's), C(deployed_certificates) (the sites whose expired certificate is
          deployed already), C(sources) (the decisions of the controller about the sources, such as the commit of a git
          repository).
      type: dict
"""

import sys  # the documentation stands first in a module

from ansible.module_utils.basic import AnsibleModule

# ansible-core 2.19 also runs modules with Python 3.8.
OLDEST_PYTHON = (3, 9)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "webapps": {"type": "list", "elements": "raw"},
            "app": {"type": "str", "default": ""},
            "app_required": {"type": "bool", "default": False},
            "app_on_host": {"type": "bool", "default": False},
            "process_manager": {"type": "str", "default": "auto"},
            "keep_releases": {"type": "raw", "default": 5},
            "sources": {"type": "bool", "default": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "certificates": {"type": "list", "elements": "dict", "default": []},
            "expired": {"type": "dict", "default": {}},
            "uv_home": {"type": "path", "default": "/opt/pyweb/uv"},
            "pythons": {"type": "path", "default": "/opt/pyweb/python"},
            "root": {"type": "path", "default": "/srv/webapps"},
            "names": {"type": "list", "elements": "str", "default": []},
            "known": {"type": "list", "elements": "str", "default": []},
            "interpreters": {"type": "list", "elements": "str", "default": []},
            "fleet": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if sys.version_info < OLDEST_PYTHON:
        module.fail_json(
            msg=f"Ansible runs Python {'.'.join(map(str, sys.version_info[:2]))} on the host, but this collection "
            f"needs {'.'.join(map(str, OLDEST_PYTHON))} or newer, as Debian 11 and Ubuntu 22.04 have it. Upgrade the "
            "system, or name a newer Python in ansible_python_interpreter. Nothing on the host has changed."
        )
    # An older Python can't import it.
    from ansible_collections.pyweb.stack.plugins.module_utils.preflight.facts import gather

    module.exit_json(changed=False, ansible_facts={"pyweb": gather(module.params)})


if __name__ == "__main__":
    main()
