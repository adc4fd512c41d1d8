#!/usr/bin/python
# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Install nginx's whole configuration as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_config
short_description: Install nginx's configuration as a transaction, and have nginx run it
version_added: 0.1.0
description:
  - Takes all files of the configuration at once. Where they differ from what is live, they are written into a new
    folder beside the
    live one, tested as a whole by nginx, made live by renaming one link, and loaded.
  - The reload is verified. nginx reports success even when it refuses a configuration, because a port is taken, for
    example; so
    the module waits until the workers are new ones that run the new tree.
  - If anything fails, the previous tree is live again, nginx goes on serving it, and the module fails with nginx's
    own words, the site, and the
    line of the user's input they are about.
  - Starts nginx where it does not run, by systemd where that is the init, else as a daemon of its own. Under systemd
    it is enabled at boot.
  - A reload that an earlier, interrupted run left undone is recognised by what the running nginx has loaded, and done.
  - Files in C(conf.d) and C(sites-enabled) stay and are loaded, but for the distribution's own unchanged default
    site, which is disabled.
  - Brings the certificates of the sites along, makes those that are signed by the host itself, and sees after the
    reload that nginx serves them. Warns of every one that ends within 21 days and does not renew itself.
author: The pyweb.stack contributors
extends_documentation_fragment: [pyweb.stack.stamped]
attributes:
  check_mode:
    support: full
    description: Predicts changes; nginx's own test needs the files on the host, so it is left to the real run.
  diff_mode:
    support: full
options:
  files:
    description:
      - All files of the tree. One must be C(nginx.conf), the main file.
      - C(@TREE@) in a file stands for the folder of the tree. The main file must hold C(error_log @TREE@/loaded
        emerg;), by which
        the module recognises the running configuration.
      - C(listen [...]) lines are left out on a host whose kernel has no IPv6.
      - Lines from C(#@ if FACT), or C(#@ unless FACT), to C(#@ else) or C(#@ end) are for hosts of which the fact is
        true.
        There are C(http2_directive) (nginx 1.25.1), C(http3), C(fresh_tickets) (nginx changes the keys of session
        tickets by itself), C(mlkem) (OpenSSL has the group X25519MLKEM768), C(certificate:NAME) (there is one of that
        name), and C(ocsp:NAME) (it names a responder).
      - C(@CERTIFICATES@) stands for the folder of the certificates, C(@CHALLENGES@) for that of the proofs which an
        ACME authority asks for.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Path of the file, relative to the tree.
        type: str
        required: true
      content:
        description: The file's text.
        type: str
        required: true
  secret_files:
    description:
      - Files of the tree that only root and nginx may read (mode 0640), such as those of passwords, as path and text.
        No diff and no log shows them.
    type: dict
    default: {}
  owners:
    description:
      - The lists of sites that O(files) hold in full. A site of such an owner that is not among the files is removed,
        and a warning names it. Sites of other owners that are on the host stay as they are.
      - A comment in a site's file names its owner. A site without this comment belongs to V(webapps) if it refers
        to the socket of a release, otherwise to V(nginx_sites).
    type: list
    elements: str
    choices: [webapps, nginx_sites]
    default: [nginx_sites]
  removed:
    description: Applications that are removed on purpose, so that no warning is due.
    type: list
    elements: str
    default: []
  certificates:
    description:
      - The certificates that the files name. Those of the modes V(selfsigned) and V(acme), and those whose text is
        given, are the file C(@CERTIFICATES@/NAME.pem), with chain and key.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Names the file; the site's name.
        type: str
        required: true
      mode:
        description:
          - V(selfsigned) is signed by the host's own authority, C(@CERTIFICATES@/ca.crt).
          - V(provided) is given, as a text or as a path on the host.
          - V(acme) is ordered from O(acme), in a run with O(fetch).
        type: str
        choices: [selfsigned, provided, acme]
        required: true
      names:
        description: The names it has to be valid for. None are for the default site, which has those of the host.
        type: list
        elements: str
        default: []
      port:
        description: The port that it is served on, where it is verified.
        type: int
        default: 443
      http_port:
        description: The port where nginx answers an authority that asks for the proof.
        type: int
        default: 80
      certificate:
        description: The certificate with its chain, in PEM form.
        type: str
        default: ""
      key:
        description: Its key, in PEM form.
        type: str
        default: ""
      certificate_path:
        description: Where on the host the certificate is, with its chain.
        type: str
        default: ""
      key_path:
        description: Where on the host the key is.
        type: str
        default: ""
  acme:
    description: The authority of certificates of the mode V(acme).
    type: dict
    default: {}
    suboptions:
      directory:
        description: Address of its ACME directory.
        type: str
        default: ""
      email:
        description: Where it may write to.
        type: str
        default: ""
      ca_bundle:
        description: File on the host with what the authority's own address is verified by.
        type: str
        default: ""
  ca_certificate:
    description: Certificate of the authority that signs certificates of the mode V(selfsigned). Default is one of the
      host's own.
    type: str
    default: ""
  ca_key:
    description: Its key.
    type: str
    default: ""
  fetch:
    description:
      - Whether to order the certificates of the mode V(acme) that are due. Takes seconds for each.
      - Otherwise they are returned as RV(due), and a site without a certificate has no C(certificate:NAME).
      - An order that fails changes nothing. The module fails when all that could be done is done.
    type: bool
    default: false
  renewal:
    description:
      - What has C(/usr/local/lib/pyweb/certificates.pyz) run, which renews certificates and has nginx load them.
      - Installed where there are some to renew, and removed elsewhere. Without it nothing of that is touched.
    type: dict
    suboptions:
      service:
        description: Text of the systemd service.
        type: str
        required: true
      timer:
        description: Text of its timer.
        type: str
        required: true
      cron:
        description: Text of a file of C(/etc/cron.d), used where systemd is not the init.
        type: str
        required: true
  state_dir:
    description: Folder for the account at the authority and its proofs.
    type: path
    default: /var/lib/pyweb
  drop_in:
    description: Text of a drop-in for C(nginx.service). Used only where systemd is the init.
    type: str
  conf_dir:
    description: nginx's configuration folder.
    type: path
    default: /etc/nginx
  pid_file:
    description: The file that holds the master's process id.
    type: path
    default: /run/nginx.pid
  error_log:
    description: The main error log, read for nginx's words when a start or reload fails.
    type: path
    default: /var/log/nginx/error.log
  init:
    description: What starts nginx. V(auto) is systemd where it runs as init, else nothing but nginx itself.
    type: str
    choices: [auto, systemd, none]
    default: auto
"""

EXAMPLES = r"""
- name: Bring the sites live
  pyweb.stack.nginx_config:
    files: "{{ query('pyweb.stack.templates', *(nginx_sites | pyweb.stack.nginx_files)) }}"
"""

RETURN = r"""
actions:
  description: What was done, or would be, in order.
  type: list
  elements: str
  returned: success
  sample: [install tree, reload]
tree:
  description: Folder of the live tree; in check mode of the one that is live now, if any.
  type: str
  returned: success
removed_sites:
  description: Sites that this run removed from the live configuration, or would remove in check mode.
  type: list
  elements: str
  returned: success
due:
  description: Certificates of the mode V(acme) that a run with O(fetch) would order.
  type: list
  elements: str
  returned: success
ca:
  description: The file that a browser has to import to trust certificates of the mode V(selfsigned); empty without any.
  type: str
  returned: success
unowned:
  description: Files that nginx loads beside the tree, from C(conf.d) and C(sites-enabled).
  type: list
  elements: str
  returned: success
settled:
  description: Whether the host is known to be as wanted.
  type: bool
  returned: with O(foresee)
"""

from typing import Any  # the documentation stands first in a module

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.pyweb.stack.plugins.module_utils.host import stamps
from ansible_collections.pyweb.stack.plugins.module_utils.nginx import owners
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.errors import NginxError
from ansible_collections.pyweb.stack.plugins.module_utils.nginx.transaction import apply

ARGUMENTS: dict[str, Any] = {
    "files": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
        },
    },
    "secret_files": {"type": "dict", "default": {}, "no_log": True},
    "owners": {
        "type": "list",
        "elements": "str",
        "choices": [owners.APPLICATIONS, owners.OWN_SITES],
        "default": [owners.OWN_SITES],
    },
    "removed": {"type": "list", "elements": "str", "default": []},
    "certificates": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "mode": {"type": "str", "required": True, "choices": ["selfsigned", "provided", "acme"]},
            "names": {"type": "list", "elements": "str", "default": []},
            "port": {"type": "int", "default": 443},
            "http_port": {"type": "int", "default": 80},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "default": "", "no_log": True},
            "certificate_path": {"type": "str", "default": ""},
            "key_path": {"type": "str", "default": "", "no_log": False},
        },
    },
    "acme": {
        "type": "dict",
        "default": {},
        "options": {
            "directory": {"type": "str", "default": ""},
            "email": {"type": "str", "default": ""},
            "ca_bundle": {"type": "str", "default": ""},
        },
    },
    "ca_certificate": {"type": "str", "default": ""},
    "ca_key": {"type": "str", "default": "", "no_log": True},
    "fetch": {"type": "bool", "default": False},
    "renewal": {
        "type": "dict",
        "options": {
            "service": {"type": "str", "required": True},
            "timer": {"type": "str", "required": True},
            "cron": {"type": "str", "required": True},
        },
    },
    "state_dir": {"type": "path", "default": "/var/lib/pyweb"},
    "drop_in": {"type": "str"},
    "conf_dir": {"type": "path", "default": "/etc/nginx"},
    "pid_file": {"type": "path", "default": "/run/nginx.pid"},
    "error_log": {"type": "path", "default": "/var/log/nginx/error.log"},
    "init": {"type": "str", "choices": ["auto", "systemd", "none"], "default": "auto"},
    **stamps.OPTIONS,
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result, witnesses = apply(module.params, module.run_command, module.check_mode)
    except NginxError as error:
        for warning in error.warnings:
            module.warn(warning)
        module.fail_json(msg=str(error))
    for warning in result.pop("warnings"):
        module.warn(warning)
    if module.params["stamp"] and witnesses:
        stamps.leave("nginx_config", module.params["stamp"], witnesses, witnesses["until"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
